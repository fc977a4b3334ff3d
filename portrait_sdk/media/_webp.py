"""WebP: lossy, lossless, with alpha; of an animated one, the first frame."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from portrait_sdk.media.container import DamagedError, Decoded, exif_orientation
from portrait_sdk.media.pillow import open_checked, split

if TYPE_CHECKING:
    from portrait_sdk.media.container import CheckSize


def read(data: bytes, check: CheckSize) -> Decoded:
    """Decode a WebP file."""
    from PIL.WebPImagePlugin import WebPImageFile

    width, height = _size(data)
    check(width, height)
    (riff,) = struct.unpack_from("<I", data, 4)
    if 8 + riff > len(data):
        raise DamagedError("it is truncated")
    icc = None
    orientation = 1
    position = 12
    while position + 8 <= 8 + riff:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length] if kind in (b"ICCP", b"EXIF") else b""
        if kind == b"ICCP":
            icc = body
        elif kind == b"EXIF":
            orientation = exif_orientation(body)
        position += 8 + length + length % 2
    with WebPImageFile(io.BytesIO(data)) as picture:
        colour, alpha = split(open_checked(picture, width, height))
    return Decoded(colour=colour, alpha=alpha, icc=icc or None, orientation=orientation)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, from the first chunk."""
    first = data[12:16]
    if first == b"VP8X":
        (low,) = struct.unpack_from("<Q", data, 22)  # two 24-bit numbers, after two other bytes
        return (low >> 16 & 0xFFFFFF) + 1, (low >> 40 & 0xFFFFFF) + 1
    if first == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if first == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise DamagedError(f"its first chunk is {first!r}")
