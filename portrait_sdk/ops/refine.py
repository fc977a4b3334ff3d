"""Alpha at the photo's own resolution, from a network that has seen a small copy of the photo.

``guided`` puts back the detail that the photo has and its small copy has not, where alpha is soft.
``patches`` runs the network again on windows of a larger copy, where it was unsure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.ops import kernels, postprocess, preprocess, resample, threads
from portrait_sdk.spec import Filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from portrait_sdk.ops.geometry import Letterbox
    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import AlphaF32, F32Array, Image

Refine: TypeAlias = Literal["auto", "guided", "patches", "none"]

_AREA = Filter(kernel="area")
_EPSILON = 1e-3  # of squared colour in [0, 1]: contrast below 3 %, and so noise, counts for little
_WORTH = 1.5  # times larger than the network's input; below, next to nothing is gained
_LARGER = 2.0  # times the network's input, for patches: at most 3 x 3 of them
_SURE = 0.03  # alpha nearer to 0 or 1 is certain
_DISAGREEMENT = 0.2  # patches that differ by more from what the whole photo told count for little


def choose(mode: Refine, spec: ModelSpec) -> Refine:
    """Check a mode against the model it is asked of.

    Raises:
        OptionError: There is no such mode; or ``patches`` is asked of a recurrent model, whose
            states are of the whole frame.
    """
    if mode not in get_args(Refine):
        raise OptionError(f"refine: expected one of {', '.join(get_args(Refine))}, got {mode!r}")
    if mode == "patches" and spec.states:
        raise OptionError(
            f"refine='patches': model {spec.name!r} is recurrent, its states are of the whole "
            "frame: use 'guided'"
        )
    return mode


def growth(place: Letterbox, size: tuple[int, int]) -> float:
    """How much larger the photo is than its place in the network's input, by the lesser axis."""
    return min(size[0] / place.height, size[1] / place.width)


def refine(
    mode: Refine,
    alpha: F32Array,
    place: Letterbox,
    image: Image,
    spec: ModelSpec,
    run: Callable[[F32Array], F32Array],
    *,
    batch_size: int = 1,
) -> AlphaF32:
    """Alpha at the photo's size.

    Args:
        mode: ``none``: resized, no more. ``guided`` and ``patches``: see there; ``patches`` ends
            with ``guided``. Each does nothing where the photo is too small for it. ``auto``:
            ``guided`` where the photo is at least 1.5 times as large as the network's input.
        alpha: float32 (h, w), the network's at its input's size.
        place: Where the photo lay in the input.
        image: uint8 (H, W, 3) RGB, as the network was shown it.
        spec: The model's.
        run: From a prepared batch of the same size to float32 (N, h, w).
        batch_size: Most windows in one call of ``run``.

    Returns:
        float32 (H, W) in [0, 1].
    """
    size = image.shape[:2]
    larger = growth(place, size)
    inner = alpha[place.rows, place.columns]
    if mode == "none" or (mode == "auto" and larger < _WORTH):
        return postprocess.resized(inner, size)
    if mode == "patches" and larger >= _WORTH:
        inner = patches(inner, place, image, spec, run, batch_size=batch_size)
    return guided(inner, image)


def guided(alpha: F32Array, image: Image) -> AlphaF32:
    """Resize alpha to the photo's size, with the photo's detail where alpha is soft.

    Around each pixel of the small alpha a line through colour space explains alpha by the small
    photo's colours (the guided filter's regression). Along it, the difference between the photo and
    its small copy becomes a difference of alpha. Unlike the filter's own output this keeps what the
    network said: where alpha is flat, or the photo has no more detail, nothing changes.

    Args:
        alpha: float32 (h, w) of the whole photo.
        image: uint8 (H, W, 3) RGB.

    Returns:
        float32 (H, W) in [0, 1]; plainly resized where either side of the photo is no longer
        than alpha's.

    Source:
        He, Sun & Tang, "Guided Image Filtering", PAMI 2013; He & Sun, "Fast Guided Filter", 2015,
        for slopes at a small size.
    """
    size = (image.shape[0], image.shape[1])
    if size[0] <= alpha.shape[0] or size[1] <= alpha.shape[1]:
        return postprocess.resized(alpha, size)
    level, zero = np.full(3, 1 / 255, np.float32), np.zeros(3, np.float32)
    down = resample.taps_for(size, (alpha.shape[0], alpha.shape[1]), _AREA)
    slopes = kernels.guided_slopes(image, np.clip(alpha, 0, 1), down, level, zero, _EPSILON)
    return kernels.guided_alpha(alpha, image, slopes, postprocess.taps_back(alpha.shape, size))


