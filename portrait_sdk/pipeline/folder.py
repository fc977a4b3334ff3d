"""A folder job on this machine: what is unfinished goes through the stages, the rest is skipped."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.api import load
from portrait_sdk.errors import OutputError
from portrait_sdk.media import count_pixels
from portrait_sdk.pipeline import stages
from portrait_sdk.pipeline.listing import REPORTS, Problem, Task, tasks
from portrait_sdk.pipeline.record import Entry
from portrait_sdk.pipeline.report import FolderReport
from portrait_sdk.pipeline.task import (
    Prepared,
    failure,
    finished,
    has_size,
    is_done,
    prepare,
    read,
    source_path,
    write,
)
from portrait_sdk.pipeline.watch import Watch, arrivals
from portrait_sdk.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portrait_sdk.api import Matte, Matting
    from portrait_sdk.media import Loaded
    from portrait_sdk.pipeline.job import FolderJob
    from portrait_sdk.pipeline.record import Identity

_log = logging.getLogger(__name__)
_NO_ROOM = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""No later photo would fare better."""


def process_folder(
    job: FolderJob,
    *,
    matting: Matting | None = None,
    provider: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    cancel: threading.Event | None = None,
    on_entry: Callable[[Entry], None] | None = None,
) -> FolderReport:
    """Matte the photos of a folder; what an earlier run has finished is skipped.

    A photo that fails is an entry of the report, and the run goes on. A result appears whole or not
    at all; which are finished stands in a record in the target (``.portrait``), so that a run that
    was stopped in whatever way is resumed by running the same job again. The report is written to
    ``report.json`` and ``report.csv`` in the target, also when the run is interrupted.

    Args:
        job: What to do.
        matting: An open model, which stays open; None opens the job's.
        provider: As for ``load``, where the model is opened here.
        threads: As for ``load``, where the model is opened here; None: so that several networks run
            side by side within the budget (``set_threads``).
        workers: Photos under way at once; None: the thread budget.
        watch: Go on for ever, and take photos as they come in; None: end when all is done.
        cancel: Once set, the run ends as soon as it can; the report says ``interrupted``.
        on_entry: Told what became of each photo, at once; calls come one at a time, from several
            threads.

    Returns:
        The report; its ``stopped`` says why, where the run ended early: it was cancelled, or the
        target is full.

    Raises:
        OptionError: The folders, or the job's values, are not possible.
        ModelError, ProviderError: The model cannot be opened.
        ImageError: The background cannot be read.
        OutputError: The target cannot be written to, or another run is working in it.
    """
    job.check_folders()
    with contextlib.ExitStack() as stack:
        if matting is None:
            threads = stages.session_threads(workers) if threads is None else threads
            matting = stack.enter_context(load(job.model, provider=provider, threads=threads))
        prepared = prepare(job, matting)
        space = stack.enter_context(Workspace(job.target))
        run = _Run(prepared, space, cancel or threading.Event(), on_entry)
        stack.enter_context(run)
        found = tasks(job) if watch is None else arrivals(job, watch, run.over)
        run.through(found, matting, workers)
    return run.report


@dataclass(slots=True, eq=False)
class _Item:
    """A photo on its way through the stages."""

    task: Task
    photo: Identity | None = None
    """Which one was read."""


