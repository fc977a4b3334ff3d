"""Composed sets: the same bytes always, nobody on both sides, alpha that is the truth."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from evaluation import trees

from portrait_sdk.errors import DatasetError, ImageError, OptionError, OutputError
from portrait_sdk.evaluation.datasets import augment, open_dataset
from portrait_sdk.evaluation.datasets.compose import STEPS, Plan, Recipe, compose, plan
from portrait_sdk.ops.foreground import estimate_foreground

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Recipe(train=8, validation=3, size=(48, 40))


def planned(root: Path, recipe: Recipe = SMALL) -> Plan:
    people = open_dataset(f"cutouts:{root}")
    return plan(people, people.backgrounds(), recipe)  # type: ignore[attr-defined]


def composed(root: Path, out: Path, recipe: Recipe = SMALL, workers: int = 2) -> list[Any]:
    return list(compose(planned(root, recipe), recipe, out, workers=workers))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_any_number_of_workers_and_any_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set")
    composed(root, tmp_path / "one", workers=1)
    moved = shutil.copytree(root, tmp_path / "elsewhere/set")
    composed(moved, tmp_path / "five", workers=5)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "five")
    assert len(one) == 1 + 3 * 11


def test_a_seed_changes_every_sample(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set")
    folders = []
    for seed in (0, 1):
        recipe = Recipe(train=4, validation=1, size=(32, 32), seed=seed)
        composed(root, tmp_path / str(seed), recipe)
        folders.append(contents(tmp_path / str(seed)))
    for name in folders[0]:
        assert folders[0][name] != folders[1][name], name


def test_a_broken_run_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set")
    composed(root, tmp_path / "whole")
    broken = compose(planned(root), SMALL, tmp_path / "broken", workers=1)
    for _ in range(3):
        next(broken)
    broken.close()
    # What a crash may leave: a sample without its manifest, a cut file, a cut manifest, a part.
    (tmp_path / "broken/train/manifest/000000.json").unlink()
    alpha = tmp_path / "broken/train/alpha/000001.png"
    alpha.write_bytes(alpha.read_bytes()[:50])
    (tmp_path / "broken/train/manifest/000002.json").write_bytes(b"{")
    done = composed(root, tmp_path / "broken")
    assert [one.new for one in done[:3]] == [True] * 3
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert not any(one.new for one in composed(root, tmp_path / "broken"))


def test_another_recipe_or_other_sources_do_not_mix_in(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set")
    composed(root, tmp_path / "out")
    other = Recipe(train=8, validation=3, size=(48, 40), seed=5)
    with pytest.raises(OutputError, match="seed was 0, is 5"):
        composed(root, tmp_path / "out", other)
    trees.write(root / "humans/h9.png", np.dstack(trees.portrait(9)))
    with pytest.raises(OutputError, match="other people or backgrounds"):
        composed(root, tmp_path / "out")
    with pytest.raises(OutputError, match="has files in it"):
        composed(root, root)
    (tmp_path / "out/dataset.json").write_text("{")
    with pytest.raises(OutputError, match="is damaged"):
        composed(root, tmp_path / "out")


def test_nobody_and_no_background_is_on_both_sides(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set", people=12)
    shutil.copy(root / "humans/h0.png", root / "humans/another name.png")
    shutil.copy(root / "backgrounds/b0.jpg", root / "backgrounds/b00.jpg")
    shown: dict[str, dict[str, set[str]]] = {}
    for seed in range(6):
        recipe = Recipe(train=30, validation=30, size=(16, 16), seed=seed, validation_share=0.4)
        out = tmp_path / str(seed)
        composed(root, out, recipe)
        for split in ("train", "validation"):
            facts = [json.loads(p.read_text()) for p in (out / split / "manifest").iterdir()]
            shown[split] = {
                "people": {person["name"] for f in facts for person in f["people"]},
                "backgrounds": {f["background"]["name"] for f in facts},
            }
        for kind in ("people", "backgrounds"):
            assert shown["train"][kind].isdisjoint(shown["validation"][kind])
        # One file under two names is one person, one background.
        for same in ({"h0", "another name"}, {"b0", "b00"}):
            sides = [s for s in shown if same & (shown[s]["people"] | shown[s]["backgrounds"])]
            assert len(sides) == 1


def test_groups_of_people_stay_on_one_side(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path, people=9)
    for i in range(9):
        (root / f"humans/h{i}.png").rename(root / f"humans/{'abc'[i % 3]}-{i}.png")
    people = open_dataset(f"cutouts:{root}?group=^.")
    parted = plan(people, people.backgrounds(), SMALL)  # type: ignore[attr-defined]
    sides = [{s.name[0] for s in sources} for sources in parted.people.values()]
    assert sides[0].isdisjoint(sides[1])
    assert all(sides)


def test_without_augmentation_a_picture_is_its_parts_put_together(tmp_path: Path) -> None:
    """C = alpha F + (1 - alpha) B, with F the clean colour that the person was drawn in."""
    colour, behind = np.array([200, 60, 90], np.uint8), np.array([20, 180, 40], np.uint8)
    alpha = trees.portrait(0, (96, 96))[1]
    photo = np.rint(alpha[..., None] / 255 * colour + (1 - alpha[..., None] / 255) * [0, 0, 255])
    trees.write(tmp_path / "im/a.png", photo.astype(np.uint8))
    trees.write(tmp_path / "gt/a.png", alpha)
    flat = np.broadcast_to(behind, (50, 50, 3)).copy()
    paths = [("flat", trees.write(tmp_path / "flat.png", flat))]
    recipe = Recipe(
        train=1, validation=0, size=(96, 96), bits=16, format="png", steps=()
    )  # fmt: skip
    people = open_dataset(f"pairs:{tmp_path}")
    list(compose(plan(people, paths, recipe), recipe, tmp_path / "out"))
    (sample,) = open_dataset(f"pairs:{tmp_path / 'out'}", split="train")
    stored = cv2.imread(str(sample.truth), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert len(np.unique(stored)) > 256
    a = sample.load_alpha()[..., None]
    want = a * colour + (1 - a) * behind
    # The old background was blue: left in, it would be off by up to 60 at alpha 1/2. Estimated
    # colours are within 12 of the drawn one where alpha counts.
    assert np.abs(sample.load_image() - want).max() < 12
    assert 0.1 < a.mean() < 0.9


def test_a_cutouts_colours_are_cleaned_whatever_lies_under_its_transparency() -> None:
    """One that is clean stays clean; one that carries its old background loses most of it."""
    alpha = cv2.GaussianBlur(np.pad(np.ones((40, 40), np.float32), 30), (0, 0), 4)
    colour = np.array([200, 60, 90], np.float32)
    clean = np.broadcast_to(colour, (*alpha.shape, 3))
    raw = alpha[..., None] * colour + (1 - alpha[..., None]) * np.array([0, 0, 255], np.float32)
    soft = (alpha > 0.1) & (alpha < 0.9)

    def error(photo: np.ndarray) -> float:
        return float(np.abs(photo - colour)[soft].mean())

    def cleaned(photo: np.ndarray, *, hidden: int) -> float:
        image = np.rint(photo).astype(np.uint8)
        image[np.rint(alpha * 255) == 0] = hidden
        return error(estimate_foreground(augment.continued(image, alpha), alpha))

    for hidden in (0, 255):
        assert cleaned(clean, hidden=hidden) < 1  # of 255: rounding
        assert cleaned(raw, hidden=hidden) < error(raw) / 4
    # What would come of taking the black under a clean cutout for its old background.
    image = np.rint(clean).astype(np.uint8)
    image[np.rint(alpha * 255) == 0] = 0
    assert error(estimate_foreground(image, alpha)) > 1


def test_blur_softens_picture_and_alpha_alike() -> None:
    """A white person before black: the picture is the alpha, before and after."""
    alpha = np.zeros((40, 40), np.float32)
    alpha[10:30, 12:33] = 1
    image = np.repeat(alpha[..., None], 3, axis=2)
    for seed in range(12):
        blurred, softened, _ = augment.soften(image, alpha, np.random.default_rng(seed))
        np.testing.assert_allclose(blurred[..., 0], softened, atol=1e-6)  # float32 sums
        assert softened.sum() == pytest.approx(alpha.sum(), rel=1e-5)  # nothing lost inside


def test_a_shadow_darkens_what_is_behind_and_alpha_stays() -> None:
    alpha = np.pad(np.ones((20, 20), np.float32), 20)
    behind = np.full((60, 60, 3), 0.8, np.float32)
    shaded, drawn = augment.cast_shadow(behind, alpha, np.random.default_rng(3))
    assert shaded.min() >= 0.8 * (1 - drawn["darkness"]) - 1e-6
    assert shaded.max() <= 0.8 + 1e-6  # float32
    assert shaded.mean() < 0.79


def test_a_person_cut_off_by_their_photo_is_cut_off_by_the_frame() -> None:
    """Wherever geometry puts them, nobody's lower edge hangs in the air."""
    alpha = np.zeros((100, 80), np.float32)
    alpha[30:, 20:60] = 1
    person = augment.Person(colours=np.zeros((100, 80, 3), np.float32), alpha=alpha)
    wide = augment.Person(colours=np.zeros((100, 80, 3), np.float32), alpha=np.ones_like(alpha))
    for seed in range(50):
        rng = np.random.default_rng(seed)
        placed, _ = augment.place(person, (64, 64), rng, geometry=True)
        columns = placed.alpha.max(axis=0) > 0.9
        assert (placed.alpha[-1, columns] > 0.5).mean() > 0.9  # all but the sides' soft pixels
        placed, _ = augment.place(wide, (64, 64), rng, geometry=True)
        assert (placed.alpha[-1] > 0.5).all()