def patches(
    alpha: F32Array,
    place: Letterbox,
    image: Image,
    spec: ModelSpec,
    run: Callable[[F32Array], F32Array],
    *,
    batch_size: int = 1,
) -> AlphaF32:
    """Run the network again on windows of a photo twice as large, where it was unsure.

    Windows have the size of the network's input and overlap by half; they fade towards their edges.
    The result is taken in a band around alpha that is neither 0 nor 1, as far as windows agree,
    seen from afar, with the whole photo: a window that shows a shoulder and no head may be wrong.

    Args:
        alpha: float32 (h, w) of the whole photo, from the network.
        place: Where the photo lay in the input.
        image: uint8 (H, W, 3) RGB, larger than alpha.
        spec: The model's.
        run: From a prepared batch to float32 (N, ...) of the input's size.
        batch_size: Most windows in one call of ``run``.

    Returns:
        float32 in [0, 1], up to twice as large as alpha; ``alpha`` itself, clamped, where the
        network was sure everywhere.
    """
    alpha = np.clip(alpha, 0, 1)
    times = min(_LARGER, growth(place, image.shape[:2]))
    size = round(place.height * times), round(place.width * times)
    band = _band(alpha)
    if not band.any():
        return alpha
    wide = postprocess.resized(band, size)
    corners = [
        (top, left)
        for top in _starts(size[0], place.input[0])
        for left in _starts(size[1], place.input[1])
        if _window(wide, top, left, place.input).any()
    ]
    total, weight = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for i in range(0, len(corners), batch_size):
        some = corners[i : i + batch_size]
        windows = run(preprocess.prepare_windows(image, size, some, place.input, spec.input))
        for (top, left), values in zip(some, windows, strict=True):
            fade = _fade(top, place.input[0], size[0])[:, None] * _fade(
                left, place.input[1], size[1]
            )
            inside = _window(fade, -top, -left, size)
            part = _window(np.clip(values, 0, 1), -top, -left, size)
            _window(total, top, left, place.input)[...] += inside * part
            _window(weight, top, left, place.input)[...] += inside
    plain = postprocess.resized(alpha, size)
    again = np.divide(total, weight, out=plain.copy(), where=weight > 0)
    afar = np.empty_like(alpha)
    kernels.resize_alpha(again, afar, resample.taps_for(size, alpha.shape, _AREA))
    apart = threads.opencv().blur(afar - alpha, (5, 5))
    trust = postprocess.resized(np.exp(-((apart / _DISAGREEMENT) ** 2)), size)
    return np.asarray(plain + wide * trust * (again - plain), np.float32)


def _band(alpha: AlphaF32) -> F32Array:
    """1 where alpha is neither 0 nor 1, and one pixel around; 0 elsewhere."""
    unsure = ((alpha > _SURE) & (alpha < 1 - _SURE)).astype(np.uint8)
    grown = threads.opencv().dilate(unsure, np.ones((3, 3), np.uint8))
    return np.asarray(grown, np.float32)


def _starts(length: int, window: int) -> list[int]:
    """Where windows begin that cover ``length`` and overlap by half; negative: one, centred."""
    if length <= window:
        return [(length - window) // 2]
    steps = math.ceil(2 * (length - window) / window)
    return [round(i * (length - window) / steps) for i in range(steps + 1)]


def _window(array: F32Array, top: int, left: int, size: tuple[int, int]) -> F32Array:
    """The part of ``array`` inside a window whose corner may lie outside."""
    return array[max(0, top) : max(0, top + size[0]), max(0, left) : max(0, left + size[1])]


def _fade(start: int, window: int, length: int) -> F32Array:
    """A window's weights along one axis: they fall towards its edges, but for the photo's own."""
    index = (np.arange(window, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / window)
    weights = np.ones(window, np.float32)
    if start > 0:
        weights = np.minimum(weights, index)
    if start + window < length:
        weights = np.minimum(weights, index[::-1])
    return weights
