"""Frames in order: states go from one to the next, within one sequence and no further."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import summing_model

import portrait_sdk
from portrait_sdk.errors import ClosedError, ImageError

GREYS = (0, 51, 102, 204)


def frame(grey: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def level(matte: portrait_sdk.Matte) -> float:
    return float(matte.alpha.mean())


@pytest.fixture
def summing(tmp_path: Path) -> portrait_sdk.Matting:
    """A quarter of the brightness of all frames so far, added up in one state."""

    return portrait_sdk.load(summing_model(tmp_path / "m.onnx"), provider="cpu")


def test_states_go_from_frame_to_frame(summing: portrait_sdk.Matting) -> None:
    with summing.sequence() as sequence:
        levels = [level(sequence.matte(frame(grey))) for grey in GREYS]
    np.testing.assert_allclose(levels, np.cumsum(GREYS) / 255 / 4, atol=1e-6)  # float32's sums


def test_single_photos_start_from_zero_between_the_frames(summing: portrait_sdk.Matting) -> None:
    sequence = summing.sequence()
    sequence.matte(frame(204))
    assert level(summing.matte(frame(51))) == pytest.approx(0.05, abs=1e-6)
    many = summing.matte_many([frame(51), frame(51)])
    assert [level(matte) for matte in many] == pytest.approx([0.05, 0.05], abs=1e-6)
    assert level(sequence.matte(frame(51))) == pytest.approx(0.25, abs=1e-6)


def test_sequences_of_one_model_know_nothing_of_each_other(summing: portrait_sdk.Matting) -> None:
    one, other = summing.sequence(), summing.sequence()
    for n in range(1, 4):
        assert level(one.matte(frame(51))) == pytest.approx(0.05 * n, abs=1e-6)
        assert level(other.matte(frame(102, 3, 5))) == pytest.approx(0.1 * n, abs=1e-6)


def test_sequences_run_in_threads_at_once(summing: portrait_sdk.Matting) -> None:
    def run(grey: int) -> list[float]:
        with summing.sequence() as sequence:
            return [level(sequence.matte(frame(grey))) for _ in range(20)]

    greys = [1, 2, 4, 8]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, greys))
    for grey, levels in zip(greys, found, strict=True):
        want = np.arange(1, 21) * grey / 255 / 4
        np.testing.assert_allclose(levels, want, atol=1e-6)


def test_calls_from_several_threads_follow_one_another(summing: portrait_sdk.Matting) -> None:
    with summing.sequence() as sequence, ThreadPoolExecutor(4) as pool:
        mattes = pool.map(lambda _: sequence.matte(frame(10)), range(24))
        levels = sorted(level(matte) for matte in mattes)
    np.testing.assert_allclose(levels, np.arange(1, 25) * 10 / 255 / 4, atol=1e-6)


def test_another_size_is_refused_and_changes_nothing(summing: portrait_sdk.Matting) -> None:
    sequence = summing.sequence()
    sequence.matte(frame(51))
    with pytest.raises(
        ImageError, match=r"frame of 8 x 7 pixels: comes to 8 x 7 .* before it to 8 x 6; reset\(\)"
    ):
        sequence.matte(frame(51, 7))
    assert level(sequence.matte(frame(51))) == pytest.approx(0.1, abs=1e-6)


def test_reset_begins_anew_with_any_size(summing: portrait_sdk.Matting) -> None:
    sequence = summing.sequence()
    sequence.matte(frame(204))
    sequence.reset()
    assert level(sequence.matte(frame(51, 7))) == pytest.approx(0.05, abs=1e-6)


def test_a_frame_that_fails_leaves_the_sequence_as_it_was(summing: portrait_sdk.Matting) -> None:
    sequence = summing.sequence()
    sequence.matte(frame(51))
    with pytest.raises(ImageError):
        sequence.matte(b"no picture")
    assert level(sequence.matte(frame(51))) == pytest.approx(0.1, abs=1e-6)


def test_a_model_without_states_gives_what_single_photos_give(brightness: Path) -> None:
    with portrait_sdk.load(brightness, provider="cpu") as matting, matting.sequence() as sequence:
        for grey, height in zip(GREYS, (4, 5, 6, 7), strict=True):
            photo = frame(grey, height)
            want = matting.matte(photo).alpha
            np.testing.assert_array_equal(sequence.matte(photo).alpha, want)


def test_closing_it_leaves_the_model_open(summing: portrait_sdk.Matting) -> None:
    sequence = summing.sequence()
    sequence.close()
    sequence.close()
    with pytest.raises(ClosedError, match=r"sequence is closed: begin another"):
        sequence.matte(frame(51))
    assert level(summing.matte(frame(51))) == pytest.approx(0.05, abs=1e-6)


def test_a_closed_model_ends_its_sequences(summing: portrait_sdk.Matting) -> None:
    sequence = summing.sequence()
    sequence.matte(frame(51))
    summing.close()
    with pytest.raises(ClosedError, match="is closed: load it again"):
        sequence.matte(frame(51))


@pytest.mark.skipif("PORTRAIT_RVM" not in os.environ, reason="PORTRAIT_RVM names no RVM .onnx")
def test_rvm_carries_its_states_and_batches_as_singles(tmp_path: Path, astronaut: Path) -> None:
    pytest.importorskip("onnx", reason="the extra 'adopt' is not installed")
    from portrait_sdk.converters.adopt import adopt

    out = tmp_path / "rvm.onnx"
    adopt(Path(os.environ["PORTRAIT_RVM"]), out, "rvm")
    with portrait_sdk.load(out, provider="cpu") as matting, matting.sequence() as sequence:
        single = matting.matte(astronaut).alpha
        first = sequence.matte(astronaut).alpha
        second = sequence.matte(astronaut).alpha
        pair = matting.matte_many([astronaut, astronaut])
    np.testing.assert_array_equal(first, single)
    assert np.abs(second - first).max() > 0.01  # the first frame is remembered
    for matte in pair:
        # A batch of two takes other paths through the same convolutions.
        np.testing.assert_allclose(matte.alpha, single, atol=1e-3)
