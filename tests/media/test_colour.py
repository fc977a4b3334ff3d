"""Embedded profiles are converted to sRGB, against numbers worked out from their definition."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from media.pictures import (
    ADOBE_D50,
    SRGB_D50,
    cmyk_profile,
    encoded,
    grey_profile,
    photo,
    rgb_profile,
    srgb_encode,
)
from PIL import Image, ImageCms

from portrait_sdk.media import colour, load_image

SWAPPED = SRGB_D50[:, ::-1]  # what it calls red is sRGB's blue


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def through(matrix, gamma, levels):
    """What a matrix profile's levels are in sRGB, unrounded, by its definition."""
    linear = (levels / 255) ** gamma
    return srgb_encode(linear @ (np.linalg.inv(SRGB_D50) @ matrix).T)


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("TIFF", {}), ("WebP", {"lossless": True}), ("JPEG", {"quality": 100})],
)
@pytest.mark.parametrize(("matrix", "gamma"), [(ADOBE_D50, 563 / 256), (SRGB_D50, 1.0)])
def test_matrix_profiles_follow_their_definition(form, options, matrix, gamma):
    rgb = (photo() // 2) + 64
    icc = rgb_profile(matrix, gamma)
    stored = load_image(encoded(rgb, form, **options)).image
    got = load_image(encoded(rgb, form, icc_profile=icc, **options)).image
    # 2: littleCMS computes 8-bit matrix profiles in 1.14 fixed point, and both ends are rounded.
    assert np.abs(got - through(matrix, gamma, stored)).max() < 2
    assert np.abs(got.astype(int) - stored).max() > 5


def test_swapped_primaries_swap_channels():
    rgb = photo()
    # Decoded with gamma 2.2, which differs from sRGB's curve, by definition as above.
    got = load_image(encoded(rgb, "PNG", icc_profile=rgb_profile(SWAPPED, 2.2))).image
    assert np.abs(got - through(SRGB_D50, 2.199, rgb)[..., ::-1]).max() < 2.5


def test_alpha_is_not_touched_by_a_profile():
    rgba = photo(channels=4)
    data = encoded(rgba, "PNG", icc_profile=rgb_profile(ADOBE_D50, 2.2))
    np.testing.assert_array_equal(load_image(data).source_alpha, rgba[..., 3])


def test_grey_profiles_follow_their_definition():
    grey = photo(channels=1)
    got = load_image(encoded(grey, "PNG", icc_profile=grey_profile(1.0))).image
    assert np.abs(got[..., 0] - srgb_encode(grey / 255)).max() < 2
    assert (got == got[..., :1]).all()


def test_grey_with_an_rgb_profile_is_converted_as_neutral_rgb():
    grey = photo(channels=1)
    got = load_image(encoded(grey, "PNG", icc_profile=rgb_profile(ADOBE_D50, 1.0))).image
    assert np.abs(got - srgb_encode(grey / 255)[..., None]).max() < 2


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_srgb_profile_changes_nothing_and_is_not_applied(form, monkeypatch):
    rgb = photo()
    plain = load_image(encoded(rgb, form)).image
    icc = srgb_profile()
    sizes = []
    apply = colour._apply
    monkeypatch.setattr(colour, "_apply", lambda im, t: sizes.append(im.size) or apply(im, t))
    np.testing.assert_array_equal(load_image(encoded(rgb, form, icc_profile=icc)).image, plain)
    assert sizes == [(17**3, 1)]  # the grid that tells, and not the picture


CORNERS = [  # Lab of an invented press: C, M, Y, K from slow to fast
    (max(5, 95 - 25 * c - 30 * m - 8 * y) * (1 - 0.95 * k), *((-30 * c + 60 * m) * (1 - k),
     (-35 * c - 5 * m + 80 * y) * (1 - k)))
    for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
]  # fmt: skip


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_profiles_decide_what_inks_look_like(form):
    corners = np.array(np.meshgrid(*[[0, 255]] * 4, indexing="ij")).reshape(4, 16).T
    patches = np.repeat(np.repeat(corners.reshape(4, 4, 4), 8, 0), 8, 1).astype(np.uint8)
    picture = Image.frombytes("CMYK", (32, 32), patches.tobytes())
    icc = cmyk_profile(CORNERS)
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    got = load_image(encoded(picture, form, icc_profile=icc, **options)).image
    want = ImageCms.applyTransform(
        picture,
        ImageCms.buildTransform(
            io.BytesIO(icc), ImageCms.createProfile("sRGB"), "CMYK", "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
        ),
    )  # fmt: skip
    # 3: a quality of 100 still moves an ink by a level or so.
    assert np.abs(got.astype(int) - np.asarray(want))[2::4, 2::4].max() <= (3 * (form == "JPEG"))
    paper, black = got[4, 4], got[4, 12]  # no ink; K alone
    assert paper.min() >= 250  # relative colorimetric: paper is white
    assert black.max() <= 30


def test_cmyk_jpeg_of_photoshop_is_not_negative():
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0], inks[..., 3] = 255, 51
    picture = Image.frombytes("CMYK", (16, 16), inks.tobytes())
    data = encoded(picture, "JPEG", quality=100)  # Pillow writes it as Adobe does: inverted
    assert b"Adobe" in data
    got = load_image(data).image
    assert np.abs(got.astype(int) - (0, 204, 204)).max() <= 2  # (255 - C) (255 - K) / 255


