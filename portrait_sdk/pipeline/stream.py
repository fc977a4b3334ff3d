"""``stream``: mattes one after another, the next ones in the making."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from portrait_sdk import api
from portrait_sdk.errors import OptionError
from portrait_sdk.media import DEFAULT_LIMITS, count_pixels, load_image
from portrait_sdk.pipeline import stages

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable

    from portrait_sdk.api import Color, ImageLike, Matte, Matting
    from portrait_sdk.media import Limits, Loaded
    from portrait_sdk.ops.refine import Refine
    from portrait_sdk.pipeline.stages import Outcome

Yielded = TypeVar("Yielded")


class MatteStream(api.Closes, Iterator[Yielded], Generic[Yielded]):
    """Mattes in the order of their photos; an iterator and a context manager, made by ``stream``.

    ``next`` may be called from different threads; calls follow one another. :meth:`close` may be
    called from any thread, also while another is inside ``next``, which then ends at once, as if
    there were no more photos.
    """

    def __init__(
        self,
        outcomes: Generator[Outcome[Any, Matte], None, None],
        cancel: threading.Event,
        *,
        errors: Literal["raise", "yield"],
        closes: Matting | None,
    ) -> None:
        """Wrap a run; use :func:`stream`."""
        self._outcomes, self._cancel = outcomes, cancel
        self._raises, self._closes = errors == "raise", closes
        self._lock = threading.Lock()

    def __next__(self) -> Yielded:
        """Wait for the next photo's matte.

        Raises:
            StopIteration: There are no more, or the stream was closed.
            Exception: Under ``errors="raise"``, a photo's error, at its place; the stream is closed
                then. Always: what the iterable of photos raises, after those before.
        """
        try:
            with self._lock:
                outcome = next(self._outcomes)
        except BaseException:  # its end, above all
            self.close()
            raise
        if outcome.error is not None and self._raises:
            self.close()
            raise outcome.error
        return cast("Yielded", outcome.result if outcome.error is None else outcome.error)

    def close(self) -> None:
        """End: what is under way is let finish its stage and is dropped; again is harmless."""
        self._cancel.set()
        with self._lock:
            self._outcomes.close()
        if self._closes is not None:
            self._closes.close()


@overload
def stream(
    images: Iterable[ImageLike],
    *,
    model: str | os.PathLike[str] | None = ...,
    provider: str = ...,
    matting: Matting | None = ...,
    color: Color = ...,
    limits: Limits = ...,
    refine: Refine = ...,
    look_ahead: int | None = ...,
    workers: int | None = ...,
    batch_size: int | None = ...,
    memory_bytes: int = ...,
    errors: Literal["raise"] = ...,
) -> MatteStream[Matte]: ...


@overload
def stream(
    images: Iterable[ImageLike],
    *,
    model: str | os.PathLike[str] | None = ...,
    provider: str = ...,
    matting: Matting | None = ...,
    color: Color = ...,
    limits: Limits = ...,
    refine: Refine = ...,
    look_ahead: int | None = ...,
    workers: int | None = ...,
    batch_size: int | None = ...,
    memory_bytes: int = ...,
    errors: Literal["yield"],
) -> MatteStream[Matte | Exception]: ...


def stream(  # noqa: PLR0913 - those of load and matte, and its own
    images: Iterable[ImageLike],
    *,
    model: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    matting: Matting | None = None,
    color: Color = "RGB",
    limits: Limits = DEFAULT_LIMITS,
    refine: Refine = "auto",
    look_ahead: int | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    memory_bytes: int = stages.MEMORY_BYTES,
    errors: Literal["raise", "yield"] = "raise",
) -> MatteStream[Any]:
    """Matte many photos: an iterator over their mattes, in order, the next ones in the making.

    While one matte is looked at, threads decode and matte the photos after it, no more of them than
    ``look_ahead`` and about what ``memory_bytes`` hold. They start with the first ``next``, and are
    gone when the iterator has ended, was closed, or has left its ``with`` block.

    Args:
        images: Photos, each as for :meth:`Matting.matte`; taken one by one as there is room, in a
            thread of its own. May be a generator, endless or slow.
        model: As for :func:`load`; opened here and closed with the stream.
        provider: As for :func:`load`.
        matting: An open model, instead of ``model`` and ``provider``; it stays open.
        color: Channel order of arrays.
        limits: As for :meth:`Matting.matte`.
        refine: As for :meth:`Matting.matte`.
        look_ahead: Most photos taken from ``images`` and not yet yielded; None: two more than twice
            the workers.
        workers: Threads; None: the budget (``set_threads``).
        batch_size: Most photos in one run of the network: neighbours that come to the same input
            size; None: :attr:`Matting.photos_at_once`. On a GPU batches may change alpha in its
            last bits.
        memory_bytes: About what the photos under way may take; a larger one goes alone.
        errors: ``raise``: a photo that fails raises its error at its place, and the stream is
            closed. ``yield``: the error takes the matte's place, and the stream goes on.

    Raises:
        OptionError: An option is not possible, or ``matting`` comes with ``model`` or ``provider``.
        ModelError, SpecError, ProviderError: As :func:`load`.
    """
    if errors not in ("raise", "yield"):
        raise OptionError(f"errors: expected 'raise' or 'yield', got {errors!r}")
    if matting is not None and (model is not None or provider != "auto"):
        raise OptionError("stream: give matting, or model and provider, not both")
    open_model = matting or api.load(
        model, provider=provider, threads=stages.session_threads(workers)
    )
    own = None if matting else open_model
    cancel = threading.Event()

    def decode(image: ImageLike) -> Loaded:
        return load_image(image, color=color, limits=limits)

    try:
        outcomes = stages.run(
            images,
            open_model,
            decode=decode,
            encode=lambda _image, matte: matte,
            pixels=count_pixels,
            refine=refine,
            workers=workers,
            batch_size=batch_size,
            look_ahead=look_ahead,
            memory_bytes=memory_bytes,
            cancel=cancel,
        )
    except BaseException:
        if own is not None:
            own.close()
        raise
    return MatteStream(outcomes, cancel, errors=errors, closes=own)
