"""BMP: palettes, 16, 24 and 32 bits, run lengths, top-down, alpha by bit field."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from portrait_sdk.media.container import DamagedError, Decoded
from portrait_sdk.media.pillow import open_checked, split

if TYPE_CHECKING:
    from portrait_sdk.media.container import CheckSize

_OS2_HEADER = 12
_UNCOMPRESSED = (0, 3)
_RUN_LENGTHS = (1, 2)


def read(data: bytes, check: CheckSize) -> Decoded:
    """Decode a BMP file."""
    from PIL.BmpImagePlugin import BmpImageFile

    start, header = struct.unpack_from("<II", data, 10)
    compression = 0
    if header == _OS2_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    if width <= 0 or height == 0:
        raise DamagedError(f"its header claims {width} x {height} pixels")
    check(width, height)
    if compression in _UNCOMPRESSED and start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise DamagedError("it is truncated")
    if compression in _RUN_LENGTHS and not data.endswith(b"\0\1"):
        raise DamagedError("it is truncated: the end of the last run is missing")
    with BmpImageFile(io.BytesIO(data)) as picture:
        colour, alpha = split(open_checked(picture, width, height))
    if alpha is not None and alpha.getextrema() == (0, 0):
        alpha = None  # many writers declare an alpha field and leave it at zero
    return Decoded(colour=colour, alpha=alpha, icc=None, orientation=1)
