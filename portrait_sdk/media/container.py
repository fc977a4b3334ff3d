"""What the five file readers share: their result, their error, the kind of a file, orientation."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL import Image as Pil

CheckSize: TypeAlias = Callable[[int, int], None]
"""Called with (width, height) from the header; raises where that is too much."""

SUPPORTED = "JPEG, PNG, WebP, TIFF or BMP"


class DamagedError(Exception):
    """A file contradicts its own format; ``decode`` adds the file's name and raises ImageError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One decoded file, before its colours become sRGB and it is set upright."""

    colour: Pil.Image
    """Mode L, RGB, CMYK or LAB, eight bits."""
    alpha: Pil.Image | None
    """Mode L, straight; None without an alpha channel."""
    icc: bytes | None
    """The embedded profile, unchecked."""
    orientation: int
    """Exif's, 1 to 8; 1 is upright."""


_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"\0\0\1\0", "ICO"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (b"version https://git-lfs", "Git LFS pointer"),
)
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "CR3",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
}
_MARKUP = ((b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<?xml", "XML"))


def kind_of(data: bytes) -> str | None:
    """Name the kind of file by its first bytes; None where they are not known."""
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else "RIFF"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "MP4 video")
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, kind in _MARKUP:
        if text.startswith(mark):
            return "SVG" if b"<svg" in text else kind
    return None


def exif_orientation(exif: bytes) -> int:
    """Read Orientation (tag 274) from the first directory of an Exif block; 1 where it has none.

    Read here and not by Pillow, whose Exif reader warns, through the process-wide ``warnings``, on
    blocks as cameras write them.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for i in range(count):
            tag, kind, n, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * i)
            if (tag, kind, n) == (0x0112, 3, 1):
                return upright_or(value)
    except struct.error:
        pass
    return 1


def upright_or(orientation: int) -> int:
    """``orientation`` where Exif defines it, else 1."""
    return orientation if 1 <= orientation <= 8 else 1  # noqa: PLR2004 - Exif's eight
