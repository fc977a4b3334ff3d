"""TIFF and BigTIFF: the first page, in strips or tiles, with any compression Pillow has.

Pillow is given the file with a new directory at its end that holds only the tags which describe
pixels. So it warns about nothing (its warnings are process-wide), follows no further page, and
turns nothing upright on its own.

Sixteen-bit colour: Pillow would keep the upper bytes alone. The new directory therefore declares
twice as many 8-bit columns, which decompress to the same bytes, and they are put together here.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk.media.container import DamagedError, Decoded, upright_or
from portrait_sdk.media.pillow import from_u16, open_checked, split
from portrait_sdk.media.samples import to_u8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image as Pil

    from portrait_sdk.media.container import CheckSize

    _Split: TypeAlias = tuple[Pil.Image, Pil.Image | None]
    _U16: TypeAlias = np.ndarray[Any, np.dtype[np.uint16]]

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIPS, ORIENTATION = 273, 274
SAMPLES, STRIP_BYTES, PLANAR, PREDICTOR = 277, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, FORMAT, ICC = 322, 323, 324, 325, 338, 339, 34675
_PIXEL_TAGS = {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, SAMPLES, STRIP_BYTES, PLANAR),
    *(PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, FORMAT),
    *(266, 278, 292, 320, 347, 529, 530, 531, 532),  # fill order, rows, T4, palette, JPEG, YCbCr
}
_LISTS = {BITS, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, EXTRA, FORMAT, ICC, 320, 347, 529, 530, 532}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_LONG, _LONG8 = 4, 16
_WHITE_IS_ZERO, _CMYK = 0, 5
_HORIZONTAL, _PREMULTIPLIED, _UNSPECIFIED, _JPEG, _SEPARATE = 2, 1, 0, 7, 2
_SIXTEEN = {0: 1, 1: 1, 2: 3, _CMYK: 4}
"""Colour channels by photometric interpretation, of those that 16 bits are read for."""
_AS = {1: 1, 2: 1, 3: 2, 4: 2}
"""Photometric interpretation under which Pillow decodes this many 8-bit channels untouched."""
_FULL = 65535
_PIECE_SLACK = 2**20
_FIELD_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Directory:
    """The tags of the first page: type, count and the value's bytes."""

    order: str
    tags: dict[int, tuple[int, int, bytes]]

    def ints(self, tag: int, default: Sequence[int] = ()) -> tuple[int, ...]:
        kind, count, value = self.tags.get(tag, (0, 0, b""))
        if kind not in _INTEGERS:
            return tuple(default)
        return struct.unpack(f"{self.order}{count}{_INTEGERS[kind]}", value)

    def one(self, tag: int, default: int = 0) -> int:
        return (*self.ints(tag), default)[0]

    def with_ints(self, changes: dict[int, Sequence[int]]) -> _Directory:
        """Copy it with other values; an empty one takes the tag away."""
        tags = {tag: entry for tag, entry in self.tags.items() if tag not in changes}
        for tag, values in changes.items():
            if values:
                packed = struct.pack(f"{self.order}{len(values)}I", *values)
                tags[tag] = (_LONG, len(values), packed)
        return _Directory(order=self.order, tags=tags)


def read(data: bytes, check: CheckSize) -> Decoded:
    """Decode the first page of a TIFF file."""
    page = _parse(data)
    width, height = page.one(WIDTH), page.one(HEIGHT)
    if width < 1 or height < 1:
        raise DamagedError(f"its header claims {width} x {height} pixels")
    check(width, height)
    _check_pieces(page, len(data), width, height)
    bits, formats = set(page.ints(BITS, (1,))), set(page.ints(FORMAT, (1,)))
    if formats == {1} and bits == {16}:
        colour, alpha = _read_16(data, page, width, height)
    elif (formats <= {1, 4} and bits <= {1, 2, 4, 8}) or (formats == {3} and bits == {32}):
        colour, alpha = split(_open(data, page))
    else:
        raise DamagedError(
            f"its samples have {_listed(bits)} bits in format {_listed(formats)}; expected 1 to 8"
            " or 16 unsigned bits, or 32-bit floats"
        )
    icc = page.tags[ICC][2] if ICC in page.tags else None
    orientation = upright_or(page.one(ORIENTATION, 1))
    return Decoded(colour=colour, alpha=alpha, icc=icc, orientation=orientation)


