"""Many photos through decode, infer and encode at once, within one thread budget.

Worker threads, as many as the budget, each take whatever stage is most advanced of the photos under
way: encoding before inference before decoding. So no core waits for another, few photos are half
done at any time, and finished ones leave memory before new ones come in. While several workers are
busy each runs its kernels on its share of the budget; a photo alone gets all of it.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from portrait_sdk.api import Matte
from portrait_sdk.errors import PortraitError, first_line
from portrait_sdk.ops import geometry, threads
from portrait_sdk.ops import refine as refining

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from portrait_sdk.api import Matting
    from portrait_sdk.media import Loaded
    from portrait_sdk.ops.refine import Refine

Item = TypeVar("Item")
Result = TypeVar("Result")

MEMORY_BYTES = 2**30
"""Default of ``memory_bytes``."""
_BYTES_PER_PIXEL = 16  # of a photo under way, at its peak: picture, alpha, colours, cutout, file
_MATTE_BYTES_PER_PIXEL = 7  # picture and alpha
_NETWORKS = 4  # at most side by side: each takes working memory
_POLL_S = 0.1  # how soon ``cancel`` is noticed while nothing else happens
_PATIENCE_S = 0.5  # for ``items`` that is being waited for when everything ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Item, Result]):
    """What became of one photo."""

    item: Item
    result: Result | None
    """What ``encode`` returned."""
    error: Exception | None
    """Of decoding, inference or encoding; ``result`` is None then."""
    seconds: dict[str, float]
    """Wall time of each stage that ran, waiting not counted: decode, preprocess, inference,
    postprocess, encode."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Photo(Generic[Item]):
    """One photo under way."""

    item: Item
    number: int
    bytes: int = 0
    """Counted against the run's, from the beginning of decoding on."""
    loaded: Loaded | None = None
    matte: Matte | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    alone: bool = False
    """Memory ran out once: no other photo is under way beside it now."""


