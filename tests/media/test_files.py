"""Files of each format, as their encoders write them."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from media.pictures import chunk, encoded, exif, photo, png, tiff
from PIL import Image

from portrait_sdk.errors import ImageError
from portrait_sdk.media import load_image

TURNED = {  # how a viewer shows stored pixels, by Exif's orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
LOSSLESS = {
    "PNG": {},
    "WebP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
}


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_rgb_is_exact(form):
    rgb = photo()
    loaded = load_image(encoded(rgb, form, **LOSSLESS[form]))
    np.testing.assert_array_equal(loaded.image, rgb)
    assert loaded.image.flags.c_contiguous
    assert loaded.source_alpha is None
    assert loaded.format == form


@pytest.mark.parametrize("form", ["PNG", "WebP", "TIFF"])
def test_lossless_alpha_is_straight_and_colours_under_it_are_kept(form):
    rgba = photo(channels=4)
    rgba[:5, :, 3] = 0
    loaded = load_image(encoded(rgba, form, **LOSSLESS[form]))
    np.testing.assert_array_equal(loaded.image, rgba[..., :3])
    np.testing.assert_array_equal(loaded.source_alpha, rgba[..., 3])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_agrees_with_another_decoder(options):
    data = encoded(photo(64, 99), "JPEG", quality=90, **options)
    want = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    got = load_image(data).image
    assert np.abs(got.astype(int) - want).max() <= 1  # both are libjpeg-turbo


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_set_upright(form, orientation):
    rgba = photo(16, 24, channels=3 if form == "JPEG" else 4)
    if form == "TIFF":
        data = encoded(rgba, form, tiffinfo={274: orientation})
    else:
        block = exif(orientation, "<" if orientation % 2 else ">")
        data = encoded(rgba, form, exif=block, **LOSSLESS.get(form, {}))
    plain = load_image(encoded(rgba, form, **LOSSLESS.get(form, {})))
    loaded = load_image(data)
    np.testing.assert_array_equal(loaded.image, TURNED[orientation](plain.image))
    assert loaded.image.flags.c_contiguous
    if form != "JPEG":
        np.testing.assert_array_equal(loaded.source_alpha, TURNED[orientation](rgba[..., 3]))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_exif_does_not_define_is_upright(orientation):
    rgb = photo()
    np.testing.assert_array_equal(
        load_image(encoded(rgb, "PNG", exif=exif(orientation))).image, rgb
    )


def test_broken_exif_is_upright():
    rgb = photo()
    for block in (exif(6)[:20], exif(6)[:16] + b"\xff" * 9, b"Exif\0\0II*\0\xff\xff\xff\xff"):
        np.testing.assert_array_equal(load_image(encoded(rgb, "PNG", exif=block)).image, rgb)


def test_a_fresh_pil_image_is_set_upright_but_a_rotated_copy_is_not_turned_again():
    rgb = photo()
    picture = Image.open(io.BytesIO(encoded(rgb, "PNG", exif=exif(6))))
    np.testing.assert_array_equal(load_image(picture).image, TURNED[6](rgb))
    by_hand = picture.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(load_image(by_hand).image, TURNED[6](rgb))


def test_png_of_every_kind():
    rgb = Image.fromarray(photo())
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        picture = rgb.convert(mode)
        want = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(load_image(encoded(picture, "PNG")).image, want)


def test_palette_with_transparency():
    indices = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    loaded = load_image(encoded(picture, "PNG", transparency=bytes([0, 128, 255])))
    np.testing.assert_array_equal(loaded.image, np.eye(3, dtype=np.uint8)[indices] * 255)
    np.testing.assert_array_equal(loaded.source_alpha, np.array([0, 128, 255])[indices])


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_grey_at_every_depth(depth):
    key = 2**depth - 1 if depth < 16 else 0x1234
    other = 0 if depth < 16 else 0x1235  # the same eight bits
    row = f"{key:0{depth}b}" + f"{other:0{depth}b}" * 15
    pixels = b"\0" + int(row, 2).to_bytes(2 * depth, "big")
    data = png(16, 1, depth, 0, pixels, chunk(b"tRNS", key.to_bytes(2, "big")))
    assert load_image(data).source_alpha.tolist() == [[0] + [255] * 15]


def test_transparent_colour():
    rgb = photo()
    rgb[3, 4] = rgb[0, 0] = (1, 2, 3)
    data = encoded(rgb, "PNG", transparency=(1, 2, 3))
    want = np.where((rgb == (1, 2, 3)).all(2), 0, 255)
    np.testing.assert_array_equal(load_image(data).source_alpha, want)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
@pytest.mark.parametrize("size", [(9, 13), (1, 1), (3, 5)])
def test_interlaced_png(depth, colour_type, size):
    height, width = size
    count = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    deep = photo(*size, channels=4)[..., :count].astype(np.uint16) * (257 if depth == 16 else 1)
    raw = deep.astype(">u2" if depth == 16 else np.uint8)
    rows = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                         (1, 0, 2, 2), (0, 1, 1, 2)):  # fmt: skip
        part = raw[y::dy, x::dx]
        rows += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    data = png(width, height, depth, colour_type, rows)
    header = bytearray(data[16:29])
    header[-1] = 1
    data = data[:8] + chunk(b"IHDR", bytes(header)) + data[33:]
    loaded = load_image(data)
    want = (deep // 257 if depth == 16 else deep).astype(np.uint8)
    colour = want[..., :3] if count > 2 else want[..., [0, 0, 0]]
    np.testing.assert_array_equal(loaded.image, colour)
    if count in (2, 4):
        np.testing.assert_array_equal(loaded.source_alpha, want[..., -1])


def _deep(channels):
    rng = np.random.default_rng(5)
    return rng.integers(0, 65536, (19, 23, channels)).astype(np.uint16)


def _round16(deep):
    return np.rint(deep * (255 / 65535)).astype(np.uint8)


def _check_deep(data, deep):
    loaded, want = load_image(data), _round16(deep)
    count = deep.shape[2]
    colour = want[..., :3] if count > 2 else want[..., [0, 0, 0]]
    np.testing.assert_array_equal(loaded.image, colour)
    if count in (2, 4):
        np.testing.assert_array_equal(loaded.source_alpha, want[..., -1])


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_sixteen_bit_png_is_rounded(colour_type):
    deep = _deep({0: 1, 2: 3, 4: 2, 6: 4}[colour_type])
    rows = b"".join(b"\0" + row.tobytes() for row in deep.astype(">u2"))
    _check_deep(png(23, 19, 16, colour_type, rows), deep)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_sixteen_bit_tiff_is_rounded(channels, compression):
    deep = _deep(channels)
    swapped = deep if channels == 1 else deep[..., [2, 1, 0, 3][:channels]]
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    done, data = cv2.imencode(".tiff", swapped, options)
    assert done
    _check_deep(data.tobytes(), deep)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("predictor", [1, 2])
def test_sixteen_bit_tiff_layouts(order, big, tiled, predictor):
    deep = _deep(4)
    parts = [deep]
    page = {256: [23], 257: [19], 258: [16] * 4, 259: [8], 262: [2], 277: [4], 338: [2]}
    page |= {317: [predictor]}
    if tiled:
        page |= {322: [16], 323: [16]}
        padded = np.pad(deep, ((0, 13), (0, 9), (0, 0)))
        parts = [padded[y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16)]
    if predictor == 2:
        parts = [np.diff(p, axis=1, prepend=np.uint16(0)) for p in parts]
    strips = [zlib.compress(p.astype(order + "u2").tobytes()) for p in parts]
    _check_deep(tiff(page, strips, order, big=big), deep)


def test_sixteen_bit_tiff_in_separate_planes():
    deep = _deep(3)
    page = {256: [23], 257: [19], 258: [16] * 3, 259: [1], 262: [2], 277: [3], 284: [2], 278: [19]}
    strips = [deep[..., k].astype("<u2").tobytes() for k in range(3)]
    _check_deep(tiff(page, strips), deep)


def test_sixteen_bit_tiff_variants():
    grey = _deep(2)
    size = {256: [23], 257: [19], 259: [1]}
    white_is_zero = tiff({**size, 258: [16], 262: [0]}, [grey[..., 0].tobytes()])
    np.testing.assert_array_equal(
        load_image(white_is_zero).image[..., 0], _round16(65535 - grey[..., 0])
    )
    with_alpha = {**size, 258: [16] * 2, 262: [1], 277: [2], 338: [2]}
    _check_deep(tiff(with_alpha, [grey.tobytes()]), grey)
    cmyk = _deep(4)
    page = {**size, 258: [16] * 4, 262: [5], 277: [4]}
    inks = _round16(cmyk)
    want = np.asarray(Image.frombytes("CMYK", (23, 19), inks.tobytes()).convert("RGB"))
    np.testing.assert_array_equal(load_image(tiff(page, [cmyk.tobytes()])).image, want)


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_tiff_becomes_straight(bits):
    full = 2**bits - 1
    straight = _deep(4) // (257 if bits == 8 else 1)
    straight[..., 3] = np.maximum(straight[..., 3], full // 2)
    weighted = straight.copy()
    weighted[..., :3] = np.rint(straight[..., :3] * (straight[..., 3:] / full))
    page = {256: [23], 257: [19], 258: [bits] * 4, 259: [1], 262: [2], 277: [4], 338: [1]}
    loaded = load_image(tiff(page, [weighted.astype(f"u{bits // 8}").tobytes()]))
    want = np.rint(straight * (255 / full))
    tolerance = 2 if bits == 8 else 1  # undoing a rounded product at alpha >= 1/2
    assert np.abs(loaded.image - want[..., :3]).max() <= tolerance
    np.testing.assert_array_equal(loaded.source_alpha, want[..., 3])


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]
)
def test_eight_bit_tiff(compression):
    rgb = photo(64, 80)
    got = load_image(encoded(rgb, "TIFF", compression=compression)).image
    if compression == "jpeg":
        assert np.abs(got.astype(int) - rgb).mean() < 4  # default quality on a noisy picture
    else:
        np.testing.assert_array_equal(got, rgb)


def test_first_page_of_several():
    first, second = Image.fromarray(photo(seed=1)), Image.fromarray(photo(seed=2))
    data = encoded(first, "TIFF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(load_image(data).image, photo(seed=1))


@pytest.mark.parametrize(("form", "options"), [("WebP", {"lossless": True}), ("PNG", {})])
def test_first_frame_of_an_animation(form, options):
    first, second = Image.fromarray(photo(seed=1)), Image.fromarray(photo(seed=2))
    data = encoded(first, form, save_all=True, append_images=[second], duration=50, **options)
    np.testing.assert_array_equal(load_image(data).image, photo(seed=1))


def test_unusual_tiff_samples_are_refused():
    size = {256: [4], 257: [4], 259: [1], 262: [1]}
    for bits, form in ((32, 1), (12, 1), (16, 2), (64, 3)):
        data = tiff({**size, 258: [bits], 339: [form]}, [bytes(256)])
        with pytest.raises(ImageError, match=f"samples have {bits} bits in format {form}"):
            load_image(data)


def test_float_tiff_in_the_unit_range():
    unit = photo(channels=1).astype(np.float32) / 255
    got = load_image(encoded(unit, "TIFF")).image
    np.testing.assert_array_equal(got[..., 0], photo(channels=1))


def bmp32(rgba, *, top_down=False):
    height, width = rgba.shape[:2]
    body = rgba[..., [2, 1, 0, 3]][slice(None, None, 1 if top_down else -1)].tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, width, -height if top_down else height, 1, 32, 3,
                         len(body), 0, 0, 0, 0)  # fmt: skip
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"sRGB" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 122 + len(body), 0, 0, 122) + header + body


@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_with_alpha(top_down):
    rgba = photo(channels=4)
    loaded = load_image(bmp32(rgba, top_down=top_down))
    np.testing.assert_array_equal(loaded.image, rgba[..., :3])
    np.testing.assert_array_equal(loaded.source_alpha, rgba[..., 3])
    rgba[..., 3] = 0  # declared, never filled in
    assert load_image(bmp32(rgba)).source_alpha is None


def test_bmp_palettes_and_greys():
    rgb = Image.fromarray(photo())
    for mode in ("1", "L", "P"):
        picture = rgb.convert(mode)
        want = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(load_image(encoded(picture, "BMP")).image, want)


def test_sources_agree(tmp_path):
    data = encoded(photo(), "PNG")
    path = tmp_path / "a photo.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [str(path), path, data, bytearray(data), memoryview(data), io.BytesIO(data), file]
        for source in sources:
            np.testing.assert_array_equal(load_image(source).image, photo())


def test_a_file_object_is_read_from_where_it_stands_in_any_portions():
    class Slow(io.RawIOBase):
        def __init__(self, data):
            self._file = io.BytesIO(data)

        def read(self, size=-1):
            return self._file.read(min(size, 7))

    file = io.BytesIO(b"prefix" + encoded(photo(), "PNG"))
    file.seek(6)
    np.testing.assert_array_equal(load_image(file).image, photo())
    np.testing.assert_array_equal(load_image(Slow(encoded(photo(), "PNG"))).image, photo())


def test_a_name_that_is_not_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\n.png"
    with open(path, "wb") as file:  # noqa: PTH123 - a bytes path
        file.write(encoded(photo(), "PNG"))
    np.testing.assert_array_equal(load_image(os.fsdecode(path)).image, photo())


def _one_line(source, match):
    with pytest.raises(ImageError, match=match) as caught:
        load_image(source)
    assert len(str(caught.value).splitlines()) == 1


def test_unreadable_sources_are_named(tmp_path):
    _one_line(tmp_path / "none\n.png", r"none\\n\.png': no such file")
    _one_line(tmp_path, "expected a picture, got a folder")
    _one_line("a\0b.png", r"'a\\x00b\.png': cannot be a file name")
    (tmp_path / "empty.png").touch()
    _one_line(tmp_path / "empty.png", "is empty")
    _one_line(tmp_path / "empty.png" / "x", "cannot be read: Not a directory")
    _one_line(b"", "given bytes: is empty")
    _one_line(io.StringIO("text"), "opened as text; use 'rb'")
    closed = io.BytesIO(b"x")
    closed.close()
    _one_line(closed, "cannot be read: I/O operation on closed file")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_read_that_fails_is_named():
    _one_line("/proc/self/mem", "cannot be read: Input/output error")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"GIF89a\1\0\1\0", "GIF"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypisom", "MP4 video"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "SVG"),
        (b"\xef\xbb\xbf <!DOCTYPE html><html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"RIFF\0\0\0\0AVI ", "RIFF"),
    ],
)
def test_other_formats_are_named(start, kind):
    _one_line(start.ljust(64, b"\0"), f"is {kind}; expected JPEG, PNG, WebP, TIFF or BMP")


def test_unknown_bytes_are_refused():
    _one_line(b"hello", "is not a picture of a known kind; expected JPEG")


def test_codecs_are_loaded_only_when_used():
    code = "import sys, portrait_sdk.media; print({'cv2', 'PIL'} & set(sys.modules))"
    root = Path(sys.modules["portrait_sdk"].__file__).parents[1]
    got = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True, cwd=root
    )
    assert got.stdout == "set()\n"
