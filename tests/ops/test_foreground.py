"""Foreground estimation: against PyMatting's golden vectors and known foregrounds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT

import portrait_sdk
from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.ops import foreground, kernels, threads

OURS: tuple[foreground.Method, ...] = ("multilevel-fast", "multilevel", "blur-fusion")
DATA = Path(__file__).resolve().parents[1] / "data"
GOLDEN = DATA / "golden/foreground_ml.npz"
PICTURES = [*sorted((DATA / "pictures").glob("*.jpg")), ASTRONAUT]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {name: file[name] for name in file.files}


def test_multilevel_is_pymattings(golden: dict[str, np.ndarray]) -> None:
    image = golden["image"].astype(np.float32)
    front, back = foreground.multilevel(image, golden["alpha"].astype(np.float32))
    # The figure the project promises; float32 sweeps differ by about 2e-5.
    assert np.abs(front - golden["F"]).max() <= 1e-4
    assert np.abs(back - golden["B"]).max() <= 1e-4


def test_multilevel_with_other_parameters(golden: dict[str, np.ndarray]) -> None:
    rho, small, big, small_size, gradient = golden["alt_params"]
    front, back = foreground.multilevel(
        golden["image"].astype(np.float32),
        golden["alpha"].astype(np.float32),
        regularization=float(rho),
        gradient_weight=float(gradient),
        small_size=int(small_size),
        small_iterations=int(small),
        big_iterations=int(big),
    )
    assert np.abs(front - golden["F_alt"]).max() <= 1e-4
    assert np.abs(back - golden["B_alt"]).max() <= 1e-4


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A known foreground over a known background: image, alpha, foreground."""
    y, x = np.mgrid[0:160, 0:120].astype(np.float32)
    distance = np.hypot(y - 80, x - 60)
    alpha = np.clip((50 - distance) / 16, 0, 1).astype(np.float32)
    front = np.stack([0.8 + 0.1 * np.sin(x / 9), 0.5 + 0 * x, 0.2 + 0.1 * np.cos(y / 7)], axis=-1)
    back = np.stack([0.1 + 0 * x, 0.3 + 0.1 * np.sin(y / 5), 0.9 + 0 * x], axis=-1)
    image = alpha[..., None] * front + (1 - alpha[..., None]) * back
    noise = rng.normal(0, 0.002, image.shape)
    return np.clip(image + noise, 0, 1).astype(np.float32), alpha, front.astype(np.float32)


@pytest.mark.parametrize("method", OURS)
def test_estimates_are_far_closer_than_the_photos_own_colours(
    rng: np.random.Generator, method: foreground.Method
) -> None:
    image, alpha, truth = scene(rng)
    edge = (alpha > 0.05) & (alpha < 0.95)
    estimate = foreground.estimate_foreground(image, alpha, method)
    ours = np.abs(estimate - truth)[edge].mean()
    naive = np.abs(image - truth)[edge].mean()
    assert ours < naive / 4


@pytest.mark.parametrize("method", OURS)
def test_uint8_in_uint8_out_rounded(rng: np.random.Generator, method: foreground.Method) -> None:
    image, alpha, _ = scene(rng)
    bytes_in = np.rint(image * 255).astype(np.uint8)
    exact = foreground.estimate_foreground(bytes_in.astype(np.float32) / 255, alpha, method)
    got = foreground.estimate_foreground(bytes_in, alpha, method)
    assert got.dtype == np.uint8
    assert np.abs(got - exact * 255).max() <= 0.5 + 1e-2


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (37, 53)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_any_size_and_flat_alpha_is_finite(
    rng: np.random.Generator, method: foreground.Method, size: tuple[int, int], value: float
) -> None:
    image = rng.random((*size, 3), dtype=np.float32)
    front = foreground.estimate_foreground(image, np.full(size, value, np.float32), method)
    assert np.isfinite(front).all()
    assert front.min() >= 0
    assert front.max() <= 1
    if value == 1.0:
        # multilevel pulls a little on neighbours even where alpha is 1 (regularization 1e-5).
        np.testing.assert_allclose(front, image, atol=1e-3)


def test_inputs_are_left_alone(rng: np.random.Generator) -> None:
    image, alpha, _ = scene(rng)
    before = image.copy(), alpha.copy()
    image.setflags(write=False)
    alpha.setflags(write=False)
    for method in OURS:
        foreground.estimate_foreground(image, alpha, method)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(alpha, before[1])


def test_wrong_input_is_named() -> None:
    image, alpha = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32)
    with pytest.raises(OptionError, match="expected one of multilevel-fast, multilevel, "):
        foreground.estimate_foreground(image, alpha, "ml")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"alpha: expected float32 \(4, 5\), got float64"):
        foreground.estimate_foreground(image, alpha.astype(np.float64))
    with pytest.raises(ImageError, match=r"alpha: expected values in \[0, 1\], got 0 to 255"):
        foreground.estimate_foreground(image, alpha + np.float32(255) * np.eye(4, 5, dtype="f4"))
    with pytest.raises(ImageError, match=r"alpha: expected values in \[0, 1\], got nan"):
        foreground.estimate_foreground(image, alpha * np.float32("nan"))
    with pytest.raises(OptionError, match="boxes of at least 1"):
        foreground.blur_fusion(image.astype(np.float32), alpha, ())
    with pytest.raises(OptionError, match="regularization > 0"):
        foreground.multilevel(image.astype(np.float32), alpha, regularization=0)


