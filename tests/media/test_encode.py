"""What is written reads back the same."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from media.pictures import photo
from PIL import Image, JpegImagePlugin

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.media import encode_image, load_image, output_format, save_image


@pytest.mark.parametrize("form", ["png", "webp", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_formats_keep_every_value(form, channels):
    array = photo(channels=channels)
    if channels == 4:
        array[:9, :, 3] = 0  # colours under it stay too
    data = encode_image(array, form)
    with Image.open(io.BytesIO(data)) as picture:  # another reader than ours
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert picture.mode == ("RGB" if (form, mode) == ("webp", "L") else mode)
        np.testing.assert_array_equal(np.asarray(picture.convert(mode)), array)
    loaded = load_image(data)
    np.testing.assert_array_equal(
        loaded.image, array[..., :3] if channels > 1 else np.dstack([array] * 3)
    )


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_sixteen_bit_alpha(form):
    alpha = np.arange(0, 65536, 61, dtype=np.uint16)[:1050].reshape(30, 35)
    data = encode_image(alpha, form)
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), alpha
    )


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_either_byte_order_is_written_alike(form, tmp_path):
    alpha = np.arange(0, 65536, 61, dtype=np.uint16)[:1050].reshape(30, 35)
    swapped = alpha.astype(alpha.dtype.newbyteorder())
    assert not swapped.dtype.isnative
    assert encode_image(swapped, form) == encode_image(alpha, form)
    save_image(swapped, tmp_path / f"a.{form}")
    np.testing.assert_array_equal(
        load_image(tmp_path / f"a.{form}").image, load_image(swapped).image
    )


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_a_numpy_integer_is_a_whole_number(form):
    array = photo()
    quality = np.int64(90)
    assert encode_image(array, form, quality=quality) == encode_image(array, form, quality=90)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close_and_in_the_right_channel_order(channels):
    array = photo(64, 64, channels=channels)
    got = load_image(encode_image(array, "jpeg")).image
    difference = got.astype(int) - (array if channels == 3 else array[..., None])
    assert np.abs(difference).mean() < 3  # quality 95 on noise of standard deviation 3


def test_jpeg_keeps_full_colour_resolution():
    with Image.open(io.BytesIO(encode_image(photo(), "jpeg"))) as picture:
        assert JpegImagePlugin.get_sampling(picture) == 0  # 4:4:4


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_quality_trades_bytes(form):
    array = photo(128, 128)
    assert len(encode_image(array, form, quality=30)) < len(encode_image(array, form, quality=95))


def test_lossy_webp_keeps_alpha():
    rgba = photo(channels=4)
    loaded = load_image(encode_image(rgba, "webp", quality=50))
    np.testing.assert_array_equal(loaded.source_alpha, rgba[..., 3])


def test_strides_do_not_matter():
    rgb = photo()
    for form in ("png", "webp", "tiff"):
        np.testing.assert_array_equal(
            load_image(encode_image(rgb[::-1, ::2], form)).image, rgb[::-1, ::2]
        )


@pytest.mark.parametrize(
    ("shape", "dtype", "form", "options", "message"),
    [
        ((4, 4, 4), np.uint8, "jpeg", {}, r"JPEG has no alpha: choose \.png, \.webp or \.tiff"),
        ((4, 4, 3), np.uint8, "gif", {}, "expected jpeg, png, tiff, webp; got 'gif'"),
        ((4, 4, 3), np.uint8, "png", {"quality": 90}, "png is lossless"),
        ((4, 4, 3), np.uint8, "jpeg", {"quality": 0}, "a whole number from 1 to 100, got 0"),
        ((4, 4, 3), np.uint8, "jpeg", {"quality": 101}, "from 1 to 100, got 101"),
        ((4, 4, 3), np.uint8, "jpeg", {"quality": 50.5}, r"from 1 to 100, got 50\.5"),
        ((4, 4, 3), np.uint8, "webp", {"quality": 50.5}, r"from 1 to 100, got 50\.5"),
        ((4, 4, 3), np.uint8, "jpeg", {"quality": float("nan")}, "got nan"),
        ((4, 4, 3), np.uint8, "webp", {"quality": "90"}, "got '90'"),
        ((4, 4, 3), np.uint8, "jpeg", {"quality": True}, "got True"),
        ((4, 16384), np.uint8, "webp", {}, r"at most 16383 pixels a side, got 16384 x 4"),
    ],
)
def test_what_a_format_cannot_do_is_an_option_error(shape, dtype, form, options, message):
    with pytest.raises(OptionError, match=message):
        encode_image(np.zeros(shape, dtype), form, **options)


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (np.zeros((4, 4), np.float32), "png"),
        (np.zeros((4, 4, 2), np.uint8), "png"),
        (np.zeros((0, 4), np.uint8), "png"),
        (np.zeros((4, 4, 3), np.uint16), "png"),
        (np.zeros((4, 4, 3), ">u2"), "png"),
        (np.zeros((4, 4), ">u4"), "png"),
        (np.zeros((4, 4), np.uint16), "webp"),
        (b"x", "png"),
    ],
)
def test_other_arrays_are_image_errors(array, form):
    with pytest.raises(ImageError, match="array: "):
        encode_image(array, form)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.png", "png"), ("a.b.WEBP", "webp"), ("a.tif", "tiff"), ("a.tiff", "tiff"),
     ("a.jpg", "jpeg"), ("a.JPEG", "jpeg")],
)  # fmt: skip
def test_the_extension_decides(name, form, tmp_path):
    assert output_format(name) == form
    save_image(photo(), tmp_path / name)
    assert load_image(tmp_path / name).format.lower() == form


@pytest.mark.parametrize("name", ["a", "a.gif", ".png"])
def test_an_unknown_extension_is_an_option_error(name):
    with pytest.raises(OptionError, match=r"ends in \.png, \.webp, \.tif, \.tiff, \.jpg, \.jpeg"):
        save_image(photo(), name)


def test_a_format_given_by_name_beats_the_extension(tmp_path):
    save_image(photo(), tmp_path / "a.out", format="webp")
    assert load_image(tmp_path / "a.out").format == "WebP"
