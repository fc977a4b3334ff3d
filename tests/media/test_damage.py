"""Truncated, corrupt and oversized files: refused in one line, before memory is taken."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media.pictures import SRGB_D50, chunk, encoded, photo, png, rgb_profile, tiff
from PIL import Image, ImageFile

from portrait_sdk.errors import ImageError, ImageTooLargeError, OptionError
from portrait_sdk.media import Limits, load_image


def _deep(form, channels):
    deep = photo(channels=channels).astype(np.uint16) * 257
    return cv2.imencode(form, deep)[1].tobytes()


def _rle_bmp():
    rows = b"".join(bytes([8, k, 0, 0]) for k in range(8)) + b"\0\1"
    palette = b"".join(bytes([k, 255 - k, 7, 0]) for k in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


FILES = {
    "jpeg": encoded(photo(), "JPEG"),
    "jpeg-progressive": encoded(photo(), "JPEG", progressive=True),
    "jpeg-grey": encoded(photo(channels=1), "JPEG"),
    "jpeg-cmyk": encoded(Image.fromarray(photo()).convert("CMYK"), "JPEG"),
    "jpeg-restarts": encoded(photo(), "JPEG", restart_marker_rows=1),
    "png": encoded(photo(channels=4), "PNG", icc_profile=rgb_profile(SRGB_D50, 1.8)),
    "png-palette": encoded(Image.fromarray(photo()).convert("P"), "PNG"),
    "png-16": _deep(".png", 3),
    "webp": encoded(photo(), "WebP"),
    "webp-lossless": encoded(photo(channels=4), "WebP", lossless=True),
    "webp-alpha": encoded(photo(channels=4), "WebP"),
    "tiff": encoded(photo(), "TIFF"),
    "tiff-lzw": encoded(photo(channels=4), "TIFF", compression="tiff_lzw"),
    "tiff-deflate": encoded(photo(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-jpeg": encoded(photo(), "TIFF", compression="jpeg"),
    "tiff-16": _deep(".tiff", 3),
    "bmp": encoded(photo(), "BMP"),
    "bmp-rle": _rle_bmp(),
}


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(name):
    load_image(FILES[name])


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused_or_the_same_picture(name, lenient, monkeypatch, capfd):
    """Never a half-grey one, not even in an application that has told Pillow to be lenient."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    data = FILES[name]
    whole = load_image(data)
    step = max(1, len(data) // 60)
    for end in {*range(1, len(data), step), *range(max(1, len(data) - 12), len(data))}:
        try:
            part = load_image(data[:end])
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        np.testing.assert_array_equal(part.image, whole.image, err_msg=f"cut at {end}")
        np.testing.assert_array_equal(part.source_alpha, whole.source_alpha)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_corrupt_file_is_a_picture_or_an_image_error(name, changes):
    data = bytearray(FILES[name])
    for where, value in changes:
        data[int(where**3 * (len(data) - 1))] = value  # mostly near the start, where headers are
    try:
        loaded = load_image(bytes(data), limits=Limits(max_pixels=100_000))
    except ImageError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert loaded.image.dtype == np.uint8
        assert loaded.image.shape[2] == 3


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0", b"MM\0*", b"BM",
                     b"II+\0\x08\0\0\0", b"RIFF\xff\0\0\0WEBPVP8L", b"RIFF\xff\0\0\0WEBP"]),
    st.binary(max_size=200),
)  # fmt: skip
def test_noise_after_a_right_start_is_an_image_error(start, rest):
    with pytest.raises(ImageError):
        load_image(start + rest, limits=Limits(max_pixels=10_000))


def _claims(form, width, height):
    """A file whose header claims a size that its few bytes do not hold."""
    if form == "PNG":
        return png(width, height, 8, 6, b"")
    if form == "JPEG":
        data = FILES["jpeg"]
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
    if form == "BMP":
        return FILES["bmp"][:18] + struct.pack("<ii", width, height) + FILES["bmp"][26:]
    if form == "WebP":
        bits = (width - 1) | (height - 1) << 14
        return FILES["webp-lossless"][:21] + struct.pack("<I", bits) + bytes(99)
    data = FILES["tiff"]
    for tag, value in ((256, width), (257, height)):
        at = data.index(struct.pack("<HH", tag, 4) + b"\1\0\0\0") + 8
        data = data[:at] + struct.pack("<I", value) + data[at + 4 :]
    return data


