"""How far an alpha is from the truth: the measures that matting papers report.

Every function takes alphas of one shape, float32 or float64 in [0, 1], and returns an unscaled sum
or mean as a float. Papers scale, restrict and vary them; ``conventions`` holds that as data.

``region`` restricts a measure: a bool mask (H, W), or a trimap (uint8 of 0, 128 and 255), of which
the unknown pixels count; None takes the whole picture. A sum over no pixel is 0, a mean is NaN.
Every function raises ImageError for an array of another dtype or shape, or values outside [0, 1].
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.evaluation import _checks, _sums
from portrait_sdk.evaluation.temporal import dtssd, messddt
from portrait_sdk.ops import kernels, threads
from portrait_sdk.types import require

if TYPE_CHECKING:
    from portrait_sdk.evaluation._checks import Array, Mask
    from portrait_sdk.types import Image, Trimap

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

Alpha: TypeAlias = "np.ndarray[Any, np.dtype[np.floating[Any]]]"
"""float32 or float64 (H, W) in [0, 1]."""
Region: TypeAlias = "Mask | Trimap | None"
"""A bool mask (H, W), a trimap whose unknown pixels count, or None for the whole picture."""
Kernel = Literal["unit-l2", "unit-sum"]
Component = Literal["foreground", "any"]
WhenEmpty = Literal["stop", "skip"]

_HALF = 0.5
_MOST_STEPS = 255


def sad(alpha: Alpha, truth: Alpha, *, region: Region = None) -> float:
    """Sum of absolute differences: ``sum |a - t|``.

    Papers print it divided by 1000, over the unknown region where the method is given a trimap and
    over the whole picture where it is not. It grows with the picture: compare at one size only.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: See the module.

    Source:
        Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
    """
    a, t = _checks.pair(alpha, truth)
    return _sums.absolute(a, t, _checks.chosen(region, a.shape))


def mse(alpha: Alpha, truth: Alpha, *, region: Region = None) -> float:
    """Mean squared difference: ``mean (a - t)^2``.

    Printed as it is (MODNet, P3M) or times 1000 (RVM, ViTMatte). Over the unknown region it is
    several times what it is over the whole picture.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: See the module.

    Source:
        Rhemann et al. 2009, as for :func:`sad`.
    """
    a, t = _checks.pair(alpha, truth)
    mask = _checks.chosen(region, a.shape)
    return _mean(_sums.squared(a, t, mask), mask, a.size)


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
    mask = _checks.chosen(region, a.shape)
    return _mean(_sums.absolute(a, t, mask), mask, a.size)


def _mean(total: float, mask: Mask | None, size: int) -> float:
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

    Printed divided by 1000 with ``unit-l2`` and by 10 with ``unit-sum``, which comes to nearly the
    same: at sigma 1.4 the former's squared gain is 96.6 times the latter's.

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
    slopes = [_slopes(array, kernel, float(sigma)) for array in (a, t)]

    def values(rows: slice) -> Array:
        # Not cv2.magnitude, which rounds by where in memory its arrays lie.
        lengths = [np.sqrt(x[rows] ** 2 + y[rows] ** 2) for x, y in slopes]
        return np.asarray((lengths[0] - lengths[1]) ** 2)

    return _sums.total(a.shape, values, mask)


def _stretched(alpha: Array) -> Array:
    low, high = alpha.min(), alpha.max()
    return (alpha - low) / (high - low) if high > low else alpha


def _slopes(alpha: Array, kernel: Kernel, sigma: float) -> tuple[Array, Array]:
    """Across and down."""
    cv2 = threads.opencv()
    smooth, derivative = _taps(kernel, sigma)
    border = cv2.BORDER_REPLICATE if kernel == "unit-l2" else cv2.BORDER_REFLECT
    across = cv2.sepFilter2D(alpha, -1, derivative, smooth, borderType=border)
    down = cv2.sepFilter2D(alpha, -1, smooth, derivative, borderType=border)
    return across, down


@lru_cache(maxsize=8)
def _taps(kernel: Kernel, sigma: float) -> tuple[Array, Array]:
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
    """Connectivity error: ``sum |phi(a) - phi(t)|``.

    ``phi(x) = 1 - d`` where ``d = x - l`` is ``theta`` or more, else 1. ``l`` is how far a pixel is
    connected: for each threshold ``k step``, ``k = 1 ... 1 / step``, the largest 4-connected
    component is found of the pixels where both alphas reach it; of equal ones, the one whose first
    pixel in reading order comes first. ``l`` is the last threshold before the first at which the
    pixel is not in there; 1 where it always is. Thresholds are compared in float32.

    Printed divided by 1000. Implementations differ by a factor of 2 to 3: see the options.

    Args:
        alpha: The estimate.
        truth: What it should be.
        region: Of the sum; components are found in the whole picture. See the module.
        theta: Distances below it do not count.
        step: Between thresholds: 1 / n, n a whole number up to 255.
        component: ``foreground``: the largest among the pixels that reach the threshold. ``any``:
            all the others together are one candidate too, and win a tie, as in GCA's and
            MGMatting's evaluation, where the background so often is the largest.
        when_empty: Where no pixel reaches a threshold, ``stop``: all pixels left fall out there
            (mmagic, PaddleSeg, RVM); ``skip``: none does (P3M).

    Raises:
        OptionError: An option is not possible.

    Source:
        Rhemann et al. 2009; thresholds as in the evaluation of Xu et al. 2017.
    """
    a, t = _checks.pair(alpha, truth)
    mask = _checks.chosen(region, a.shape)
    steps = round(1 / step) if 0 < step <= 1 else 0
    if not 0 <= theta <= 1:
        raise OptionError(f"theta: expected 0 to 1, got {theta}")
    if not (1 <= steps <= _MOST_STEPS and math.isclose(steps * step, 1, rel_tol=1e-6)):
        raise OptionError(f"step: expected 1 / n, n a whole number up to 255, got {step}")
    if component not in get_args(Component):
        raise OptionError(f"component: expected foreground or any, got {component!r}")
    if when_empty not in get_args(WhenEmpty):
        raise OptionError(f"when_empty: expected stop or skip, got {when_empty!r}")
    thresholds = (np.arange(1, steps + 1) / steps).astype(np.float32)
    a32, t32 = (array.astype(np.float32, copy=False) for array in (a, t))
    held = kernels.connectivity(a32, t32, thresholds, background=component == "any")
    levels = np.arange(steps + 1) / steps
    if when_empty == "skip":
        reached = int(np.searchsorted(thresholds, np.minimum(a32, t32).max(), "right"))
        levels[reached] = 1
    levels = levels.astype(a.dtype)
    least = a.dtype.type(theta)

    def values(rows: slice) -> Array:
        level = levels.take(held[rows])
        far, near = a[rows] - level, t[rows] - level
        far *= far >= least  # a product, a tenth of an indexed assignment's time
        near *= near >= least
        far -= near
        np.abs(far, out=far)
        return far

    return _sums.total(a.shape, values, mask)


def iou(
    alpha: Alpha | Mask, truth: Alpha | Mask, *, threshold: float = _HALF, region: Region = None
) -> float:
    """Intersection over union of the pixels above ``threshold``; 1 where both are empty.

    Args:
        alpha: The estimate; bool masks are taken as they are.
        truth: What it should be.
        threshold: A pixel belongs to the mask above it.
        region: See the module.
    """
    found, wanted = _checks.masks(alpha, truth, threshold)
    return _iou(found, wanted, _checks.chosen(region, found.shape))


def _iou(found: Mask, wanted: Mask, mask: Mask | None) -> float:
    both, either = found & wanted, found | wanted
    if mask is not None:
        both, either = both & mask, either & mask
    union = int(np.count_nonzero(either))
    return int(np.count_nonzero(both)) / union if union else 1.0


def boundary_iou(
    alpha: Alpha | Mask, truth: Alpha | Mask, *, threshold: float = _HALF, width: float = 0.02
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
        Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR
        2021.
    """
    found, wanted = _checks.masks(alpha, truth, threshold)
    if not 0 < width < math.inf:
        raise OptionError(f"width: expected a share of the diagonal above 0, got {width}")
    distance = max(1, round(width * math.hypot(*found.shape)))
    return _iou(_edge(found, distance), _edge(wanted, distance), None)


