"""How fast each stage runs on this machine, beside other packages where they are installed.

Variants take turns round by round, warm-up is dropped, medians and quartiles are kept; whatever
another package computes is compared with ours before it is timed. The photo is a mosaic of a real
one at its own resolution: an upscaled photo would be all blur and flatter codecs and filters.
"""

from __future__ import annotations

import importlib
import io
import platform
import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from portrait_sdk import doctor
from portrait_sdk.api import load
from portrait_sdk.errors import OptionError
from portrait_sdk.media import encode_image, load_image
from portrait_sdk.ops import compositing, foreground, postprocess, preprocess, resample, threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portrait_sdk.api import Matting
    from portrait_sdk.ops.foreground import Method
    from portrait_sdk.types import AlphaF32, Image

_Array = TypeVar("_Array", bound=np.ndarray[Any, Any])
_VERSIONS = ("numpy", "opencv-python-headless", "pillow", "onnxruntime-gpu", "onnxruntime",
             "pymatting", "rembg")  # fmt: skip
_STRAY = 1e-5  # share of values that may differ by more: float32's last bit, where it decides
_JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Wall time of one variant, in seconds."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Summarise rounds."""
        low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
        return cls(median=float(median), low=float(low), high=float(high))


def take_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3
) -> dict[str, Timing]:
    """Time variants round by round, so that a busy minute of the machine meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(warm_up + rounds):
        for name, call in variants.items():
            started = time.perf_counter()
            call()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing.of(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """What figures were measured on."""
    found = doctor.report()
    return {
        "processor": _processor(),
        "system": platform.system(),
        "python": found["python"],
        "threads": found["threads"]["budget"],
        "kernels": found["kernels"]["isa"],
        "portrait_sdk": found["portrait_sdk"],
        "versions": {name: version for name in _VERSIONS if (version := _version(name))},
    }


def mosaic(photos: Sequence[_Array], size: tuple[int, int], seed: int = 1) -> _Array:
    """Photos at their own resolution, each flipped at random, in rows until ``size`` is covered.

    Args:
        photos: (h, w, 3) or (h, w) each, of any sizes and one dtype; taken in turn.
        size: Height and width of the result.
        seed: The same seed and sizes give the same flips: a photo and its alpha stay together.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    out = cast("_Array", np.empty((height, width, *photos[0].shape[2:]), photos[0].dtype))
    top = taken = 0
    while top < height:
        row: list[_Array] = []
        while sum(tile.shape[1] for tile in row) < width:
            down, right = rng.choice([-1, 1], 2)
            row.append(cast("_Array", photos[taken % len(photos)][::down, ::right]))
            taken += 1
        tall = min(height - top, *(tile.shape[0] for tile in row))
        joined = np.concatenate([tile[:tall] for tile in row], axis=1)
        out[top : top + tall] = joined[:, :width]
        top += tall
    return out


def upscaled(photo: Image, size: tuple[int, int], grain: float = 3.0, seed: int = 1) -> Image:
    """One photo enlarged to cover ``size``, with a sensor's grain of that standard deviation."""
    big = compositing.cover(photo, size).astype(np.float32)
    noise = np.random.default_rng(seed).standard_normal(big.shape, np.float32)
    big += np.float32(grain) * noise
    return np.asarray(np.clip(np.rint(big), 0, 255), np.uint8)


def bundled() -> Path:
    """The portrait that ships with the package."""
    from portrait_sdk.converters.portraits import BUNDLED

    return BUNDLED