def test_backgrounds_fill_the_frame_without_borders() -> None:
    image = np.full((37, 91, 3), 255, np.uint8)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        for size in ((64, 64), (20, 100), (100, 20)):
            part, _ = augment.crop_background(image, size, rng, geometry=seed > 0)
            assert part.shape == (*size, 3)
            assert part.min() == 1


def test_sources_that_cannot_be_read_are_replaced_and_named(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set")
    (root / "humans/h1.png").write_bytes(b"broken")
    (root / "backgrounds/b2.jpg").write_bytes(b"broken")
    done = composed(root, tmp_path / "out", Recipe(train=30, validation=0, size=(16, 16)))
    named = {p.path.name for one in done for p in one.problems}
    assert named <= {"h1.png", "b2.jpg"}
    assert named
    composed(root, tmp_path / "again", Recipe(train=30, validation=0, size=(16, 16)), workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    for path in root.glob("humans/*"):
        path.write_bytes(path.name.encode())
    with pytest.raises(DatasetError, match="one file of each cannot be read"):
        composed(root, tmp_path / "none", Recipe(train=2, validation=1, size=(16, 16)))


def test_two_sides_need_two_of_each(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set", backgrounds=1)
    with pytest.raises(DatasetError, match="at least 2 groups of backgrounds"):
        planned(root)
    assert planned(root, Recipe(train=1, validation=0)).people.keys() == {"train"}
    shutil.rmtree(root / "backgrounds")
    people = open_dataset(f"pairs:{trees.pairs(tmp_path / 'p')}")
    with pytest.raises(ImageError, match="cannot be read"):
        plan(people, [("gone", root / "gone.png")], SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1}, {"train": 0, "validation": 0}, {"train": -1}, {"size": (8, 64)}, {"bits": 12},
        {"validation_share": 0.0}, {"format": "gif"}, {"foreground": "magic"}, {"steps": ("x",)},
    ],
)  # fmt: skip
def test_an_impossible_recipe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"compose: .*expected"):
        Recipe(**wrong)


def test_each_step_alone_is_drawn_and_noted(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "set")
    for step in STEPS:
        recipe = Recipe(train=12, validation=0, size=(16, 16), steps=(step,))
        composed(root, tmp_path / step, recipe)
        manifests = (tmp_path / step / "train/manifest").iterdir()
        facts = [json.loads(p.read_text()) for p in manifests]
        noted = {key for f in facts for part in (f, *f["people"]) for key in part}
        assert noted & set(STEPS) == ({step} if step != "geometry" else set())
        matrices = {json.dumps(f["background"]["matrix"]) for f in facts}
        assert (len(matrices) > 1) == (step == "geometry")
