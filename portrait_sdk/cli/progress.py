"""How far a folder run is: a bar on a terminal, plain lines elsewhere, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from portrait_sdk.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from portrait_sdk.pipeline.record import Entry

_EVERY_S = 10.0  # between plain lines


class Progress:
    """Counts entries and shows them; failures are named as they come. A context manager."""

    def __init__(self, photos: Iterable[object] | None, *, quiet: bool) -> None:
        """Begin.

        Args:
            photos: Counted in a thread beside the work, for the time that is left; None: endless.
            quiet: Show nothing, count alone.
        """
        self.counts = {"done": 0, "skipped": 0, "failed": 0}
        self.without_subject = 0
        self._quiet, self._photos = quiet, photos
        self._bar: Any = None
        self._closed = threading.Event()
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        """Show the bar, where there is a terminal."""
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            # A slow mean of the rate, since photos differ and skipped ones pass in no time.
            self._bar = tqdm(unit=" photos", smoothing=0.1, dynamic_ncols=True, file=sys.stderr)
            if self._photos is not None:
                threading.Thread(target=self._count, daemon=True).start()
        return self

    def _count(self) -> None:
        total = 0
        for _ in self._photos or ():
            if self._closed.is_set():
                return
            total += 1
        self._bar.total = total

    def add(self, entry: Entry) -> None:
        """One more photo."""
        self.counts[entry.status] += 1
        self.without_subject += entry.has_subject is False
        if self._quiet:
            return
        if entry.status == "failed":
            self._say(f"{printable(entry.name)}: {entry.reason}")
        elif entry.status == "done" and not entry.has_subject:
            self._say(f"{printable(entry.name)}: nobody found; alpha is (almost) empty")
        if self._bar is not None:
            if self.counts["failed"]:
                self._bar.set_postfix(failed=self.counts["failed"], refresh=False)
            self._bar.update()
        elif time.monotonic() - self._told >= _EVERY_S:
            self._told = time.monotonic()
            rate = self.counts["done"] / (self._told - self._started)
            self._say(f"{self.summary()}; {rate:.2f} photos/s")

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            click.echo(line, err=True)

    def summary(self) -> str:
        """What became of the photos so far, in one line."""
        parts = [f"{self.counts['done']} done"]
        if self.counts["skipped"]:
            parts.append(f"{self.counts['skipped']} already done")
        parts.append(f"{self.counts['failed']} failed")
        if self.without_subject:
            parts.append(f"{self.without_subject} without a subject")
        return ", ".join(parts)

    def __exit__(self, kind: object, *_error: object) -> None:
        """End the bar and say what became of the photos, where there were any to begin with."""
        self._closed.set()
        if self._bar is not None:
            self._bar.close()
        if not self._quiet and (kind is None or any(self.counts.values())):
            click.echo(self.summary(), err=True)