def session_threads(workers: int | None) -> int:
    """Threads of ONNX Runtime within one run that suit a model opened for many photos.

    Half the workers may be inside the network at once, on all of the budget together, while the
    others decode and encode. All of them at once, on one thread each, would take 6 % less time and
    a fifth more memory (u2netp on two cores).

    Args:
        workers: As for :func:`run`.
    """
    budget = threads.budget()
    networks = min((workers or budget) // 2, _NETWORKS)
    return max(1, budget // max(1, networks))


_Stage: TypeAlias = Callable[[list[_Photo[Item]]], None]


def run(  # noqa: PLR0913 - a job has many sides
    items: Iterable[Item],
    matting: Matting,
    *,
    decode: Callable[[Item], Loaded],
    encode: Callable[[Item, Matte], Result],
    pixels: Callable[[Item], int | None] | None = None,
    refine: Refine = "auto",
    workers: int | None = None,
    batch_size: int | None = None,
    look_ahead: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
    ordered: bool = True,
    cancel: threading.Event | None = None,
) -> Generator[Outcome[Item, Result], None, None]:
    """Matte many photos; yields what became of each, as soon as it may.

    A photo that fails is an outcome with its error, and the run goes on. Closing the iterator ends
    it: stages that have begun are let finish, no other begins, and no thread is left, but for one
    inside ``items`` while that blocks. Nothing starts before the first outcome is asked for.

    Args:
        items: Whatever tells photos apart, taken one by one in a thread of its own, no more than
            ``look_ahead`` before they are wanted. It may block, as a watched folder does.
        matting: The open model.
        decode: From an item to its photo; called in several threads at once.
        encode: From an item and its matte to a result, such as a written file's size; called in
            several threads at once.
        pixels: From an item to how many pixels it has, as its header says, or None; called in the
            thread of ``items``. Without it a photo's size counts only once it is decoded.
        refine: As for :meth:`Matting.matte`.
        workers: Threads that decode, infer and encode; None: the budget (``set_threads``).
        batch_size: Most photos in one run of the network: neighbours that come to the same input
            size; None: ``Matting.photos_at_once``. On a GPU alpha may differ in its last bits with
            what was batched.
        look_ahead: Most photos taken from ``items`` whose outcome has not been yielded; None: two
            more than twice the workers.
        memory_bytes: About what all photos under way may take. One that needs more goes alone.
        ordered: Yield in the order of ``items``; False: as they are done.
        cancel: Once set, no stage begins any more; what is done by then is yielded, and the
            iterator ends.

    Raises:
        OptionError: A number is below 1, or ``refine`` is not possible. At once; what follows comes
            from the iterator.
        PortraitError: A worker thread died (of ``SystemExit``, say).
        Exception: Whatever ``items`` raises, once the photos before it are done.
    """
    refining.choose(refine, matting.spec)
    workers = threads.budget() if workers is None else threads.check(workers, "workers")
    return _Run(
        items=iter(items),
        matting=matting,
        decode=decode,
        encode=encode,
        pixels=pixels,
        refine=refine,
        workers=workers,
        batch_size=matting.photos_at_once
        if batch_size is None
        else threads.check(batch_size, "batch_size"),
        look_ahead=2 * workers + 2
        if look_ahead is None
        else threads.check(look_ahead, "look_ahead"),
        memory_bytes=threads.check(memory_bytes, "memory_bytes"),
        ordered=ordered,
        cancel=cancel or threading.Event(),
    ).outcomes()


@dataclass(kw_only=True, eq=False)
class _Run(Generic[Item, Result]):
    """The photos under way, and the threads that take them on. ``_changed`` guards all of it."""

    items: Iterator[Item]
    matting: Matting
    decode: Callable[[Item], Loaded]
    encode: Callable[[Item, Matte], Result]
    pixels: Callable[[Item], int | None] | None
    refine: Refine
    workers: int
    batch_size: int
    look_ahead: int
    memory_bytes: int
    ordered: bool
    cancel: threading.Event

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self._taken = self._yielded = 0  # photos, from ``items`` and to the caller
        self._more = True  # whether ``items`` may have another
        self._items_error: BaseException | None = None
        self._death: BaseException | None = None
        self._busy = 0  # workers inside a stage
        self._inferring = 0
        self._most_inferring = 1
        if self.matting.provider == "cpu":  # a GPU does one after the other anyway
            side_by_side = max(1, threads.budget() // self.matting.threads)
            self._most_inferring = min(side_by_side, self.workers, _NETWORKS)
        self._bytes = 0  # of photos whose decoding has begun, until they are done
        self._fresh: deque[_Photo[Item]] = deque()
        self._alone: deque[tuple[_Stage[Item], _Photo[Item]]] = deque()
        self._decoded: deque[_Photo[Item]] = deque()
        self._matted: deque[_Photo[Item]] = deque()
        self._done: dict[int, tuple[Outcome[Item, Result], int]] = {}  # with bytes it takes

    def outcomes(self) -> Generator[Outcome[Item, Result], None, None]:
        """Start the threads, yield, and see to it that they end."""
        feeder = threading.Thread(target=self._feed, name="portrait-items", daemon=True)
        crew = [
            threading.Thread(target=self._work, name=f"portrait-worker-{number}", daemon=True)
            for number in range(self.workers)
        ]

        def stop() -> None:
            with self._changed:
                self._stopping = True
                self._changed.notify_all()
            for thread in crew:
                if thread.ident is not None:
                    thread.join()
            if feeder.ident is not None:
                feeder.join(_PATIENCE_S)

        atexit.register(stop)  # for an iterator that is still held when the process ends
        try:
            for thread in (feeder, *crew):
                thread.start()
            while (outcome := self._next_outcome()) is not None:
                yield outcome
                del outcome  # its matte must not live while the next is waited for
            stop()  # what was under way when ``cancel`` was set is done now
            yield from (self._done.pop(number)[0] for number in sorted(self._done))
        finally:
            atexit.unregister(stop)
            stop()
        if self._death is not None:
            raise PortraitError(
                f"a worker thread died: {type(self._death).__name__}: {first_line(self._death)}"
            ) from self._death
        if self._items_error is not None:
            raise self._items_error

    def _next_outcome(self) -> Outcome[Item, Result] | None:
        """Wait for the next one to yield; None when there is none to wait for."""
        with self._changed:
            while not self._stopping:
                if self.cancel.is_set():
                    return None
                number = self._yielded if self.ordered else next(iter(self._done), None)
                if number in self._done:
                    outcome, kept = self._done.pop(number)
                    self._yielded += 1
                    self._bytes -= kept
                    self._changed.notify_all()
                    return outcome
                if not self._more and self._yielded == self._taken:
                    return None
                self._changed.wait(_POLL_S)
        return None

    def _feed(self) -> None:
        """Take items while there is room; a thread's life."""
        try:
            while self._room():
                try:
                    photo = _Photo(item=next(self.items), number=self._taken)
                except StopIteration:
                    break
                if self.pixels is not None:
                    with contextlib.suppress(Exception):  # decoding will tell what is wrong
                        photo.bytes = _BYTES_PER_PIXEL * (self.pixels(photo.item) or 0)
                with self._changed:
                    self._taken += 1
                    self._fresh.append(photo)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again where outcomes are yielded
            self._items_error = error
        with self._changed:
            self._more = False
            self._changed.notify_all()

    def _room(self) -> bool:
        with self._changed:
            while self._taken - self._yielded >= self.look_ahead and not self._stopping:
                self._changed.wait()
            return not self._stopping

    def _work(self) -> None:
        """Do whatever is next until nothing is; a thread's life."""
        try:
            while (job := self._next_job()) is not None:
                stage, photos = job
                try:
                    with threads.share_of_budget(self._busy):
                        self._try(stage, photos)
                finally:
                    with self._changed:
                        self._busy -= 1
                        self._inferring -= stage == self._infer
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again where outcomes are yielded
            with self._changed:
                self._death, self._stopping = error, True
                self._changed.notify_all()

    def _next_job(self) -> tuple[_Stage[Item], list[_Photo[Item]]] | None:
        """Wait for a stage that can begin; None when all is done."""
        with self._changed:
            while not self._stopping and not self.cancel.is_set():
                job = self._ready()
                if job is not None:
                    self._busy += 1
                    self._inferring += job[0] == self._infer
                    return job
                if not self._more and self._taken == self._yielded + len(self._done):
                    return None
                self._changed.wait()
        return None

    def _ready(self) -> tuple[_Stage[Item], list[_Photo[Item]]] | None:
        """Take the most advanced of what can begin now."""
        if self._matted:
            return self._encode, [self._matted.popleft()]
        if self._decoded and self._inferring < self._most_inferring:
            return self._infer, self._batch()
        if self._alone:
            if self._busy:
                return None
            stage, photo = self._alone.popleft()
            return stage, [photo]
        if self._fresh and self._fits(self._fresh[0]):
            photo = self._fresh.popleft()
            self._bytes += photo.bytes
            return self._decode, [photo]
        return None

    def _fits(self, photo: _Photo[Item]) -> bool:
        """Whether there is memory for one more: always where nothing else is under way."""
        return self._bytes == 0 or self._bytes + photo.bytes <= self.memory_bytes

    def _batch(self) -> list[_Photo[Item]]:
        """Take the first decoded photo, and those behind it that the network takes along."""
        batch = [self._decoded.popleft()]
        while (
            self._decoded
            and len(batch) < self.batch_size
            and self._input_size(self._decoded[0]) == self._input_size(batch[0])
        ):
            batch.append(self._decoded.popleft())
        return batch

    def _input_size(self, photo: _Photo[Item]) -> tuple[int, int]:
        assert photo.loaded is not None
        return geometry.place(photo.loaded.image.shape[:2], self.matting.spec.input.size).input

    def _try(self, stage: _Stage[Item], photos: list[_Photo[Item]]) -> None:
        """Run a stage; what fails is the photo's own affair."""
        try:
            stage(photos)
        except Exception as error:  # noqa: BLE001 - a decoder's, a network's, a disk's: any
            _forget_arrays(error)
            (photo, *others) = photos
            if others:  # a batch, of which one may be to blame
                for each in photos:
                    self._try(stage, [each])
            elif isinstance(error, MemoryError) and not photo.alone:
                self._put_off(stage, photo)
            else:
                self._finish(photo, error=error)

    def _decode(self, photos: list[_Photo[Item]]) -> None:
        (photo,) = photos
        with _timed(photo, "decode"):
            photo.loaded = self.decode(photo.item)
        height, width = photo.loaded.image.shape[:2]
        with self._changed:
            self._count(photo, _BYTES_PER_PIXEL * height * width)
            self._decoded.append(photo)

    def _infer(self, photos: list[_Photo[Item]]) -> None:
        loaded = [photo.loaded for photo in photos]
        mattes = self.matting.matte_many(loaded, refine=self.refine, batch_size=len(photos))
        for photo, matte in zip(photos, mattes, strict=True):
            matte.seconds["decode"] = photo.seconds["decode"]
            photo.seconds |= matte.seconds
            photo.loaded, photo.matte = None, matte
        with self._changed:
            self._matted.extend(photos)

    def _encode(self, photos: list[_Photo[Item]]) -> None:
        (photo,) = photos
        assert photo.matte is not None
        with _timed(photo, "encode"):
            result = self.encode(photo.item, photo.matte)
        self._finish(photo, result=result)

    def _put_off(self, stage: _Stage[Item], photo: _Photo[Item]) -> None:
        """Try again when nothing else is under way, and let nothing begin beside it."""
        photo.alone = True
        with self._changed:
            self._count(photo, self.memory_bytes + 1)
            self._alone.append((stage, photo))

    def _count(self, photo: _Photo[Item], size: int) -> None:
        """What a photo now counts; one that goes alone keeps all there is until it is done."""
        size = max(size, photo.bytes) if photo.alone else size
        self._bytes += size - photo.bytes
        photo.bytes = size

    def _finish(
        self, photo: _Photo[Item], *, result: Result | None = None, error: Exception | None = None
    ) -> None:
        photo.loaded = photo.matte = None
        outcome = Outcome(item=photo.item, result=result, error=error, seconds=photo.seconds)
        # A matte that waits to be yielded still takes memory; a file's size or name does not.
        kept = result.alpha.size * _MATTE_BYTES_PER_PIXEL if isinstance(result, Matte) else 0
        with self._changed:
            self._bytes += kept - photo.bytes
            self._done[photo.number] = outcome, kept


@contextlib.contextmanager
def _timed(photo: _Photo[Item], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        photo.seconds[stage] = time.perf_counter() - started


def _forget_arrays(error: BaseException | None) -> None:
    """Let go of what a kept error's frames hold: pictures, above all."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
