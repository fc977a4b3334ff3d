"""Models side by side: the same pictures, right means, failures set apart, runs that go on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from conftest import build_model, native_spec
from evaluation import trees

import portrait_sdk
from portrait_sdk.errors import DatasetError, ImageError, ModelError, OptionError
from portrait_sdk.evaluation import evaluate, gallery, metrics, report, statistics
from portrait_sdk.evaluation.datasets import open_dataset
from portrait_sdk.spec import StateSpec

if TYPE_CHECKING:
    from pathlib import Path


def grey(path: Path, level: int, size: tuple[int, int] = (20, 16)) -> None:
    trees.write(path, np.full((*size, 3), level, np.uint8))


def mask(path: Path, size: tuple[int, int] = (20, 16)) -> np.ndarray:
    """The left half: 1."""
    alpha = np.zeros(size, np.uint8)
    alpha[:, : size[1] // 2] = 255
    trees.write(path, alpha)
    return alpha


@pytest.fixture
def inverse(tmp_path: Path) -> Path:
    """A model whose alpha is 1 less the brightness."""

    def extra(helper: Any, nodes: list[Any], *_ends: Any) -> None:
        nodes.insert(1, helper.make_node("Sub", ["one", "mean"], ["dark"]))
        nodes[2].input[0] = "dark"

    return build_model(tmp_path / "inverse.onnx", native_spec(name="inverse"), extra=extra)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Five photos that are their own alpha, and so exact for the model of brightness."""
    root = tmp_path / "set"
    for number in range(5):
        alpha = trees.portrait(number)[1]
        trees.write(root / f"im/p{number}.png", np.dstack([alpha] * 3))
        trees.write(root / f"gt/p{number}.png", alpha)
    return root


def test_every_model_is_scored_on_every_photo(brightness: Path, inverse: Path, pairs: Path) -> None:
    found = evaluate([inverse, brightness], f"pairs:{pairs}", refine="none", provider="cpu")
    assert found.models == ("inverse", "brightness")
    assert [photo.name for photo in found.photos] == [f"p{i}" for i in range(5)]
    assert found.values.shape == (5, 2, len(found.metrics))
    for i in range(5):
        truth = trees.portrait(i)[1].astype(np.float32) / 255
        want = metrics.mad(1 - truth, truth)
        # Of levels in 1/255, summed in float32: rounding alone.
        assert found.column("mad")[i] == pytest.approx([want, 0], abs=1e-6)
        assert found.column("iou")[i, 1] == 1
        assert found.column("sad_unknown")[i, 0] > 0
    assert (found.seconds > 0).all()
    assert found.failures == ()
    assert report.summary(found)["ranking"] == ["brightness", "inverse"]


