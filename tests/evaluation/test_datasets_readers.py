"""Readers: right pairs in a stable order, every known defect met, wrong layouts named."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from evaluation import trees
from hypothesis import given
from hypothesis import strategies as st

from portrait_sdk.errors import DatasetError, ImageError, OptionError
from portrait_sdk.evaluation.datasets import (
    KINDS,
    PARTS,
    Reading,
    Sample,
    load_alpha,
    open_dataset,
    split_groups,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = Path(os.environ.get("PORTRAIT_SHARED", "/nowhere")) / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="PORTRAIT_SHARED names no folder")
TREES: dict[str, Callable[[Path], Path]] = {
    "aisegment": trees.aisegment,
    "mmseg": trees.mmseg,
    "pairs": trees.pairs,
    "cutouts": trees.cutouts,
    "video": trees.video,
}


def names(text: str, **options: str) -> list[str]:
    return [sample.name for sample in open_dataset(text, **options)]


def problems(text: str) -> Counter[str]:
    return Counter(problem.kind for problem in open_dataset(text).problems())


@pytest.mark.parametrize("kind", sorted(TREES))
def test_samples_are_whole_unique_and_in_the_same_order_each_time(
    kind: str, tmp_path: Path
) -> None:
    root = TREES[kind](tmp_path)
    dataset = open_dataset(f"{kind}:{root}")
    samples = list(dataset)
    assert samples == list(dataset)
    assert len({sample.name for sample in samples}) == len(samples) > 0
    for sample in samples:
        image, alpha = sample.load_image(), sample.load_alpha()
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert alpha.dtype == np.float32
        assert 0 <= alpha.min() <= alpha.max() <= 1
        assert not sample.image.name.startswith(".")


@pytest.mark.parametrize("kind", sorted(TREES))
def test_the_folder_may_move_and_names_stay(kind: str, tmp_path: Path) -> None:
    root = TREES[kind](tmp_path / "here")
    before = names(f"{kind}:{root}")
    shutil.move(tmp_path / "here", tmp_path / "there?")
    assert names(f"{kind}:{tmp_path / 'there?' / root.relative_to(tmp_path / 'here')}") == before


def test_every_kind_has_a_tree() -> None:
    assert set(KINDS) == set(TREES)


# --- aisegment


def test_aisegment_pairs_by_key_though_a_picture_is_missing(tmp_path: Path) -> None:
    root = trees.aisegment(tmp_path)
    samples = list(open_dataset(f"aisegment:{root}"))
    assert len(samples) == 19
    for sample in samples:
        assert sample.truth is not None
        assert sample.image.stem == sample.truth.stem
        assert sample.image.parent.name.removeprefix("clip_") == (
            sample.truth.parent.name.removeprefix("matting_")
        )
        assert sample.group == sample.name[:10]
    # Pairs that follow the missing one are not shifted.
    stored = cv2.imread(str(samples[-1].truth), cv2.IMREAD_UNCHANGED)[..., 3]
    np.testing.assert_array_equal(np.rint(samples[-1].load_alpha() * 255), stored)
    assert problems(f"aisegment:{root}") == {"skipped": 3, "orphan-truth": 1}


def test_a_matte_without_alpha_is_refused(tmp_path: Path) -> None:
    root = trees.aisegment(tmp_path)
    sample = next(iter(open_dataset(f"aisegment:{root}")))
    assert sample.truth is not None
    trees.write(sample.truth, trees.portrait(0)[0])
    with pytest.raises(ImageError, match="alpha channel, got 3 channels and no alpha"):
        sample.load_alpha()


def test_splits_keep_groups_together(tmp_path: Path) -> None:
    root = trees.aisegment(tmp_path)
    parts = {part: list(open_dataset(f"aisegment:{root}", split=part)) for part in PARTS}
    groups = [{sample.group for sample in samples} for samples in parts.values()]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 5
    assert sum(map(len, parts.values())) == 19
    assert {s.split for s in parts["test"]} == {"test"}


def test_mindspores_split_cuts_the_sorted_pairs_at_six_and_two_tenths(tmp_path: Path) -> None:
    root = trees.aisegment(tmp_path)
    whole = names(f"aisegment:{root}")
    parts = [names(f"aisegment:{root}", split=f"mindspore:{p}") for p in ("train", "eval", "test")]
    assert [len(p) for p in parts] == [11, 3, 5]  # floor(11.4), floor(3.8), the rest of 19
    assert [name for part in parts for name in part] == whole == sorted(whole)


# --- mmseg


def test_mmseg_reads_scene_lists_of_every_spelling(tmp_path: Path) -> None:
    root = trees.mmseg(tmp_path)
    dataset = open_dataset(f"mmseg:{root}")
    assert dataset.scenes == ("city_single", "night", "ski")
    assert dataset.splits == ("train", "val")
    scenes = {sample.image.stem: sample.scenes for sample in dataset}
    assert scenes["IMG.0_001"] == ("city_single", "night")  # in two
    assert scenes["IMG.0_002"] == ("night",)  # listed with its folder
    assert scenes["IMG.1_003"] == ("ski",)  # with folder and extension
    assert scenes["IMG.0_003"] == ()
    assert len(names(f"mmseg:{root}", scene="ski", split="val")) == 1
    assert problems(f"mmseg:{root}") == {
        "skipped": 1, "orphan-image": 1, "unknown-entry": 1, "no-scene": 1,
    }  # fmt: skip


def test_mmseg_finds_the_persons_number_in_each_set(tmp_path: Path) -> None:
    """255 in the one set, number 1 of a palette in the other."""
    root = trees.mmseg(tmp_path)
    for sample in open_dataset(f"mmseg:{root}"):
        alpha = sample.load_alpha()
        assert set(np.unique(alpha)) == {0, 1}
        assert 0.2 < alpha.mean() < 0.5  # the drawn person's share


def test_mmseg_asks_where_masks_hold_several_numbers(tmp_path: Path) -> None:
    root = trees.mmseg(tmp_path)
    for path in root.rglob("ann_dir/train/*.png"):
        mask = np.zeros((64, 48), np.uint8)
        mask[:10], mask[10:20], mask[20:30] = 1, 2, 255
        trees.write(path, mask)
    with pytest.raises(DatasetError, match=r"numbers 0, 1, 2, 255; say which .*\?class=NUMBER"):
        names(f"mmseg:{root}")
    for given_class, share in (("1", 10), ("1,2", 20), ("any", 30)):
        sample = next(iter(open_dataset(f"mmseg:{root}?class={given_class}")))
        assert sample.load_alpha().mean() == pytest.approx(share / 64)  # rows, of 64
    with pytest.raises(OptionError, match="expected numbers with commas"):
        open_dataset(f"mmseg:{root}?class=person")


def test_a_later_mask_with_another_number_is_refused(tmp_path: Path) -> None:
    root = trees.mmseg(tmp_path)
    dataset = open_dataset(f"mmseg:{root}")
    samples = list(dataset)
    assert samples[-1].truth is not None
    trees.write(samples[-1].truth, np.full((64, 48), 7, np.uint8))
    with pytest.raises(ImageError, match=r"expected 0 and 1, .* got 7"):
        samples[-1].load_alpha()


def test_mmseg_takes_one_set_as_root_and_lists_as_splits(tmp_path: Path) -> None:
    image, alpha = trees.portrait(0)
    for i in range(3):
        trees.write(tmp_path / f"img_dir/{i}.jpg", image)
        trees.write(tmp_path / f"ann_dir/{i}.png", alpha // 255)
    trees.put(tmp_path / "split_dir/train.txt", "0\n1\n")
    trees.put(tmp_path / "split_dir/val.txt", "2.jpg")
    assert open_dataset(f"mmseg:{tmp_path}").splits == ("train", "val")
    assert open_dataset(f"mmseg:{tmp_path}").scenes == ()
    assert names(f"mmseg:{tmp_path}", split="val") == ["2"]


# --- pairs


def test_pairs_report_orphans_and_strays(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path)
    assert names(f"pairs:{root}") == [f"p{i}" for i in range(6)]
    assert problems(f"pairs:{root}") == {"orphan-image": 1, "orphan-truth": 1, "stray": 1}


def test_pairs_of_any_folders_with_trimaps_and_lists(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path, image="photos", truth="cut")
    levels = np.array([[0, 1, 127, 128], [129, 249, 250, 255]], np.uint8)
    trees.write(root / "tri/p0.png", levels)
    trees.put(root / "held.txt", "p0\r\np3.png\r\nnobody\r\n")
    trees.put(root / "readme.txt", "A dataset.\n")
    text = f"pairs:{root}?image=photos&truth=cut&trimap=tri"
    assert open_dataset(text).splits == ("held",)
    assert names(text, split="held") == ["p0", "p3"]
    assert problems(text)["unknown-entry"] == 1
    trimap = next(iter(open_dataset(text))).load_trimap()
    assert trimap is not None
    assert trimap.tolist() == [[0, 128, 128, 128], [128, 128, 255, 255]]


def test_pairs_in_several_folders_are_splits(tmp_path: Path) -> None:
    """P3M's tree."""
    trees.pairs(tmp_path / "train", 3, "blurred_image", "mask")
    trees.pairs(tmp_path / "validation/P3M-500-P", 2, "blurred_image", "mask")
    trees.pairs(tmp_path / "validation/P3M-500-NP", 4, "original_image", "mask")
    text = f"pairs:{tmp_path}"
    assert open_dataset(text).splits == (
        "train", "validation", "validation/P3M-500-NP", "validation/P3M-500-P",
    )  # fmt: skip
    assert len(names(text, split="train")) == 3
    assert len(names(text, split="validation")) == 6
    assert names(text, split="validation/P3M-500-P")[0] == "validation/P3M-500-P/p0"


