"""What the runtime must know of an .onnx file before ONNX Runtime opens it.

Two things: its metadata, and which other files its tensors point to. ONNX Runtime would tell the
first only after loading the whole graph, and the second never. The ``onnx`` package would tell both
and weighs more than the rest of the runtime, so this walks the file's protobuf records itself,
skipping over weights without reading them.

Source:
    onnx.proto (field numbers) and the protobuf encoding's wire format.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.errors import ModelError
from portrait_sdk.model import cache

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# message → field number → the message inside. Only the ways that lead to external tensors.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 14: "metadata", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
_LARGEST_TAG, _LARGEST_LENGTH = 2**32 - 1, 2**31 - 1
_MAX_DEPTH = 64  # nested subgraphs; a file deeper than this is an attack, not a model


@dataclass(slots=True)
class OnnxFile:
    """Metadata and the outside files of one .onnx file."""

    metadata: dict[str, str] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)
    """``location`` of tensors kept in other files, as written."""


def read(path: Path) -> OnnxFile:
    """Read metadata and external locations, and refuse locations outside the model's folder.

    Raises:
        ModelError: Missing, unreadable, not ONNX, truncated, or its data lies outside its folder.
    """
    found = OnnxFile()
    try:
        with path.open("rb") as file:
            empty = os.fstat(file.fileno()).st_size == 0
            if not empty:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    _walk_model(data, found)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: no such model file; `portrait models list` shows the named ones"
        ) from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path}: expected an ONNX model, got something else ({error})") from error
    if empty:
        raise ModelError(f"{path}: expected an ONNX model, got an empty file")
    _contain(path, found.external)
    return found


def sha256(path: Path) -> str:
    """SHA-256 of a model, in hexadecimal: of its file, or of the hashes of all files it is kept in.

    Raises:
        ModelError: As :func:`read`.
    """
    import hashlib  # here, as ``cache`` does

    external = sorted(read(path).external)
    whole = cache.sha256(path)
    if external:
        hashes = [whole, *(cache.sha256(path.parent / name) for name in external)]
        whole = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return whole


def _contain(path: Path, locations: set[str]) -> None:
    """Refuse external data whose real path leaves the model's real folder.

    Raises:
        ModelError: A location is absolute, leaves the folder (links resolved), or is missing.
    """
    folder = Path(os.path.realpath(path.parent))
    for location in sorted(locations):
        try:
            real = Path(os.path.realpath(folder / location))
            inside = real.is_relative_to(folder) and not Path(location).is_absolute()
            there = real.is_file()
        except (OSError, ValueError) as error:  # a name no file system takes
            raise ModelError(f"{path}: its external data has an impossible name") from error
        if not inside:
            raise ModelError(
                f"{path}: its external data {location!r} leads outside the model's folder; "
                "put the data beside the model, as a plain file"
            )
        if not there:
            raise ModelError(f"{path}: its external data {location!r} is missing beside it")


def _walk_model(data: mmap.mmap, found: OnnxFile) -> None:
    if not _walk(data, 0, len(data), "model", found, 0):
        raise ValueError("no graph inside")


def _walk(data: mmap.mmap, start: int, end: int, message: str, found: OnnxFile, depth: int) -> bool:
    """Visit one message; returns whether a graph was seen directly inside."""
    if depth > _MAX_DEPTH:
        raise ValueError("subgraphs nested too deeply")
    inside = _INSIDE[message]
    has_graph = False
    for number, a, b in _fields(data, start, end):
        kind = inside.get(number)
        if kind is None:
            continue
        if kind in ("metadata", "external"):
            key, value = _entry(data, a, b)
            if kind == "metadata":
                found.metadata[key] = value
            elif key == "location":
                found.external.add(value)
            continue
        has_graph = has_graph or kind == "graph"
        _walk(data, a, b, kind, found, depth + 1)
    return has_graph


def _entry(data: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    """A StringStringEntryProto: key is field 1, value field 2."""
    texts = {n: data[a:b].decode("utf-8") for n, a, b in _fields(data, start, end)}
    return texts.get(1, ""), texts.get(2, "")


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each length-delimited field; others are stepped over."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        # Protobuf keeps 32 bits of a tag: a wider one would name another field to it than to us.
        if number == 0 or tag > _LARGEST_TAG:
            raise ValueError(f"field number {number}")
        if wire == _BYTES:
            length, at = _varint(data, at, end)
            if length > _LARGEST_LENGTH or at + length > end:
                raise ValueError("truncated")
            yield number, at, at + length
            at += length
        elif wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
            if at > end:
                raise ValueError("truncated")
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("truncated")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004 - the last byte of a varint
            return value, at
    raise ValueError("a number longer than 10 bytes")
