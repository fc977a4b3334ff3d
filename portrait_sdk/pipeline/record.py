"""What became of each photo, kept in the target so that a later run knows what is finished.

The record is a file of one JSON object a line, only ever appended to. A line is whole or it does
not count, and of several with one name the last counts. Entries may come from any executor, in any
order: to merge what others did is to add their entries.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from portrait_sdk.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

_NOWHERE = -1  # of an entry that is expected
Status: TypeAlias = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which photo was read: what a name stood for at that time."""

    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str | None = None
    """Of the bytes, where asked for; two photos with one are the same, whatever else differs."""

    def same(self, other: Identity) -> bool:
        """Whether both are the same photo; by content alone where ``self`` knows its."""
        if self.sha256 is not None:
            return self.sha256 == other.sha256
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What became of one photo."""

    name: str
    """Relative to the source, with ``/``."""
    status: Status
    """``done`` by this run, ``skipped`` as an earlier one had done it, or ``failed``."""
    reason: str | None = None
    """Of a failure, in one line."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each stage."""
    coverage: float | None = None
    """As ``Matte.coverage``."""
    has_subject: bool | None = None
    """As ``Matte.has_subject``."""
    outputs: tuple[tuple[str, int], ...] = ()
    """Names relative to the target, with ``/``, and sizes in bytes."""
    photo: Identity | None = None
    model: str | None = None
    """SHA-256."""
    options: str | None = None
    """``FolderJob.options()``."""

    def to_json(self) -> str:
        """One line of JSON, which :meth:`from_json` reads; ASCII, whatever bytes names hold."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Entry:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: It is something else.
        """
        found: dict[str, Any] = json.loads(text)
        photo = found.pop("photo")
        outputs = tuple((str(name), int(size)) for name, size in found.pop("outputs"))
        return cls(outputs=outputs, photo=None if photo is None else Identity(**photo), **found)


class EntryFile:
    """Entries in a file, one a line; in memory only where each begins. Safe in several threads."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open for reading and appending; a torn last line is cut off.

        Args:
            path: Made where it is missing.
            fresh: Forget what is in it.

        Raises:
            OSError: It cannot be opened.
        """
        self._lock = threading.Lock()
        self._starts: dict[str, int] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._writer = os.open(path, flags | (os.O_TRUNC if fresh else 0), 0o666)
        end = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                entry = _entry(line)
                if entry is not None:
                    self._starts[entry.name] = end
                end += len(line)
        os.ftruncate(self._writer, end)
        self._reader = path.open("rb")  # after what was torn is gone: its buffer holds none of it

    def expect(self, name: str) -> None:
        """Keep a place for a photo in the order of iteration."""
        self._starts.setdefault(name, _NOWHERE)

    def add(self, entry: Entry) -> None:
        """Append; the entry counts instead of earlier ones of its name.

        Raises:
            OutputError: It cannot be written; the file ends where it did.
        """
        line = f"{entry.to_json()}\n".encode("ascii")
        with self._lock:
            start = os.lseek(self._writer, 0, os.SEEK_END)
            try:
                whole = os.write(self._writer, line) == len(line)
                reason = None if whole else os.strerror(errno.ENOSPC)
            except OSError as error:
                reason = error.strerror
            if reason is not None:
                os.ftruncate(self._writer, start)
                raise OutputError(f"{self._reader.name!r}: cannot be written: {reason}")
            self._starts[entry.name] = start

    def get(self, name: str) -> Entry | None:
        """The entry that counts for a photo, if there is one."""
        with self._lock:
            start = self._starts.get(name, _NOWHERE)
            if start == _NOWHERE:
                return None
            self._reader.seek(start)
            return _entry(self._reader.readline())

    def __iter__(self) -> Iterator[Entry]:
        """Entries that count, in the order in which their names were first expected or added."""
        for name in list(self._starts):
            entry = self.get(name)
            if entry is not None:
                yield entry

    def __enter__(self) -> Self:
        """Return itself; closed at the end of the ``with`` block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close."""
        os.close(self._writer)
        self._reader.close()


def _entry(line: bytes) -> Entry | None:
    """A line's entry; None where something else stands there, as after a power cut."""
    try:
        return Entry.from_json(line)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
