"""Cutouts, composites and backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.ops import compositing

images = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(image=images, seed=st.integers(0, 2**32 - 1))
def test_composite_is_the_over_operator_rounded(image: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = rng.random(image.shape[:2], dtype=np.float32)
    behind = rng.integers(0, 256, image.shape, dtype=np.uint8)
    exact = alpha[..., None].astype(np.float64) * image + (1.0 - alpha[..., None]) * behind
    got = compositing.composite(image, alpha, behind)
    # Half a level of rounding, and float32's error at 255.
    assert np.abs(got - exact).max() <= 0.5 + 1e-4


@given(image=images)
def test_opaque_is_the_foreground_and_clear_is_the_background(image: np.ndarray) -> None:
    behind = np.full((1, 1, 3), (9, 8, 7), np.uint8)
    ones = np.ones(image.shape[:2], np.float32)
    np.testing.assert_array_equal(compositing.composite(image, ones, behind), image)
    clear = compositing.composite(image, 0 * ones, behind)
    np.testing.assert_array_equal(clear, np.broadcast_to(behind, image.shape))


@given(image=images)
def test_a_composite_on_itself_changes_nothing(image: np.ndarray) -> None:
    alpha = np.linspace(0, 1, image[..., 0].size, dtype=np.float32).reshape(image.shape[:2])
    np.testing.assert_array_equal(compositing.composite(image, alpha, image), image)


def test_cutout_rounds_alpha_and_keeps_colours() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    alpha = np.array([[0.0, 0.499], [0.999, 1.0]], np.float32)
    got = compositing.cutout(image, alpha)
    np.testing.assert_array_equal(got[..., :3], image)
    np.testing.assert_array_equal(got[..., 3], [[0, 127], [255, 255]])  # truncation: 254


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))))
def test_premultiplying_and_back_loses_only_what_8_bits_cannot_hold(straight: np.ndarray) -> None:
    again = compositing.unpremultiply(compositing.premultiply(straight))
    alpha = straight[..., 3:].astype(int)
    error = np.abs(again[..., :3].astype(int) - straight[..., :3])
    np.testing.assert_array_equal(again[..., 3], straight[..., 3])
    assert (error * alpha <= 128 + alpha / 2)[np.broadcast_to(alpha > 0, error.shape)].all()
    assert (again[..., :3][alpha[..., 0] == 0] == 0).all()


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("white", (255, 255, 255)),
        (" Black ", (0, 0, 0)),
        ("#1e90ff", (30, 144, 255)),
        ("#FFF", (255, 255, 255)),
        ("30, 144,255", (30, 144, 255)),
        ("beach.jpg", None),
        ("", None),
    ],
)
def test_colours(text: str, color: tuple[int, int, int] | None) -> None:
    assert compositing.parse_color(text) == color


@pytest.mark.parametrize("text", ["#12", "#12345", "#xyzxyz", "1,2", "1,2,256", "1,2,3,4"])
def test_almost_colours_are_refused(text: str) -> None:
    with pytest.raises(ImageError, match="colour"):
        compositing.parse_color(text)


@pytest.mark.parametrize("size", [(50, 50), (10, 200), (200, 10), (100, 150), (1, 1)])
def test_cover_fills_the_size_and_keeps_the_centre(size: tuple[int, int]) -> None:
    behind = np.zeros((100, 150, 3), np.uint8)
    behind[45:55, 70:80] = 255
    got = compositing.cover(behind, size)
    assert got.shape == (*size, 3)
    if min(size) > 1:  # a single pixel is the mean of the whole picture
        assert got[size[0] // 2, size[1] // 2].max() == 255


def test_cover_of_equal_size_is_the_same_picture(rng: np.random.Generator) -> None:
    behind = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(compositing.cover(behind, (30, 40)), behind)


def test_blur_does_not_smear_the_person_into_the_background() -> None:
    image = np.full((120, 160, 3), (0, 0, 200), np.uint8)
    alpha = np.zeros((120, 160), np.float32)
    image[30:90, 50:110], alpha[30:90, 50:110] = (255, 0, 0), 1.0
    blurred = compositing.blur_background(image, alpha, 12)
    around = blurred[alpha == 0]  # what lies under the person is not seen
    assert around[:, 0].max() <= 2  # a plain blur leaves a red glow of over 100 here
    assert around[:, 2].min() >= 198


def test_blur_of_a_photo_that_is_all_person_is_finite() -> None:
    image = np.full((20, 20, 3), 77, np.uint8)
    blurred = compositing.blur_background(image, np.ones((20, 20), np.float32))
    np.testing.assert_array_equal(blurred, 77)


@pytest.mark.parametrize("radius", [0, -1, float("nan"), float("inf")])
def test_impossible_radii_are_refused(radius: float) -> None:
    with pytest.raises(OptionError, match="blur radius"):
        compositing.blur_background(
            np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), radius
        )


def test_wrong_arrays_are_named() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ImageError, match=r"alpha: expected float32 \(4, 5\), got uint8 \(4, 5\)"):
        compositing.cutout(image, np.zeros((4, 5), np.uint8))
    with pytest.raises(
        ImageError, match=r"background: expected uint8 \(4, 5, 3\), got .* \(5, 4, 3\)"
    ):
        compositing.composite(image, np.zeros((4, 5), np.float32), np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(ImageError, match="foreground: expected uint8"):
        compositing.cutout([[1]], np.zeros((4, 5), np.float32))