@pytest.mark.parametrize(
    ("form", "width", "height"),
    [
        ("PNG", 60000, 60000),
        ("JPEG", 60000, 60000),
        ("BMP", 60000, -60000),
        ("TIFF", 60000, 60000),
        ("WebP", 16384, 16384),
    ],
)
def test_a_bomb_is_refused_from_its_header_without_memory(form, width, height):
    data = _claims(form, width, height)
    load_image(FILES["png"])  # whatever is imported and cached is so before counting
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooLargeError) as caught:
            load_image(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert str(caught.value) == (
        f"the given bytes: its header claims {width} x {abs(height)} = {width * abs(height):,}"
        " pixels, more than the limit of 178,956,970; Limits(max_pixels=...) raises it"
    )


def test_the_pixel_limit_is_exact_and_counts_for_files_alone():
    rgb = photo(10, 10)
    data = encoded(rgb, "PNG")
    assert load_image(data, limits=Limits(max_pixels=100)).image.shape == (10, 10, 3)
    with pytest.raises(ImageTooLargeError, match="10 x 10 = 100 pixels"):
        load_image(data, limits=Limits(max_pixels=99))
    assert load_image(data, limits=Limits(max_pixels=None, max_bytes=None)).format == "PNG"
    assert load_image(rgb, limits=Limits(max_pixels=1)).image.shape == (10, 10, 3)


@pytest.mark.parametrize("max_pixels", [0, -1])
def test_impossible_limits_are_an_option_error(max_pixels):
    with pytest.raises(OptionError, match="max_pixels: expected at least 1"):
        Limits(max_pixels=max_pixels)


def test_the_byte_limit_is_exact_for_every_source(tmp_path):
    data = encoded(photo(), "PNG")
    path = tmp_path / "x.png"
    path.write_bytes(data)
    for source in (path, data, memoryview(data)):
        load_image(source, limits=Limits(max_bytes=len(data)))
        with pytest.raises(
            ImageTooLargeError, match=f"more bytes than the limit of {len(data) - 1:,}"
        ):
            load_image(source, limits=Limits(max_bytes=len(data) - 1))


def test_no_more_than_a_byte_past_the_limit_is_read():
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            self.taken += size
            return bytes(size)

    file = Endless()
    with pytest.raises(ImageTooLargeError):
        load_image(file, limits=Limits(max_bytes=3_000_000))
    assert file.taken == 3_000_001


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_text_and_profile_bombs_in_png_are_not_unpacked(kind):
    bomb = b"name\0\0" + zlib.compress(bytes(64 * 2**20), 9)
    data = png(1, 1, 8, 2, bytes(4), chunk(kind, bomb))
    load_image(png(1, 1, 8, 2, bytes(4)))
    tracemalloc.start()
    try:
        assert load_image(data).image.shape == (1, 1, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20  # a profile may have 16 MiB, copied once


def test_a_deep_png_whose_pixels_end_early_is_refused():
    short = png(4, 4, 16, 2, (b"\0" + bytes(4 * 3 * 2)) * 3)
    with pytest.raises(ImageError, match="damaged PNG: its pixel data end early"):
        load_image(short)


def test_a_png_with_two_headers_is_refused():
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 6, 0, 0, 0)
    with pytest.raises(ImageError, match="two headers"):
        load_image(png(1, 1, 8, 2, bytes(4), chunk(b"IHDR", header)))


def test_a_wrong_checksum_is_refused():
    data = bytearray(FILES["png"])
    data[data.index(b"IDAT") + 20] ^= 1
    with pytest.raises(ImageError, match="the checksum of b'IDAT' is wrong"):
        load_image(bytes(data))


def _deep_png(*, first=0, last=0, extra=b"", tail=b"", cut=0, header=None, before=b"", ending=b""):
    """A 16-bit RGB PNG with one thing wrong; by default sound. Its deflated window is 512 bytes."""
    rows = photo(40, 30).astype(">u2") * 257
    filters = [first, *[0] * 38, last]
    raw = b"".join(bytes([f]) + row.tobytes() for f, row in zip(filters, rows, strict=True))
    packer = zlib.compressobj(9, zlib.DEFLATED, 9)
    packed = packer.compress(raw + extra) + packer.flush()
    packed = packed[: len(packed) - cut] + tail
    header = struct.pack(">IIBBBBB", 30, 40, *(header or (16, 2, 0, 0, 0)))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), before, chunk(b"IDAT", packed[:100]),
         chunk(b"IDAT", packed[100:]), chunk(b"IEND", ending)]
    )  # fmt: skip


