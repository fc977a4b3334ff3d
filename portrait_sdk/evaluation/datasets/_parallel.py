"""Many pictures at once, results in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from portrait_sdk.ops import threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    Item = TypeVar("Item")
    Result = TypeVar("Result")

_AHEAD = 2  # pieces of work waiting for each worker: a slow one does not stop the others


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """``map`` on threads, with a bounded number of items and results held at once.

    Decoding, resampling and encoding release the interpreter's lock, so threads are enough.

    Args:
        work: Its first error ends the iteration, and what has not begun is dropped.
        items: Read as they are needed.
        workers: None: the thread budget.
    """
    count = workers or threads.budget()
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="portrait-dataset")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # Ctrl-C and a caller that stops early, too
        pool.shutdown(cancel_futures=True)
