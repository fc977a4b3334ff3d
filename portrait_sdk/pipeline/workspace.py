"""The target folder while a run works in it: one run at a time, its record, nothing left over."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from portrait_sdk.errors import OutputError
from portrait_sdk.media.atomic import PART
from portrait_sdk.pipeline.listing import OWN_FOLDER
from portrait_sdk.pipeline.record import EntryFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_log = logging.getLogger(__name__)


class Workspace:
    """A target folder that this run has for itself.

    The lock is the system's own and ends with the process that holds it, however that ends. Where a
    file system has no locks, the run goes on without.

    Attributes:
        target: The folder.
        record: What is finished in it, by this run or earlier ones.
        rows: What this run met with.
    """

    def __init__(self, target: str) -> None:
        """Of a folder, made where it is missing when the workspace is entered."""
        self.target = Path(target)
        self._own = self.target / OWN_FOLDER
        self._unfinished = self._own / "unfinished"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Lock, tidy up after a run that was killed, and open the record.

        Raises:
            OutputError: Another run has the folder, or it cannot be written to.
        """
        with contextlib.ExitStack() as stack:
            try:
                self._own.mkdir(parents=True, exist_ok=True)
                self._lock(stack)
                if self._unfinished.exists():
                    remove_parts(self.target)
                self._unfinished.touch()
                self.record = stack.enter_context(EntryFile(self._own / "record.jsonl"))
                self.rows = stack.enter_context(EntryFile(self._own / "run.jsonl", fresh=True))
            except Timeout as error:
                raise OutputError(
                    f"{str(self.target)!r}: another run is working in this folder; wait for its "
                    "end, or choose another"
                ) from error
            except OSError as error:
                if isinstance(error, OutputError):
                    raise
                raise OutputError(
                    f"{str(self.target)!r}: cannot be written to: {error.strerror or error}"
                ) from error
            self._stack = stack.pop_all()
        return self

    def _lock(self, stack: contextlib.ExitStack) -> None:
        try:
            stack.enter_context(FileLock(self._own / "lock", timeout=0))
        except NotImplementedError:
            _log.warning("%s: no file locks here; do not start a second run", self.target)

    def __exit__(self, *_error: object) -> None:
        """Close the record and let go of the folder."""
        with self._stack, contextlib.suppress(OSError):
            self._unfinished.unlink()


def remove_parts(folder: Path) -> None:
    """Remove what killed runs have left half written in a folder and those below it."""
    for part in _parts(folder):
        with contextlib.suppress(OSError):
            part.unlink()


def _parts(folder: Path) -> Iterator[Path]:
    for path, _, files in os.walk(folder):
        for name in files:
            if PART.fullmatch(name):
                yield Path(path, name)
