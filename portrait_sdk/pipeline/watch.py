"""Photos as they come into a folder: each once it is complete. Polls, and so works on a NAS."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portrait_sdk.errors import OptionError
from portrait_sdk.pipeline.listing import Task, tasks

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from portrait_sdk.pipeline.job import FolderJob
    from portrait_sdk.pipeline.listing import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a folder is watched.

    Raises:
        OptionError: A time is not positive.
    """

    settle_s: float = 2.0
    """A photo is complete once its size and modification time have stayed for so long."""
    poll_s: float = 1.0
    """The folder is listed again after so long."""

    def __post_init__(self) -> None:
        """Refuse times that are none."""
        for name, value in (("settle_s", self.settle_s), ("poll_s", self.poll_s)):
            if not value > 0:
                raise OptionError(f"{name}: expected seconds above 0, got {value}")


@dataclass(slots=True)
class _Seen:
    stamp: tuple[int, ...] | None
    since: float
    given: bool = False


def arrivals(job: FolderJob, watch: Watch, cancel: threading.Event) -> Iterator[Task | Problem]:
    """List a job's photos for ever: each when it is complete, and again when it was replaced.

    Blocks between polls; ends once ``cancel`` is set.
    """
    seen: dict[Task | Problem, _Seen] = {}
    while True:
        still: dict[Task | Problem, _Seen] = {}
        for found in tasks(job):
            if cancel.is_set():
                return
            stamp = _stamp(job, found.name)
            if stamp is None and isinstance(found, Task):
                continue  # a temporary name that is gone by now
            now = time.monotonic()
            before = seen.get(found)
            state = before if before and before.stamp == stamp else _Seen(stamp, now)
            still[found] = state
            if not state.given and now - state.since >= watch.settle_s:
                state.given = True
                yield found
        seen = still
        if cancel.wait(watch.poll_s):
            return


def _stamp(job: FolderJob, name: str) -> tuple[int, ...] | None:
    """Changes as a file grows; None where there is none."""
    try:
        state = os.stat(os.path.join(job.source, name))  # noqa: PTH116, PTH118 - any bytes
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
