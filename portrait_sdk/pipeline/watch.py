"""Photos as they come into a folder: each once it is complete. Polls, and so works on a NAS."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portrait_sdk.errors import OptionError
from portrait_sdk.pipeline.listing import Task, tasks
from portrait_sdk.pipeline.task import source_path, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def arrivals(
    job: FolderJob, watch: Watch, over: Callable[[float], bool]
) -> Iterator[Task | Problem]:
    """List a job's photos for ever: each when it is complete, and again when it was replaced.

    Args:
        job: Whose photos.
        watch: How.
        over: Waits for at most so many seconds; True where the watch is over.
    """
    seen: dict[Task | Problem, _Seen] = {}
    while True:
        still: dict[Task | Problem, _Seen] = {}
        for found in tasks(job):
            if over(0):
                return
            now_is = stamp(source_path(job, found.name))
            if now_is is None and isinstance(found, Task):
                continue  # a temporary name that is gone by now
            now = time.monotonic()
            before = seen.get(found)
            state = before if before and before.stamp == now_is else _Seen(now_is, now)
            still[found] = state
            if not state.given and now - state.since >= watch.settle_s:
                state.given = True
                yield found
        seen = still
        if over(watch.poll_s):
            return
