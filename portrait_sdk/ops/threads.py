"""One thread budget for ONNX Runtime, OpenCV and the kernels; bands of rows over it.

The budget is what the process may really use: its CPU affinity and the CPU quota of its control
group (containers), not the machine's core count.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait_sdk.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "PORTRAIT_THREADS"
"""Environment variable that sets the budget; ``set_threads`` wins over it."""

_MIN_BAND_BYTES = 1 << 18  # below this a band costs more to hand over than to do
_lock = threading.Lock()
_chosen: int | None = None
_shared = threading.local()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def available(*, proc: Path = Path("/proc/self"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many threads can run at once here: affinity, then cgroup v1 and v2 quotas, at least 1.

    Args:
        proc: The process's folder in procfs.
        cgroup: Where control groups are mounted.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:  # macOS, Windows
        count = os.cpu_count() or 1
    quota = _cgroup_quota(proc, cgroup)
    return max(1, min(count, math.ceil(quota))) if quota else max(1, count)


def _cgroup_quota(proc: Path, root: Path) -> float | None:
    """The tightest CPU quota, in cores, of the process's control group and all above it."""
    quotas = []
    for line in _read(proc / "cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            base, read = root, _quota_v2
        elif "cpu" in controllers.split(","):
            mounts = [root / controllers, root / "cpu"]
            base, read = next((m for m in mounts if m.is_dir()), mounts[0]), _quota_v1
        else:
            continue
        # Inside a container the path is the host's and may not exist; the mount's root does.
        folder = base / path.lstrip("/")
        for own in (folder, *folder.parents):
            quota = read(own)
            if quota is not None:
                quotas.append(quota)
            if own == base:
                break
    return min(quotas, default=None)


def _quota_v2(folder: Path) -> float | None:
    limit, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return int(limit) / int(period) if limit.isdigit() and period.isdigit() else None


def _quota_v1(folder: Path) -> float | None:
    limit = _read(folder / "cpu.cfs_quota_us").strip()  # -1: none
    period = _read(folder / "cpu.cfs_period_us").strip()
    return int(limit) / int(period) if limit.isdigit() and period.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def check(count: object, name: str) -> int:
    """``count`` as a thread count.

    Raises:
        OptionError: It is no whole number of at least 1.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise OptionError(f"{name}: expected a whole number from 1, got {count!r}")
    return count


def budget() -> int:
    """The threads to use: ``set_threads``, else the environment's ``PORTRAIT_THREADS``, else all.

    Raises:
        OptionError: The variable holds something else than a whole number from 1.
    """
    if _chosen is not None:
        return _chosen
    text = os.environ.get(VARIABLE, "").strip()
    if text:
        number = text.isascii() and text.isdecimal()
        return check(int(text) if number else text, f"environment variable {VARIABLE}")
    return available()


def set_threads(count: int | None) -> None:
    """Set the budget of this process, OpenCV's included; None goes back to the default.

    Sessions that are open keep the number they were opened with.

    Raises:
        OptionError: ``count`` is no whole number of at least 1.
    """
    global _chosen  # noqa: PLW0603 - the one setting of the process
    _chosen = None if count is None else check(count, "threads")
    cv2 = opencv()
    if count is None and not os.environ.get(VARIABLE, "").strip():
        cv2.setNumThreads(-1)  # its default


@contextmanager
def share_of_budget(busy: int) -> Iterator[None]:
    """Have kernels called by this thread run on its share of the budget, meanwhile.

    Args:
        busy: How many threads, this one among them, share the budget.
    """
    _shared.among = busy
    try:
        yield
    finally:
        _shared.among = 1


def _own_budget() -> int:
    """The calling thread's share of the budget, at least 1."""
    return max(1, budget() // getattr(_shared, "among", 1))


def opencv() -> Any:  # noqa: ANN401 - a module without stubs
    """Import and return ``cv2`` under the budget, where somebody has set one.

    Its own default respects affinity and quotas, and an application's own setting is left alone.
    """
    import cv2

    if _chosen is not None or os.environ.get(VARIABLE, "").strip():
        cv2.setNumThreads(budget())
    return cv2


def over_rows(rows: int, row_bytes: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, last)`` for bands covering ``range(rows)``, on up to ``budget()`` threads.

    Args:
        rows: How many rows there are.
        row_bytes: Bytes read and written per row; small work stays on the calling thread.
        work: Releases the GIL for most of its time. Bands do not overlap.
    """
    bands = min(_own_budget(), rows, max(1, rows * row_bytes // _MIN_BAND_BYTES))
    if bands <= 1:
        work(0, rows)
        return
    edges = [rows * band // bands for band in range(bands + 1)]
    pool = _executor(bands - 1)
    waiting = [pool.submit(work, a, b) for a, b in pairwise(edges[1:])]
    try:
        work(edges[0], edges[1])
    finally:
        errors = [future.exception() for future in waiting]
    for error in errors:
        if error is not None:
            raise error


def over_pieces(count: int, piece_bytes: int, work: Callable[[Iterator[int]], None]) -> None:
    """Call ``work(numbers)`` on up to ``budget()`` threads; together they meet ``range(count)``.

    For pieces whose cost differs: each thread takes the next number when it is done with one.

    Args:
        count: How many pieces there are.
        piece_bytes: Bytes read and written per piece; small work stays on the calling thread.
        work: Releases the GIL for most of its time.
    """
    waiting = deque(range(count))

    def numbers() -> Iterator[int]:
        while True:
            try:
                number = waiting.popleft()
            except IndexError:
                return
            yield number

    def stop_all() -> None:
        try:
            work(numbers())
        except BaseException:
            waiting.clear()  # the others need not go on
            raise

    over_rows(count, piece_bytes, lambda _first, _last: stop_all())


def together(count: int, work: Callable[[], None]) -> None:
    """Call ``work()`` on up to ``count`` threads at once, within ``budget()``.

    Args:
        count: How many threads there is work for.
        work: Releases the GIL, shares something among its callers, and returns once nothing of it
            is left to begin; a call that comes late, or not at all, is no harm.
    """
    helpers = min(_own_budget(), count) - 1
    if helpers < 1:
        work()
        return
    pool = _executor(helpers)
    waiting = [pool.submit(work) for _ in range(helpers)]
    try:
        work()
    finally:  # those that have not begun, behind somebody else's work, are not waited for
        errors = [None if future.cancel() else future.exception() for future in waiting]
    for error in errors:
        if error is not None:
            raise error


def _executor(workers: int) -> ThreadPoolExecutor:
    global _pool, _pool_size  # noqa: PLW0603 - one pool of helpers for the process
    with _lock:
        if _pool is None or _pool_size < workers:
            _pool = ThreadPoolExecutor(workers, thread_name_prefix="portrait-rows")
            _pool_size = workers
        return _pool


def _forget_pool() -> None:
    """A forked child has none of its parent's threads: start anew."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
