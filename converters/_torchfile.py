"""Files of ``torch.save``, zip and legacy: looked through, then read with ``weights_only``."""

from __future__ import annotations

import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from portrait_sdk.errors import CheckpointError, first_line

from . import _pickles

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = 0x1950A86A20F9469CFC6C
"""The first value of a legacy file; a long integer."""
_LEGACY_VERSION = 1001
_OVERLAP = 8
"""Tensors may share storages; this many times the file's size together is more than sharing."""


def read_zip(path: Path, where: str) -> object:
    """What ``torch.save`` put into a zip archive.

    Raises:
        CheckpointError: Damaged, no such archive, or one that wants more than tensors.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            records = {info.filename: info.file_size for info in archive.infolist()}
            if len(records) != len(archive.infolist()):
                raise CheckpointError(f"{where}: damaged: two records of one name")
            if sum(records.values()) > size:
                raise CheckpointError(
                    f"{where}: refused: declares {sum(records.values())} bytes in a file of "
                    f"{size}; torch.save does not compress"
                )
            top = _top(records, where)
            if records[f"{top}data.pkl"] > _pickles.LARGEST:
                raise CheckpointError(
                    f"{where}: its pickle takes {records[f'{top}data.pkl']} bytes; a state dict's "
                    f"is below {_pickles.LARGEST}"
                )
            found = _pickles.scan(archive.read(f"{top}data.pkl"), where)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        # RuntimeError: encrypted; NotImplementedError: a compression zipfile does not know.
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{where}: truncated or damaged torch archive ({error}); fetch it again"
        ) from error
    for key, wanted in found.storages.items():
        held = records.get(f"{top}data/{key}")
        if held != wanted:
            raise found.wrong(f"storage {key} should have {wanted} bytes, has {held or 'none'}")
    _check_overlap(found, size)
    return _load(path, where)


def _top(records: dict[str, int], where: str) -> str:
    """The archive's one folder, with its slash."""
    tops = [name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")]
    first = next(iter(records), "")
    if any(name.endswith("/constants.pkl") for name in records):
        raise CheckpointError(
            f"{where}: a TorchScript archive (torch.jit.save), which holds code: where it was made,"
            " save the weights alone: torch.save(model.state_dict(), PATH)"
        )
    if len(tops) != 1 or tops[0].count("/") != 1 or not first.startswith(tops[0]):
        raise CheckpointError(
            f"{where}: a zip archive, but none of torch.save (its first record: {first!r}); "
            "expected a checkpoint: if it is packed, unpack it first"
        )
    return tops[0]


def is_legacy(head: bytes) -> bool:
    """Whether a file that starts so was written by torch's legacy format, any binary protocol."""
    magic = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little")
    return head[:1] == b"\x80" and (head[2:].startswith(magic) or head[11:].startswith(magic))


def read_legacy(path: Path, data: memoryview, where: str) -> object:
    """What ``torch.save`` put into a legacy file: five pickles, then the storages.

    Args:
        path: The file.
        data: Its content, memory-mapped.
        where: Its name, for messages.

    Raises:
        CheckpointError: Damaged, or it wants more than tensors.
    """
    at = 0
    scans = []
    for _ in range(5):  # magic, version, system, the object, the storages' order
        found = _pickles.scan(bytes(data[at : at + _pickles.LARGEST]), where)
        scans.append(found)
        at += found.length
    magic, version, _, found, order = scans
    keys = order.result if isinstance(order.result, list) else []
    if magic.result != _MAGIC or version.result != _LEGACY_VERSION:
        raise found.wrong(f"its version is {version.result!r}, expected {_LEGACY_VERSION}")
    if sorted(map(str, keys)) != sorted(found.storages):
        raise found.wrong("its list of storages is not that of its tensors")
    for key in map(str, keys):
        at += 8 + found.storages[key]  # their number of values first
    if at > len(data):
        raise CheckpointError(
            f"{where}: truncated: its tensors end at byte {at}, the file at {len(data)}; "
            "fetch it again"
        )
    _check_overlap(found, len(data))
    return _load(path, where)


def refuse_pickle(data: memoryview, where: str) -> None:
    """Say what a pickle that is no torch file is; return if it is no pickle at all.

    Raises:
        CheckpointError: It is a pickle: a binary one, or a text one that would run something.
    """
    head = bytes(data[: _pickles.LARGEST])
    binary = head[:1] == b"\x80"
    try:
        _pickles.refuse_foreign(head, where)
    except _pickles.UnreadableError:
        if binary:
            raise
        return
    if binary:
        raise CheckpointError(
            f"{where}: a pickle that torch.save did not write; expected a state dict: "
            "torch.save(model.state_dict(), PATH)"
        )


def _check_overlap(found: _pickles.Scan, size: int) -> None:
    if found.tensor_bytes > _OVERLAP * size:
        raise found.wrong(f"tensors of {found.tensor_bytes} bytes in a file of {size}")


def _load(path: Path, where: str) -> Any:  # noqa: ANN401 - whatever was saved
    try:
        with warnings.catch_warnings():
            # Protocol 3 draws a warning that some of it may not be known; the scan says all is.
            warnings.simplefilter("ignore")
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Torch raises what its pickle and zip readers raise, without a common base class.
        raise CheckpointError(f"{where}: torch cannot read it: {first_line(error)}") from error