def test_closed_form_without_pymatting_names_the_extra() -> None:
    if importlib.util.find_spec("pymatting") is not None:
        pytest.skip("PyMatting is installed")
    with pytest.raises(OptionError, match=r"pip install 'portrait-sdk\[pymatting\]'"):
        foreground.estimate_foreground(
            np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32), "closed-form"
        )


def test_closed_form_with_pymatting(rng: np.random.Generator) -> None:
    pytest.importorskip("pymatting", reason="the extra 'pymatting' is not installed")
    image, alpha, truth = scene(rng)
    front = foreground.estimate_foreground(image, alpha, "closed-form")
    edge = (alpha > 0.05) & (alpha < 0.95)
    assert np.abs(front - truth)[edge].mean() < np.abs(image - truth)[edge].mean() / 4


def test_the_other_methods_do_not_import_pymatting() -> None:
    code = (
        "import sys, numpy as np, portrait_sdk as p;"
        "p.estimate_foreground(np.zeros((4,4,3),'u1'), np.zeros((4,4),'f4'));"
        "assert not {'pymatting', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


large = pytest.mark.skipif(
    kernels.ISA == "numpy", reason="minutes in NumPy, whose figures tests/kernels holds the same"
)
DECLARED = 2 / 255  # of multilevel-fast against multilevel, where alpha is in (.02, .98)


def enlarged(image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Twice the size, as for a network's alpha: what is known comes in whole tiles."""
    height, width = alpha.shape
    cv2 = pytest.importorskip("cv2")
    size = (2 * width, 2 * height)
    return cv2.resize(image, size), np.clip(cv2.resize(alpha, size), 0, 1)


@large
@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_fast_stays_within_its_declared_difference(picture: Path) -> None:
    matte = portrait_sdk.load(provider="cpu").matte(picture)
    y, x = np.indices(matte.alpha.shape, np.float32)
    disc = np.clip(1.5 - np.hypot(x - 90, y - 70) / 40, 0, 1)  # soft where nobody is, too
    image, alpha = enlarged(matte.image, np.maximum(matte.alpha, disc))
    photo = image.astype(np.float32) / np.float32(255)
    exact = foreground.estimate_foreground(photo, alpha, "multilevel")
    fast = foreground.estimate_foreground(photo, alpha, "multilevel-fast")
    soft = (alpha > 0.02) & (alpha < 0.98)
    assert soft.any()
    assert np.abs(fast - exact)[soft].max() <= DECLARED


def test_fast_is_as_near_the_truth_as_the_whole_solution(rng: np.random.Generator) -> None:
    image, alpha, truth = scene(rng)
    edge = (alpha > 0.02) & (alpha < 0.98)
    errors = {
        method: np.abs(foreground.estimate_foreground(image, alpha, method) - truth)[edge].mean()
        for method in ("multilevel", "multilevel-fast")
    }
    # The same solution but for what comes from beyond a tile's rim: far below a step of 8 bits.
    assert errors["multilevel-fast"] <= errors["multilevel"] + 1e-4


def test_fast_keeps_the_photo_where_alpha_is_1_and_guesses_where_it_is_0(
    rng: np.random.Generator,
) -> None:
    alpha = np.zeros((300, 400), np.float32)
    alpha[:, 200:] = 1
    alpha[:, 190:210] = np.linspace(0, 1, 20, dtype=np.float32)
    image = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    image[:, :200] = image[:, :200] // 4
    front = foreground.estimate_foreground(image, alpha, "multilevel-fast")
    np.testing.assert_array_equal(front[:, 320:], image[:, 320:])  # tiles of nothing else
    hidden = front[:, :128].astype(int)
    for rows, columns in ((slice(0, 1), slice(0, 128)), (slice(150, 151), slice(0, 128))):
        assert np.ptp(hidden[rows, columns], axis=1).max() < 60  # smooth beside 255 of the photo
    assert abs(hidden.mean() - image[:, 210:].mean()) < 20  # from the foreground, not what is there


@large
@pytest.mark.parametrize("method", OURS)
def test_any_number_of_threads_gives_the_same_bits(
    rng: np.random.Generator, method: foreground.Method
) -> None:
    alpha = scene(rng)[1]
    alpha = np.tile(alpha, (8, 5))
    image = rng.integers(0, 256, (*alpha.shape, 3), dtype=np.uint8)
    results = []
    try:
        for count in (1, 2, 5):
            threads.set_threads(count)
            results.append(foreground.estimate_foreground(image, alpha, method))
    finally:
        threads.set_threads(None)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])