def test_lab_tiff():
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[..., 0], lab[..., 1:] = 255, 0
    lab[2:, :, 0] = 0
    picture = Image.frombytes("LAB", (4, 4), lab.tobytes())
    got = load_image(encoded(picture, "TIFF")).image
    assert got[0, 0].min() >= 254
    assert got[3, 3].max() <= 1


@pytest.mark.parametrize(
    "icc",
    [b"not a profile", srgb_profile()[:200], grey_profile(2.2), cmyk_profile(CORNERS), bytes(999)],
    ids=["text", "truncated", "grey", "cmyk", "zeros"],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_profile_that_is_no_good_is_ignored_with_a_warning(icc, form, caplog):
    rgb = photo()
    plain = load_image(encoded(rgb, form)).image
    with caplog.at_level(logging.WARNING, "portrait_sdk"):
        got = load_image(encoded(rgb, form, icc_profile=icc)).image
    np.testing.assert_array_equal(got, plain)
    (record,) = caplog.records
    assert record.getMessage().startswith("the given bytes: its colour profile is ignored: ")
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("rest", [b"", b"\1", b"\1\1"], ids=["bare", "number", "no-bytes"])
def test_a_jpeg_profile_segment_without_a_profile_is_ignored_with_a_warning(rest, caplog):
    data = encoded(photo(), "JPEG")
    body = b"ICC_PROFILE\0" + rest
    segment = b"\xff\xe2" + (len(body) + 2).to_bytes(2, "big") + body
    with caplog.at_level(logging.WARNING, "portrait_sdk"):
        got = load_image(data[:2] + segment + data[2:]).image
    np.testing.assert_array_equal(got, load_image(data).image)
    (record,) = caplog.records
    assert record.getMessage().startswith("the given bytes: its colour profile is ignored: ")


def test_a_long_profile_in_several_jpeg_segments():
    rgb = photo()
    icc = rgb_profile(ADOBE_D50, 2.2)
    padded = (len(icc) + 100_000).to_bytes(4, "big") + icc[4:] + bytes(100_000)
    got = load_image(encoded(rgb, "JPEG", icc_profile=padded)).image
    np.testing.assert_array_equal(got, load_image(encoded(rgb, "JPEG", icc_profile=icc)).image)


def test_a_pil_image_brings_its_profile():
    rgb = photo()
    data = encoded(rgb, "PNG", icc_profile=rgb_profile(ADOBE_D50, 2.2))
    picture = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(load_image(picture).image, load_image(data).image)
