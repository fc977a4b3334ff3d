"""What every metric asks of its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.types import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portrait_sdk.types import Trimap

Array: TypeAlias = np.ndarray[Any, Any]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
FLOATS = (np.float32, np.float64)
_UNKNOWN = 128
_TRIMAP_VALUES = (0, _UNKNOWN, 255)


def unit(array: object, name: str, shape: Sequence[int | None]) -> Array:
    """``array``, contiguous, once it is float32 or float64 of this shape in [0, 1].

    Raises:
        ImageError: Another dtype or shape, a value outside [0, 1], or one that is no number.
    """
    require(array, name, shape, FLOATS)
    values: Any = array
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # false for NaN
        raise ImageError(f"{name}: expected values in [0, 1], got {low:.9g} to {high:.9g}")
    return np.ascontiguousarray(values)


def pair(alpha: object, truth: object) -> tuple[Array, Array]:
    """Both alphas checked, as one dtype: float64 where one of them is.

    Raises:
        ImageError: As :func:`unit`, or their shapes differ.
    """
    first = unit(alpha, "alpha", (None, None))
    second = unit(truth, "truth", first.shape)
    if first.dtype == second.dtype:
        return first, second
    return first.astype(np.float64), second.astype(np.float64)


def masks(alpha: object, truth: object, threshold: float) -> tuple[Mask, Mask]:
    """Two masks: bool arrays as they are, alphas where they are above ``threshold``.

    Raises:
        ImageError: As :func:`pair`.
        OptionError: ``threshold`` is not in [0, 1).
    """
    if not 0 <= threshold < 1:
        raise OptionError(f"threshold: expected 0 to below 1, got {threshold}")
    first = _mask(alpha, "alpha", (None, None), threshold)
    return first, _mask(truth, "truth", first.shape, threshold)


def _mask(array: object, name: str, shape: Sequence[int | None], threshold: float) -> Mask:
    if isinstance(array, np.ndarray) and array.dtype == np.bool_:
        require(array, name, shape, np.bool_)
        return np.ascontiguousarray(array)
    return np.asarray(unit(array, name, shape) > threshold)


def chosen(region: object, shape: Sequence[int]) -> Mask | None:
    """A region as a bool mask; None where it is the whole picture.

    Raises:
        ImageError: Neither a bool mask nor a trimap of this shape.
    """
    if region is None:
        return None
    require(region, "region", shape, (np.bool_, np.uint8))
    values: Any = region
    if values.dtype == np.bool_:
        return np.ascontiguousarray(values)
    return np.asarray(trimap(values, "region", shape) == _UNKNOWN)


def trimap(array: object, name: str, shape: Sequence[int]) -> Trimap:
    """``array`` once it is a trimap of this shape.

    Raises:
        ImageError: Another dtype or shape, or another value than 0, 128 and 255.
    """
    require(array, name, shape, np.uint8)
    values: Trimap = array  # type: ignore[assignment] # as required
    others = [v for v in np.flatnonzero(np.bincount(values.ravel())) if v not in _TRIMAP_VALUES]
    if others:
        raise ImageError(f"{name}: a trimap holds 0, 128 and 255, got {others[0]}")
    return values
