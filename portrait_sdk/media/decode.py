"""From the bytes of a file, or a Pillow image, to an upright sRGB image and its alpha."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from portrait_sdk.errors import ImageError
from portrait_sdk.media import _bmp, _jpeg, _png, _tiff, _webp
from portrait_sdk.media.colour import to_srgb
from portrait_sdk.media.container import (
    SUPPORTED,
    Decoded,
    exif_orientation,
    kind_of,
)
from portrait_sdk.media.pillow import as_array, split

if TYPE_CHECKING:
    from PIL import Image as Pil

    from portrait_sdk.media.limits import Limits
    from portrait_sdk.types import Image, U8Array

READERS = {
    "JPEG": _jpeg.read,
    "PNG": _png.read,
    "WebP": _webp.read,
    "TIFF": _tiff.read,
    "BMP": _bmp.read,
}
"""By the kind of file: from its bytes and what is asked about its size, to its pixels."""


def decode(data: bytes, name: str, limits: Limits) -> tuple[Image, U8Array | None, str]:
    """Decode one encoded picture; returns the image, its alpha if any, and the format's name.

    Raises:
        ImageError: It is empty, damaged, truncated or of another format.
        ImageTooLargeError: Its header claims too many pixels.
    """
    if not data:
        raise ImageError(f"{name}: is empty")
    kind = kind_of(data)
    if kind not in READERS:
        what = "is not a picture of a known kind" if kind is None else f"is {kind}"
        raise ImageError(f"{name}: {what}; expected {SUPPORTED}")
    try:
        decoded = READERS[kind](data, lambda w, h: limits.check_pixels(w, h, name))
        return (*_finish(decoded, name), kind)
    except (ImageError, MemoryError):
        raise
    except (struct.error, IndexError) as error:
        raise ImageError(f"{name}: damaged {kind}: it is truncated") from error
    except Exception as error:  # hostile bytes bring a dozen classes out of the decoders
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: damaged {kind}: {reason}") from error


def from_pil(picture: Pil.Image, limits: Limits) -> tuple[Image, U8Array | None]:
    """Take over a Pillow image: its palette, transparency, profile and, if fresh, orientation.

    Exif's orientation is applied only while the image is as it came from its file (``format`` is
    set): Pillow hands the tag on to rotated copies, where it no longer holds.

    Raises:
        ImageError: Its mode is not supported, or its file turns out to be damaged.
        ImageTooLargeError: Its file, perhaps still to be decoded, claims too many pixels.
    """
    name = "the given PIL image"
    if 0 in picture.size:
        raise ImageError(f"{name}: is empty: {picture.size[0]} x {picture.size[1]} pixels")
    if picture.format is not None:
        limits.check_pixels(*picture.size, name)
    try:
        colour, alpha = split(picture)
        exif = picture.info.get("exif") if picture.format is not None else None
        icc = picture.info.get("icc_profile")
        decoded = Decoded(
            colour=colour,
            alpha=alpha,
            icc=icc if isinstance(icc, bytes) else None,
            orientation=exif_orientation(exif) if isinstance(exif, bytes) else 1,
        )
        return _finish(decoded, name)
    except MemoryError:
        raise
    except Exception as error:  # as above: Pillow decodes on first use
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: {reason}") from error


def _finish(decoded: Decoded, name: str) -> tuple[Image, U8Array | None]:
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(decoded.orientation)
    colour, alpha = to_srgb(decoded.colour, decoded.icc, name), decoded.alpha
    if turn is not None:
        colour = colour.transpose(turn)
        alpha = alpha.transpose(turn) if alpha is not None else None
    return as_array(colour), None if alpha is None else as_array(alpha)
