"""Arrays of every kind become uint8 RGB, or are refused with the way on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from media.pictures import photo
from PIL import Image

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.media import load_image


def test_an_array_has_no_format_and_rgb_no_alpha():
    loaded = load_image(photo())
    assert loaded.source_alpha is None
    assert loaded.format is None


def _views(array):
    """The array, a read-only view of it, and wrappers that lead to its memory."""
    frozen = array.view()
    frozen.flags.writeable = False
    return array, frozen, memoryview(array), _Array(array), _Interface(array)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("shape", [(24, 36), (24, 36, 1), (24, 36, 2), (24, 36, 3), (24, 36, 4)])
def test_a_buffer_that_is_used_again_does_not_change_what_was_loaded(shape, color):
    picture = photo(channels=shape[2] if shape[2:] else 1).reshape(shape)
    want = load_image(picture.copy(), color=color)
    for kind in range(5):
        buffer = picture.copy()
        loaded = load_image(_views(buffer)[kind], color=color)
        buffer[:] = 255 - buffer
        np.testing.assert_array_equal(loaded.image, want.image)
        np.testing.assert_array_equal(loaded.source_alpha, want.source_alpha)
        assert not np.shares_memory(loaded.image, buffer)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_pil_image_that_is_painted_on_does_not_change_what_was_loaded(mode):
    picture = Image.fromarray(photo(channels=4)).convert(mode)
    want = load_image(picture.copy())
    loaded = load_image(picture)
    picture.paste(0, (0, 0, *picture.size))
    np.testing.assert_array_equal(loaded.image, want.image)
    np.testing.assert_array_equal(loaded.source_alpha, want.source_alpha)


@pytest.mark.parametrize("shape", [(24, 36), (24, 36, 1)])
def test_grey_fills_three_channels(shape):
    grey = photo(channels=1).reshape(shape)
    loaded = load_image(grey)
    np.testing.assert_array_equal(loaded.image, np.dstack([grey.reshape(24, 36)] * 3))
    assert not np.shares_memory(loaded.image, grey)


def test_grey_with_alpha_keeps_both():
    pair = photo(channels=2)
    loaded = load_image(pair)
    np.testing.assert_array_equal(loaded.image, pair[..., [0, 0, 0]])
    np.testing.assert_array_equal(loaded.source_alpha, pair[..., 1])
    assert not np.shares_memory(loaded.source_alpha, pair)


@pytest.mark.parametrize(("channels", "order"), [(3, [2, 1, 0]), (4, [2, 1, 0, 3])])
def test_bgr_is_what_the_caller_declares(channels, order):
    rgb = photo(channels=channels)
    declared = load_image(rgb[..., order], color="BGR")
    plain = load_image(rgb)
    np.testing.assert_array_equal(declared.image, plain.image)
    if channels == 4:
        np.testing.assert_array_equal(declared.source_alpha, rgb[..., 3])


def test_unknown_color_is_an_option_error():
    with pytest.raises(OptionError, match="expected 'RGB' or 'BGR', got 'rgb'"):
        load_image(photo(), color="rgb")


def test_opaque_alpha_is_none():
    rgba = photo(channels=4)
    rgba[..., 3] = 255
    assert load_image(rgba).source_alpha is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_uint16_rounds_to_nearest(order):
    levels = np.arange(65536).reshape(256, 256).astype(order + "u2")
    want = np.rint(levels.astype(np.float64) * 255 / 65535)  # no ties: 65535 / 255 is odd
    np.testing.assert_array_equal(load_image(levels).image[..., 0], want)


@given(
    arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(0, 1, width=16),
    )
)
def test_floats_round_to_nearest(grey):
    want = np.rint(grey.astype(np.float32) * np.float32(255))
    np.testing.assert_array_equal(load_image(grey).image[..., 0], want)


def test_floats_a_little_outside_are_clipped():
    grey = np.array([[-0.0009, 1.0009]], np.float32)
    assert load_image(grey).image[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2, 3), 255.0), r"got 255 to 255; divide by 255"),
        (np.full((2, 2), 1.01, np.float32), r"got 1\.01 to 1\.01; divide by 255"),
        (np.full((2, 2), -0.5, np.float32), r"expected floats in \[0, 1\], got -0.5 to -0.5$"),
        (np.full((2, 2), np.nan, np.float32), "got nan to nan"),
        (np.array([[0, np.inf]]), "got 0 to inf"),
        (np.ones((2, 2), bool), r"got bool \(2, 2\); multiply a boolean array by 255"),
        (np.ones((2, 2, 3), int), r"got int64 \(2, 2, 3\); cast it"),
        (np.ones((2, 2), np.complex64), r"got complex64 \(2, 2\)"),
        (np.ones((2, 2), np.uint32), r"got uint32 \(2, 2\)"),
        (np.empty((0, 4, 3), np.uint8), r"got uint8 \(0, 4, 3\)"),
        (np.ones((9, 9, 5), np.uint8), r"got uint8 \(9, 9, 5\)$"),
        (np.ones((3, 9, 9), np.uint8), r"channels come last: np\.moveaxis\(array, 0, -1\)"),
        (np.ones((2, 9, 9, 3), np.uint8), "one by one"),
        (np.ones(9, np.uint8), r"array\.tobytes\(\)"),
        (np.uint8(3), r"got uint8 \(\)"),
        (object(), "expected a path, bytes, a binary file, a PIL image or an array, got object"),
        (None, "got NoneType"),
        ([[1, 2]], "got list"),
    ],
    ids=lambda v: v[:30] if isinstance(v, str) else "",
)
def test_other_arrays_are_refused_in_one_line(array, message):
    with pytest.raises(ImageError, match=message) as caught:
        load_image(array)
    assert "\n" not in str(caught.value)


def test_strides_and_read_only_do_not_matter():
    rgb = photo()
    want = load_image(rgb).image
    wide = np.zeros((24, 72, 6), np.uint8)
    wide[:, ::2, ::2] = rgb
    frozen = rgb.copy()
    frozen.flags.writeable = False
    for given_array in (wide[:, ::2, ::2], rgb[::-1][::-1], np.asfortranarray(rgb), frozen):
        got = load_image(given_array).image
        np.testing.assert_array_equal(got, want)
        assert got.flags.c_contiguous
    np.testing.assert_array_equal(load_image(rgb[::-1, ::-1]).image, rgb[::-1, ::-1])


class _Array:
    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array


class _Interface:
    def __init__(self, array):
        self._keep = array
        self.__array_interface__ = array.__array_interface__


class _OnDevice:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("copy it to\nhost memory first")


@pytest.mark.parametrize("wrap", [_Array, _Interface, memoryview])
def test_anything_with_the_array_interface_will_do(wrap):
    rgb = photo()
    np.testing.assert_array_equal(load_image(wrap(rgb)).image, rgb)


def test_an_array_that_will_not_convert_says_why():
    with pytest.raises(ImageError, match=r"_OnDevice \(copy it to host memory first\)"):
        load_image(_OnDevice())


def test_pil_modes_agree_with_pillow():
    rgb = Image.fromarray(photo())
    for mode in ("RGB", "L", "1", "CMYK", "YCbCr", "HSV"):
        picture = rgb.convert(mode)
        want = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(load_image(picture).image, want)
    for mode in ("RGBA", "LA", "RGBa"):
        picture = Image.fromarray(photo(channels=4)).convert(mode)
        want = np.asarray(picture.convert("RGBA"))
        loaded = load_image(picture)
        np.testing.assert_array_equal(loaded.image, want[..., :3])
        np.testing.assert_array_equal(loaded.source_alpha, want[..., 3])


def test_pil_deep_greys():
    levels = (photo(channels=1).astype(np.uint16) * 257 + 120).clip(0, 65535)
    want = np.rint(levels / 257).astype(np.uint8)
    for array in (levels.astype(np.uint16), levels.astype(np.int32)):
        np.testing.assert_array_equal(load_image(Image.fromarray(array)).image[..., 0], want)
    unit = (levels / 65535).astype(np.float32)
    np.testing.assert_array_equal(load_image(Image.fromarray(unit)).image[..., 0], want)
    with pytest.raises(ImageError, match="given PIL image: 32-bit grey"):
        load_image(Image.fromarray(np.full((2, 2), 70000, np.int32)))
    with pytest.raises(ImageError, match="expected floats"):
        load_image(Image.fromarray(np.full((2, 2), 70, np.float32)))


def test_over_white_shows_white_under_transparency():
    rgba = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 100, 200, 51]]], np.uint8)
    loaded = load_image(rgba)
    np.testing.assert_array_equal(loaded.image, rgba[..., :3])
    assert loaded.over_white().tolist() == [[[255, 255, 255], [10, 20, 30], [204, 224, 244]]]


@given(arrays(np.uint8, (4, 5, 4)))
def test_over_white_rounds_to_nearest(rgba):
    alpha = rgba[..., 3:] / 255
    want = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha))
    np.testing.assert_array_equal(load_image(rgba).over_white(), want)


def test_over_white_of_an_opaque_picture_is_the_image():
    loaded = load_image(photo())
    assert loaded.over_white() is loaded.image
