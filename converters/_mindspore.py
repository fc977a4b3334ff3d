"""MindSpore's ``.ckpt``: a protobuf of named tensors, read without MindSpore.

    Checkpoint { repeated Value value = 1 }
    Value { string tag = 1; TensorProto tensor = 2; MapTensorProto maptensor = 3 }
    TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3 }

A tensor above 512 MiB is written as several neighbouring values of one tag, each with the full
dims and a piece of the content. A file may end in ``crc_num`` and a CRC-32 of all before it.

Source: the checkpoint format of MindSpore 1.x and 2.x (Apache-2.0), from files it wrote.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from portrait_sdk.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

_ENCRYPTED = tuple(bytes([low, 0x5E, 0x3A, 0x7F]) for low in (0xD8, 0xD9, 0xDA))
_CRC_MARK = b"crc_num"
_CRC_TRAILER = len(_CRC_MARK) + 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIRST = 0x0A
"""The key of field 1 in bytes: what every value and every tag starts with."""
_LONGEST_VARINT = 10  # bytes
_MOST_DIMS, _MOST_FIELDS, _MOST_TAG, _MOST_VALUES = 32, 64, 4096, 1 << 17
_MOST_ELEMENTS = 1 << 60
_CHUNK = 1 << 24
_TYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "bfloat16": np.dtype("<i2"),  # NumPy has none; torch reads the bits
    "int8": np.dtype("i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype("?"),
}
_LEAVES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What one file holds."""

    tensors: dict[str, Tensor]
    """By tag, in the file's order and number type."""
    texts: dict[str, str] = field(default_factory=dict)
    """Values saved beside the weights by ``append_dict``."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Tags whose values are no tensors, with the reason."""


@dataclass(frozen=True, slots=True)
class _Value:
    tag: str
    dims: tuple[int, ...]
    kind: str
    content: memoryview


def encrypted(head: bytes) -> bool:
    """Whether a file that starts so is an encrypted MindSpore file."""
    return head[:4] in _ENCRYPTED


def graph(head: bytes) -> bool:
    """Whether a file that starts so is a ``.mindir``: its version, then its producer, as texts."""
    view = memoryview(head)
    try:
        first, at = _field(view, 0, "")
        second, _ = _field(view, at, "")
    except CheckpointError:
        return False
    return (first[:2], second[:2]) == ((1, _BYTES), (2, _BYTES)) and b"MindSpore" in head


def checkpoint(head: bytes) -> bool:
    """Whether a file that starts so is a plain checkpoint, whole or truncated.

    Args:
        head: The file's first bytes; all of a short file.
    """
    view = memoryview(head)
    try:
        if view[0] != _FIRST:
            return False
        _, at = _varint(view, 1, "")
        if view[at] != _FIRST:
            return False
        length, at = _varint(view, at + 1, "")
        tag = bytes(view[at : at + length]).decode()
    except (CheckpointError, IndexError, UnicodeDecodeError):
        return False
    return 0 < length <= _MOST_TAG and tag.isprintable()


def read(data: memoryview, where: str) -> Contents:
    """All tensors of a file.

    Args:
        data: The file; memory-mapped will do, every tensor is a copy.
        where: Its name, for messages.

    Raises:
        CheckpointError: Truncated, damaged, or not this format.
    """
    data = _without_crc(data, where)
    tensors: dict[str, Tensor] = {}
    texts: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for tag, values in groupby(_values(data, where, skipped), key=lambda value: value.tag):
        pieces = list(values)
        last = pieces[-1]
        kind = last.kind.lower()
        if any(piece.kind != last.kind or piece.dims != last.dims for piece in pieces):
            raise CheckpointError(f"{where}: {tag}: its slices disagree on type or shape")
        if kind == "str":
            texts[tag] = _text(b"".join(piece.content for piece in pieces), where, tag)
        elif kind not in _TYPES:
            skipped[tag] = f"a value of type {last.kind}"
        else:
            tensors[tag] = _tensor(pieces, where)
    return Contents(tensors=tensors, texts=texts, skipped=skipped)


def torch_name(tag: str) -> str:
    """A tag as torch would name it: ``bn.gamma`` → ``bn.weight``; a bare word stays."""
    head, dot, leaf = tag.rpartition(".")
    return f"{head}{dot}{_LEAVES.get(leaf, leaf)}" if dot else tag


def _without_crc(data: memoryview, where: str) -> memoryview:
    if bytes(data[-_CRC_TRAILER:][: len(_CRC_MARK)]) != _CRC_MARK:
        return data
    want = int.from_bytes(data[-_CRC_TRAILER:][len(_CRC_MARK) :], "big")
    data = data[:-_CRC_TRAILER]
    got = 0
    for at in range(0, len(data), _CHUNK):
        got = zlib.crc32(data[at : at + _CHUNK], got)
    if got != want:
        raise CheckpointError(
            f"{where}: damaged: its checksum is {want}, its content has {got}; fetch it again"
        )
    return data


