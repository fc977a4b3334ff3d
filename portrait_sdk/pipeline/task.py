"""One photo of a job: read, matted, written. Nothing but the job and an open model goes in."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.api import open_background
from portrait_sdk.errors import ImageError, OutputError, PortraitError, first_line
from portrait_sdk.media import load_image, write_atomic
from portrait_sdk.pipeline import outputs
from portrait_sdk.pipeline.job import file_sha256
from portrait_sdk.pipeline.record import Entry, Identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portrait_sdk.api import Background, Matte, Matting
    from portrait_sdk.media import Loaded
    from portrait_sdk.pipeline.job import FolderJob
    from portrait_sdk.pipeline.listing import Task


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A job with what all its tasks need, found once."""

    job: FolderJob
    model: str
    """SHA-256."""
    options: str
    """``FolderJob.options()``."""
    background: Background | None

    def paths(self, task: Task) -> list[str]:
        """Names of a photo's results, relative to the target, in the order of the outputs."""
        return [task.stem + ending for ending in self.job.outputs.endings]


def prepare(job: FolderJob, matting: Matting) -> Prepared:
    """Open what every task needs.

    Raises:
        ImageError, OptionError: The background cannot be used.
        ModelError: The model's file cannot be read any more.
    """
    behind = job.outputs.background
    return Prepared(
        job=job,
        model=matting.sha256(),
        options=job.options(),
        background=None if behind is None else open_background(behind),
    )


def run_task(prepared: Prepared, task: Task, matting: Matting) -> Entry:
    """Matte one photo and write its results; a failure is an entry, too."""
    seconds: dict[str, float] = {}
    try:
        with _timed(seconds, "decode"):
            loaded, photo = read(prepared, task)
        matte = matting.matte(loaded, refine=prepared.job.refine)
        seconds |= {name: value for name, value in matte.seconds.items() if name != "decode"}
        with _timed(seconds, "encode"):
            entry = write(prepared, task, photo, matte)
    except Exception as error:  # noqa: BLE001 - one photo's, whatever it is
        return failure(prepared, task, error, seconds)
    return finished(entry, seconds)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = time.perf_counter() - started


def read(prepared: Prepared, task: Task) -> tuple[Loaded, Identity]:
    """Read a photo, and say which one it was.

    Raises:
        ImageError: It cannot be read, or was replaced while it was being read, twice in a row.
    """
    path = source_path(prepared.job, task.name)
    for _ in range(2):
        before = stamp(path)
        failure: ImageError | None = None
        try:
            photo = identify(path, content_hash=prepared.job.content_hash)
            loaded = load_image(path)
        except ImageError as error:
            failure = error
        if stamp(path) == before:
            if failure is not None:
                raise failure
            return loaded, photo
    raise ImageError(f"{path!r}: was changed while it was being read; run again later")


def source_path(job: FolderJob, name: str) -> str:
    """Where a photo lies."""
    return os.path.join(job.source, name)  # noqa: PTH118 - names of any bytes


def identify(path: str, *, content_hash: bool) -> Identity:
    """What tells a photo from others of its name.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        state = os.stat(path)  # noqa: PTH116 - names of any bytes
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ImageError(f"{path!r}: {reason}") from error
    return Identity(
        size=state.st_size,
        mtime_ns=state.st_mtime_ns,
        sha256=file_sha256(path) if content_hash else None,
    )


def stamp(path: str) -> tuple[int, ...] | None:
    """Changes whenever a file does, by writing or another taking its name; None: there is none."""
    try:
        state = os.stat(path)  # noqa: PTH116 - names of any bytes
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def write(prepared: Prepared, task: Task, photo: Identity, matte: Matte) -> Entry:
    """Write a photo's results, each whole or not at all.

    Raises:
        ImageError, OptionError: A result cannot be made.
        OutputError: A result cannot be written.
    """
    job = prepared.job
    written = []
    for picture, name in zip(job.outputs.pictures, prepared.paths(task), strict=True):
        array = outputs.render(matte, picture.kind, job.outputs, prepared.background)
        data = outputs.encode(array, picture, job.outputs.quality)
        del array
        path = Path(job.target) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
            if job.keep_times:
                os.utime(path, ns=(photo.mtime_ns, photo.mtime_ns))
        except PortraitError:
            raise
        except OSError as error:
            raise OutputError(f"{name!r}: cannot be written: {error.strerror or error}") from error
        written.append((name, len(data)))
    return Entry(
        name=task.name,
        status="done",
        coverage=round(matte.coverage, 6),
        has_subject=matte.has_subject,
        outputs=tuple(written),
        photo=photo,
        model=prepared.model,
        options=prepared.options,
    )


def finished(entry: Entry, seconds: dict[str, float]) -> Entry:
    """The entry with the time it took."""
    return replace(entry, seconds={name: round(value, 6) for name, value in seconds.items()})


def failure(
    prepared: Prepared, task: Task, error: BaseException, seconds: dict[str, float]
) -> Entry:
    """The entry of a photo that came to nothing."""
    if isinstance(error, PortraitError):
        reason = str(error).removeprefix(f"{source_path(prepared.job, task.name)!r}: ")
    elif isinstance(error, MemoryError):
        reason = "out of memory"
    else:
        reason = f"{type(error).__name__}: {first_line(error)}"
    return finished(Entry(name=task.name, status="failed", reason=reason), seconds)


def is_done(prepared: Prepared, task: Task, entry: Entry | None) -> bool:
    """Whether an entry's results are there, whole, and what the job would make of the photo now."""
    if entry is None or entry.photo is None:
        return False
    asked = (prepared.model, prepared.options, set(prepared.paths(task)))
    if (entry.model, entry.options, {name for name, _ in entry.outputs}) != asked:
        return False
    if not all(has_size(prepared.job, *output) for output in entry.outputs):
        return False
    try:
        path = source_path(prepared.job, task.name)
        return identify(path, content_hash=prepared.job.content_hash).same(entry.photo)
    except ImageError:
        return False


def has_size(job: FolderJob, name: str, size: int) -> bool:
    """Whether a result is a file of this size."""
    try:
        state = os.stat(os.path.join(job.target, name))  # noqa: PTH116, PTH118 - names of any bytes
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_size == size
