"""Alpha to trimap."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.ops.trimap import trimap_from_alpha


def disc() -> np.ndarray:
    y, x = np.mgrid[0:200, 0:200]
    return (np.hypot(y - 100, x - 100) < 60).astype(np.float32)


def test_three_values_and_a_band_of_the_radius() -> None:
    trimap = trimap_from_alpha(disc(), band_radius_px=5)
    assert set(np.unique(trimap)) == {0, 128, 255}
    row = trimap[100]
    assert np.flatnonzero(row == 255)[0] == pytest.approx(41 + 5, abs=1)
    assert np.flatnonzero(row > 0)[0] == pytest.approx(41 - 5, abs=1)


def test_without_a_band_a_hard_alpha_has_no_unknown() -> None:
    alpha = disc()
    np.testing.assert_array_equal(trimap_from_alpha(alpha, band_radius_px=0), alpha * 255)


def test_a_person_cut_off_by_the_frame_stays_solid_there() -> None:
    trimap = trimap_from_alpha(np.ones((50, 50), np.float32))
    assert (trimap == 255).all()


def test_soft_values_are_unknown() -> None:
    assert (trimap_from_alpha(np.full((9, 9), 0.5, np.float32)) == 128).all()


def test_wrong_input_is_named() -> None:
    with pytest.raises(ImageError, match="alpha: expected float32"):
        trimap_from_alpha(np.zeros((4, 4), np.uint8))
    with pytest.raises(OptionError, match="thresholds"):
        trimap_from_alpha(disc(), foreground_threshold=0.1, background_threshold=0.2)
    with pytest.raises(OptionError, match="band"):
        trimap_from_alpha(disc(), band_radius_px=-1)
    with pytest.raises(OptionError, match="band"):
        trimap_from_alpha(disc(), band_radius_px="3")  # type: ignore[arg-type]


def test_a_wide_band_on_a_long_thin_alpha_is_no_work() -> None:
    alpha = np.zeros((1, 200_000), np.float32)
    alpha[:, 100_000:] = 1
    trimap = trimap_from_alpha(alpha, band_radius_px=2000.5)
    assert np.count_nonzero(trimap == 128) == 4000
