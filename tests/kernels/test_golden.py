"""Reference values of OpenCV and PyMatting, for every implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels.battery import IMPLEMENTATIONS, run, taps

GOLDEN = Path(__file__).resolve().parents[1] / "data/golden"
METHODS = {"cubic": "bicubic", "linear": "bilinear", "area": "area", "lanczos4": "lanczos4"}
SIZES = [(64, 96), (32, 32), (70, 40)]


@pytest.fixture(scope="module")
def resized() -> Any:
    with np.load(GOLDEN / "cv2_resize.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def foreground() -> Any:
    with np.load(GOLDEN / "foreground_ml.npz") as file:
        return dict(file)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_photos_resize_as_in_opencv(
    resized: Any, implementation: str, method: str, height: int, width: int
) -> None:
    image = resized["img_u8"]
    four = taps(image.shape[:2], (height, width), METHODS[method], antialias=False)
    planes = np.empty((3, height, width), np.float32)
    one, zero, reverse = np.ones(3, np.float32), np.zeros(3, np.float32), False
    run(implementation, "resize_to_planes", image, planes, *four, one, zero, reverse)
    got = np.clip(np.rint(planes.transpose(1, 2, 0)), 0, 255)
    want = resized[f"u8_{method}_{height}x{width}"]
    assert np.abs(got - want).max() <= 1  # OpenCV's 8-bit resize computes in fixed point


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("method", ["cubic", "lanczos4"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_alphas_resize_as_in_opencv(
    resized: Any, implementation: str, method: str, height: int, width: int
) -> None:
    alpha = resized["alpha_f32"]
    four = taps(alpha.shape, (height, width), METHODS[method], antialias=False)
    out = np.empty((height, width), np.float32)
    run(implementation, "resize_alpha", alpha, out, *four)
    want = np.clip(resized[f"f32_{method}_{height}x{width}"], 0, 1)
    np.testing.assert_allclose(out, want, rtol=0, atol=1e-6)  # float32 sums in another order

    truncated = np.trunc(255 * alpha).astype(np.float32) / np.float32(255)
    rounded = np.empty((height, width), np.uint8)
    run(implementation, "resize_alpha", truncated, rounded, *four)
    difference = rounded.astype(int) - resized[f"a8_{method}_{height}x{width}"]
    assert np.abs(difference).max() <= 1  # fixed point again


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("suffix", "parameters"),
    # PyMatting's defaults, and alt_params, which holds: regularization, small iterations, big
    # iterations, small size, gradient weight.
    [("", (1e-5, 1.0, 32, 10, 2)), ("_alt", (0.005, 0.1, 16, 5, 3))],
)
def test_multilevel_is_pymatting(
    foreground: Any, implementation: str, suffix: str, parameters: tuple[Any, ...]
) -> None:
    image = foreground["image"].astype(np.float32)
    alpha = foreground["alpha"].astype(np.float32)
    front, back = np.empty_like(image), np.empty_like(image)
    run(implementation, "multilevel", image, alpha, front, back, *parameters, 0)
    # PyMatting rounds a float32 determinant; a float64 solution is 2.3e-5 away from it. Levels here
    # are kept in 16 bits, steps of 1.5e-5.
    np.testing.assert_allclose(front, foreground[f"F{suffix}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(back, foreground[f"B{suffix}"], rtol=0, atol=1e-4)
