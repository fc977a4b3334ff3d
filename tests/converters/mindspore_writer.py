"""A MindSpore checkpoint, written byte by byte: what its own saver writes, and what it does not."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

_NAMES = {
    "float32": "Float32",
    "float16": "Float16",
    "float64": "Float64",
    "int32": "Int32",
    "int64": "Int64",
}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def piece(number: int, body: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def value(
    tag: str, dims: Iterable[int], kind: str, content: bytes, *, packed: bool = False
) -> bytes:
    """One entry of the file."""
    if packed:
        shape = piece(1, b"".join(map(varint, dims)))
    else:
        shape = b"".join(b"\x08" + varint(dim) for dim in dims)
    tensor = shape + piece(2, kind.encode()) + piece(3, content)
    return piece(1, piece(1, tag.encode()) + piece(2, tensor))


def tensor(tag: str, array: np.ndarray, *, slice_bytes: int | None = None) -> bytes:
    """One tensor: an entry, or several of at most ``slice_bytes`` each."""
    content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    step = slice_bytes or max(1, len(content))
    kind = _NAMES[array.dtype.name]
    return b"".join(
        value(tag, array.shape, kind, content[at : at + step])
        for at in range(0, max(1, len(content)), step)
    )


def with_crc(data: bytes) -> bytes:
    return data + b"crc_num" + zlib.crc32(data).to_bytes(10, "big")
