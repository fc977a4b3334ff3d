"""``load``, ``Matting``, ``MattingSequence``, ``Matte``: photos in, alpha and cutouts out."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np

from portrait_sdk.errors import ClosedError, ImageError, OptionError
from portrait_sdk.media import DEFAULT_LIMITS, Limits, load_image
from portrait_sdk.model import onnx_file, registry
from portrait_sdk.model.session import Session
from portrait_sdk.ops import compositing, foreground, geometry, postprocess, preprocess
from portrait_sdk.ops import refine as refining
from portrait_sdk.ops import trimap as trimaps
from portrait_sdk.ops.foreground import DEFAULT as DEFAULT_METHOD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from portrait_sdk.media import Loaded
    from portrait_sdk.model.session import States
    from portrait_sdk.ops.foreground import Method
    from portrait_sdk.ops.refine import Refine
    from portrait_sdk.spec import ModelSpec, Precision
    from portrait_sdk.types import AlphaF32, Cutout, F32Array, Image, Trimap

Color: TypeAlias = Literal["RGB", "BGR"]
ImageLike: TypeAlias = Any
"""A path, encoded bytes, an open binary file, a PIL image, or an array; see ``load_image``."""

_SUBJECT_SHARE = 0.001  # of the pixels at alpha > 0.5; below it a photo counts as empty


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matte:
    """The result for one photo. Arrays are the caller's to read, not to change."""

    alpha: AlphaF32
    """float32 (H, W) in [0, 1] at the photo's size; 1 is all foreground. Never stretched: a photo
    without a person has an alpha near 0 everywhere."""
    image: Image
    """uint8 (H, W, 3) RGB: the photo as decoded, upright and in sRGB."""
    spec: ModelSpec
    """Of the model that made it."""
    seconds: dict[str, float]
    """Wall time of each stage: decode, preprocess, inference, postprocess (refining included)."""
    _foregrounds: dict[str, Image] = field(default_factory=dict, repr=False)

    @property
    def coverage(self) -> float:
        """Mean of alpha: the share of the photo that is foreground, 0 to 1."""
        return float(self.alpha.mean())

    @property
    def has_subject(self) -> bool:
        """Whether anybody was found: alpha above 0.5 on at least 0.1 % of the pixels."""
        found = np.count_nonzero(self.alpha > 0.5)  # noqa: PLR2004 - the docstring's
        return bool(found >= _SUBJECT_SHARE * self.alpha.size)

    def trimap(self, *, band_radius_px: float | None = None) -> Trimap:
        """Certain foreground and background, the rest unknown: uint8 (H, W) of 0, 128, 255.

        Args:
            band_radius_px: The unknown band grows by this; None: 1/100 of the longer side.
        """
        return trimaps.trimap_from_alpha(self.alpha, band_radius_px=band_radius_px)

    def foreground(self, method: Method = DEFAULT_METHOD) -> Image:
        """Estimated foreground colours, uint8 (H, W, 3) RGB, straight; kept after the first call.

        Args:
            method: See ``estimate_foreground``.

        Raises:
            OptionError: The method is unknown, or PyMatting is not installed.
        """
        if method not in self._foregrounds:
            colours = foreground.estimate_foreground(self.image, self.alpha, method)
            colours.setflags(write=False)  # kept: a change would reach every later cutout
            self._foregrounds[method] = colours
        return self._foregrounds[method]

    def _colours(self, method: Method | None) -> Image:
        return self.image if method is None else self.foreground(method)

    def cutout(self, method: Method | None = DEFAULT_METHOD) -> Cutout:
        """The person alone: uint8 (H, W, 4) RGBA, straight alpha.

        Args:
            method: How foreground colours are estimated; None keeps the photo's own, whose soft
                edges carry the old background.

        Raises:
            OptionError: The method is unknown, or PyMatting is not installed.
        """
        return compositing.cutout(self._colours(method), self.alpha)

    def composite(
        self,
        background: Any,  # noqa: ANN401 - a colour or an image of any kind
        method: Method | None = DEFAULT_METHOD,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Image:
        """The person over another background: uint8 (H, W, 3) RGB.

        Args:
            background: ``"blur"`` or ``"blur:RADIUS"`` (pixels): the photo's own, out of focus; a
                colour as (r, g, b) of 0 to 255, ``"#rrggbb"`` or a name; or an image (path, bytes,
                PIL image, array), scaled to cover the photo and cropped about its centre; or what
                ``open_background`` returned.
            method: As for :meth:`cutout`.
            limits: For a background picture, as for :meth:`Matting.matte`.

        Raises:
            ImageError: The background is no colour, and no readable image.
            OptionError: The method or the blur radius is not possible.
        """
        behind = open_background(background, limits).behind(self)
        return compositing.composite(self._colours(method), self.alpha, behind)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Background:
    """What a person is laid over, opened once for many photos; :func:`open_background` makes it."""

    picture: Image | None
    """uint8 (H, W, 3) RGB, (1, 1, 3) for a colour; None: the photo's own, out of focus."""
    blur_radius_px: float | None = None
    """Of the photo's own; None goes by its size."""

    def behind(self, matte: Matte) -> Image:
        """What is seen behind ``matte``: uint8 (H, W, 3), or (1, 1, 3) for a colour."""
        if self.picture is None:
            return compositing.blur_background(matte.image, matte.alpha, self.blur_radius_px)
        if self.picture.shape[:2] == (1, 1):
            return self.picture
        return compositing.cover(self.picture, matte.alpha.shape)


def open_background(background: Any, limits: Limits = DEFAULT_LIMITS) -> Background:  # noqa: ANN401
    """Read what ``Matte.composite`` takes; what is open already is returned.

    Raises:
        ImageError: It is no colour, and no readable image.
        OptionError: The blur radius is not possible.
    """
    if isinstance(background, Background):
        return background
    if isinstance(background, str):
        kind, colon, radius = background.partition(":")
        if kind == "blur":
            try:
                radius_px = float(radius) if colon else None
            except ValueError as error:
                raise OptionError(
                    f"background {background!r}: expected blur:RADIUS in pixels"
                ) from error
            if radius_px is not None:
                compositing.check_blur_radius(radius_px)
            return Background(picture=None, blur_radius_px=radius_px)
        color = compositing.parse_color(background)
        if color is not None:
            return Background(picture=np.array(color, np.uint8).reshape(1, 1, 3))
        # Path.exists raises for a name too long, and takes an empty one for the working folder.
        if not os.path.exists(background):  # noqa: PTH110
            raise ImageError(
                f"background {background!r}: expected blur[:RADIUS], a colour (white, #rrggbb, "
                "r,g,b) or a picture's path, and there is no such file"
            )
    elif isinstance(background, tuple | list) and len(background) == 3:  # noqa: PLR2004 - r, g, b
        if not all(isinstance(v, int | np.integer) and 0 <= v <= 255 for v in background):  # noqa: PLR2004
            raise ImageError(f"background colour: expected r, g, b of 0 to 255, got {background}")
        return Background(picture=np.array(background, np.uint8).reshape(1, 1, 3))
    return Background(picture=load_image(background, limits=limits).over_white())


class Closes:
    """A context manager that closes itself."""

    def close(self) -> None:
        """Let go of what is held; again is harmless."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Return itself; closed at the end of the ``with`` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class Matting(Closes):
    """An open model: reusable, safe to call from several threads, a context manager."""

    def __init__(self, session: Session) -> None:
        """Wrap an open session; use :func:`load` to make one."""
        self._session = session

    @property
    def provider(self) -> str:
        """The execution provider that really runs, such as ``cpu`` or ``cuda``."""
        return self._session.provider

    @property
    def spec(self) -> ModelSpec:
        """What the model says about itself."""
        return self._session.spec

    @property
    def threads(self) -> int:
        """Threads of ONNX Runtime within one run."""
        return self._session.threads

    @property
    def photos_at_once(self) -> int:
        """Photos that gain by being run as one batch: 4 where the model has a batch axis.

        1 on a CPU, where a batch takes more memory and a tenth more time (measured: portrait-s).
        """
        return 4 if self._session.batches and self.provider != "cpu" else 1

    def sha256(self) -> str:
        """SHA-256 of the model's file as it lies there now; see ``onnx_file.sha256``.

        Raises:
            ModelError: The file cannot be read any more.
        """
        return onnx_file.sha256(self._session.path)

    def matte(
        self,
        image: ImageLike,
        *,
        color: Color = "RGB",
        limits: Limits = DEFAULT_LIMITS,
        refine: Refine = "auto",
    ) -> Matte:
        """Matte one photo.

        Args:
            image: A path, encoded bytes, an open binary file, a PIL image, or an array: uint8,
                uint16 or float in [0, 1]; (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) or
                (H, W, 4). A file's EXIF orientation and colour profile are applied. The alpha a
                picture already has is multiplied into the result; the network is shown it on white.
            color: Channel order of an array: "RGB" or "BGR" (OpenCV's).
            limits: Pixels and bytes beyond which a picture is refused before memory is taken.
            refine: How alpha comes from the network's size to the photo's. ``none``: resized.
                ``guided``: soft edges follow the photo's own detail. ``patches``: the network runs
                again on up to nine windows of a larger copy where it was unsure, then ``guided``.
                ``auto``: ``guided`` where the photo is at least 1.5 times as large as the
                network's input, else ``none``.

        Raises:
            ImageError: The picture cannot be read, or an array has another dtype, shape or range.
            ClosedError: The model is closed, or was opened in another process.
            ModelError: ONNX Runtime refuses the run, or alpha is not a number.
            OptionError: ``refine`` is none of these, or ``patches`` for a recurrent model.
        """
        return self.matte_many([image], color=color, limits=limits, refine=refine)[0]

    def matte_many(
        self,
        images: Iterable[ImageLike],
        *,
        color: Color = "RGB",
        limits: Limits = DEFAULT_LIMITS,
        refine: Refine = "auto",
        batch_size: int | None = None,
    ) -> list[Matte]:
        """Matte several photos, in order.

        Neighbours that come to the same input size run as one batch where the model has a batch
        axis; the others one by one.

        Args:
            images: As for :meth:`matte`.
            color: Channel order of arrays.
            limits: As for :meth:`matte`.
            refine: As for :meth:`matte`.
            batch_size: Largest batch; None: :attr:`photos_at_once`.

        Raises:
            ImageError, ClosedError, ModelError: As :meth:`matte`; nothing is returned then.
            OptionError: ``batch_size`` is below 1, or as :meth:`matte`.
        """
        refining.choose(refine, self.spec)
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"batch_size: expected at least 1, got {batch_size}")
        largest = (batch_size or self.photos_at_once) if self._session.batches else 1
        mattes: list[Matte] = []
        waiting: list[tuple[Loaded, float]] = []
        size: tuple[int, int] | None = None
        for image in images:
            started = time.perf_counter()
            loaded = load_image(image, color=color, limits=limits)
            decode_s = time.perf_counter() - started
            own = geometry.place(loaded.image.shape[:2], self.spec.input.size).input
            if waiting and (own != size or len(waiting) == largest):
                mattes += self._run(waiting, refine)[0]
                waiting = []
            size = own
            waiting.append((loaded, decode_s))
        return mattes + (self._run(waiting, refine)[0] if waiting else [])

    def sequence(self) -> MattingSequence:
        """Begin a sequence of frames, such as a video's: see :class:`MattingSequence`."""
        return MattingSequence(self)

    def _run(
        self, photos: list[tuple[Loaded, float]], refine: Refine, states: States | None = None
    ) -> tuple[list[Matte], States]:
        """Matte loaded photos as one batch; ``states`` are a sequence's, None for single photos."""
        spec = self.spec
        after: States = {}
        clock = [time.perf_counter()]
        images = [photo.over_white() for photo, _ in photos]
        batch, places = preprocess.prepare(images, spec.input)
        clock.append(time.perf_counter())
        if states is None:
            output = self._session.run(batch)
        else:
            output, after = self._session.step(batch, states)
        clock.append(time.perf_counter())
        small = postprocess.network_alpha(output, spec, places[0].input)
        mattes = []
        for (photo, decode_s), image, alpha, place in zip(
            photos, images, small, places, strict=True
        ):
            started = time.perf_counter()
            full = refining.refine(
                refine, alpha, place, image, spec, self._again, batch_size=self.photos_at_once
            )
            if photo.source_alpha is not None:
                full *= photo.source_alpha * np.float32(1 / 255)
            mattes.append(
                Matte(
                    alpha=full,
                    image=photo.image,
                    spec=spec,
                    seconds={
                        "decode": decode_s,
                        "preprocess": (clock[1] - clock[0]) / len(photos),
                        "inference": (clock[2] - clock[1]) / len(photos),
                        "postprocess": time.perf_counter() - started,
                    },
                )
            )
        return mattes, after

    def _again(self, windows: F32Array) -> F32Array:
        """Run the network on a batch of windows: float32 (N, h, w)."""
        nhwc = self.spec.input.layout == "NHWC"
        size = windows.shape[1:3] if nhwc else windows.shape[2:]
        output = self._session.run(windows)
        return postprocess.network_alpha(output, self.spec, (size[0], size[1]))

    def close(self) -> None:
        """Let go of the model; again is harmless."""
        self._session.close()

    def __repr__(self) -> str:
        """Name, provider and whether it is open."""
        state = "closed" if self._session.closed else self.provider
        return f"<Matting {self.spec.name} ({state})>"


class MattingSequence(Closes):
    """Frames in order, each helped by those before it where the model has recurrent states.

    A model without states gives what :meth:`Matting.matte` gives. Sequences of one ``Matting`` know
    nothing of each other and may run in different threads at once. One sequence is for one thread:
    calls from several run one after another, in whatever order they come. A frame that fails leaves
    the sequence as it was. A context manager; closing it lets go of the states, not of the model.
    """

    def __init__(self, matting: Matting) -> None:
        """Begin; use :meth:`Matting.sequence`."""
        self._matting = matting
        self._states: States = {}
        self._size: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def matte(
        self,
        frame: ImageLike,
        *,
        color: Color = "RGB",
        limits: Limits = DEFAULT_LIMITS,
        refine: Refine = "auto",
    ) -> Matte:
        """Matte the next frame.

        Args:
            frame: As for :meth:`Matting.matte`.
            color: Channel order of an array.
            limits: As for :meth:`Matting.matte`.
            refine: As for :meth:`Matting.matte`.

        Raises:
            ImageError: The frame cannot be read; or, under a model with states, it comes to another
                size in the network than those before it: :meth:`reset` begins anew with that size.
            ClosedError: The sequence or its model is closed.
            ModelError: ONNX Runtime refuses the run, or alpha is not a number.
            OptionError: As :meth:`Matting.matte`.
        """
        refining.choose(refine, self._matting.spec)
        with self._lock:
            if self._closed:
                raise ClosedError("this sequence is closed: begin another, Matting.sequence()")
            started = time.perf_counter()
            loaded = load_image(frame, color=color, limits=limits)
            decode_s = time.perf_counter() - started
            height, width = loaded.image.shape[:2]
            size = geometry.place((height, width), self._matting.spec.input.size).input
            if self._states and size != self._size:
                assert self._size is not None
                raise ImageError(
                    f"frame of {width} x {height} pixels: comes to {size[1]} x {size[0]} in the "
                    f"network, those before it to {self._size[1]} x {self._size[0]}; "
                    "reset() begins the sequence anew"
                )
            (matte,), self._states = self._matting._run(  # noqa: SLF001 - its other half
                [(loaded, decode_s)], refine, self._states
            )
            self._size = size
        return matte

    def reset(self) -> None:
        """Forget the frames so far, as at a cut: the next one is a first one, of any size."""
        with self._lock:
            self._states, self._size = {}, None

    def close(self) -> None:
        """Let go of the states; again is harmless. The model stays open."""
        with self._lock:
            self._states, self._closed = {}, True


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    provider: str = "auto",
    threads: int | None = None,
    precision: Precision | None = None,
    download: bool = False,
    graph_cache: bool | None = None,
    keep_memory: bool = True,
    cuda_graphs: bool = False,
) -> Matting:
    """Open a model.

    Args:
        model: A registered name (``portrait models list``), or the path of an .onnx file that
            describes itself; None: the default model, which lies inside the package.
        provider: ``auto``: the best that works here. By name (``cpu``, ``cuda``, ``cuda:1``,
            ``tensorrt``, ``directml``, ``coreml``, …): that one or an error, never another.
        threads: Of ONNX Runtime within one run; None: the process's budget (see ``set_threads``).
        precision: The precision the file must have (``fp32``, ``fp16``, ``int8``); None: any.
        download: Fetch a registered model that is not cached yet. Nothing is fetched otherwise.
        graph_cache: Keep the graph as ONNX Runtime optimised it, in the cache's folder, for later
            processes; CPU only. A graph of many nodes opens in half the time (U2-Net), one whose
            bulk is weights no faster (MODNet). None: as the environment's ``PORTRAIT_GRAPH_CACHE``
            says, else no.
        keep_memory: Keep the network's working memory between photos (ONNX Runtime's arena; CPU
            only). False is for a single photo, which runs as fast: it takes less at its peak and
            leaves nothing; later ones would run slower.
        cuda_graphs: Record the kernel launches of the first four input sizes on CUDA and replay
            them: for many photos or frames of one size. Not for models with recurrent states.

    Raises:
        ModelError: Unknown name, missing or damaged file, or a checkpoint that must be converted
            first (the message has the command).
        SpecError: The file does not describe itself, or in a newer schema.
        ProviderError: A provider asked for by name cannot be had; the message says why.
        DownloadError: Fetching failed, or the switch PORTRAIT_OFFLINE forbids it.
        OptionError: ``threads``, ``precision`` or ``cuda_graphs`` is not possible.
    """
    path = registry.resolve(model, download=download)
    if precision is not None and precision not in ("fp32", "fp16", "int8"):
        raise OptionError(f"precision: expected fp32, fp16 or int8, got {precision!r}")
    session = Session(
        path, provider, threads,
        graph_cache=graph_cache, keep_memory=keep_memory, cuda_graphs=cuda_graphs,
    )  # fmt: skip
    if precision is not None and session.spec.precision != precision:
        session.close()
        raise OptionError(
            f"{path}: holds {session.spec.precision}, {precision} was asked for; "
            f"`portrait convert … --precision {precision}` makes such a file"
        )
    return Matting(session)


_default_lock = threading.Lock()
_default: tuple[int, Matting] | None = None


def matte(
    image: ImageLike,
    *,
    color: Color = "RGB",
    limits: Limits = DEFAULT_LIMITS,
    refine: Refine = "auto",
) -> Matte:
    """Matte one photo with the default model, which is opened at the first call and kept.

    Args:
        image: See :meth:`Matting.matte`.
        color: Channel order of an array.
        limits: Pixels and bytes beyond which a picture is refused.
        refine: ``auto``, ``guided``, ``patches`` or ``none``: see :meth:`Matting.matte`.

    Raises:
        ImageError: The picture cannot be read, or an array has another dtype, shape or range.
        OptionError: ``refine`` is none of these.
    """
    return _default_matting().matte(image, color=color, limits=limits, refine=refine)


def _default_matting() -> Matting:
    """One per process: a fork opens its own."""
    global _default  # noqa: PLW0603 - opened once
    with _default_lock:
        if _default is None or _default[0] != os.getpid():
            _default = os.getpid(), load()
        return _default[1]


def _new_lock() -> None:
    """The parent's lock may be held by a thread that the fork does not have."""
    global _default_lock  # noqa: PLW0603 - likewise
    _default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)
