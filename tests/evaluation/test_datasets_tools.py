"""Checking, counting, showing and converting datasets."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from evaluation import trees

from portrait_sdk.errors import DatasetError, OptionError, OutputError
from portrait_sdk.evaluation.datasets import examine, open_dataset
from portrait_sdk.evaluation.datasets.convert import convert
from portrait_sdk.evaluation.datasets.sheet import contact_sheet

if TYPE_CHECKING:
    from pathlib import Path


def test_check_finds_what_only_decoding_shows(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path)
    photo = (root / "im/p0.jpg").read_bytes()
    (root / "im/p0.jpg").write_bytes(photo[: len(photo) // 2])
    trees.write(root / "gt/p2.png", trees.portrait(2)[0])
    trees.write(root / "gt/p3.png", np.zeros((64, 48), np.uint8))
    trees.write(root / "trimap/p4.png", trees.portrait(4)[0])
    found = {(p.kind, p.path.name): p.text for p in examine.check(open_dataset(f"pairs:{root}"))}
    assert set(found) == {
        ("image", "p0.jpg"), ("size", "p1.jpg"), ("truth", "p2.png"), ("empty", "p3.png"),
        ("trimap", "p4.png"),
    }  # fmt: skip
    assert found["size", "p1.jpg"] == "sizes differ: image 48 x 64; truth 24 x 32"
    assert found["truth", "p2.png"] == "expected a grey matte or mask, got colours"


def test_stats_are_those_of_all_pixels(tmp_path: Path) -> None:
    """Pictures of different sizes, against everything at once in double precision."""
    root = tmp_path
    pixels = []
    for i, size in enumerate([(40, 30), (20, 64), (33, 17)]):
        image, alpha = trees.portrait(i, size)
        trees.write(root / f"im/{i}.png", image)
        trees.write(root / f"gt/{i}.png", alpha if i else alpha // 128 * 255)
        pixels.append(image.reshape(-1, 3) / 255)
    (root / "im/3.png").write_bytes(b"no picture")
    trees.write(root / "gt/3.png", np.zeros((3, 3), np.uint8))
    found = examine.stats(open_dataset(f"pairs:{root}"))
    whole = np.concatenate(pixels)
    assert found.mean == pytest.approx(whole.mean(axis=0), abs=1e-12)  # double rounding
    assert found.std == pytest.approx(whole.std(axis=0), abs=1e-12)
    assert (found.samples, found.unreadable, found.binary) == (3, 1, 1)
    assert found.sizes == {(40, 30): 1, (20, 64): 1, (33, 17): 1}


def test_stats_count_a_picture_in_each_of_its_scenes(tmp_path: Path) -> None:
    found = examine.stats(open_dataset(f"mmseg:{trees.mmseg(tmp_path)}"))
    assert found.scenes == {"city_single": 2, "night": 2, "ski": 4}
    assert found.by_scene["ski"] == {"train": 3, "val": 1}
    assert found.splits == {"train": 6, "val": 2}
    assert found.binary == found.samples == 8


def test_stats_do_not_hang_on_workers(tmp_path: Path) -> None:
    dataset = open_dataset(f"aisegment:{trees.aisegment(tmp_path)}")
    assert examine.stats(dataset, workers=1) == examine.stats(dataset, workers=5)


def test_stats_of_nothing_readable_is_an_error(tmp_path: Path) -> None:
    trees.put(tmp_path / "im/a.png", "no picture")
    trees.put(tmp_path / "gt/a.png", "no picture")
    with pytest.raises(DatasetError, match="none of 1 samples can be read"):
        examine.stats(open_dataset(f"pairs:{tmp_path}"))


def test_a_contact_sheet_shows_each_picture_its_alpha_and_the_person_over_green(
    tmp_path: Path,
) -> None:
    root = trees.pairs(tmp_path)
    sheet, shown = contact_sheet(open_dataset(f"pairs:{root}"), 4, columns=2, height_px=64)
    assert len(shown) == 4
    assert sheet.shape == (8 + 2 * (64 + 18), 8 + 2 * (3 * 48 + 8), 3)
    np.testing.assert_array_equal(sheet[8 : 8 + 64, 8 : 8 + 48], shown[0].load_image())
    alpha = np.rint(shown[0].load_alpha() * 255)
    np.testing.assert_array_equal(sheet[8 : 8 + 64, 56 : 56 + 48, 0], alpha)
    assert sheet[8, 104].tolist() == [0, 177, 64]


def test_a_contact_sheet_goes_by_its_seed_and_survives_broken_files(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path, 20)
    (root / "im/p3.jpg").write_bytes(b"broken")
    dataset = open_dataset(f"pairs:{root}")
    drawn = [[s.name for s in contact_sheet(dataset, 5, seed=n)[1]] for n in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    whole = contact_sheet(dataset, 100)[1]
    assert whole == list(dataset)
    with pytest.raises(OptionError, match="columns: expected at least 1"):
        contact_sheet(dataset, columns=0)


def test_converted_pairs_hold_the_same_pictures_and_alphas(tmp_path: Path) -> None:
    source = open_dataset(f"aisegment:{trees.aisegment(tmp_path / 'set')}", split="train")
    done = list(convert(source, tmp_path / "out", "alpha"))
    assert all(one.problem is None for one in done)
    target = list(open_dataset(f"pairs:{tmp_path / 'out'}", split="train"))
    originals = list(source)
    assert [s.name for s in target] == [s.name for s in originals]
    for new, old in zip(target, originals, strict=True):
        assert new.image.read_bytes() == old.image.read_bytes()
        np.testing.assert_array_equal(new.load_alpha(), old.load_alpha())


def test_sixteen_bits_survive_a_conversion(tmp_path: Path) -> None:
    image, alpha = trees.portrait(0)
    fine = alpha.astype(np.uint16) * 257 + 5
    trees.write(tmp_path / "in/im/a.png", image)
    trees.write(tmp_path / "in/gt/a.png", np.minimum(fine, 65535).astype(np.uint16))
    list(convert(open_dataset(f"pairs:{tmp_path / 'in'}"), tmp_path / "out", "alpha", bits=16))
    stored = cv2.imread(str(tmp_path / "out/alpha/a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, np.minimum(fine, 65535))


def test_a_set_of_scenes_survives_a_conversion_to_mmseg(tmp_path: Path) -> None:
    source = open_dataset(f"mmseg:{trees.mmseg(tmp_path / 'set')}")
    list(convert(source, tmp_path / "out", "mmseg"))
    target = list(open_dataset(f"mmseg:{tmp_path / 'out'}"))
    assert len(target) == 8
    assert Counter(s.split for s in target) == {"train": 6, "val": 2}
    assert {s.image.stem: s.scenes for s in target} == {s.image.stem: s.scenes for s in source}
    for sample in target:
        assert sample.truth is not None
        stored = cv2.imread(str(sample.truth), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(stored)) == {0, 1}


def test_masks_go_by_the_threshold(tmp_path: Path) -> None:
    source = open_dataset(f"pairs:{trees.pairs(tmp_path / 'set')}")
    shares = []
    for threshold in (0.1, 0.9):
        out = tmp_path / str(threshold)
        done = list(convert(source, out, "mask", threshold=threshold))
        assert [one.sample.name for one in done if one.problem] == ["p1"]  # sizes differ
        masks = [s.load_alpha() for s in open_dataset(f"pairs:{out}")]
        assert set(np.unique(masks)) == {0, 1}
        shares.append(np.mean(masks))
    assert shares[0] > shares[1]


def test_conversion_needs_a_new_folder_and_possible_options(tmp_path: Path) -> None:
    source = open_dataset(f"pairs:{trees.pairs(tmp_path / 'set')}")
    with pytest.raises(OutputError, match="has files in it"):
        list(convert(source, tmp_path / "set", "alpha"))
    with pytest.raises(OutputError, match="it is a file"):
        list(convert(source, tmp_path / "set/im/notes.txt", "alpha"))
    for options in ({"bits": 12}, {"threshold": 0.0}):
        with pytest.raises(OptionError):
            list(convert(source, tmp_path / "o", "alpha", **options))
    with pytest.raises(OptionError, match="got 16 for mask"):
        list(convert(source, tmp_path / "o", "mask", bits=16))
