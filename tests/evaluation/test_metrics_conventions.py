"""Papers' rows, and the regions they are over."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from evaluation import slow

import portrait_sdk
from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.evaluation import conventions, metrics, regions

LABELS = {
    "dim": ["SAD", "MSE", "Grad", "Conn"],
    "mmagic": ["SAD", "MSE", "Grad", "Conn"],
    "p3m": ["SAD", "MSE", "MAD", "Grad", "Conn"],
    "rvm": ["MAD", "MSE", "Grad", "Conn", "dtSSD"],
}
ROUNDING = {"rel": 2e-5, "abs": 1e-8}  # as between the metrics and the slow loops


@pytest.fixture(scope="module")
def pair():
    """A soft disc, and one too faint, aside, and with a ghost in its corner."""
    y, x = np.mgrid[0:24, 0:30].astype(np.float32)
    truth = np.clip((8 - np.hypot(y - 12, x - 14)) / 4, 0, 1)
    alpha = np.clip((8 - np.hypot(y - 12, x - 15)) / 4, 0, 1) * np.float32(0.9)
    alpha[:3, :4] = 0.5
    return np.rint(alpha * 255) / np.float32(255), np.rint(truth * 255) / np.float32(255)


@pytest.fixture(scope="module")
def trimap(pair):
    trimap = np.full(pair[1].shape, 128, np.uint8)
    trimap[pair[1] == 1] = 255
    trimap[:, 25:] = trimap[:6, :6] = 0
    return trimap


def as_printed(name, *arguments):
    cells = conventions.row(name, conventions.measure(name, *arguments))
    return {cell.label: cell.value for cell in cells}


@pytest.mark.parametrize("name", ["dim", "mmagic"])
def test_rows_of_trimap_methods_are_what_their_evaluation_prints(name, pair, trimap):
    alpha, truth = pair[0].copy(), pair[1]
    alpha[trimap == 255], alpha[trimap == 0] = 1, 0
    unknown = trimap == 128
    assert as_printed(name, *pair, trimap) == {
        "SAD": pytest.approx(slow.total(alpha, truth, 1, unknown) / 1000, **ROUNDING),
        "MSE": pytest.approx(slow.total(alpha, truth, 2, unknown) / unknown.sum(), **ROUNDING),
        "Grad": pytest.approx(
            slow.gradient(alpha, truth, unknown, stretch=True) / 1000, **ROUNDING
        ),
        "Conn": pytest.approx(slow.connectivity(alpha, truth, unknown) / 1000, **ROUNDING),
    }


def test_p3ms_row_is_what_its_evaluation_prints(pair):
    assert as_printed("p3m", *pair) == {
        "SAD": pytest.approx(slow.total(*pair, 1) / 1000, **ROUNDING),
        "MSE": pytest.approx(slow.total(*pair, 2) / pair[0].size, **ROUNDING),
        "MAD": pytest.approx(slow.total(*pair, 1) / pair[0].size, **ROUNDING),
        "Grad": pytest.approx(slow.gradient(*pair, kernel="unit-sum") / 10, **ROUNDING),
        "Conn": pytest.approx(slow.connectivity(*pair, when_empty="skip") / 1000, **ROUNDING),
    }


def test_rvms_row_is_what_its_evaluation_prints(pair):
    alpha, truth = pair
    sequence = [alpha, truth, alpha], [truth, truth, truth]
    raw = {
        **conventions.measure("rvm", *pair),
        **conventions.measure_sequence("rvm", *sequence),
    }
    assert {cell.label: cell.value for cell in conventions.row("rvm", raw)} == {
        "MAD": pytest.approx(1000 * slow.total(*pair, 1) / alpha.size, **ROUNDING),
        "MSE": pytest.approx(1000 * slow.total(*pair, 2) / alpha.size, **ROUNDING),
        "Grad": pytest.approx(slow.gradient(*pair, stretch=True) / 1000, **ROUNDING),
        "Conn": pytest.approx(slow.connectivity(*pair) / 1000, **ROUNDING),
        "dtSSD": pytest.approx(100 * slow.dtssd(*sequence) * 2 / 3, **ROUNDING),
    }


def test_each_row_says_how_it_was_scaled():
    hows = {
        (name, cell.label): cell.how
        for name, labels in LABELS.items()
        for cell in conventions.row(name, dict.fromkeys(labels, 1.0))
    }
    assert hows["dim", "Grad"] == "gradient / 1000, unknown region, stretch=True"
    assert hows["p3m", "Grad"] == "gradient / 10, whole picture, kernel=unit-sum"
    assert hows["p3m", "MSE"] == "mse, whole picture"
    assert hows["rvm", "MAD"] == "mad x 1000, whole picture"
    assert hows["rvm", "dtSSD"] == "dtssd x 100, whole picture, first_frame_counts=True"


def test_scalings_by_powers_of_ten_are_exact():
    assert [c.value for c in conventions.row("p3m", {"SAD": 8730, "MSE": 0.0026})] == [8.73, 0.0026]
    assert conventions.row("rvm", {"MAD": 0.00608})[0].value == pytest.approx(6.08, rel=1e-15)
    assert math.isnan(conventions.row("dim", {"MSE": math.nan})[0].value)


def test_every_column_is_a_metric_with_its_options(pair):
    assert list(conventions.CONVENTIONS) == list(LABELS)
    for name, chosen in conventions.CONVENTIONS.items():
        assert chosen.name == name
        assert [column.label for column in chosen.columns] == LABELS[name]
        assert chosen.source
        for column in chosen.columns:
            given = ([pair[0]] * 2, [pair[1]] * 2) if column.of_sequences else pair
            assert getattr(metrics, column.metric)(*given, **column.options) >= 0


def test_what_a_convention_does_not_have_is_refused(pair):
    with pytest.raises(OptionError, match=r"expected one of dim, mmagic, p3m, rvm; got 'p3n'; did"):
        conventions.measure("p3n", *pair)
    with pytest.raises(OptionError, match=r"^dim: expected SAD, MSE, Grad, Conn; got MAD"):
        conventions.row("dim", {"MAD": 1.0})


def test_regions_follow_the_trimap(pair, trimap):
    _, truth = pair
    assert regions.region("whole", truth, trimap) is None
    for name, value in (("unknown", 128), ("subject", 255), ("background", 0)):
        np.testing.assert_array_equal(regions.region(name, truth, trimap), trimap == value)
    soft = (truth > 0) & (truth < 1)
    np.testing.assert_array_equal(regions.region("detail", truth, trimap), soft)


def test_regions_without_a_trimap_follow_the_stated_rule(pair):
    _, truth = pair
    derived = portrait_sdk.trimap_from_alpha(truth)
    for name, value in (("unknown", 128), ("subject", 255), ("background", 0)):
        np.testing.assert_array_equal(regions.region(name, truth), derived == value)
        wide = truth.astype(np.float64)
        np.testing.assert_array_equal(regions.region(name, wide), derived == value)
    parts = [regions.region(name, truth) for name in ("unknown", "subject", "background")]
    assert (np.sum(parts, axis=0) == 1).all()


def test_regions_are_what_the_metrics_take(pair):
    alpha, truth = pair
    parts = [
        metrics.sad(alpha, truth, region=regions.region(name, truth))
        for name in ("unknown", "subject", "background")
    ]
    assert sum(parts) == pytest.approx(metrics.sad(alpha, truth), rel=1e-6)
    assert metrics.sad(alpha, truth, region=regions.region("whole", truth)) == metrics.sad(*pair)


def test_known_pixels_come_from_the_trimap(pair, trimap):
    alpha, truth = pair
    before = alpha.copy()
    found = regions.known_from_trimap(alpha, truth, trimap)
    np.testing.assert_array_equal(alpha, before)
    np.testing.assert_array_equal(found[trimap == 128], alpha[trimap == 128])
    assert (found[trimap == 255] == 1).all()
    assert (found[trimap == 0] == 0).all()
    assert found.dtype == alpha.dtype


@pytest.mark.parametrize(
    ("trimap", "message"),
    [
        (np.zeros((24, 31), np.uint8), "trimap: expected uint8 (24, 30), got uint8 (24, 31)"),
        (np.full((24, 30), 127, np.uint8), "trimap: a trimap holds 0, 128 and 255, got 127"),
        (np.zeros((24, 30), np.float32), "trimap: expected uint8 (24, 30), got float32 (24, 30)"),
    ],
)
def test_trimaps_that_are_none_are_refused(pair, trimap, message):
    with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
        regions.region("unknown", pair[1], trimap)
    with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
        conventions.measure("dim", *pair, trimap)


def test_unknown_regions_are_refused(pair):
    with pytest.raises(OptionError, match=r"^region: expected one of whole, unknown, detail"):
        regions.region("edge", pair[1])