def test_the_band_and_the_threshold_are_as_the_table_says(brightness: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    mask(root / "gt/a.png")
    grey(root / "im/a.png", 204)  # 0.8 everywhere, 0.5 of it wrong by 0.8
    found = evaluate([brightness], f"pairs:{root}", refine="none", provider="cpu")
    (values,) = (dict(zip(found.metrics, row, strict=True)) for row in found.values[0])
    assert values["mad"] == pytest.approx(0.5, abs=1e-6)
    assert values["mad_thresholded"] == pytest.approx(0.5)
    assert values["iou"] == pytest.approx(0.5)
    # 8 columns of 16 are within 4 pixels of the edge: the others are 4 right by 0.2, 4 off by 0.8.
    assert values["mad_outside_band"] == pytest.approx(0.5, abs=1e-6)
    assert values["sad"] == pytest.approx(20 * 16 * 0.5, rel=1e-6)


def test_a_truth_of_another_size_is_scored_at_its_own(brightness: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    mask(root / "gt/a.png", (40, 32))
    grey(root / "im/a.png", 255, (20, 16))
    found = evaluate([brightness], f"pairs:{root}", provider="cpu")
    assert (found.photos[0].height, found.photos[0].width) == (40, 32)
    assert found.photos[0].resized
    assert found.column("sad")[0, 0] == pytest.approx(40 * 16)


def test_broken_pairs_are_set_apart_and_named(brightness: Path, pairs: Path) -> None:
    (pairs / "im/p1.png").write_bytes(b"\x89PNG no picture")
    trees.write(pairs / "gt/p3.png", trees.portrait(3, (48, 64))[1])  # turned
    found = evaluate([brightness], f"pairs:{pairs}", provider="cpu")
    assert [photo.name for photo in found.photos] == ["p0", "p2", "p4"]
    broken, turned = found.failures
    assert (broken.name, turned.name) == ("p1", "p3")
    assert "proportions" in turned.error
    table = report.summary(found)
    assert (table["photos"], table["failed"]) == (3, 2)


def test_a_photo_that_one_model_fails_on_counts_for_none(brightness: Path, pairs: Path) -> None:
    def extra(helper: Any, nodes: list[Any], *_ends: Any) -> None:
        # 0 / 0 for a picture that is black throughout, which has no alpha then.
        nodes.insert(1, helper.make_node("ReduceMax", ["mean"], ["most"], keepdims=1))
        nodes.insert(2, helper.make_node("Div", ["mean", "most"], ["share"]))
        nodes[3] = helper.make_node("Identity", ["share"], ["alpha"])

    fragile = build_model(pairs / "fragile.onnx", native_spec(name="fragile"), extra=extra)
    trees.write(pairs / "im/p2.png", np.zeros((64, 48, 3), np.uint8))
    found = evaluate([brightness, fragile], f"pairs:{pairs}", refine="none", provider="cpu")
    assert len(found.photos) == 4
    assert [failure.name for failure in found.failures] == ["p2"]
    assert "fragile" in found.failures[0].error


def test_nothing_readable_is_an_error(brightness: Path, tmp_path: Path) -> None:
    trees.put(tmp_path / "set/im/a.png", b"no")
    mask(tmp_path / "set/gt/a.png")
    with pytest.raises(ImageError, match="none of 1 pictures"):
        evaluate([brightness], f"pairs:{tmp_path / 'set'}", provider="cpu")


def test_a_wrong_layout_says_what_was_found_and_expected(brightness: Path, tmp_path: Path) -> None:
    grey(tmp_path / "set/photos/a.png", 9)
    with pytest.raises(DatasetError, match=r"expected a folder of pictures.*found photos/"):
        evaluate([brightness], f"pairs:{tmp_path / 'set'}")


def test_options_are_checked_before_anything_runs(brightness: Path, pairs: Path) -> None:
    text = f"pairs:{pairs}"
    wrong: list[tuple[Any, dict[str, Any]]] = [
        ([], {}),
        ([brightness], {"limit": 0}),
        ([brightness], {"pictures": -1}),
        ([brightness], {"convention": "shm"}),
        ([brightness], {"resume": True}),
        ([brightness], {"refine": "sharp"}),
    ]
    for models, options in wrong:
        with pytest.raises(OptionError):
            evaluate(models, text, provider="cpu", **options)
    with pytest.raises(OptionError, match="open_dataset"):
        evaluate([brightness], open_dataset(text), split="train")
    with pytest.raises(ModelError):
        evaluate([pairs / "none.onnx"], text)


def test_a_limit_spreads_over_the_set(brightness: Path, pairs: Path) -> None:
    found = evaluate([brightness], f"pairs:{pairs}", limit=2, provider="cpu")
    assert [photo.name for photo in found.photos] == ["p0", "p2"]


def test_models_of_one_name_are_told_apart(brightness: Path, pairs: Path, tmp_path: Path) -> None:
    other = build_model(tmp_path / "other.onnx", native_spec())
    with portrait_sdk.load(brightness, provider="cpu") as opened:
        found = evaluate([opened, other, other], f"pairs:{pairs}", limit=1, provider="cpu")
        assert opened.matte(pairs / "im/p0.png") is not None  # the caller's stays open
    assert found.models == ("brightness (brightness)", "brightness (other)",
                            "brightness (other) 2")  # fmt: skip


def test_a_convention_prints_the_papers_own_scale(inverse: Path, pairs: Path) -> None:
    found = evaluate([inverse], f"pairs:{pairs}", convention="rvm", refine="none", provider="cpu")
    text = report.as_text(report.summary(found))
    mad = 1000 * statistics.means(found.column("mad"))[0]
    assert "rvm: MAD" in text
    assert f"{mad:.2f}" in text
    assert found.column("rvm: MAD") == pytest.approx(found.column("mad"))


# Runs that go on


def lines(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_a_killed_run_goes_on_with_what_is_missing(
    brightness: Path, inverse: Path, pairs: Path, tmp_path: Path
) -> None:
    record = tmp_path / "record.jsonl"
    models = [brightness, inverse]
    whole = evaluate(models, f"pairs:{pairs}", record=record, provider="cpu")
    data = record.read_bytes()
    assert len(lines(record)) == 1 + 5
    cut = data.index(b'"p3"')
    record.write_bytes(data[: cut + 20])  # killed in the middle of p3's line
    met: list[str] = []
    again = evaluate(
        models,
        f"pairs:{pairs}",
        record=record,
        resume=True,
        provider="cpu",
        progress=lambda done, total, name: met.append(f"{done}/{total} {name}"),
    )
    assert met == ["3/5 p3", "4/5 p4", "5/5 "]
    # OpenCV rounds sums by where arrays lie in memory.
    np.testing.assert_allclose(again.values, whole.values, rtol=0, atol=1e-9)
    assert [row.get("name") for row in lines(record)] == [None, *(f"p{i}" for i in range(5))]


def test_going_on_repeats_failures_and_changed_files(brightness: Path, pairs: Path) -> None:
    record = pairs / "record.jsonl"
    good = (pairs / "im/p1.png").read_bytes()
    (pairs / "im/p1.png").write_bytes(b"no")
    first = evaluate([brightness], f"pairs:{pairs}", record=record, provider="cpu")
    assert len(first.failures) == 1
    (pairs / "im/p1.png").write_bytes(good)
    grey(pairs / "im/p4.png", 128, (64, 48))
    met: list[str] = []
    second = evaluate(
        [brightness], f"pairs:{pairs}", record=record, resume=True, provider="cpu",
        progress=lambda _done, _total, name: met.append(name),
    )  # fmt: skip
    assert met == ["p1", "p4", ""]
    assert second.failures == ()
    assert second.column("mad")[4, 0] > 0.1


def test_a_record_of_another_run_is_refused(brightness: Path, inverse: Path, pairs: Path) -> None:
    record, text = pairs / "record.jsonl", f"pairs:{pairs}"
    evaluate([brightness], text, record=record, limit=1, provider="cpu")
    with pytest.raises(OptionError, match="resume"):
        evaluate([brightness], text, record=record, limit=1, provider="cpu")
    for models, options in (([inverse], {"limit": 1}), ([brightness], {"limit": 2})):
        with pytest.raises(OptionError, match=r"another run: (models|limit) was"):
            evaluate(models, text, record=record, resume=True, provider="cpu", **options)  # type: ignore[arg-type]
    record.write_text("[1, 2]\n")
    with pytest.raises(OptionError, match="no record"):
        evaluate([brightness], text, record=record, resume=True, provider="cpu")


# Clips


def test_clips_go_through_recurrent_models_in_order(tmp_path: Path) -> None:
    def extra(helper: Any, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> None:
        inputs.append(helper.make_tensor_value_info("before", 1, [1, 1, "a", "b"]))
        outputs.append(helper.make_tensor_value_info("after", 1, None))
        nodes.insert(1, helper.make_node("Add", ["mean", "before"], ["after"]))
        nodes[2].input[0] = "after"

    spec = native_spec(
        name="summing", states=(StateSpec(input="before", output="after", shape=(1, 1, 1, 1)),)
    )
    summing = build_model(tmp_path / "summing.onnx", spec, extra=extra)
    root = tmp_path / "clips"
    for clip in ("0000", "0001"):
        for number in range(3):
            grey(root / f"motion/{clip}/com/f{number}.png", 51)
            path = root / f"motion/{clip}/pha/f{number}.png"
            trees.write(path, np.zeros((20, 16), np.uint8))
    found = evaluate([summing], f"video:{root}", refine="none", convention="rvm", provider="cpu")
    # 0.2 more a frame, from nothing in each clip; the truth stays 0.
    assert found.column("mad")[:, 0] == pytest.approx([0.2, 0.4, 0.6] * 2, abs=1e-6)
    step = found.column("dtssd")[:, 0]
    assert np.isnan(step[[0, 3]]).all()
    assert step[[1, 2, 4, 5]] == pytest.approx([0.2] * 4, abs=1e-6)
    assert found.column("rvm: dtSSD")[:, 0] == pytest.approx([0, 0.2, 0.2] * 2, abs=1e-6)
    assert len({photo.group for photo in found.photos}) == 2


# Intervals


def test_an_interval_holds_the_mean_and_covers_as_often_as_it_says(
    rng: np.random.Generator,
) -> None:
    inside = 0
    for seed in range(60):
        values = rng.normal(3, 1, (40, 1))
        (interval,) = statistics.intervals(values, [None] * 40, seed)
        assert interval.low < interval.mean < interval.high
        inside += interval.low < 3 < interval.high
    # 95 % of 60 is 57; 48 or fewer would come of a right interval once in 10,000 such tests.
    assert inside > 48


def test_intervals_are_the_same_for_the_same_seed(rng: np.random.Generator) -> None:
    values = rng.random((50, 3))
    first, second, other = (statistics.intervals(values, [None] * 50, seed) for seed in (5, 5, 6))
    assert first == second != other


def test_photos_of_one_group_count_once(rng: np.random.Generator) -> None:
    values = np.repeat(rng.random((10, 1)), 20, axis=0)  # each photo 20 times over
    alone = statistics.intervals(values, [None] * 200, 1)[0]
    grouped = statistics.intervals(values, [str(i // 20) for i in range(200)], 1)[0]
    assert grouped.mean == pytest.approx(alone.mean)
    # The root of 20 wider, but for the draws.
    assert (grouped.high - grouped.low) / (alone.high - alone.low) == pytest.approx(
        20**0.5, rel=0.2
    )


def test_values_that_are_missing_are_left_out() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    one, none = statistics.intervals(values, [None] * 3, 1)
    assert (one.mean, one.count) == (2, 2)
    assert none.count == 0
    assert np.isnan([none.mean, none.low, none.high]).all()


def test_a_paired_difference_is_sharper_than_two_intervals(rng: np.random.Generator) -> None:
    hard = rng.random(80)  # photos differ much more than models do
    values = np.stack([hard, hard + rng.normal(0.02, 0.01, 80)], axis=1)
    ((pair,),) = statistics.differences(values[..., None], ["a", "b"], [None] * 80, 1)
    first, second = statistics.intervals(values, [None] * 80, 1)
    assert first.high > second.low
    assert pair.clear
    assert pair.interval.mean == pytest.approx(first.mean - second.mean)
    assert pair.lower + pair.higher == pair.interval.count == 80
    ((same,),) = statistics.differences(values[:, [0, 0], None], ["a", "b"], [None] * 80, 1)
    assert not same.clear


def test_differences_of_several_metrics_are_those_of_each(rng: np.random.Generator) -> None:
    values = rng.random((20, 3, 2))
    values[3, 1, 0] = np.nan
    both = statistics.differences(values, ["a", "b", "c"], [None] * 20, 1)
    for metric in range(2):
        (alone,) = statistics.differences(values[..., [metric]], ["a", "b", "c"], [None] * 20, 1)
        for one, other in zip(both[metric], alone, strict=True):
            assert (one.model, one.other, one.lower) == (other.model, other.other, other.lower)
            ends = other.interval.mean, other.interval.low, other.interval.high
            found = one.interval.mean, one.interval.low, one.interval.high
            assert found == pytest.approx(ends)  # sums of other columns round otherwise
    assert [pair.interval.count for pair in both[0]] == [19, 20, 19]


# Pictures


def test_the_gallery_shows_worst_median_and_best_of_each(rng: np.random.Generator) -> None:
    errors = np.stack([np.arange(30.0), rng.random(30)], axis=1)
    chosen = gallery.choose(errors, 2)
    first = {
        rank: [c.photo for c in chosen if c.model == 0 and c.rank == rank] for rank in gallery.RANKS
    }
    assert first == {"worst": [29, 28], "median": [15, 14], "best": [0, 1]}
    assert len(chosen) == 12
    assert [c.rank for c in chosen[:2]] == ["worst", "worst"]


@pytest.mark.parametrize("photos", [1, 2, 3, 5])
def test_few_photos_are_shown_once(photos: int) -> None:
    chosen = gallery.choose(np.arange(photos, dtype=float)[:, None], 4)
    assert sorted(c.photo for c in chosen) == list(range(photos))


def test_an_error_map_tells_too_much_from_too_little() -> None:
    alpha = np.array([[1, 0, 0.5]], np.float32)
    truth = np.array([[0, 1, 0.5]], np.float32)
    (much, little, right) = gallery.error_map(alpha, truth)[0].astype(int)
    assert much[0] > 200 > much[2]
    assert little[2] > 200 > little[0]
    assert right.max() < 40


def test_pictures_are_what_was_scored(brightness: Path, inverse: Path, pairs: Path) -> None:
    found = evaluate(
        [brightness, inverse], f"pairs:{pairs}", refine="none", pictures=1, provider="cpu"
    )
    assert len(found.gallery.figures) == 6
    figure = next(f for f in found.gallery.figures if f.model == "inverse")
    data = np.frombuffer(found.gallery.pictures[figure.pictures["alpha"]], np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    truth = trees.portrait(int(figure.name[1:]))[1]
    # WebP of quality 80 is a few levels off, on average.
    assert np.abs(shown.astype(float) - (255 - truth.astype(float))).mean() < 4