def _edge(mask: Mask, distance: int) -> Mask:
    cv2 = threads.opencv()
    framed = np.pad(mask.view(np.uint8), 1)  # what is outside the frame is outside the mask
    away = cv2.distanceTransform(framed, cv2.DIST_C, cv2.DIST_MASK_3)[1:-1, 1:-1]
    return np.asarray(mask & (away <= distance))


def accuracy(
    alpha: Alpha | Mask, truth: Alpha | Mask, *, threshold: float = _HALF, region: Region = None
) -> float:
    """Share of pixels that lie on the same side of ``threshold`` in both.

    Not what MindSpore's hub calls "acc" of its SHM, which seems to be a mean SAD.

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
        same &= mask
    return _mean(int(np.count_nonzero(same)), mask, found.size)


def foreground_error(foreground: Alpha | Image, truth: Alpha | Image, alpha: Alpha) -> float:
    """Mean error of foreground colours, weighted by alpha: ``sum a |F - T| / (3 sum a)``.

    Sums are over pixels and channels. NaN where alpha is 0 everywhere. RVM instead takes the plain
    mean over the pixels where alpha is above 0.

    Args:
        foreground: Estimated colours, straight: float32 or float64 (H, W, 3) in [0, 1], or uint8.
        truth: The true ones, likewise.
        alpha: The true alpha.
    """
    weight = _checks.unit(alpha, "alpha", (None, None))
    for array, name in ((foreground, "foreground"), (truth, "truth")):
        if isinstance(array, np.ndarray) and array.dtype == np.uint8:
            require(array, name, (*weight.shape, 3), np.uint8)
        else:
            _checks.unit(array, name, (*weight.shape, 3))
    whole = _sums.total(weight.shape, lambda rows: weight[rows])

    def values(rows: slice) -> Array:
        difference = _in_unit(foreground[rows]) - _in_unit(truth[rows])
        np.abs(difference, out=difference)
        return difference * weight[rows, :, None]

    return _sums.total(weight.shape, values) / (3 * whole) if whole else math.nan


def _in_unit(colours: Array) -> Array:
    return colours / np.float32(255) if colours.dtype == np.uint8 else colours