def _values(data: memoryview, where: str, skipped: dict[str, str]) -> Iterator[_Value]:
    at, seen = 0, 0
    while at < len(data):
        (number, wire, body), at = _field(data, at, where)
        seen += 1
        if (number, wire) != (1, _BYTES) or seen > _MOST_VALUES:
            raise CheckpointError(f"{where}: damaged, or no MindSpore checkpoint after all")
        value = _value(body, where, skipped)
        if value is not None:
            yield value


def _value(data: memoryview, where: str, skipped: dict[str, str]) -> _Value | None:
    tag, tensor = None, None
    for number, wire, body in _fields(data, where):
        if (number, wire) == (1, _BYTES):
            tag = _utf8(body, where)
        elif (number, wire) == (2, _BYTES):
            tensor = body
    if tag is None:
        raise CheckpointError(f"{where}: damaged: a value without a name")
    if tensor is None:
        skipped[tag] = "no plain tensor (a hash table)"
        return None
    return _tensor_proto(tensor, tag, where)


def _tensor_proto(data: memoryview, tag: str, where: str) -> _Value:
    dims: list[int] = []
    kind, content = "", memoryview(b"")
    for number, wire, body in _fields(data, f"{where}: {tag}"):
        if number == 1:
            dims += _dims(body, wire, f"{where}: {tag}")
            if len(dims) > _MOST_DIMS or math.prod(max(dim, 1) for dim in dims) > _MOST_ELEMENTS:
                raise CheckpointError(f"{where}: {tag}: damaged: its shape {dims[:4]}… is none")
        elif (number, wire) == (2, _BYTES):
            kind = _utf8(body, where)
        elif (number, wire) == (3, _BYTES):
            content = body
    return _Value(tag, tuple(dims), kind, content)


def _dims(body: memoryview, wire: int, where: str) -> list[int]:
    """One varint (proto2), or all of them packed (proto3)."""
    dims, at = [], 0
    while at < len(body):
        dim, at = _varint(body, at, where)
        dims.append(dim)
    if wire not in (_VARINT, _BYTES):
        raise CheckpointError(f"{where}: damaged: its shape is of wire type {wire}")
    return dims


def _tensor(pieces: list[_Value], where: str) -> Tensor:
    tag, dims, kind = pieces[-1].tag, pieces[-1].dims, pieces[-1].kind
    dtype = _TYPES[kind.lower()]
    held = sum(len(piece.content) for piece in pieces)
    if dims == (0,) and held == dtype.itemsize:  # how writers before 2.0 put a scalar
        dims = ()
    if math.prod(dims) * dtype.itemsize != held:
        raise CheckpointError(
            f"{where}: {tag}: expected {math.prod(dims) * dtype.itemsize} bytes "
            f"({kind} of shape {dims}), got {held}: truncated or damaged"
        )
    # Not np.frombuffer alone: torch wants memory that may be written to, and native byte order.
    flat = np.empty(held // dtype.itemsize, dtype)
    raw, at = flat.view(np.uint8), 0
    for piece in pieces:
        raw[at : at + len(piece.content)] = np.frombuffer(piece.content, np.uint8)
        at += len(piece.content)
    native = flat.astype(dtype.newbyteorder("="), copy=False)
    tensor = torch.from_numpy(native)
    if kind.lower() == "bfloat16":
        tensor = tensor.view(torch.bfloat16)
    return tensor.reshape(dims)


def _text(content: bytes, where: str, tag: str) -> str:
    try:
        return content.decode("utf-32-le")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{where}: {tag}: damaged: not a text") from error


def _utf8(body: memoryview, where: str) -> str:
    if len(body) > _MOST_TAG:
        raise CheckpointError(f"{where}: damaged: a name of {len(body)} bytes")
    try:
        return bytes(body).decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{where}: damaged: a name that is no text") from error


def _fields(data: memoryview, where: str) -> Iterator[tuple[int, int, memoryview]]:
    """All fields of a small message."""
    at, seen = 0, 0
    while at < len(data):
        found, at = _field(data, at, where)
        seen += 1
        if seen > _MOST_FIELDS:
            raise CheckpointError(f"{where}: damaged: a value of more than {_MOST_FIELDS} fields")
        yield found


def _field(data: memoryview, at: int, where: str) -> tuple[tuple[int, int, memoryview], int]:
    """One protobuf field: its number, wire type and body; and where the next one starts."""
    key, start = _varint(data, at, where)
    number, wire = key >> 3, key & 7
    if wire == _VARINT:
        _, end = _varint(data, start, where)
    elif wire == _BYTES:
        length, start = _varint(data, start, where)
        end = start + length
    elif wire in (_FIXED64, _FIXED32):
        end = start + (8 if wire == _FIXED64 else 4)
    else:
        raise CheckpointError(f"{where}: damaged: a field of unknown kind {wire}")
    if end > len(data):
        raise CheckpointError(
            f"{where}: truncated or damaged: a field of {end - start} bytes where "
            f"{len(data) - start} are left"
        )
    return (number, wire, data[start:end]), end


def _varint(data: memoryview, at: int, where: str) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:  # noqa: PLR2004 - the bit that says another byte follows
            return value, at + i + 1
    raise CheckpointError(f"{where}: truncated or damaged: a number that does not end")
