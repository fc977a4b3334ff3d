"""The metrics by hand, against slow loops, by their properties, and on arrays that are none."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from conftest import CHECKOUT
from evaluation import slow
from hypothesis import given
from hypothesis import strategies as st

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.evaluation import metrics

ON_ALPHAS = ("sad", "mse", "mad", "gradient", "connectivity", "iou", "boundary_iou", "accuracy")
WITH_REGION = ("sad", "mse", "mad", "gradient", "connectivity", "iou", "accuracy")
SUMS = ("sad", "gradient", "connectivity")
LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)

# float32 rounds each difference to 6e-8 of it, and errors of a sum do not all point one way.
SUM = {"rel": 1e-5, "abs": 1e-7}


def rows(*values):
    return np.array(values, np.float32)


def degenerate():
    """Pairs on which something divides by zero, or has no largest component."""
    zeros, ones = np.zeros((5, 7), np.float32), np.ones((5, 7), np.float32)
    half, dot = np.full((5, 7), 0.5, np.float32), np.zeros((5, 7), np.float32)
    dot[2, 3] = 1
    checks = (np.indices((5, 7)).sum(axis=0) % 2).astype(np.float32)
    frames = (zeros, ones, half, dot, checks)
    pairs = [(a, t) for a in frames for t in frames]
    single = [(rows([a]), rows([t])) for a in (0, 0.3, 1) for t in (0, 0.5, 1)]
    lines = [(checks[:1], half[:1]), (checks[:, :1], ones[:, :1])]
    return [*pairs, *single, *lines]


def a_pair(seed):
    """Two alphas of 8 bits that share blobs, plateaus and noise."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 13, 2))
    cell = int(rng.integers(1, 6))
    blobs = rng.random((height // cell + 1, width // cell + 1))
    base = np.kron(blobs, np.ones((cell, cell)))[:height, :width]
    pair = []
    for _ in range(2):
        noisy = base + rng.normal(0, rng.choice([0, 0.1, 0.5]), base.shape)
        pair.append(LEVELS[np.rint(255 * np.clip(1.6 * noisy - 0.3, 0, 1)).astype(int)])
    return pair


SEEDS = st.integers(0, 2**32 - 1)


# -- by hand --------------------------------------------------------------------------------------


def test_differences_by_hand():
    alpha, truth = rows([0, 0.5], [1, 0.25]), rows([0, 1], [0.5, 0.5])
    # |a - t| is 0, .5, .5, .25
    assert metrics.sad(alpha, truth) == 1.25
    assert metrics.mad(alpha, truth) == 0.3125
    assert metrics.mse(alpha, truth) == (0.25 + 0.25 + 0.0625) / 4


def test_a_region_restricts_by_hand():
    alpha, truth = rows([0, 0.5], [1, 0.25]), rows([0, 1], [0.5, 0.5])
    trimap = np.array([[0, 128], [255, 128]], np.uint8)  # unknown: .5 and .25
    for region in (trimap, trimap == 128):
        assert metrics.sad(alpha, truth, region=region) == 0.75
        assert metrics.mad(alpha, truth, region=region) == 0.375
        assert metrics.mse(alpha, truth, region=region) == (0.25 + 0.0625) / 2


def test_the_gradient_of_a_dot_is_its_kernels_norm():
    dot = np.zeros((21, 21), np.float32)
    dot[10, 10] = 1
    nothing = np.zeros_like(dot)
    # Sum of squares of the kernel across and of that down, each of norm 1.
    assert metrics.gradient(dot, nothing) == pytest.approx(2, rel=1e-6)
    # Sum of (g g')^2 over the plane is 1 / (8 pi sigma^4); twice. Pixels and 4 sigma are no plane.
    want = 1 / (4 * math.pi * 1.4**4)
    assert metrics.gradient(dot, nothing, kernel="unit-sum") == pytest.approx(want, rel=1e-2)


def test_the_gradients_window_is_9_pixels_at_sigma_1_4():
    edge = np.zeros((5, 21), np.float32)
    edge[:, 10:] = 1
    one_further = np.roll(edge, 1, axis=1)
    one_further[:, 0] = 0
    reached = np.zeros(edge.shape, bool)
    reached[:, 6:15] = True  # 4 to either side of columns 9 and 10, and of 10 and 11
    # Weights of a flat 1 add up to 1e-8 and not 0.
    assert metrics.gradient(edge, one_further, region=~reached) < 1e-12
    assert metrics.gradient(edge, one_further, region=reached) > 0.1


def test_stretching_hides_an_alpha_too_faint_everywhere():
    truth = np.zeros((20, 20), np.float32)
    truth[5:15, 5:15] = 1
    faint = truth * np.float32(0.5)
    # Half of everything: gradients differ by half of the truth's, which against nothing are whole.
    whole = metrics.gradient(np.zeros_like(truth), truth)
    assert metrics.gradient(faint, truth) == pytest.approx(whole / 4, rel=1e-5)
    assert metrics.gradient(faint, truth, stretch=True) == 0


@pytest.mark.parametrize(
    ("alpha", "truth", "options", "want"),
    [
        # l = 1, 1, 0, 0: the last pixel is apart. There phi(a) = 1 - .5, phi(t) = 1 - 1.
        ([1, 1, 0, 0.5], [1, 1, 0, 1], {}, 0.5),
        # Connected: l = 1, .6, .4, so d(a) = 0 everywhere, d(t) = 0, .4, .6.
        ([1, 0.6, 0.4], [1, 1, 1], {}, 1.0),
        # Equal sizes from .1 to .4: the left one. l = .5, 0, 0; d(a) = .5, 0, .4; d(t) = 0, 0, .5.
        ([1, 0, 0.4], [0.5, 0, 0.5], {}, 0.6),
        # l = .5; d(t) = .3, or .1, which is below theta.
        ([0.5], [0.8], {}, 0.3),
        ([0.5], [0.6], {}, 0.0),
        ([0.5], [0.6], {"theta": 0.05}, 0.1),
        # Nothing reaches .6: l is 1 then, and both distances negative.
        ([0.5], [0.8], {"when_empty": "skip"}, 0.0),
        ([0], [0.8], {"when_empty": "skip"}, 0.0),
        ([0], [0.8], {}, 0.8),
        # l = .9, .5, 0, 0: d(a) = .1, 0, 0, 0, d(t) = 0, .5, 0, 0.
        ([1, 0.5, 0, 0], [0.9, 1, 0, 0], {}, 0.5),
        # The two others are as large and come first: l = 0, 0, 1, 1.
        ([1, 0.5, 0, 0], [0.9, 1, 0, 0], {"component": "any"}, 0.6),
        # Thresholds .5 and 1: l = .5.
        ([0.9], [0.7], {"step": 0.5}, 0.2),
    ],
)
def test_connectivity_by_hand(alpha, truth, options, want):
    for turn in (lambda a: a, lambda a: a.T):
        for dtype in (np.float32, np.float64):
            a, t = (turn(np.array([line], dtype)) for line in (alpha, truth))
            # Decimals that float32 rounds to 6e-8, one or two of them.
            assert metrics.connectivity(a, t, **options) == pytest.approx(want, abs=2e-7)


def test_the_largest_component_may_be_another_at_each_threshold():
    # At .1 to .5 the left three, at .6 and above the right two: nobody is in both.
    alpha = rows([0.5, 0.5, 0.5, 0, 1, 1])
    truth = rows([1, 0.5, 0.5, 0, 1, 1])
    # l = .5, .5, .5, 0, 0, 0; at the first pixel d(a) = 0, d(t) = .5.
    assert metrics.connectivity(alpha, truth) == pytest.approx(0.5, abs=1e-7)


def test_corners_do_not_connect():
    alpha = rows([1, 1, 0], [0, 0, 1])
    truth = rows([1, 1, 0], [0, 0, 0.5])
    # The corner's l is 0, d(a) = 1, d(t) = .5; were it connected, .5, 0 and .5.
    assert metrics.connectivity(alpha, truth) == pytest.approx(0.5, abs=1e-7)
    truth[1, 2] = 0.9  # .1 apart at either distance, which 0.15 leaves out only of the latter
    assert metrics.connectivity(alpha, truth) == pytest.approx(0.1, abs=1e-7)


def test_masks_by_hand():
    alpha, truth = rows([0.6, 0.6, 0.4, 0.5]), rows([0.9, 0.1, 0.9, 0.2])
    # Above .5: the first two, and the first and third.
    assert metrics.iou(alpha, truth) == pytest.approx(1 / 3)
    assert metrics.accuracy(alpha, truth) == 0.5
    assert metrics.iou(alpha > 0.5, truth > 0.5) == pytest.approx(1 / 3)
    assert metrics.iou(alpha, truth, threshold=0.3) == 0.5  # all four, and those two
    region = np.array([[True, False, False, True]])
    assert metrics.iou(alpha, truth, region=region) == 1
    assert metrics.accuracy(alpha, truth, region=region) == 1


def test_two_empty_masks_are_the_same():
    nothing, faint = rows([0, 0.1]), rows([0.2, 0.5])
    assert metrics.iou(nothing, faint) == metrics.boundary_iou(nothing, faint) == 1
    assert metrics.iou(nothing, rows([0, 1])) == metrics.boundary_iou(nothing, rows([0, 1])) == 0


def test_boundary_iou_by_hand():
    alpha, truth = np.zeros((3, 4), bool), np.zeros((3, 4), bool)
    alpha[:, :2] = truth[:, :3] = True
    # Diagonal 5, so 1 pixel. All 6 of the one touch what is outside, 8 of the other's 9.
    assert metrics.boundary_iou(alpha, truth) == pytest.approx(5 / 9)


def test_boundary_iou_takes_2_percent_of_the_diagonal():
    alpha, truth = np.zeros((60, 80), bool), np.zeros((60, 80), bool)  # diagonal 100: 2 pixels
    alpha[10:40, 10:40] = truth[10:40, 10:40] = True
    truth[12:38, 12:38] = False  # all but the edge
    truth_edge = 30 * 30 - 26 * 26
    assert metrics.boundary_iou(alpha, truth) == 1
    truth[12:14, 12:38] = True  # its edge, seen from the hole, now is wider on one side
    assert metrics.boundary_iou(alpha, truth) == truth_edge / (truth_edge + 2 * 26)
    # At a pixel: the outer rim, and the hole's rim too.
    assert metrics.boundary_iou(alpha, truth, width=0.01) < 0.6


def test_foreground_error_by_hand():
    alpha = rows([1, 0.5, 0])
    truth = np.zeros((1, 3, 3), np.float32)
    found = np.array([[[0.1, 0.2, 0.3], [0.3, 0.3, 0.3], [1, 1, 1]]], np.float32)
    # Differences of .6 and .9 a pixel, weights of 1 and .5, three channels.
    assert metrics.foreground_error(found, truth, alpha) == pytest.approx(1.05 / 4.5, rel=1e-6)
    assert math.isnan(metrics.foreground_error(found, truth, np.zeros_like(alpha)))


def test_foreground_error_of_bytes_is_that_of_their_values():
    rng = np.random.default_rng(1)
    found, truth = rng.integers(0, 256, (2, 9, 8, 3), dtype=np.uint8)
    alpha = rng.random((9, 8), dtype=np.float32)
    of_bytes = metrics.foreground_error(found, truth, alpha)
    assert of_bytes == pytest.approx(slow.foreground_error(found / 255, truth / 255, alpha), **SUM)
    assert of_bytes == metrics.foreground_error(found, LEVELS[truth], alpha)


def test_sad_is_that_of_mindspores_shm():
    golden = np.load(CHECKOUT / "tests/data/golden/shm_pipeline.npz")
    alpha, truth = np.clip(golden["p1_alpha"], 0, 1), LEVELS[golden["p1_gt_u8"]]
    # Computed there on an alpha that was not clamped; a few pixels lie below 0 by up to 0.006.
    assert metrics.sad(alpha, truth) / 1000 == pytest.approx(float(golden["p1_sad"]), rel=1e-4)


# -- against slow loops ---------------------------------------------------------------------------


def check_all(alpha, truth):
    for region in (None, truth > 0.4):
        assert metrics.sad(alpha, truth, region=region) == pytest.approx(
            slow.total(alpha, truth, 1, region), **SUM
        )
        assert metrics.connectivity(alpha, truth, region=region) == pytest.approx(
            slow.connectivity(alpha, truth, region), **SUM
        )
    assert metrics.mse(alpha, truth) == pytest.approx(
        slow.total(alpha, truth, 2) / alpha.size, **SUM
    )
    assert metrics.iou(alpha, truth) == slow.iou(alpha, truth)
    assert metrics.boundary_iou(alpha, truth) == slow.boundary_iou(alpha, truth)
    assert metrics.boundary_iou(alpha, truth, width=0.15) == slow.boundary_iou(alpha, truth, 0.15)


@given(seed=SEEDS)
def test_random_pairs_measure_as_slow_loops_say(seed):
    check_all(*a_pair(seed))


@pytest.mark.parametrize("number", range(len(degenerate())))
def test_degenerate_pairs_measure_as_slow_loops_say(number):
    alpha, truth = degenerate()[number]
    check_all(alpha, truth)
    assert metrics.gradient(alpha, truth) == pytest.approx(slow.gradient(alpha, truth), **SUM)


@pytest.mark.parametrize("kernel", ["unit-l2", "unit-sum"])
@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("sigma", [0.7, 1.4, 2.3])
def test_gradients_measure_as_slow_loops_say(kernel, stretch, sigma):
    options = {"kernel": kernel, "stretch": stretch, "sigma": sigma}
    for seed in range(4):
        alpha, truth = a_pair(seed)
        region = truth < 0.8
        # Magnitudes round to 1e-7; near 0 the difference of two keeps that, and its square 1e-14.
        assert metrics.gradient(alpha, truth, region=region, **options) == pytest.approx(
            slow.gradient(alpha, truth, region, **options), rel=2e-5, abs=1e-6
        )


@given(seed=SEEDS, steps=st.sampled_from([1, 2, 4, 10]), dtype=st.sampled_from(["f4", "f8"]))
@pytest.mark.parametrize("component", ["foreground", "any"])
@pytest.mark.parametrize("when_empty", ["stop", "skip"])
def test_variants_of_connectivity_measure_as_slow_loops_say(
    component, when_empty, seed, steps, dtype
):
    alpha, truth = (array.astype(dtype) for array in a_pair(seed))
    options = {"theta": 0.17, "component": component, "when_empty": when_empty}
    # No multiple of 1/255 lies .17 above a threshold, where rounding would decide.
    got = metrics.connectivity(alpha, truth, step=1 / steps, **options)
    assert got == pytest.approx(slow.connectivity(alpha, truth, steps=steps, **options), **SUM)


# -- properties -----------------------------------------------------------------------------------


@given(seed=SEEDS)
def test_an_alpha_has_no_error_against_itself(seed):
    alpha, _ = a_pair(seed)
    for name in ON_ALPHAS:
        best = 1 if name in ("iou", "boundary_iou", "accuracy") else 0
        assert getattr(metrics, name)(alpha, alpha.copy()) == best, name


@given(seed=SEEDS)
def test_alpha_and_truth_may_be_exchanged(seed):
    alpha, truth = a_pair(seed)
    for name in ON_ALPHAS:
        measure = getattr(metrics, name)
        assert measure(alpha, truth) == measure(truth, alpha), name


@given(seed=SEEDS)
def test_metrics_stay_within_their_bounds(seed):
    alpha, truth = a_pair(seed)
    for name in ON_ALPHAS:
        most = alpha.size if name in ("sad", "connectivity") else 1
        if name != "gradient":
            assert 0 <= getattr(metrics, name)(alpha, truth) <= most, name
    assert metrics.mse(alpha, truth) <= metrics.mad(alpha, truth)


@given(seed=SEEDS)
def test_sums_over_parts_add_up_to_the_whole(seed):
    alpha, truth = a_pair(seed)
    part = np.random.default_rng(seed).random(alpha.shape) < 0.5
    for name in SUMS:
        measure = getattr(metrics, name)
        both = measure(alpha, truth, region=part) + measure(alpha, truth, region=~part)
        assert both == pytest.approx(measure(alpha, truth), **SUM), name


@given(seed=SEEDS)
def test_mirrored_pictures_measure_the_same(seed):
    alpha, truth = a_pair(seed)
    for name in ON_ALPHAS:
        if name == "connectivity":  # of equal components the first is taken
            continue
        measure = getattr(metrics, name)
        for turn in (np.fliplr, np.flipud, np.transpose):
            # Filters add up in another order, as in the slow loops' comparison.
            got, want = measure(turn(alpha), turn(truth)), measure(alpha, truth)
            assert got == pytest.approx(want, rel=2e-5, abs=1e-6), name


def test_an_empty_region_sums_to_0_and_has_no_mean():
    alpha, truth = rows([0, 1]), rows([1, 1])
    nowhere = np.zeros(alpha.shape, bool)
    for name in SUMS:
        assert getattr(metrics, name)(alpha, truth, region=nowhere) == 0, name
    for name in ("mad", "mse", "accuracy"):
        assert math.isnan(getattr(metrics, name)(alpha, truth, region=nowhere)), name
    assert metrics.iou(alpha, truth, region=nowhere) == 1


@pytest.mark.parametrize("name", ON_ALPHAS)
def test_large_pictures_measure_the_same_on_any_number_of_threads(name, monkeypatch):
    rng = np.random.default_rng(3)
    alpha, truth = rng.random((2, 700, 611), dtype=np.float32)
    found = set()
    for count in ("1", "2", "5"):
        monkeypatch.setenv("PORTRAIT_THREADS", count)
        found.add(getattr(metrics, name)(alpha, truth))
    assert len(found) == 1


def test_sums_of_many_pixels_are_exact():
    # A million times 1/255 in float32 would drift by 1e-3; Fraction does not.
    alpha, truth = np.full((1000, 1000), LEVELS[1]), np.zeros((1000, 1000), np.float32)
    want = float(Fraction(float(LEVELS[1])) * 1_000_000)
    assert metrics.sad(alpha, truth) == pytest.approx(want, rel=1e-12)


def test_views_of_any_strides_measure_as_their_copies():
    rng = np.random.default_rng(4)
    alpha, truth = rng.random((2, 30, 44), dtype=np.float32)
    region = rng.random((30, 44)) < 0.5
    for name in ON_ALPHAS:
        options = {"region": region[::-1, ::2]} if name in WITH_REGION else {}
        got = getattr(metrics, name)(alpha[::-1, ::2], truth[::-1, ::2], **options)
        copies = {key: value.copy() for key, value in options.items()}
        want = getattr(metrics, name)(alpha[::-1, ::2].copy(), truth[::-1, ::2].copy(), **copies)
        assert got == want, name


def test_arguments_are_left_as_they_were():
    rng = np.random.default_rng(5)
    arrays = list(rng.random((2, 16, 16), dtype=np.float32))
    arrays.append(arrays[0] > 0.5)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    for name in ON_ALPHAS:
        options = {"region": arrays[2]} if name in WITH_REGION else {}
        getattr(metrics, name)(arrays[0], arrays[1], **options)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_ALPHAS)
@pytest.mark.parametrize(
    ("alpha", "truth", "message"),
    [
        (np.zeros((2, 3), np.uint8), rows([0]),
         "alpha: expected float32 or float64 (any, any), got uint8 (2, 3)"),
        (np.zeros((2, 3), np.float16), rows([0]), "alpha: expected float32"),
        (np.zeros((2, 3, 1), np.float32), rows([0]), "alpha: expected float32 or float64 (any, "),
        (np.zeros((0, 3), np.float32), rows([0]), "alpha: expected float32 or float64 (any, "),
        ([[0.5]], rows([0]), "alpha: expected float32 or float64 (any, any), got list"),
        (rows([0, 1]), rows([0], [1]),
         "truth: expected float32 or float64 (1, 2), got float32 (2, 1)"),
        (rows([0, 1.5]), rows([0, 1]), "alpha: expected values in [0, 1], got 0 to 1.5"),
        (rows([0, 1]), rows([-0.25, 1]), "truth: expected values in [0, 1], got -0.25 to 1"),
        (rows([0, 255]), rows([0, 255]), "alpha: expected values in [0, 1], got 0 to 255"),
        (rows([0, np.nan]), rows([0, 1]), "alpha: expected values in [0, 1], got nan to nan"),
        (rows([0, 1]), rows([np.inf, 1]), "truth: expected values in [0, 1], got 1 to inf"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_alphas_are_refused(name, alpha, truth, message):
    with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
        getattr(metrics, name)(alpha, truth)


@pytest.mark.parametrize("name", WITH_REGION)
@pytest.mark.parametrize(
    ("region", "message"),
    [
        (np.ones((1, 3), bool), "region: expected bool or uint8 (1, 2), got bool (1, 3)"),
        (np.ones((1, 2), np.float32), "region: expected bool or uint8 (1, 2), got float32 (1, 2)"),
        (np.array([[128, 127]], np.uint8), "region: a trimap holds 0, 128 and 255, got 127"),
    ],
)
def test_regions_that_do_not_fit_are_refused(name, region, message):
    with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
        getattr(metrics, name)(rows([0, 1]), rows([0, 1]), region=region)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gradient", {"kernel": "sobel"}, "kernel: expected unit-l2 or unit-sum, got 'sobel'"),
        ("gradient", {"sigma": 0}, "sigma: expected 0.3 to 39 pixels, got 0"),
        ("gradient", {"sigma": math.nan}, "sigma: expected 0.3 to 39 pixels, got nan"),
        ("connectivity", {"step": 0.3}, "step: expected 1 / n, n a whole number up to 255"),
        ("connectivity", {"step": 0}, "step: expected 1 / n"),
        ("connectivity", {"step": 0.001}, "step: expected 1 / n"),
        ("connectivity", {"step": math.nan}, "step: expected 1 / n"),
        ("connectivity", {"theta": -1}, "theta: expected 0 to 1, got -1"),
        ("connectivity", {"component": "all"}, "component: expected foreground or any, got 'all'"),
        ("connectivity", {"when_empty": "go"}, "when_empty: expected stop or skip, got 'go'"),
        ("iou", {"threshold": 1}, "threshold: expected 0 to below 1, got 1"),
        ("accuracy", {"threshold": math.nan}, "threshold: expected 0 to below 1, got nan"),
        ("boundary_iou", {"width": 0}, "width: expected a share of the diagonal above 0, got 0"),
    ],
)
def test_options_that_cannot_be_are_refused(name, options, message):
    with pytest.raises(OptionError, match=f"^{re.escape(message)}"):
        getattr(metrics, name)(rows([0, 1]), rows([0, 1]), **options)


def test_sigmas_at_their_bounds_measure():
    alpha, truth = rows([0, 1, 1]), rows([0, 0, 1])
    for sigma in (0.3, 39):
        assert math.isfinite(metrics.gradient(alpha, truth, sigma=sigma))


@pytest.mark.parametrize(
    ("foreground", "truth", "message"),
    [
        (np.zeros((1, 2, 3), np.int32), np.zeros((1, 2, 3), np.uint8), "foreground: expected"),
        (np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2, 4), np.uint8), "truth: expected uint8 "),
        (np.full((1, 2, 3), 2.0), np.zeros((1, 2, 3)), "foreground: expected values in [0, 1]"),
    ],
)
def test_colours_that_do_not_fit_are_refused(foreground, truth, message):
    with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
        metrics.foreground_error(foreground, truth, rows([0, 1]))
