"""dtSSD and MESSDdt: by hand, against slow loops, and on sequences that are none."""

from __future__ import annotations

import math
import re

import cv2
import numpy as np
import pytest
from evaluation import slow
from hypothesis import given
from hypothesis import strategies as st

from portrait_sdk.errors import ImageError
from portrait_sdk.evaluation.metrics import dtssd, messddt


def frames(*values):
    return np.array(values, np.float32)[:, None]  # (T, 1, W)


def a_sequence(seed):
    rng = np.random.default_rng(seed)
    count, height, width = (int(n) for n in rng.integers([2, 1, 1], [5, 9, 9]))
    alpha, truth = rng.integers(0, 256, (2, count, height, width)).astype(np.float32) / 255
    flow = rng.integers(-3, 4, (count - 1, height, width, 2)).astype(np.float32)
    flow[:, 0, 0] = 0  # somebody stays
    return alpha, truth, flow


def moving(step, count=4):
    """A soft disc that goes to the right, ``step`` pixels a frame."""
    y, x = np.mgrid[0:64, 0:96].astype(np.float32)
    discs = [np.clip((14 - np.hypot(y - 32, x - 30 - step * i)) / 6, 0, 1) for i in range(count)]
    return np.stack(discs)


def test_dtssd_by_hand():
    alpha, truth = frames([0, 0], [1, 0], [1, 1]), frames([0, 0], [0, 0], [0, 0.5])
    # Changes of the difference: 1, 0, then 0, .5: roots of 1/2 and 1/8.
    want = (math.sqrt(0.5) + math.sqrt(0.125)) / 2
    assert dtssd(alpha, truth) == pytest.approx(want, rel=1e-12)
    assert dtssd(alpha, truth, first_frame_counts=True) == pytest.approx(want * 2 / 3, rel=1e-12)


def test_messddt_by_hand():
    alpha, truth = frames([0.5, 0], [0, 0.5]), frames([0, 0], [0, 0])

    def along(pixels):
        flow = np.zeros((1, 1, 2, 2), np.float32)
        flow[..., 0] = pixels
        return messddt(alpha, truth, flow)

    assert along(0) == 0.25  # |.25 - 0| and |0 - .25|
    assert along(1) == 0.0  # the error moved along; the second pixel left
    assert along(0.5) == 0.125  # half way to the second pixel there are .125
    assert along(-1) == 0.0  # only the second stays; it goes to the first's 0
    assert math.isnan(along(2))
    assert math.isnan(along(np.nan))
    assert math.isnan(along(np.inf))


def test_vectors_point_right_and_down():
    alpha, truth = np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.float32)
    alpha[0, 0, 1] = alpha[1, 2, 2] = 1
    flow = np.full((1, 3, 4, 2), (1, 2), np.float32)
    assert messddt(alpha, truth, flow) == 0
    assert messddt(alpha, truth, flow[..., ::-1].copy()) > 0


@given(seed=st.integers(0, 2**32 - 1))
def test_sequences_measure_as_slow_loops_say(seed):
    alpha, truth, flow = a_sequence(seed)
    # float32 rounds each square to 6e-8 of it.
    assert dtssd(alpha, truth) == pytest.approx(slow.dtssd(alpha, truth), rel=1e-6, abs=1e-9)
    assert messddt(alpha, truth, flow) == pytest.approx(
        slow.messddt(alpha, truth, flow), rel=1e-5, abs=1e-7
    )


@given(seed=st.integers(0, 2**32 - 1))
def test_a_sequence_has_no_error_against_itself(seed):
    alpha, truth, flow = a_sequence(seed)
    assert dtssd(alpha, alpha.copy()) == messddt(alpha, alpha.copy(), flow) == 0
    assert dtssd(alpha, truth) == dtssd(truth, alpha)
    assert messddt(alpha, truth, flow) == messddt(truth, alpha, flow)


def test_an_error_that_stays_the_same_does_not_flicker():
    truth = moving(0)
    alpha = np.clip(truth - np.float32(0.25), 0, 1)
    assert dtssd(alpha, truth) == 0
    assert messddt(alpha, truth) == pytest.approx(0, abs=1e-6)  # nothing moves, and DIS finds that


def test_dis_follows_an_error_that_moves_with_the_person():
    truth = moving(3)
    along = np.clip(truth * np.float32(0.8), 0, 1)
    flickering = truth.copy()
    flickering[::2] *= np.float32(0.8)
    still = np.zeros((len(truth) - 1, *truth.shape[1:], 2), np.float32)
    assert messddt(along, truth) < messddt(along, truth, still) / 2
    assert messddt(along, truth) < messddt(flickering, truth) / 4
    assert dtssd(along, truth) < dtssd(flickering, truth) / 2


def test_flow_is_that_of_opencv_on_the_truth():
    rng = np.random.default_rng(1)
    truth = moving(2.5)
    alpha = np.clip(truth + rng.normal(0, 0.2, truth.shape), 0, 1).astype(np.float32)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    levels = np.rint(truth * 255).astype(np.uint8)
    flow = [dis.calc(levels[i], levels[i + 1], None) for i in range(len(truth) - 1)]
    assert messddt(alpha, truth) == messddt(alpha, truth, flow)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 3), (12, 9), (17, 16), (33, 7)])
def test_frames_of_any_size_have_a_flow(size):
    rng = np.random.default_rng(2)
    alpha, truth = rng.random((2, 3, *size), dtype=np.float32)
    same = np.repeat(truth[:1], 3, axis=0)
    assert messddt(alpha, same) > 0
    assert not messddt(alpha, truth) < 0


def test_frames_may_come_one_by_one():
    alpha, truth, flow = a_sequence(6)
    assert dtssd(iter(alpha), (t for t in truth)) == dtssd(alpha, truth)
    assert messddt(iter(alpha), iter(truth), iter(flow)) == messddt(alpha, truth, flow)


@pytest.mark.parametrize("measure", [dtssd, messddt])
@pytest.mark.parametrize(
    ("alpha", "truth", "message"),
    [
        (frames([0, 1]), frames([0, 1]), "alpha: expected two frames or more, got 1"),
        ([], [], "alpha: expected two frames or more, got 0"),
        (frames([0], [1]), frames([0], [1], [0]), "truth: expected as many frames as alpha"),
        (frames([0], [1], [0]), frames([0], [1]), "truth: expected as many frames as alpha"),
        (frames([0], [2]), frames([0], [1]), "alpha: expected values in [0, 1], got 2 to 2"),
        (frames([0], [np.nan]), frames([0], [1]), "alpha: expected values in [0, 1], got nan"),
        (np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), "alpha: expected float32 or "),
        ([np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)] * 2,
         [np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)] * 2,
         "alpha: expected frames of one shape, got (3, 2) after (2, 3)"),
    ],
)  # fmt: skip
def test_sequences_that_are_none_are_refused(measure, alpha, truth, message):
    with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
        measure(alpha, truth)


def test_flows_that_do_not_fit_are_refused():
    alpha = frames([0, 1], [1, 0], [0, 0])
    for flow, message in (
        (
            np.zeros((1, 1, 2, 2), np.float32),
            "flow: expected one for each pair of frames, got fewer",
        ),
        (
            np.zeros((3, 1, 2, 2), np.float32),
            "flow: expected one for each pair of frames, got more",
        ),
        (np.zeros((2, 2, 1, 2), np.float32), "flow: expected float32 (1, 2, 2), got float32 (2, "),
        (np.zeros((2, 1, 2, 2)), "flow: expected float32 (1, 2, 2), got float64 (1, 2, 2)"),
    ):
        with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
            messddt(alpha, alpha, flow)