def test_a_choice_of_truths_is_asked_for(tmp_path: Path) -> None:
    trees.pairs(tmp_path, 2, "image", "alpha")
    trees.pairs(tmp_path, 2, "image", "mask")
    with pytest.raises(DatasetError, match=r"holds alpha, mask: choose with \?truth=alpha"):
        open_dataset(f"pairs:{tmp_path}")
    assert len(names(f"pairs:{tmp_path}?truth=mask")) == 2


def test_two_pictures_of_one_stem_are_reported(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path)
    shutil.copy(root / "gt/p0.png", root / "im/p0.png")
    assert problems(f"pairs:{root}")["duplicate"] == 1
    assert next(iter(open_dataset(f"pairs:{root}"))).image.suffix == ".jpg"


def test_ids_choose_samples_and_unknown_ones_are_reported(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path / "set")
    ids = trees.put(tmp_path / "ids.txt", "\ufeffp4.jpg\r\np2\r\nnobody\r\n")
    dataset = open_dataset(f"pairs:{root}", ids_file=ids)
    assert [s.name for s in dataset] == ["p2", "p4"]
    assert [p.text for p in dataset.problems() if p.kind == "unknown-id"] == [
        "no sample is called 'nobody'"
    ]


def test_groups_come_from_names_where_asked(tmp_path: Path) -> None:
    for person in ("ann", "bob", "cy"):
        for i in range(3):
            image, alpha = trees.portrait(i)
            trees.write(tmp_path / f"im/{person}_{i}.jpg", image)
            trees.write(tmp_path / f"gt/{person}_{i}.png", alpha)
    text = f"pairs:{tmp_path}?group=^(.+)_"
    for same in (text, f"pairs:{tmp_path}?group=^.+(?=_)"):
        assert {s.group for s in open_dataset(same)} == {"ann", "bob", "cy"}
    for part in PARTS:
        assert len(names(text, split=part)) == 3
    with pytest.raises(OptionError, match="not a regular expression"):
        open_dataset(f"pairs:{tmp_path}?group=(")


