"""JPEG: baseline and progressive; grey, YCbCr, RGB, CMYK and YCCK.

The decoder is Pillow's. OpenCV's takes 45 ms instead of 86 for 12 megapixels, with the same pixels,
but its libjpeg writes "Corrupt JPEG data" to the process's stderr for flaws that cameras leave, and
some releases return what is left of a truncated file in grey.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from portrait_sdk.media.container import DamagedError, Decoded, exif_orientation
from portrait_sdk.media.pillow import open_checked, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portrait_sdk.media.container import CheckSize

_SOS, _EOI = 0xDA, 0xD9
_APP0, _APP1, _APP2, _APP14, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_METADATA = {*range(0xE0, 0xF0), _COM} - {_APP0, _APP14}  # those two tell the colour space
_ICC_NUMBER = 12
"""Where an ICC segment has its number; then follow how many there are, and the profile's bytes."""
_NO_LENGTH = {0x00, 0x01, 0xFF, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def read(data: bytes, check: CheckSize) -> Decoded:
    """Decode the first picture of a JPEG file (the main one, where there are several)."""
    from PIL.JpegImagePlugin import JpegImageFile

    kept = [data[:2]]
    size = None
    orientation = 1
    icc_parts: dict[int, bytes] = {}
    scan = 2
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        scan = end
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", body, 1)
            size = (width, height)
            if 0 in size:
                raise DamagedError(f"its header claims {width} x {height} pixels")
            check(width, height)
        elif marker == _APP1 and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body)
        elif marker == _APP2 and body.startswith(b"ICC_PROFILE\0"):
            number = body[_ICC_NUMBER] if len(body) > _ICC_NUMBER else 0
            icc_parts[number] = body[_ICC_NUMBER + 2 :]
        # Other metadata stays out: the decoder would parse it, and warn, for nothing.
        if marker not in _METADATA:
            kept.append(data[start:end])
    if size is None:
        raise DamagedError("it has no frame header")
    # Inside a scan FF is always escaped, so the marker is there only where the encoder put it.
    if data.find(b"\xff\xd9", scan) < 0:
        raise DamagedError("it is truncated: the end marker is missing")
    kept.append(data[scan:])
    with JpegImageFile(io.BytesIO(b"".join(kept))) as picture:
        colour, alpha = split(open_checked(picture, *size))
    icc = b"".join(icc_parts[i] for i in sorted(icc_parts)) or (b"damaged" if icc_parts else None)
    return Decoded(colour=colour, alpha=alpha, icc=icc, orientation=orientation)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment before the first scan."""
    position = 2
    while True:
        position = data.find(b"\xff", position)  # what lies between segments is skipped, as usual
        if position < 0 or position + 4 > len(data):
            raise DamagedError("it is truncated before its pixels begin")
        marker = data[position + 1]
        if marker in _NO_LENGTH:
            position += 1  # a fill byte, or a marker that stands alone
            continue
        if marker == _EOI:
            raise DamagedError("it holds no picture")
        if marker == _SOS:
            return
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if end > len(data):
            raise DamagedError("it is truncated before its pixels begin")
        yield marker, position, end
        position = end
