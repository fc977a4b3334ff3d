"""Writing PNG: filtered and compressed in C, pieces of rows over threads.

A piece is some rows: filtered, compressed to the end of a byte and put into an IDAT chunk of its
own. Together they are one zlib stream. Pieces are the same whatever the number of threads, and so
is the file.

Source: Portable Network Graphics Specification (Third Edition), W3C 2025. RFC 1950 (zlib).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.ops import kernels, threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portrait_sdk.types import U8Array

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGBA
_ZLIB_HEADER = b"\x78\x01"  # window of 32 KiB, fastest level
_ADLER_BASE = 65521
_PIECE_BYTES = 1 << 18  # stays in cache from filter to code; smaller ones gain no time


def png(array: np.ndarray[Any, Any]) -> bytes:
    """Encode uint8 (H, W), (H, W, 3) or (H, W, 4), or uint16 (H, W), of any strides.

    Beside the result it takes as much again until its pieces are joined, and half a megabyte a
    thread (more where a row is longer than a piece).
    """
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim > 2 else 1  # noqa: PLR2004 - with channels
    if array.dtype == np.uint16:
        array = np.ascontiguousarray(array, ">u2").view(np.uint8)
    bits = 8 * array.shape[1] // width if array.ndim == 2 else 8  # noqa: PLR2004
    rows = array.reshape(height, -1)  # a view where a row's values lie side by side
    if rows.strides[1] != 1:
        rows = np.ascontiguousarray(rows)
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
    pieces = _compressed(rows, rows.shape[1] // width)
    return b"".join([_SIGNATURE, _chunk(b"IHDR", header), *pieces, _chunk(b"IEND", b"")])


def _compressed(rows: U8Array, pixel: int) -> list[bytes]:
    """IDAT chunks of an image whose pixels have ``pixel`` bytes."""
    height, row_bytes = len(rows), rows.shape[1] + 1
    step = max(1, _PIECE_BYTES // row_bytes)
    count = -(-height // step)
    chunks = [b""] * count
    checks = [(0, 0)] * count  # of each piece's filtered rows: how many bytes, Adler-32

    def work(numbers: Iterator[int]) -> None:
        filtered = np.empty((min(step, height), row_bytes), np.uint8)
        chunk = bytearray(14 + kernels.deflate_bound(filtered.size))
        target, view = np.frombuffer(chunk, np.uint8), memoryview(chunk)
        for number in numbers:
            here = filtered[: height - number * step]
            kernels.png_filter(rows, number * step, pixel, here)
            data = here.reshape(-1)
            checks[number] = data.size, zlib.adler32(data.data)
            start = 8
            if number == 0:
                chunk[8:10] = _ZLIB_HEADER
                start = 10
            end = start + kernels.deflate(data, target[start:-4], last=number == count - 1)
            struct.pack_into(">I4s", chunk, 0, end - 8, b"IDAT")
            struct.pack_into(">I", chunk, end, zlib.crc32(view[4:end]))
            chunks[number] = bytes(view[: end + 4])

    threads.over_pieces(count, 2 * step * row_bytes, work)
    whole = struct.pack(">I", _adler32(checks))
    chunks[-1] = _chunk(b"IDAT", chunks[-1][8:-4] + whole)
    return chunks


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _adler32(checks: list[tuple[int, int]]) -> int:
    """The checksum of all pieces from theirs: both halves are sums, which start at 1 and 0."""
    low, high = 1, 0
    for size, check in checks:
        high = (high + (check >> 16) + size * (low - 1)) % _ADLER_BASE
        low = (low + (check & 0xFFFF) - 1) % _ADLER_BASE
    return high << 16 | low
