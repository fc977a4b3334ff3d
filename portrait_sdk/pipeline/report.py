"""The report of a run: every photo with what became of it, as JSON and as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portrait_sdk.media import open_atomic
from portrait_sdk.pipeline.record import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_VERSION = 1  # of report.json
_COLUMNS = ("name", "status", "reason", "seconds", "coverage", "has_subject", "outputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReport:
    """What became of a folder's photos."""

    path: Path
    """``report.json``; ``report.csv`` lies beside it."""
    done: int = 0
    """Photos finished by this run."""
    skipped: int = 0
    """Photos that an earlier run had finished."""
    failed: int = 0
    without_subject: int = 0
    """Of those done or skipped: photos in which nobody was found."""
    seconds: float = 0.0
    """Of the whole run."""
    stopped: str | None = None
    """Why the run ended before its end, where it did: ``interrupted``, or the error."""
    job: dict[str, Any] = field(default_factory=dict, repr=False)
    """The ``FolderJob``, as JSON has it, without its list of files."""

    def entries(self) -> Iterator[Entry]:
        """What became of each photo, in the order of the job; read from the file as it goes.

        Raises:
            OSError: The report is gone.
        """
        with self.path.open("rb") as file:
            for line in file:
                row = line.rstrip(b",\n")
                if row.startswith(b'{"name": '):
                    yield Entry.from_json(row)

    def write(self, entries: Iterable[Entry]) -> None:
        """Write both files; ``entries`` are taken twice, one by one.

        Raises:
            OutputError: They cannot be written; those of an earlier run are still there.
        """
        head = {"portrait_folder_report": _VERSION}
        for one in dataclasses.fields(self):
            if one.name != "path":
                head[one.name] = getattr(self, one.name)
        with open_atomic(self.path) as file:
            file.write(json.dumps(head)[:-1].encode("ascii") + b', "photos": [')
            comma = b"\n"
            for entry in entries:
                file.write(comma + entry.to_json().encode("ascii"))
                comma = b",\n"
            file.write(b"\n]}\n")
        with open_atomic(self.path.with_suffix(".csv")) as file:
            file.write(_csv_line(_COLUMNS))
            for entry in entries:
                file.write(_csv_line(_cells(entry)))


def _cells(entry: Entry) -> tuple[object, ...]:
    names = " | ".join(name for name, _ in entry.outputs)
    seconds = round(sum(entry.seconds.values()), 3) if entry.seconds else None
    return (
        entry.name, entry.status, entry.reason, seconds, entry.coverage, entry.has_subject, names
    )  # fmt: skip


def _csv_line(cells: tuple[object, ...]) -> bytes:
    r"""One row of UTF-8; a byte of a name that is none stands as ``\udcXX``."""
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode("utf-8", "backslashreplace")
