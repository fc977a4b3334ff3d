"""The record of a run: a line for what is evaluated, then one for each photo, only ever appended.

A process that is killed loses the photo it was at, no more: each line is one write, and a last line
that is cut off is dropped when the run goes on.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from portrait_sdk.api import Closes
from portrait_sdk.errors import OptionError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SCHEMA = 1


class Record(Closes):
    """An open record; a context manager.

    Attributes:
        path: The file.
        rows: What it held when it was opened, by the photo's name; of several, the last.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], *, resume: bool) -> None:
        """Begin a record, or go on with one.

        Args:
            path: The file; its folder is made where it is missing.
            head: What is evaluated and how; a record of anything else is refused.
            resume: Go on with the file where there is one.

        Raises:
            OptionError: It is there already and ``resume`` is false; or it is no record, or that
                of another run.
            OutputError: It cannot be written.
        """
        self.path = path
        # As it will be read back: tuples become lists.
        want = json.loads(json.dumps({"schema": _SCHEMA, **head}))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            found = path.read_bytes() if path.exists() else b""
            if found and not resume:
                raise OptionError(
                    f"{path}: holds a run already: go on with it by resume (--resume), or choose "
                    "another folder"
                )
            whole = found[: found.rfind(b"\n") + 1]
            self.rows = _rows(path, whole, want)
            self._file = path.open("r+b" if found else "w+b", buffering=0)
            self._file.truncate(len(whole))
            self._file.seek(len(whole))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        if not whole:
            self.add(want)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a line; a photo's has its ``name``.

        Raises:
            OutputError: It cannot be written.
        """
        line = memoryview(json.dumps(row, allow_nan=False).encode("ascii") + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:  # a full disk, above all
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file; again is harmless."""
        with contextlib.suppress(OSError):
            self._file.close()


def _rows(path: Path, data: bytes, want: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The lines after the first, which must say what ``want`` says."""
    rows: dict[str, dict[str, Any]] = {}
    try:
        lines = [json.loads(line) for line in data.splitlines()]
        head = dict(lines[0]) if lines else dict(want)
        rows = {row["name"]: row for row in lines[1:]}
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(f"{path}: is no record of an evaluation: remove it") from error
    for key in sorted({*head, *want}):
        if head.get(key) != want.get(key):
            raise OptionError(
                f"{path}: is the record of another run: {key} was {_short(head.get(key))} and is "
                f"{_short(want.get(key))}; choose another folder"
            )
    return rows


def _short(value: object) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 200 else text[:199] + "…"  # noqa: PLR2004 - still one line