def _parse(data: bytes) -> _Directory:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2) == (43,)
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    step, field = (20, 8) if big else (12, 4)
    position = start + (8 if big else 2)
    if position + count * step > len(data):
        raise DamagedError("it is truncated: its directory is not all there")
    tags = {}
    for i in range(count):
        entry = position + i * step
        tag, kind, n = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, entry)
        if tag not in _PIXEL_TAGS and tag not in (ORIENTATION, ICC):
            continue
        size = _TYPE_BYTES.get(kind, 0) * n
        at = entry + step - field
        if size > field:
            (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
        if at + size > len(data) or size == 0:
            raise DamagedError(f"it is truncated or damaged: tag {tag} has no value in the file")
        value = data[at : at + size]
        if kind == _LONG8:
            kind, value = _LONG, _narrowed(value, n, order)
        if tag not in _LISTS:  # Pillow would warn about further values
            n, value = 1, value[: len(value) // n]
        tags[tag] = (kind, n, value)
    return _Directory(order=order, tags=tags)


def _narrowed(value: bytes, count: int, order: str) -> bytes:
    return struct.pack(f"{order}{count}I", *struct.unpack(f"{order}{count}Q", value))


def _check_pieces(page: _Directory, length: int, width: int, height: int) -> None:
    """Refuse strips or tiles that lie outside the file, and tiles far larger than the picture."""
    tiled = TILES in page.tags
    starts = page.ints(TILES if tiled else STRIPS)
    sizes = page.ints(TILE_BYTES if tiled else STRIP_BYTES)
    if not starts:
        raise DamagedError("it has no pixels")
    if any(start + size > length for start, size in zip(starts, sizes, strict=False)):
        raise DamagedError("it is truncated")
    area = page.one(TILE_WIDTH) * page.one(TILE_HEIGHT)
    if tiled and area > 4 * width * height + _PIECE_SLACK:
        raise DamagedError(f"its tiles of {area:,} pixels do not fit a {width} x {height} picture")


def _open(data: bytes, page: _Directory) -> Pil.Image:
    """Decode with Pillow what ``page`` describes."""
    from PIL import Image
    from PIL.TiffImagePlugin import TiffImageFile

    class Page(TiffImageFile):
        """Makes room itself: Pillow would warn from 89 million pixels on, process-wide."""

        def load_prepare(self) -> None:
            if self._im is None:
                self.im = Image.new(self.mode, getattr(self, "_tile_size", self.size)).im
            super().load_prepare()

    with Page(io.BytesIO(_rebuild(data, page))) as picture:
        open_checked(picture, page.one(WIDTH), page.one(HEIGHT)).load()
        return picture


def _rebuild(data: bytes, page: _Directory) -> bytes:
    """Append a directory of the pixel tags alone and lead the header, a classic one, to it."""
    order = page.order
    tags = sorted(tag for tag in page.tags if tag in _PIXEL_TAGS)
    out = bytearray(data)
    entries = []
    for tag in tags:
        kind, count, value = page.tags[tag]
        if len(value) > _FIELD_BYTES:
            out += bytes(-len(out) % 4)
            packed = struct.pack(order + "I", len(out))
            out += value
        else:
            packed = value.ljust(_FIELD_BYTES, b"\0")
        entries.append(struct.pack(order + "HHI", tag, kind, count) + packed)
    out += bytes(-len(out) % 4)
    struct.pack_into(order + "HI", out, 2, 42, len(out))
    out += struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return bytes(out)


def _read_16(data: bytes, page: _Directory, width: int, height: int) -> _Split:
    """Decode 16-bit samples at full depth."""
    photometric, count = page.one(PHOTOMETRIC, 1), page.one(SAMPLES, 1)
    inks = _SIXTEEN.get(photometric, 0)
    if count not in (inks, inks + 1) or count not in _AS or page.one(COMPRESSION, 1) == _JPEG:
        raise DamagedError(
            f"16 bits with photometric interpretation {photometric} and {count} samples are not"
            " supported; convert it to 8 bits or to RGB"
        )
    samples = _samples_16(data, page, width, height)
    if photometric == _CMYK:
        from PIL import Image

        return Image.frombytes("CMYK", (width, height), to_u8(samples, "samples").tobytes()), None
    if photometric == _WHITE_IS_ZERO:
        samples[..., 0] = _FULL - samples[..., 0]
    extra = page.one(EXTRA, 2)
    if count > inks and extra == _UNSPECIFIED:  # one more channel, but nothing says it is alpha
        samples = samples[..., :inks]
    elif count > inks and extra == _PREMULTIPLIED:
        alpha = samples[..., inks:].astype(np.uint64)
        straight = samples[..., :inks].astype(np.uint64) * _FULL + alpha // 2
        straight //= np.maximum(alpha, 1)
        samples[..., :inks] = np.minimum(straight, _FULL)
    return from_u16(samples)


def _samples_16(data: bytes, page: _Directory, width: int, height: int) -> _U16:
    """Decompress as twice as many 8-bit columns, then join bytes and add up differences."""
    count, predictor = page.one(SAMPLES, 1), page.one(PREDICTOR, 1)
    tile = page.one(TILE_WIDTH) if TILES in page.tags else width
    changes: dict[int, Sequence[int]] = {
        WIDTH: [2 * width],
        BITS: [8] * count,
        PHOTOMETRIC: [_AS[count]],
        EXTRA: [2] if count in (2, 4) else [],
        PREDICTOR: [],
        FORMAT: [],
    }
    if TILES in page.tags:
        changes[TILE_WIDTH] = [2 * tile]
    raw = np.asarray(_open(data, page.with_ints(changes))).reshape(height, width * count * 2)
    if page.one(PLANAR, 1) == _SEPARATE:  # each channel's two bytes are neighbouring columns
        raw = raw.reshape(height, width, 2, count).swapaxes(2, 3).reshape(raw.shape)
    pairs = np.frombuffer(raw.tobytes(), page.order + "u2").reshape(height, width, count)
    samples = pairs.astype(np.uint16)
    if predictor == _HORIZONTAL:  # differences from the left neighbour, anew in each tile
        for x in range(0, width, tile):
            np.cumsum(samples[:, x : x + tile], 1, np.uint16, out=samples[:, x : x + tile])
    elif predictor != 1:
        raise DamagedError(f"predictor {predictor} is not supported for 16-bit integers")
    return samples


def _listed(values: set[int]) -> str:
    return "/".join(map(str, sorted(values)))