class _Run:
    """One run over a job, in a target that it has for itself; writes its report when it ends."""

    def __init__(
        self,
        prepared: Prepared,
        space: Workspace,
        cancel: threading.Event,
        on_entry: Callable[[Entry], None] | None,
    ) -> None:
        self._prepared, self._space, self._on_entry = prepared, space, on_entry
        self._cancel, self._ended = cancel, threading.Event()
        self._stopped: str | None = None
        self._lock = threading.RLock()
        self._written: dict[str, Entry] = {}  # whose files are there, and that are not yet recorded
        self._started = time.perf_counter()
        described = json.loads(replace(prepared.job, files=None).to_json())
        self.report = FolderReport(path=Path(prepared.job.target) / REPORTS[0], job=described)

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Write the report, whatever happened."""
        if error is not None:
            plain = isinstance(error, Exception)
            self._stopped = str(error) if plain else "interrupted"
        elif self._stopped is None and self._cancel.is_set():
            self._stopped = "interrupted"
        self._ended.set()
        seconds = round(time.perf_counter() - self._started, 3)
        self.report = replace(self.report, seconds=seconds, stopped=self._stopped)
        if error is not None:
            self._on_entry = None  # the error is its own, maybe
        with contextlib.suppress(OutputError):  # no room: the next run makes them again
            for entry in tuple(self._written.values()):
                self._finish(entry)
        try:
            self.report.write(self._space.rows)
        except OutputError as problem:
            if self._stopped is None:
                raise
            _log.warning("%s", problem)  # the reason why it stopped is the one to raise

    def over(self, timeout_s: float) -> bool:
        """Wait for so long; True as soon as no photo is wanted any more."""
        return self._ended.wait(timeout_s) or self._cancel.is_set()

    def through(
        self, found: Iterator[Task | Problem], matting: Matting, workers: int | None
    ) -> None:
        """Take all that is unfinished through the stages."""
        outcomes = stages.run(
            self._unfinished(found),
            matting,
            decode=self._decode,
            encode=self._encode,
            pixels=self._pixels,
            refine=self._prepared.job.refine,
            workers=workers,
            ordered=False,  # what is done is recorded at once; the report keeps the order
            cancel=self._cancel,
        )
        try:
            with contextlib.closing(outcomes):
                for outcome in outcomes:
                    self._take(outcome)
        except OutputError as error:
            self._stopped = str(error)

    def _take(self, outcome: stages.Outcome[_Item, Entry]) -> None:
        """Report what became of a photo.

        Raises:
            OutputError: There is no room for it, nor for any other.
        """
        if outcome.error is not None:
            task = outcome.item.task
            self._add(failure(self._prepared, task, outcome.error, outcome.seconds))
            if _no_room(outcome.error):
                raise outcome.error
        elif outcome.result is not None:
            self._finish(finished(outcome.result, outcome.seconds))

    def _unfinished(self, found: Iterator[Task | Problem]) -> Iterator[_Item]:
        """Leave out what needs no work, and report it; called in a thread of the stages."""
        for one in found:
            self._space.rows.expect(one.name)
            if isinstance(one, Problem):
                self._add(Entry(name=one.name, status="failed", reason=one.reason))
                continue
            entry = self._space.record.get(one.name)
            if is_done(self._prepared, one, entry):
                assert entry is not None
                self._add(replace(entry, status="skipped", seconds={}))
            else:
                yield _Item(one)

    def _pixels(self, item: _Item) -> int | None:
        return count_pixels(source_path(self._prepared.job, item.task.name))

    def _decode(self, item: _Item) -> Loaded:
        loaded, item.photo = read(self._prepared, item.task)
        return loaded

    def _encode(self, item: _Item, matte: Matte) -> Entry:
        assert item.photo is not None
        entry = write(self._prepared, item.task, item.photo, matte)
        self._written[entry.name] = entry
        return entry

    def _finish(self, entry: Entry) -> None:
        """Record what is done; results of the same job under earlier names go."""
        before = self._space.record.get(entry.name)
        self._space.record.add(entry)
        if before is not None and (before.model, before.options) == (entry.model, entry.options):
            names = {name for name, _ in entry.outputs}
            for name, size in before.outputs:
                if name not in names and has_size(self._prepared.job, name, size):
                    with contextlib.suppress(OSError):
                        (self._space.target / name).unlink()
        self._add(entry)

    def _add(self, entry: Entry) -> None:
        with self._lock:
            self._space.rows.add(entry)
            nobody = entry.has_subject is False
            self.report = replace(
                self.report,
                **{entry.status: getattr(self.report, entry.status) + 1},
                without_subject=self.report.without_subject + nobody,
            )
            self._written.pop(entry.name, None)
            if self._on_entry is not None:
                self._on_entry(entry)


def _no_room(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(error, OutputError) and isinstance(cause, OSError) and cause.errno in _NO_ROOM