# --- cutouts, video


def test_cutouts_are_their_own_truth_and_name_backgrounds(tmp_path: Path) -> None:
    from portrait_sdk.evaluation.datasets.cutouts import Cutouts

    dataset = open_dataset(f"cutouts:{trees.cutouts(tmp_path)}")
    assert isinstance(dataset, Cutouts)
    sample = next(iter(dataset))
    assert sample.image == sample.truth
    assert sample.load_image()[0, 0].tolist() == [255] * 3  # transparent parts lie over white
    assert [name for name, _ in dataset.backgrounds()] == [f"b{i}" for i in range(6)]


@pytest.mark.parametrize("inside", [True, False], ids=["clip/com", "com/clip"])
def test_frames_follow_their_numbers(tmp_path: Path, *, inside: bool) -> None:
    root = trees.video(tmp_path)
    if not inside:
        for role in ("com", "pha"):
            for clip in ("0000", "0001"):
                target = root / "other/motion" / role / clip
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(root / "motion" / clip / role, target)
        root = root / "other"
    frames = [(s.sequence, s.frame, s.image.stem) for s in open_dataset(f"video:{root}")]
    assert frames == [
        *(("motion/0000", n, f"f{n}") for n in (8, 9, 10, 11)),
        *(("motion/0001", n, f"f{n}") for n in (1, 2, 4)),
    ]
    assert open_dataset(f"video:{root}").scenes == ("motion",)
    assert problems(f"video:{root}") == {"gap": 1}


