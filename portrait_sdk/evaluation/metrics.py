"""How far an alpha is from the truth: the measures that matting papers report.

Every function takes alphas of one shape, float32 or float64 in [0, 1], and returns an unscaled sum or
mean as a float. Papers scale, restrict and vary them; ``conventions`` holds that as data.

``region`` restricts a measure: a bool mask (H, W), or a trimap (uint8 of 0, 128 and 255), of which the
unknown pixels count; None takes the whole picture. A sum over no pixel is 0, a mean is NaN. Every
function raises ImageError for an array of another dtype or shape, or with values outside [0, 1].
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.evaluation import _checks
from portrait_sdk.evaluation.temporal import dtssd, messddt
from portrait_sdk.ops import kernels, threads
from portrait_sdk.types import require

__all__ = [
    "accuracy",
    "boundary_iou",
    "connectivity",
    "dtssd",
    "foreground_error",
    "gradient",
    "iou",
    "mad",
    "messddt",
    "mse",
    "sad",
]

Alpha: TypeAlias = Any
"""float32 or float64 (H, W) in [0, 1]; for masks also bool."""
Region: TypeAlias = Any
"""bool (H, W), a trimap, or None for the whole picture."""
Kernel = Literal["unit-l2", "unit-sum"]
Component = Literal["foreground", "any"]
WhenEmpty = Literal["stop", "skip"]

_HALF = 0.5
_MOST_STEPS = 255
_CHUNK_ROWS = 256  # of sums: their number, not the threads', says how they round


def sad(alpha: Alpha, truth: Alpha, *, region: Region = None) -> float:
    """Sum of absolute differences: ``sum |a - t|``.

    Papers print it divided by 1000, over the unknown region where the method is given a trimap and over
    the whole picture where it is not. It grows with the picture: compare at one size only.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: See the module.

    Source:
        Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
    """
    a, t = _checks.pair(alpha, truth)
    cv2 = threads.opencv()
    return float(cv2.norm(a, t, cv2.NORM_L1, _checks.chosen(region, a.shape)))


def mse(alpha: Alpha, truth: Alpha, *, region: Region = None) -> float:
    """Mean squared difference: ``mean (a - t)^2``.

    Printed as it is (MODNet, P3M) or times 1000 (RVM, ViTMatte). Over the unknown region it is several
    times what it is over the whole picture.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: See the module.

    Source:
        Rhemann et al. 2009, as for :func:`sad`.
    """
    a, t = _checks.pair(alpha, truth)
    cv2 = threads.opencv()
    mask = _checks.chosen(region, a.shape)
    return _mean(cv2.norm(a, t, cv2.NORM_L2SQR, mask), mask, a.size)


def mad(alpha: Alpha, truth: Alpha, *, region: Region = None) -> float:
    """Mean absolute difference: ``mean |a - t|``; also called MAE.

    Printed as it is (MODNet, P3M) or times 1000 (RVM). Over the same pixels it is ``sad / their
    number``.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: See the module.
    """
    a, t = _checks.pair(alpha, truth)
    cv2 = threads.opencv()
    mask = _checks.chosen(region, a.shape)
    return _mean(cv2.norm(a, t, cv2.NORM_L1, mask), mask, a.size)


def _mean(total: float, mask: Any, size: int) -> float:  # noqa: ANN401
    count = size if mask is None else int(np.count_nonzero(mask))
    return float(total) / count if count else math.nan


def gradient(
    alpha: Alpha,
    truth: Alpha,
    *,
    region: Region = None,
    stretch: bool = False,
    kernel: Kernel = "unit-l2",
    sigma: float = 1.4,
) -> float:
    """Gradient error: ``sum (|grad a| - |grad t|)^2``, gradients by derivatives of a Gaussian.

    Printed divided by 1000 with ``unit-l2`` and by 10 with ``unit-sum``, which comes to nearly the same:
    at sigma 1.4 the former's squared gain is 96.6 times the latter's.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: Of the sum; gradients are taken from the whole picture. See the module.
        stretch: Stretch each alpha to fill [0, 1] first, as DIM's evaluation, mmagic, PaddleSeg and
            RVM's at low resolution do. An alpha that is too faint everywhere then passes for right.
        kernel: ``unit-l2``: a window of 2 h + 1 pixels, h where the Gaussian falls to 0.01, unit L2
            norm (9 x 9 at 1.4), the border replicated: DIM's evaluation and most others.
            ``unit-sum``: a Gaussian of unit sum within 4 sigma, the border mirrored: P3M.
        sigma: Of the Gaussian, in pixels, 0.3 to 39.

    Raises:
        OptionError: An unknown kernel, or a sigma out of range.

    Source:
        Rhemann et al. 2009; kernel and stretch as in the evaluation that accompanies Xu et al.,
        "Deep Image Matting", CVPR 2017.
    """
    a, t = _checks.pair(alpha, truth)
    mask = _checks.chosen(region, a.shape)
    if kernel not in get_args(Kernel):
        raise OptionError(f"kernel: expected {' or '.join(get_args(Kernel))}, got {kernel!r}")
    if not 0.3 <= sigma <= 39:  # noqa: PLR2004 - the docstring's: the Gaussian exceeds 0.01 at all
        raise OptionError(f"sigma: expected 0.3 to 39 pixels, got {sigma}")
    if stretch:
        a, t = _stretched(a), _stretched(t)
    cv2 = threads.opencv()
    slopes = [_slope(array, kernel, float(sigma)) for array in (a, t)]
    return float(cv2.norm(*slopes, cv2.NORM_L2SQR, mask))


def _stretched(alpha: Any) -> Any:  # noqa: ANN401
    low, high = alpha.min(), alpha.max()
    return (alpha - low) / (high - low) if high > low else alpha


def _slope(alpha: Any, kernel: Kernel, sigma: float) -> Any:  # noqa: ANN401
    cv2 = threads.opencv()
    smooth, derivative = _taps(kernel, sigma)
    border = cv2.BORDER_REPLICATE if kernel == "unit-l2" else cv2.BORDER_REFLECT
    across = cv2.sepFilter2D(alpha, -1, derivative, smooth, borderType=border)
    down = cv2.sepFilter2D(alpha, -1, smooth, derivative, borderType=border)
    return cv2.magnitude(across, down)


@lru_cache(maxsize=8)
def _taps(kernel: Kernel, sigma: float) -> tuple[Any, Any]:
    """The Gaussian and its derivative; their outer product is the kernel across."""
    if kernel == "unit-l2":
        falls_to = math.sqrt(2 * math.pi) * sigma * 0.01
        reach = math.ceil(sigma * math.sqrt(-2 * math.log(falls_to)))
    else:
        reach = int(4 * sigma + 0.5)
    x = np.arange(-reach, reach + 1)
    smooth = np.exp(-(x**2) / (2 * sigma**2))
    if kernel == "unit-l2":  # an outer product's norm is that of the norms
        derivative = -x * smooth
        return smooth / np.linalg.norm(smooth), derivative / np.linalg.norm(derivative)
    smooth /= smooth.sum()
    return smooth, -x / sigma**2 * smooth


def connectivity(
    alpha: Alpha,
    truth: Alpha,
    *,
    region: Region = None,
    theta: float = 0.15,
    step: float = 0.1,
    component: Component = "foreground",
    when_empty: WhenEmpty = "stop",
) -> float:
    """Connectivity error: ``sum |phi(a) - phi(t)|``, ``phi(x) = 1 - d [d >= theta]``, ``d = x - l``.

    For each threshold ``k step``, ``k = 1 ... 1 / step``, the largest 4-connected component of the pixels
    where both alphas reach it is found; of components of equal size, the one whose first pixel in
    reading order comes first. ``l`` of a pixel is the last threshold before the first at which it is
    not in there; 1 where it always is. Thresholds are compared in float32.

    Printed divided by 1000. Implementations differ by a factor of 2 to 3: see the options.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: Of the sum; components are found in the whole picture. See the module.
        theta: Distances below it do not count.
        step: Between thresholds: 1 / n, n up to 255.
        component: ``foreground``: the largest among the pixels that reach the threshold. ``any``: all
            the others together are one candidate too, and win a tie, as in the evaluation of GCA and
            MGMatting, where the background so often is the largest.
        when_empty: Where no pixel reaches a threshold, ``stop``: all pixels left fall out there (DIM,
            mmagic, PaddleSeg, RVM); ``skip``: none does (P3M).

    Raises:
        OptionError: An option is not possible.

    Source:
        Rhemann et al. 2009; thresholds as in the evaluation of Xu et al. 2017.
    """
    a, t = _checks.pair(alpha, truth)
    mask = _checks.chosen(region, a.shape)
    steps = round(1 / step) if 0 < step <= 1 else 0
    if not (1 <= steps <= _MOST_STEPS and math.isclose(steps * step, 1, rel_tol=1e-6)):
        raise OptionError(f"step: expected 1 / n, n a whole number up to 255, got {step}")
    if component not in get_args(Component):
        raise OptionError(f"component: expected foreground or any, got {component!r}")
    if when_empty not in get_args(WhenEmpty):
        raise OptionError(f"when_empty: expected stop or skip, got {when_empty!r}")
    thresholds = (np.arange(1, steps + 1) / steps).astype(np.float32)
    narrow = [array.astype(np.float32, copy=False) for array in (a, t)]
    held = kernels.connectivity(*narrow, thresholds, background=component == "any")
    levels = np.arange(steps + 1) / steps
    if when_empty == "skip":
        reached = int(np.searchsorted(thresholds, np.minimum(*narrow).max(), "right"))
        levels[reached] = 1
    return _connectivity_sum(a, t, held, levels.astype(a.dtype), mask, theta)


def _connectivity_sum(  # noqa: PLR0917
    a: Any,
    t: Any,
    held: Any,
    levels: Any,
    mask: Any,
    theta: float,  # noqa: ANN401
) -> float:
    """Add up ``|phi(a) - phi(t)|`` in chunks of rows, over threads."""
    height = a.shape[0]
    sums = [0.0] * -(-height // _CHUNK_ROWS)
    least = a.dtype.type(theta)

    def work(numbers: Any) -> None:  # noqa: ANN401
        for number in numbers:
            rows = slice(number * _CHUNK_ROWS, (number + 1) * _CHUNK_ROWS)
            level = levels[held[rows]]
            far, near = a[rows] - level, t[rows] - level
            far[far < least] = 0
            near[near < least] = 0
            difference = np.abs(far - near)
            if mask is not None:
                difference *= mask[rows] > 0
            sums[number] = float(difference.sum(dtype=np.float64))

    threads.over_pieces(len(sums), _CHUNK_ROWS * a.shape[1] * 16, work)
    return math.fsum(sums)


def iou(alpha: Alpha, truth: Alpha, *, threshold: float = _HALF, region: Region = None) -> float:
    """Intersection over union of the pixels above ``threshold``; 1 where both are empty.

    Args:
        alpha: The estimate; bool masks are taken as they are.
        truth: What it should be.
        threshold: A pixel belongs to the mask above it.
        region: See the module.
    """
    found, wanted = _checks.masks(alpha, truth, threshold)
    return _iou(found, wanted, _checks.chosen(region, found.shape))


def _iou(found: Any, wanted: Any, mask: Any) -> float:  # noqa: ANN401
    both, either = found & wanted, found | wanted
    if mask is not None:
        both, either = both & (mask > 0), either & (mask > 0)
    union = int(np.count_nonzero(either))
    return int(np.count_nonzero(both)) / union if union else 1.0


def boundary_iou(
    alpha: Alpha, truth: Alpha, *, threshold: float = _HALF, width: float = 0.02
) -> float:
    """IoU of the two masks' inner edges; 1 where both are empty.

    A mask's edge are those of its pixels from which some pixel outside the mask, or outside the
    frame, is at most d away, along or across or diagonally; d is ``width`` times the picture's
    diagonal, rounded, at least 1 pixel.

    Args:
        alpha: The estimate; bool masks are taken as they are.
        truth: What it should be.
        threshold: A pixel belongs to the mask above it.
        width: Of the edge, as a share of the diagonal.

    Raises:
        OptionError: ``width`` is not a positive number.

    Source:
        Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021.
    """
    found, wanted = _checks.masks(alpha, truth, threshold)
    if not 0 < width < math.inf:
        raise OptionError(f"width: expected a share of the diagonal above 0, got {width}")
    distance = max(1, round(width * math.hypot(*found.shape)))
    return _iou(_edge(found, distance), _edge(wanted, distance), None)


def _edge(mask: Any, distance: int) -> Any:  # noqa: ANN401
    cv2 = threads.opencv()
    framed = np.pad(mask.view(np.uint8), 1)  # what is outside the frame is outside the mask
    away = cv2.distanceTransform(framed, cv2.DIST_C, cv2.DIST_MASK_3)[1:-1, 1:-1]
    return mask & (away <= distance)


def accuracy(
    alpha: Alpha, truth: Alpha, *, threshold: float = _HALF, region: Region = None
) -> float:
    """Share of pixels that lie on the same side of ``threshold`` in both.

    Not what SHM's README calls "acc", which is a mean SAD.

    Args:
        alpha: The estimate; bool masks are taken as they are.
        truth: What it should be.
        threshold: A pixel belongs to the mask above it.
        region: See the module.
    """
    found, wanted = _checks.masks(alpha, truth, threshold)
    mask = _checks.chosen(region, found.shape)
    same = found == wanted
    if mask is not None:
        same &= mask > 0
    return _mean(int(np.count_nonzero(same)), mask, found.size)


def foreground_error(foreground: Any, truth: Any, alpha: Alpha) -> float:  # noqa: ANN401
    """Error of foreground colours, weighted by alpha: ``sum a |F - T| / (3 sum a)``, sums over pixels
    and channels; NaN where alpha is 0 everywhere.

    RVM instead takes an unweighted mean over the pixels where alpha is above 0.

    Args:
        foreground: Estimated colours, straight: float32 or float64 (H, W, 3) in [0, 1], or uint8.
        truth: The true ones, likewise.
        alpha: The true alpha.
    """  # noqa: D205 - the formula
    weight = _checks.unit(alpha, "alpha", (None, None))
    colours = [
        _colours(array, name, (*weight.shape, 3))
        for array, name in ((foreground, "foreground"), (truth, "truth"))
    ]
    total = float(weight.sum(dtype=np.float64))
    if total == 0:
        return math.nan
    difference = np.abs(colours[0] - colours[1])
    return float(np.einsum("ijk,ij->", difference, weight, dtype=np.float64)) / (3 * total)


def _colours(array: Any, name: str, shape: tuple[int, ...]) -> Any:  # noqa: ANN401
    if isinstance(array, np.ndarray) and array.dtype == np.uint8:
        require(array, name, shape, np.uint8)
        return array.astype(np.float32) / np.float32(255)
    return _checks.unit(array, name, shape)
