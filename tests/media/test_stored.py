"""What files store, unconverted: for mattes, masks and numbers of classes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from media.pictures import encoded, exif, grey_profile, photo
from PIL import Image

from portrait_sdk.errors import ImageError
from portrait_sdk.media import Limits, encode_image, load_image, load_stored


def test_sixteen_bits_stay_sixteen(tmp_path):
    levels = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    (tmp_path / "a.png").write_bytes(encode_image(levels, "png"))
    stored = load_stored(tmp_path / "a.png")
    np.testing.assert_array_equal(stored.levels, levels)
    assert stored.levels.dtype == np.uint16
    assert stored.alpha is None
    assert not stored.indexed


def test_a_palettes_numbers_stay_numbers(tmp_path):
    numbers = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = Image.fromarray(numbers)
    picture.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    picture.save(tmp_path / "m.png")
    stored = load_stored(tmp_path / "m.png")
    np.testing.assert_array_equal(stored.levels, numbers)
    assert stored.indexed
    assert load_image(tmp_path / "m.png").image[0, 1].tolist() == [200, 0, 0]


@pytest.mark.parametrize("form", ["PNG", "WebP", "TIFF"])
def test_alpha_lies_beside_colours(tmp_path, form):
    rgba = photo(channels=4)
    options = {"WebP": {"lossless": True, "exact": True}}.get(form, {})
    (tmp_path / "a").write_bytes(encoded(rgba, form, **options))
    stored = load_stored(tmp_path / "a")
    np.testing.assert_array_equal(stored.levels, rgba[..., :3])
    np.testing.assert_array_equal(stored.alpha, rgba[..., 3])


def test_profiles_are_not_applied_to_levels(tmp_path):
    """A grey profile bends tones; an alpha of 128 is 128."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "a.png").write_bytes(encoded(levels, "PNG", icc_profile=grey_profile(1.0)))
    np.testing.assert_array_equal(load_stored(tmp_path / "a.png").levels, levels)
    assert (load_image(tmp_path / "a.png").image[..., 0] != levels).mean() > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_levels_lie_as_the_picture_does(tmp_path, form, orientation):
    grey = photo()[..., 0]
    (tmp_path / "a").write_bytes(encoded(grey, form, exif=exif(orientation)))
    picture = load_image(tmp_path / "a").image[..., 0]
    np.testing.assert_array_equal(load_stored(tmp_path / "a").levels, picture)


def test_damage_and_limits_are_named(tmp_path):
    data = encoded(photo(), "PNG")
    (tmp_path / "cut.png").write_bytes(data[:-30])
    with pytest.raises(ImageError, match=r"cut.png': damaged PNG: it is truncated"):
        load_stored(tmp_path / "cut.png")
    (tmp_path / "whole.png").write_bytes(data)
    with pytest.raises(ImageError, match="more than the limit of 10"):
        load_stored(tmp_path / "whole.png", limits=Limits(max_pixels=10))
    Image.new("CMYK", (4, 4)).save(tmp_path / "c.tif")
    with pytest.raises(ImageError, match="its colours are CMYK, expected grey or RGB"):
        load_stored(tmp_path / "c.tif")


def test_a_picture_loads_while_another_thread_imports_pillow():
    """The module is there and its classes not yet."""
    code = (
        "import sys, types\n"
        "sys.modules['PIL.Image'] = types.ModuleType('PIL.Image')\n"
        "from portrait_sdk.media.load import load_image\n"
        "try:\n    load_image('none.png')\n"
        "except ValueError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no such file" in done.stdout
