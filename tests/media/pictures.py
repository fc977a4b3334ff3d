"""Small pictures, files and colour profiles, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

SRGB_D50 = np.array(  # linear sRGB to XYZ under D50 (Bradford), as in every sRGB profile
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169],
     [0.0139322, 0.0971045, 0.7141733]]
)  # fmt: skip
ADOBE_D50 = np.array(  # linear Adobe RGB (1998) to XYZ under D50
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197],
     [0.0194811, 0.0608902, 0.7448387]]
)  # fmt: skip


def photo(height=24, width=36, channels=3, seed=0):
    """Smooth colours with a little noise, uint8 (H, W, channels); the last of 2 or 4 is alpha."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        128 + 100 * np.sin(x / 7 + k) * np.cos(y / 5 - 2 * k) + rng.normal(0, 3, x.shape)
        for k in range(channels)
    ]
    picture = np.clip(np.dstack(planes), 0, 255).astype(np.uint8)
    return picture[..., 0] if channels == 1 else picture


def encoded(array, form, mode=None, **options):
    """The bytes of a file that Pillow writes."""
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    out = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(out, form, **options)
    return out.getvalue()


def chunk(kind, body):
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour_type, pixels, *extra):
    """A PNG file of raw scanlines, each with its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra,
         chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    )  # fmt: skip


def tiff(page, strips, order="<", *, big=False):
    """A TIFF of the given tags (value lists) and strips or tiles, written byte by byte."""
    word, field = ("Q", 8) if big else ("I", 4)
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    starts = []
    for strip in strips:
        starts.append(len(out))
        out += strip
    tiled = 322 in page
    page = {**page, 324 if tiled else 273: starts, 325 if tiled else 279: [*map(len, strips)]}
    entries = b""
    for tag in sorted(page):
        values = page[tag]
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > field:
            at = len(out)
            out += packed
            packed = struct.pack(order + word, at)
        entries += struct.pack(order + "HH" + word, tag, 4, len(values)) + packed.ljust(
            field, b"\0"
        )
    struct.pack_into(order + word, out, 8 if big else 4, len(out))
    return bytes(out + struct.pack(order + ("Q" if big else "H"), len(page)) + entries + bytes(8))


def exif(orientation, order="<"):
    """An Exif block that holds an orientation alone."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + start + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def _fixed(values):
    return b"".join(struct.pack(">i", round(float(v) * 65536)) for v in values)


def _profile(space, pcs, kind, tags):
    tags = {**tags, b"wtpt": b"XYZ \0\0\0\0" + _fixed((0.9642, 1, 0.8249))}
    text = b"made in a test\0"
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0none\0"
    table, body, offset = [], b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table.append(tag + struct.pack(">II", offset + len(body), len(value)))
        body += value + bytes(-len(value) % 4)
    size = offset + len(body)
    date = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    header = struct.pack(">I", size) + bytes(4) + b"\x02\x40\0\0" + kind + space + pcs + date
    header += b"acsp" + bytes(28) + _fixed((0.9642, 1, 0.8249))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + b"".join(table) + body


def rgb_profile(matrix, gamma):
    """A matrix profile with one gamma, byte by byte."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), np.asarray(matrix).T, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + _fixed(column)
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


def grey_profile(gamma):
    """A grey profile with one gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": curve})


def cmyk_profile(corners):
    """A CMYK profile that interpolates the Lab (L 0-100, a, b) of its 16 corners, K fastest."""
    ramp = bytes(range(256))
    levels = bytes(round(v) for L, a, b in corners for v in (L * 2.55, a + 128, b + 128))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(np.eye(3).ravel())
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut + ramp * 4 + levels + ramp * 3})


def srgb_encode(linear):
    """Linear light in [0, 1] to sRGB levels 0-255, unrounded."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
