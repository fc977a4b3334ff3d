"""Resampling filters as taps: which source samples make each output sample, and with what weight.

Both axes of a resize are one :class:`Taps` each; the kernels only multiply and add. Every filter is
written once, here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from portrait_sdk.spec import Filter
    from portrait_sdk.types import F32Array, I32Array

    F64Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


_LONGEST_KEPT = 1 << 16  # px
_STEPS = 1 << 22
_FEW = 64  # taps; of more, a step would be too much of each


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """One axis of a resize: ``out[i] = sum(weights[i, j] * source[start[i] + j] over j < k)``."""

    start: I32Array
    """(n,): each output sample's first source sample; ``start + k`` never passes the source."""
    weights: F32Array
    """(n, k): each row sums to 1. The replicated edge is folded into the first and last sample."""

    def rows(self, first: int, last: int) -> Taps:
        """The taps of output samples ``first`` to ``last`` (exclusive) alone."""
        return Taps(start=self.start[first:last], weights=self.weights[first:last])


def _triangle(x: F64Array) -> F64Array:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(a: float) -> Callable[[F64Array], F64Array]:
    def kernel(x: F64Array) -> F64Array:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))  # noqa: PLR2004 - the kernel's support

    return kernel


def _lanczos4(x: F64Array) -> F64Array:
    return np.where(np.abs(x) < 4, np.sinc(x) * np.sinc(x / 4), 0.0)  # noqa: PLR2004 - likewise


def grows(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether either side becomes longer; sizes are heights and widths."""
    return target[0] > source[0] or target[1] > source[1]


def taps_for(
    source: tuple[int, int],
    target: tuple[int, int],
    filter: Filter,  # noqa: A002 - the field's word
) -> tuple[Taps, Taps]:
    """Taps of the vertical and the horizontal axis for a resize.

    Sample centres lie at half pixels and the edge is replicated, as in OpenCV, Pillow and torch
    with ``align_corners=False``.

    Args:
        source: Height and width, in pixels, at least 1.
        target: Height and width, in pixels, at least 1.
        filter: How to resample.

    Raises:
        OptionError: A size is not positive.

    Source:
        Keys, "Cubic convolution interpolation for digital image processing", 1981; OpenCV's
        ``resize`` for ``area`` and ``lanczos4`` (matched to 1e-6 in the tests).
    """
    if min(*source, *target) < 1:
        raise OptionError(f"resize: expected sizes of at least 1 pixel, got {source} to {target}")
    kernel: str = filter.kernel
    if kernel == "area" and grows(source, target):
        kernel = "area-grown"
    elif kernel == "area-bicubic":
        kernel = "bicubic" if grows(source, target) else "area"
    how = (kernel, filter.coefficient, filter.antialias)
    # Taps of a side beyond any camera's are made anew, not kept: they may take gigabytes.
    vertical = _axis if target[0] <= _LONGEST_KEPT else _axis.__wrapped__
    horizontal = _axis if target[1] <= _LONGEST_KEPT else _axis.__wrapped__
    return vertical(source[0], target[0], *how), horizontal(source[1], target[1], *how)


@lru_cache(maxsize=64)
def _axis(source: int, target: int, kernel: str, coefficient: float, antialias: bool) -> Taps:  # noqa: FBT001
    step = source / target
    index = np.arange(target, dtype=np.float64)
    if kernel == "area":
        first, weights = _area(step, index)
    elif kernel == "area-grown":
        first, weights = _area_grown(step, index)
    elif kernel == "nearest":
        first, weights = np.floor(index * step), np.ones((target, 1))
    else:
        curve, support = {
            "bilinear": (_triangle, 1.0),
            "bicubic": (_cubic(coefficient), 2.0),
            "lanczos4": (_lanczos4, 4.0),
        }[kernel]
        widen = max(1.0, step) if antialias else 1.0
        centre = (index + 0.5) * step - 0.5
        first = np.floor(centre - support * widen) + 1
        count = int(np.ceil(2 * support * widen))
        offset = first[:, None] + np.arange(count) - centre[:, None]
        weights = curve(offset / widen)
        weights /= weights.sum(axis=1, keepdims=True)
    return _folded(first.astype(np.int64), weights, source)


def _area(step: float, index: F64Array) -> tuple[F64Array, F64Array]:
    begin, end = index * step, (index + 1) * step
    first = np.floor(begin + 1e-9)
    at = first[:, None] + np.arange(int(np.ceil(step)) + 1)
    covered = np.minimum(at + 1, end[:, None]) - np.maximum(at, begin[:, None])
    weights = np.maximum(covered, 0.0)
    weights[weights < 1e-6] = 0.0  # noqa: PLR2004 - rounding of begin and end, not coverage
    if not weights[:, -1].any():
        weights = weights[:, :-1]
    return first, weights / weights.sum(axis=1, keepdims=True)


def _area_grown(step: float, index: F64Array) -> tuple[F64Array, F64Array]:
    first = np.floor(index * step)
    part = (index + 1) - (first + 1) / step
    part = np.where(part <= 0, 0.0, part - np.floor(part))
    return first, np.stack((1 - part, part), axis=1)


def _whole(weights: F64Array) -> F64Array:
    """Weights in steps of 2**-22 that sum to 1 exactly, in whatever order they are added.

    What is solid must not become 1 - 2**-24 by a resize; float32 holds every partial sum.
    """
    steps = np.rint(weights * _STEPS)
    rows = np.arange(len(steps))
    steps[rows, np.argmax(steps, axis=1)] += _STEPS - steps.sum(axis=1)
    return steps / _STEPS


def _folded(first: Any, weights: F64Array, source: int) -> Taps:  # noqa: ANN401 - int64 array
    """Fold taps that fall outside the source into its edge samples."""
    target, count = weights.shape
    kept = min(count, source)
    start = np.clip(first, 0, source - kept)
    folded = np.zeros((target, kept))
    rows = np.arange(target)
    for j in range(count):
        at = np.clip(first + j, 0, source - 1) - start
        np.add.at(folded, (rows, at), weights[:, j])
    start_i32 = np.ascontiguousarray(start, dtype=np.int32)
    if kept <= _FEW:
        folded = _whole(folded)
    weights_f32 = np.ascontiguousarray(folded, dtype=np.float32)
    start_i32.setflags(write=False)
    weights_f32.setflags(write=False)
    return Taps(start=start_i32, weights=weights_f32)