# --- what all share


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{root}", "expected KIND:PATH"),
        ("coco:{root}", "KIND is aisegment, cutouts, mmseg, pairs, video"),
        ("pairs:", "expected KIND:PATH"),
        ("pairs:{root}?images=im", "unknown option 'images'; expected channel, group, image"),
        ("pairs:{root}?image", "expected option=value after ?, got 'image'"),
        ("pairs:{root}?channel=red", "expected auto, alpha, grey"),
    ],
)
def test_wrong_text_says_what_is_expected(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        open_dataset(text.format(root=trees.pairs(tmp_path)))
    assert says in str(caught.value)


@pytest.mark.parametrize("kind", sorted(TREES))
def test_a_wrong_layout_says_what_was_found_and_expected(kind: str, tmp_path: Path) -> None:
    trees.put(tmp_path / "pictures/a.txt", "")
    with pytest.raises(DatasetError) as caught:
        open_dataset(f"{kind}:{tmp_path}")
    assert "expected" in str(caught.value)
    assert "found pictures/" in str(caught.value)
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(f"{kind}:{tmp_path / 'nowhere'}")
    with pytest.raises(DatasetError, match="is a file"):
        open_dataset(f"{kind}:{tmp_path / 'pictures/a.txt'}")


def test_unknown_splits_and_scenes_name_the_known_ones(tmp_path: Path) -> None:
    root = trees.mmseg(tmp_path)
    with pytest.raises(DatasetError, match="no split 'validation'; this set's splits: train, val"):
        open_dataset(f"mmseg:{root}", split="validation")
    with pytest.raises(DatasetError, match="this set's scenes: city_single, night, ski"):
        open_dataset(f"mmseg:{root}", scene="sea")


def test_a_set_without_samples_says_so(tmp_path: Path) -> None:
    (tmp_path / "im").mkdir()
    (tmp_path / "gt").mkdir()
    with pytest.raises(DatasetError, match="no sample with image and truth"):
        list(open_dataset(f"pairs:{tmp_path}"))


def test_truths_keep_what_their_files_hold(tmp_path: Path) -> None:
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16) + np.uint16(3)
    levels = np.minimum(levels, 65535)
    path = trees.write(tmp_path / "a.png", levels)
    alpha = load_alpha(path, Reading())
    np.testing.assert_array_equal(alpha, levels.astype(np.float32) / np.float32(65535))
    image, eight = trees.portrait(0)
    cases = {
        "grey.png": (eight, "auto", eight),
        "rgb.png": (np.dstack([eight] * 3), "auto", eight),
        "rgba.png": (np.dstack([image, eight]), "auto", eight),
        "opaque.png": (np.dstack([eight] * 3 + [np.full_like(eight, 255)]), "auto", eight),
        "both.png": (np.dstack([eight // 2] * 3 + [eight]), "grey", eight // 2),
    }
    for name, (array, channel, want) in cases.items():
        path = trees.write(tmp_path / name, array)
        alpha = load_alpha(path, Reading(channel=channel))
        np.testing.assert_array_equal(alpha, want.astype(np.float32) / np.float32(255), name)
    with pytest.raises(ImageError, match="expected a grey matte or mask, got colours"):
        load_alpha(trees.write(tmp_path / "c.png", image), Reading())


def test_a_palettes_colours_are_levels_of_a_matte(tmp_path: Path) -> None:
    from PIL import Image

    mask = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    mask.putpalette([0, 0, 0, 255, 255, 255, 51, 51, 51])
    mask.save(tmp_path / "m.png")
    alpha = load_alpha(tmp_path / "m.png", Reading())
    np.testing.assert_array_equal(np.rint(alpha * 255), [[0, 255], [51, 255]])


def test_a_sample_without_truth_says_so(astronaut: Path) -> None:
    sample = Sample(name="a", image=astronaut, truth=None)
    assert sample.load_trimap() is None
    with pytest.raises(ImageError, match="a: this sample has no truth"):
        sample.load_alpha()


@given(sizes=st.dictionaries(st.text(max_size=3), st.integers(1, 50), max_size=30), salt=st.text())
def test_groups_are_parted_whole_and_as_evenly_as_they_can(
    sizes: dict[str, int], salt: str
) -> None:
    parts = split_groups(sizes, PARTS, salt=salt)
    assert set(parts) == set(sizes)
    backwards = dict(reversed(sizes.items()))
    assert split_groups(backwards, PARTS, salt=salt) == parts
    assert len(set(parts.values())) == min(len(sizes), len(PARTS))
    held = Counter[str]()
    for group, size in sizes.items():
        held[parts[group]] += size
    if len(sizes) >= len(PARTS):
        # An edge lies within one group of its place, and no split takes another's last group.
        slack = 2 * max(sizes.values()) + 1
        for name, share in PARTS.items():
            assert abs(held[name] - share * sum(sizes.values())) <= slack


@needs_shared
def test_real_sets_have_no_surprises() -> None:
    dataset = open_dataset(f"pairs:{SHARED}/ccp?truth=mask", split="validation")
    samples = list(dataset)
    assert len(samples) == 101
    assert dataset.truth_is_binary
    assert samples[0].load_alpha().shape == samples[0].load_image().shape[:2]
    # The 292 photos without a mask made by people are all in train.txt.
    counts = Counter(p.kind for p in dataset.problems())
    assert counts == {"orphan-image": 292, "unknown-entry": 292}
    assert len(list(open_dataset(f"pairs:{SHARED}/us_officials"))) == 587
    (sample,) = open_dataset(f"aisegment:{SHARED}/samples/aisegment")
    assert sample.name == "1803151818/00000000/1803151818-00000003"
    assert sample.load_image().shape == (800, 600, 3)
    assert sample.load_alpha().shape == (800, 600)
