"""Sums over pictures, over threads, the same to the last bit however many there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.ops import threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portrait_sdk.evaluation._checks import Array, Mask

_CHUNK = 1 << 16  # pixels, which with what is made of them fit into a core's cache


def total(
    shape: tuple[int, ...], values: Callable[[slice], Array], mask: Mask | None = None
) -> float:
    """Add up, in float64, what ``values`` gives for rows of a picture, where the mask is.

    Args:
        shape: Of the picture; the first two are height and width.
        values: Array (h, width, ...) for some rows, a new one; called on several threads.
        mask: bool (H, W); None: everywhere.
    """
    height, width = shape[:2]
    step = max(1, _CHUNK // width)
    sums = [0.0] * -(-height // step)

    def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            rows = slice(number * step, (number + 1) * step)
            part = values(rows)
            if mask is not None:
                part *= mask[rows]
            sums[number] = float(part.sum(dtype=np.float64))

    threads.over_pieces(len(sums), step * width * 16, work)
    return math.fsum(sums)


def absolute(a: Array, b: Array, mask: Mask | None = None) -> float:
    """Sum of ``|a - b|``."""
    return _of_differences(np.abs, a, b, mask)


def squared(a: Array, b: Array, mask: Mask | None = None) -> float:
    """Sum of ``(a - b)^2``."""
    return _of_differences(np.square, a, b, mask)


def _of_differences(function: np.ufunc, a: Array, b: Array, mask: Mask | None) -> float:
    def values(rows: slice) -> Array:
        difference: Array = a[rows] - b[rows]
        function(difference, out=difference)
        return difference

    return total(a.shape, values, mask)