PALETTE = chunk(b"PLTE", bytes(range(48)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_deep_png(first=5), "a row has filter 5"),
        (_deep_png(last=255), "a row has filter 255"),
        (_deep_png(header=(16, 3, 0, 0, 0), before=PALETTE), "its header is impossible"),
        (_deep_png(header=(16, 2, 1, 0, 0)), "its header is impossible"),
        (_deep_png(header=(16, 2, 0, 1, 0)), "its header is impossible"),
        (_deep_png(header=(16, 2, 0, 0, 2)), "its header is impossible"),
        (_deep_png(header=(12, 2, 0, 0, 0)), "its header is impossible"),
        (_deep_png(header=(4, 2, 0, 0, 0)), "its header is impossible"),
        (_deep_png(header=(0, 0, 0, 0, 0)), "its header is impossible"),
        (_deep_png(extra=b"x"), "more pixel data than"),
        (_deep_png(extra=bytes(2**21)), "more pixel data than"),
        (_deep_png(tail=b"x"), "more pixel data than"),
        (_deep_png(cut=1), "its pixel data end early"),
        (_deep_png(cut=9), "its pixel data end early"),
        (_deep_png(cut=4, tail=b"abcd"), "incorrect data check"),
        (png(1_000_001, 1, 16, 0, bytes(2_000_003)), "a side"),
    ],
)
def test_a_damaged_deep_png_is_refused_and_nothing_is_printed(data, message, capfd):
    with pytest.raises(ImageError, match=message):
        load_image(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("filter_byte", [4, 5])
def test_every_row_of_a_deep_png_is_looked_at(filter_byte, interlaced, capfd):
    """Each of an interlaced picture's seven passes has rows of its own length."""
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                  (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip
    lengths = [len(range(x, 11, dx)) * 2 for x, y, dx, dy in passes for _ in range(y, 13, dy)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 11, 13, 16, 0, 0, 0, interlaced))
    for bad in range(len(lengths)):
        raw = b"".join(
            bytes([filter_byte if k == bad else 0]) + bytes(n) for k, n in enumerate(lengths)
        )
        data = png(11, 13, 16, 0, raw)
        data = data[:8] + header + data[33:]
        if filter_byte == 5:
            with pytest.raises(ImageError, match="a row has filter 5"):
                load_image(data)
        else:
            assert not load_image(data).image.any()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data",
    [_deep_png(), _deep_png(before=PALETTE), _deep_png(before=chunk(b"PLTE", b"xx")),
     _deep_png(before=PALETTE * 2), _deep_png(ending=b"x")],
    ids=["sound", "palette", "odd-palette", "two-palettes", "long-end"],
)  # fmt: skip
def test_what_a_deep_png_does_not_need_is_not_looked_at(data, capfd):
    np.testing.assert_array_equal(load_image(data).image, photo(40, 30))
    assert capfd.readouterr() == ("", "")


def test_tiles_far_larger_than_the_picture_are_refused():
    page = {256: [4], 257: [4], 258: [8], 259: [8], 262: [1], 322: [60000], 323: [60000]}
    with pytest.raises(ImageError, match="tiles of 3,600,000,000 pixels do not fit"):
        load_image(tiff(page, [b"x"]))


@pytest.mark.parametrize("name", FILES)
def test_pillows_own_size_warning_is_not_ours(name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 36 - 1)  # it warns up to twice that
    load_image(FILES[name])


def test_a_pil_image_is_judged_before_it_is_decoded():
    picture = Image.open(io.BytesIO(FILES["png"]))
    with pytest.raises(ImageTooLargeError, match="given PIL image: its header claims 36 x 24"):
        load_image(picture, limits=Limits(max_pixels=863))


def test_a_pil_image_whose_file_is_truncated_is_an_image_error():
    picture = Image.open(io.BytesIO(FILES["jpeg"][:-9]))
    with pytest.raises(ImageError, match="given PIL image: image file is truncated"):
        load_image(picture)


def test_tags_with_too_many_values_bring_no_warning():
    page = {256: [4, 9, 9], 257: [4, 1], 258: [8], 259: [1, 1, 1], 262: [1, 2], 277: [1, 1]}
    assert load_image(tiff(page, [bytes(range(16))])).image[1, 2].tolist() == [6, 6, 6]


def test_threads_do_not_disturb_each_other():
    want = {name: load_image(data).image for name, data in FILES.items()}

    def read(name):
        np.testing.assert_array_equal(load_image(FILES[name]).image, want[name])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [*FILES] * 8))
