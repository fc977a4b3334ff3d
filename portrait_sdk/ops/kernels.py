"""The kernels as the rest of the package calls them: compiled or NumPy, over threads.

The implementation is chosen once per process; ``PORTRAIT_NO_EXTENSION=1`` makes it NumPy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.ops import threads

if TYPE_CHECKING:
    from types import ModuleType

    from portrait_sdk.ops.resample import Taps
    from portrait_sdk.types import AlphaF32, Cutout, F32Array, Image, ImageF32, Planes, U8Array


def _choose() -> tuple[ModuleType, str, str | None]:
    if os.environ.get("PORTRAIT_NO_EXTENSION", "") not in ("", "0"):
        return _in_numpy("PORTRAIT_NO_EXTENSION is set")
    try:
        from portrait_sdk.ops import _kernels
    except ImportError as error:
        return _in_numpy(str(error))
    except ValueError as error:  # PS_FORCE_ISA names none
        raise OptionError(str(error)) from error
    return _kernels, os.environ.get("PS_FORCE_ISA") or _kernels.isas()[0], None


def _in_numpy(why: str) -> tuple[ModuleType, str, str]:
    from portrait_sdk.ops import _kernels_numpy

    return _kernels_numpy, "numpy", why


_run, ISA, WHY_NUMPY = _choose()
"""``ISA``: the instruction set in use, or ``numpy``. ``WHY_NUMPY``: why there is no extension."""


def _dense(array: Any) -> Any:  # noqa: ANN401 - keeps the array's type
    return np.ascontiguousarray(array)


def _axes(taps: tuple[Taps, Taps], first: int, last: int) -> tuple[Any, Any, Any, Any]:
    """Taps as the kernels take them, for a band of rows."""
    vertical, horizontal = taps
    rows = vertical.rows(first, last)
    return rows.start, rows.weights, horizontal.start, horizontal.weights


def resize_to_planes(
    image: Image,
    out: Planes,
    taps: tuple[Taps, Taps],
    scale: F32Array,
    offset: F32Array,
    *,
    reverse: bool,
) -> None:
    """Resize, reorder, normalise and transpose into ``out``; see ``_kernels_numpy``.

    Args:
        image: uint8 (H, W, 3).
        out: float32 (3, h, w), written; any strides.
        taps: Of the vertical and the horizontal axis.
        scale: float32 (3,).
        offset: float32 (3,).
        reverse: Plane c takes channel 2 - c.
    """
    image = _dense(image)

    def band(first: int, last: int) -> None:
        axes = _axes(taps, first, last)
        _run.resize_to_planes(image, out[:, first:last], *axes, scale, offset, reverse)

    threads.over_rows(out.shape[1], image.nbytes // out.shape[1] + 1, band)


def resize_alpha(alpha: AlphaF32, out: AlphaF32 | U8Array, taps: tuple[Taps, Taps]) -> None:
    """Resize alpha to ``out`` (float32 or rounded uint8), clamped; see ``_kernels_numpy``."""
    alpha = _dense(alpha)

    def band(first: int, last: int) -> None:
        _run.resize_alpha(alpha, out[first:last], *_axes(taps, first, last))

    threads.over_rows(out.shape[0], out.shape[1] * 8, band)


def quantize(alpha: AlphaF32) -> U8Array:
    """Alpha as uint8: ``round(255 * clamp(alpha, 0, 1))``, never truncated."""
    alpha = _dense(alpha)
    out: U8Array = np.empty(alpha.shape, np.uint8)
    threads.over_rows(
        out.shape[0], out.shape[1] * 5, lambda a, b: _run.quantize(alpha[a:b], out[a:b])
    )
    return out


def cutout(foreground: Image, alpha: AlphaF32) -> Cutout:
    """Straight colours and rounded alpha side by side, uint8 (H, W, 4)."""
    foreground, alpha = _dense(foreground), _dense(alpha)
    out = np.empty((*alpha.shape, 4), np.uint8)
    threads.over_rows(
        out.shape[0],
        out.shape[1] * 11,
        lambda a, b: _run.cutout(foreground[a:b], alpha[a:b], out[a:b]),
    )
    return out


def composite(foreground: Image, alpha: AlphaF32, background: Image) -> Image:
    """``round(alpha * F + (1 - alpha) * B)``; ``background`` (H, W, 3) or (1, 1, 3)."""
    foreground, alpha, background = _dense(foreground), _dense(alpha), _dense(background)
    out: Image = np.empty(foreground.shape, np.uint8)
    whole = background.shape[:2] == (1, 1)
    threads.over_rows(
        out.shape[0],
        out.shape[1] * 13,
        lambda a, b: _run.composite(
            foreground[a:b], alpha[a:b], background if whole else background[a:b], out[a:b]
        ),
    )
    return out


def premultiply(straight: Cutout) -> Cutout:
    """Colours times alpha, rounded; uint8 (H, W, 4)."""
    straight = _dense(straight)
    out = np.empty_like(straight)
    threads.over_rows(
        out.shape[0], out.shape[1] * 8, lambda a, b: _run.premultiply(straight[a:b], out[a:b])
    )
    return out


def unpremultiply(premultiplied: Cutout) -> Cutout:
    """Colours divided by alpha, rounded; 0 where alpha is 0; uint8 (H, W, 4)."""
    premultiplied = _dense(premultiplied)
    out = np.empty_like(premultiplied)
    threads.over_rows(
        out.shape[0],
        out.shape[1] * 8,
        lambda a, b: _run.unpremultiply(premultiplied[a:b], out[a:b]),
    )
    return out


def blur_fusion(
    image: Image | ImageF32,
    alpha: AlphaF32,
    foreground: Image | ImageF32,
    background: Image | ImageF32,
    size: int,
    *,
    last: bool = False,
) -> tuple[Any, Any]:
    """One pass of blur fusion with boxes of ``size`` pixels.

    Returns:
        New foreground and background, float32; of the ``last`` pass the foreground as ``image``,
        and None.
    """
    image, alpha = _dense(image), _dense(alpha)
    foreground, background = _dense(foreground), _dense(background)
    height = image.shape[0]
    front = np.empty(image.shape, image.dtype if last else np.float32)
    back = None if last else np.empty(image.shape, np.float32)
    # Sums restart in every band: its rows, not the number of threads, say how they round.
    bands = iter(range(0, height, height if ISA == "numpy" else _BLUR_ROWS))

    def work() -> None:
        for first in bands:
            end = height if ISA == "numpy" else min(first + _BLUR_ROWS, height)
            _run.blur_fusion(image, alpha, foreground, background, front, back, size, first, end)

    threads.together(-(-height // _BLUR_ROWS), work)
    return front, back


_BLUR_ROWS = 512


def multilevel(
    image: Image | ImageF32,
    alpha: AlphaF32,
    *,
    regularization: float,
    gradient_weight: float,
    small_size: int,
    small_iterations: int,
    big_iterations: int,
    tiled_levels: int = 0,
    background: bool = True,
) -> tuple[Any, Any]:
    """Multi-level foreground and background colours; see ``_kernels_numpy.multilevel``.

    Args:
        image: uint8 or float32 (H, W, 3).
        alpha: float32 (H, W).
        regularization: As there; so are the others.
        gradient_weight: As there.
        small_size: As there.
        small_iterations: As there.
        big_iterations: As there.
        tiled_levels: As there.
        background: Whether it is wanted; of a uint8 image it cannot be.

    Returns:
        Foreground, as ``image``, and background, or None.
    """
    image, alpha = _dense(image), _dense(alpha)
    front = np.empty_like(image)
    back = np.empty_like(image) if background else None
    options = (
        regularization,
        gradient_weight,
        small_size,
        small_iterations,
        big_iterations,
        tiled_levels,
    )
    if ISA == "numpy":
        _run.multilevel(image, alpha, front, back, *options)
    else:
        job = _run.multilevel_job(image, alpha, front, back, *options)
        threads.together(1 + alpha.size // _PIXELS_PER_THREAD, lambda: _run.multilevel_join(job))
    return front, back


def png_filter(image: U8Array, first: int, pixel: int, out: U8Array) -> None:
    """Filter the rows from ``first`` on for a PNG, on this thread; see ``_kernels_numpy``.

    Args:
        image: uint8 (any, n); the values of a row lie side by side.
        first: Where ``out`` begins.
        pixel: Bytes of a pixel.
        out: uint8 (h, 1 + n), written.
    """
    _run.png_filter(image, first, pixel, out)


def deflate_bound(size: int) -> int:
    """Bytes that ``deflate`` may write for ``size`` bytes."""
    return size + size // 16 + 64  # zlib's own bound is the larger of the two, and below this


def deflate(data: U8Array, out: U8Array, *, last: bool) -> int:
    """Compress to raw deflate, on this thread; see ``_kernels_numpy``.

    Args:
        data: uint8 (n,), contiguous.
        out: uint8 (``deflate_bound(n)``,) or longer, contiguous, written.
        last: Whether the stream ends.

    Returns:
        How many bytes were written.
    """
    return int(_run.deflate(data, last, out))


_IN_CACHE_BYTES = 1 << 18  # of a result that is gone over twice
_PIXELS_PER_THREAD = 1 << 15  # a few hundred microseconds of work


def guided_slopes(
    image: Image,
    alpha: AlphaF32,
    taps: tuple[Taps, Taps],
    scale: F32Array,
    offset: F32Array,
    epsilon: float,
) -> F32Array:
    """How alpha follows a photo's colours, the photo made as small as alpha: float32 (h, w, 4).

    Args:
        image: uint8 (H, W, 3).
        alpha: float32 (h, w).
        taps: From the photo's size to alpha's.
        scale: float32 (3,), as for ``resize_to_planes``.
        offset: float32 (3,), likewise.
        epsilon: See ``_kernels_numpy.guided_slopes``.
    """
    image, alpha = _dense(image), _dense(alpha)
    out = np.empty((*alpha.shape, 4), np.float32)

    def band(first: int, last: int) -> None:
        # Windows reach one row beyond the band.
        above, below = max(0, first - 1), min(alpha.shape[0], last + 1)
        guide = np.empty((3, below - above, alpha.shape[1]), np.float32)
        axes = _axes(taps, above, below)
        _run.resize_to_planes(image, guide, *axes, scale, offset, False)  # noqa: FBT003 - its order
        _run.guided_slopes(guide, alpha[above:below], out[first:last], first - above, epsilon)

    threads.over_rows(out.shape[0], out.shape[1] * 32, band)
    return out


def guided_alpha(
    alpha: AlphaF32, image: Image, slopes: F32Array, taps: tuple[Taps, Taps]
) -> AlphaF32:
    """Alpha resized to the photo, with the photo's detail along ``slopes``: float32 (H, W).

    Args:
        alpha: float32 (h, w).
        image: uint8 (H, W, 3).
        slopes: Of ``guided_slopes``.
        taps: From alpha's size to the photo's.
    """
    alpha, image, slopes = _dense(alpha), _dense(image), _dense(slopes)
    out = np.empty(image.shape[:2], np.float32)
    step = max(1, _IN_CACHE_BYTES // (4 * out.shape[1]))

    def band(first: int, last: int) -> None:
        for top in range(first, last, step):
            part = slice(top, min(top + step, last))
            axes = _axes(taps, part.start, part.stop)
            _run.resize_alpha(alpha, out[part], *axes)
            _run.guided_detail(image[part], slopes, out[part], out[part], *axes)

    threads.over_rows(out.shape[0], out.shape[1] * 19, band)
    return out


def connectivity(
    alpha: AlphaF32, truth: AlphaF32, thresholds: F32Array, *, background: bool = False
) -> U8Array:
    """How many thresholds find a pixel in the largest component, on this thread.

    Returns:
        uint8 (H, W); see ``_kernels_numpy.connectivity``.
    """
    alpha, truth = _dense(alpha), _dense(truth)
    held: U8Array = np.empty(alpha.shape, np.uint8)
    _run.connectivity(alpha, truth, thresholds, held, background)
    return held