def agree(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], bound: float) -> bool:
    """Whether all but one value in 100,000 are within ``bound`` of each other."""
    if ours.shape != theirs.shape:
        return False
    difference = np.abs(ours.astype(np.float32) - theirs.astype(np.float32))
    return bool(np.count_nonzero(difference > bound) <= _STRAY * difference.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One thing to time, and what others have for it."""

    name: str
    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]]
    bound: float = 0.0
    """How far a peer's result may lie from ours to be the same thing."""
    compared: Callable[[Any], np.ndarray[Any, Any]] = np.asarray
    """A result as an array, to compare."""


def run(
    photo: Path | None = None,
    *,
    matting: Matting | None = None,
    megapixels: float = 12.0,
    rounds: int = 5,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time every stage of a cutout.

    Args:
        photo: What the mosaic is made of; None: the portrait that ships with the package.
        matting: The model; None: the default one, on the CPU.
        megapixels: Of the mosaic, 4:3.
        rounds: Of each stage.
        progress: Called with the name of each stage before it is timed.

    Returns:
        ``machine``; ``height``, ``width``, ``model``, ``provider``, ``rounds``; ``rows``: each with
        ``stage``, ``seconds`` (median, low, high), ``megapixels_per_s``, ``peers`` (name →
        seconds and ratio to ours) and ``differ``, the peers left out as they compute another thing.

    Raises:
        OptionError: A number is not possible.
        ImageError: The photo cannot be read.
    """
    if not (megapixels > 0 and rounds > 0):
        raise OptionError(
            f"bench: expected megapixels and rounds above 0, got {megapixels} and {rounds}"
        )
    height = max(1, round((megapixels * 1e6 * 3 / 4) ** 0.5))
    width = max(1, round(height * 4 / 3))
    small = load_image(photo or bundled()).over_white()
    own = matting is None
    matting = matting or load(provider="cpu")
    rows = []
    try:
        # Alpha of the single photo, laid out like it: the network sees no person in 48 small ones.
        alpha_small = matting.matte(small).alpha
        image = mosaic([small], (height, width))
        alpha = mosaic([alpha_small], (height, width))
        for stage in _stages(image, alpha, matting):
            if progress is not None:
                progress(stage.name)
            rows.append(_time(stage, rounds, height * width))
        found = {"model": matting.spec.name, "provider": matting.provider}
    finally:
        if own:
            matting.close()
    size = {"height": height, "width": width}
    return {"machine": machine(), **size, **found, "rounds": rounds, "rows": rows}


def as_text(result: Mapping[str, Any]) -> str:
    """The table for people."""
    size = f"{result['width']} x {result['height']}"
    facts = (
        f"{size} pixels, {result['model']} on {result['provider']}, "
        f"{result['machine']['threads']} threads of {result['machine']['processor']}, "
        f"median of {result['rounds']}"
    )
    lines = [
        facts,
        f"{'stage':<28}{'ms':>9}{'MP/s':>9}   others",
    ]
    for row in result["rows"]:
        others = ", ".join(
            f"{name} {1000 * peer['seconds']['median']:.1f} ms ({peer['ratio']:.1f}x)"
            for name, peer in row["peers"].items()
        )
        milliseconds = 1000 * row["seconds"]["median"]
        line = f"{row['stage']:<28}{milliseconds:>9.1f}{row['megapixels_per_s']:>9.0f}   {others}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _time(stage: Stage, rounds: int, pixels: int) -> dict[str, Any]:
    ours = stage.compared(stage.ours())
    same = {
        name: call
        for name, call in stage.peers.items()
        if agree(ours, stage.compared(call()), stage.bound)
    }
    del ours
    timing = take_turns({"": stage.ours, **same}, rounds, warm_up=1)
    median = timing[""].median
    return {
        "stage": stage.name,
        "seconds": asdict(timing[""]),
        "megapixels_per_s": round(pixels / 1e6 / median, 1),
        "peers": {
            name: {"seconds": asdict(timing[name]), "ratio": round(timing[name].median / median, 2)}
            for name in same
        },
        "differ": sorted(set(stage.peers) - set(same)),
    }


def _stages(image: Image, alpha: AlphaF32, matting: Matting) -> Iterator[Stage]:
    """In the order of a cutout."""
    cv2 = threads.opencv()
    from PIL import Image as Pil

    size = image.shape[:2]
    spec = matting.spec
    jpeg = encode_image(image, "jpeg", quality=_JPEG_QUALITY)

    yield Stage(
        name="decode JPEG",
        ours=lambda: load_image(jpeg),
        peers={
            "Pillow": lambda: np.asarray(Pil.open(io.BytesIO(jpeg))),
            "OpenCV": lambda: cv2.cvtColor(
                cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
            ),
        },
        bound=2,  # decoders round differently
        compared=lambda found: getattr(found, "image", found),
    )

    batch, (place,) = preprocess.prepare([image], spec.input)
    scale, offset = preprocess.affine(spec.input)
    peers = {}
    plain = spec.input.layout == "NCHW" and spec.input.color == "RGB" and not place.padded
    seen_at = place.height, place.width
    kernel = spec.input.size.filter.kernel
    shrinks = not resample.grows(size, seen_at)
    if plain and (kernel == "area" or (kernel == "area-bicubic" and shrinks)):

        def by_opencv() -> np.ndarray[Any, Any]:
            seen = cv2.resize(image, (place.width, place.height), interpolation=cv2.INTER_AREA)
            return np.ascontiguousarray((seen * scale + offset).transpose(2, 0, 1))[None]

        peers["OpenCV + NumPy"] = by_opencv
    yield Stage(
        name="photo to network input",
        ours=lambda: preprocess.prepare([image], spec.input)[0],
        peers=peers,
        bound=float(0.51 * np.abs(scale).max()),  # OpenCV rounds to 8 bits in between
    )
    session = matting._session  # noqa: SLF001 - the run alone, without what surrounds it
    yield Stage(name=f"network {spec.name}", ours=lambda: session.run(batch), peers={})

    raw = session.run(batch)
    net = postprocess.network_alpha(raw, spec, place.input)[0]

    def back_by_opencv() -> np.ndarray[Any, Any]:
        inner = net[place.rows, place.columns]
        how = cv2.INTER_CUBIC if resample.grows(seen_at, size) else cv2.INTER_LINEAR
        wide = cv2.resize(inner, (size[1], size[0]), interpolation=how)
        return np.asarray(np.clip(wide, 0, 1))

    yield Stage(
        name="alpha to photo size",
        ours=lambda: postprocess.to_photo(net, place, size),
        peers={"OpenCV + NumPy": back_by_opencv},
        bound=0.05,  # OpenCV's bicubic is the one with a = -0.75
    )
    yield from _composing(image, alpha)

    def whole() -> bytes:
        return encode_image(matting.matte(jpeg).cutout(), "png")

    yield Stage(name="JPEG to PNG cutout", ours=whole, peers={}, compared=_nothing)


def _composing(image: Image, alpha: AlphaF32) -> Iterator[Stage]:
    from PIL import Image as Pil

    cv2 = threads.opencv()
    for method in foreground.METHODS:
        if method != "closed-form":  # minutes, and PyMatting's own
            peers = _multilevel_peer(image, alpha) if method == "multilevel" else {}
            yield Stage(
                name=f"foreground {method}",
                ours=partial(foreground.estimate_foreground, image, alpha, cast("Method", method)),
                peers=peers,
                bound=1,  # of 255: rounding
            )

    def by_numpy() -> np.ndarray[Any, Any]:
        return np.dstack([image, np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)])

    yield Stage(
        name="cutout",
        ours=lambda: compositing.cutout(image, alpha),
        peers={"NumPy": by_numpy},
    )
    rgba = compositing.cutout(foreground.estimate_foreground(image, alpha), alpha)
    bgra = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)

    def by_opencv() -> bytes:
        return bytes(cv2.imencode(".png", bgra)[1])

    def by_pillow() -> bytes:
        out = io.BytesIO()
        Pil.fromarray(rgba).save(out, "PNG")
        return out.getvalue()

    yield Stage(
        name="PNG",
        ours=lambda: encode_image(rgba, "png"),
        peers={"OpenCV": by_opencv, "Pillow": by_pillow},
        compared=lambda data: np.asarray(Pil.open(io.BytesIO(data))),
    )


def _multilevel_peer(image: Image, alpha: AlphaF32) -> dict[str, Callable[[], Any]]:
    """PyMatting's, from the same 8-bit photo; its first import compiles for about 40 s."""
    try:
        pymatting: Any = importlib.import_module("pymatting")
    except ImportError:
        return {}
    weights = alpha.astype(np.float64)

    def estimate() -> np.ndarray[Any, Any]:
        colours = pymatting.estimate_foreground_ml(image / 255.0, weights)
        return np.asarray(np.rint(255 * np.asarray(colours)), np.uint8)

    return {"PyMatting": estimate}


def _nothing(_found: object) -> np.ndarray[Any, Any]:
    """Nothing to compare."""
    return np.zeros(1)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
