"""PNG files as they are written: whole in structure, and the same to every reader."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.pictures import photo
from PIL import Image

from portrait_sdk.media import encode_image
from portrait_sdk.ops import threads

KINDS = {
    "grey": (1, np.uint8),
    "rgb": (3, np.uint8),
    "rgba": (4, np.uint8),
    "grey16": (1, np.uint16),
}


def picture(kind, height, width, seed=0):
    """Noise over a slope, with plain areas."""
    channels, dtype = KINDS[kind]
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    y, x = np.mgrid[0:height, 0:width]
    array = (y * 3 + x)[..., None] * np.arange(1, channels + 1)
    array = array + rng.integers(0, rng.choice([1, 8, top + 1]), (height, width, channels))
    array[rng.random((height, width)) < 0.3] = 0
    array = (array & top).astype(dtype)
    return array[..., 0] if channels == 1 else array


def chunks(data):
    """Every chunk's name and content; lengths and checksums are checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        (check,) = struct.unpack_from(">I", data, at + 8 + length)
        assert check == zlib.crc32(body)
        found.append((body[:4], body[4:]))
        at += 12 + length
    assert at == len(data)
    return found


def same_to_every_reader(data, array):
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    got = cv2.cvtColor(bgr, order[bgr.shape[2]]) if bgr.ndim == 3 else bgr
    np.testing.assert_array_equal(got, array)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(np.asarray(opened), array)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_any_size_reads_back(kind, height, width, seed):
    array = picture(kind, height, width, seed)
    same_to_every_reader(encode_image(array, "png"), array)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 150_000), (150_000, 1), (3, 99_991), (811, 1237)]
)
def test_lopsided_and_large_sizes_read_back(kind, height, width):
    array = picture(kind, height, width)
    same_to_every_reader(encode_image(array, "png"), array)


@pytest.mark.parametrize("kind", KINDS)
def test_structure_is_whole(kind):
    array = picture(kind, 700, 900)
    channels, dtype = KINDS[kind]
    found = chunks(encode_image(array, "png"))
    names = [name for name, _ in found]
    assert names[0] == b"IHDR"
    assert set(names[1:-1]) == {b"IDAT"}
    assert names[-1] == b"IEND"
    bits, colour = 8 * np.dtype(dtype).itemsize, {1: 0, 3: 2, 4: 6}[channels]
    assert found[0][1] == struct.pack(">IIBBBBB", 900, 700, bits, colour, 0, 0, 0)
    reader = zlib.decompressobj()  # checks Adler-32
    filtered = reader.decompress(b"".join(body for _, body in found[1:-1]))
    assert reader.eof
    assert reader.unused_data == b""
    rows = np.frombuffer(filtered, np.uint8).reshape(700, -1)
    assert rows.shape[1] == 1 + 900 * channels * bits // 8
    assert rows[:, 0].max() <= 4


def test_threads_do_not_change_the_file(monkeypatch):
    array = picture("rgba", 900, 800)
    files = set()
    for count in (1, 2, 5):
        monkeypatch.setenv(threads.VARIABLE, str(count))
        files.add(encode_image(array, "png"))
    assert len(files) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[5:-3, 7:-2],
        lambda a: a[::2, ::3],
        np.asfortranarray,
        lambda a: a.swapaxes(0, 1),
        lambda a: a[:, 4:5],
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: np.broadcast_to(a[:, :1], a.shape),
    ],
)
def test_any_strides_are_written(kind, view):
    array = view(picture(kind, 90, 120))
    array.flags.writeable = False
    same_to_every_reader(encode_image(array, "png"), np.ascontiguousarray(array))


def test_a_window_of_channels_is_written():
    rgba = photo(channels=4)
    same_to_every_reader(encode_image(rgba[..., :3], "png"), np.ascontiguousarray(rgba[..., :3]))
    same_to_every_reader(encode_image(rgba[..., 3], "png"), np.ascontiguousarray(rgba[..., 3]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_picture_is_tiny(kind):
    channels, dtype = KINDS[kind]
    array = np.full((1000, 1000, channels), 200, dtype)
    data = encode_image(array[..., 0] if channels == 1 else array, "png")
    assert (
        len(data) < array.nbytes / 250
    )  # matches are of 258 bytes at most, with rows' ends between


def test_noise_hardly_grows():
    array = np.random.default_rng(0).integers(0, 256, (500, 500, 4), dtype=np.uint8)
    # A byte a row for the filter, 17 a chunk, 6 a block; zlib, without the extension, twice that.
    assert len(encode_image(array, "png")) < 1.002 * array.nbytes


def test_memory_beyond_the_input_is_the_file_twice_and_a_buffer_a_thread(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "2")
    array = np.random.default_rng(0).integers(0, 256, (2000, 2000, 4), dtype=np.uint8)
    encode_image(array[:9], "png")  # what is imported
    tracemalloc.start()
    try:
        data = encode_image(array, "png")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 2 MiB a thread: the compressor's bytes without the extension included.
    assert peak < 2 * len(data) + 2 * 2 * 2**20
