"""From 8-bit, 16-bit and floating-point samples to 8-bit ones, and from arrays to RGB."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk.errors import ImageError

if TYPE_CHECKING:
    from portrait_sdk.types import Image, U8Array

AnyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_CHANNELS = (1, 2, 3, 4)
_SLACK = 1e-3
"""How far past [0, 1] a float may lie: resampling overshoots by rounding, 255 is another scale."""
_EXPECTED = "uint8, uint16, or float in [0, 1], of shape (H, W) or (H, W, 1 to 4)"


def to_u8(array: AnyArray, name: str) -> U8Array:
    """Bring samples to 0..255, rounding to nearest; uint8 is returned as it is.

    Raises:
        ImageError: Another dtype, or a float outside [0, 1] or NaN.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # noqa: PLR2004 - either byte order
        return np.take(_sixteen_to_eight(), array)
    if array.dtype.kind == "f" and array.dtype.itemsize in (2, 4, 8):
        low, high = float(array.min()), float(array.max())
        if not (low >= -_SLACK and high <= 1 + _SLACK):  # so written, NaN is refused
            hint = "; divide by 255" if low >= 0 and 1 < high <= 255 else ""  # noqa: PLR2004
            raise ImageError(f"{name}: expected floats in [0, 1], got {low:g} to {high:g}{hint}")
        scaled = np.clip(array, 0, 1).astype(np.float32, copy=False) * np.float32(255)
        levels: U8Array = np.rint(scaled, out=scaled).astype(np.uint8)
        return levels
    hints = {"b": "; multiply a boolean array by 255 as uint8", "i": "; cast it to uint8 or uint16"}
    raise ImageError(
        f"{name}: expected {_EXPECTED}; got {_describe(array)}{hints.get(array.dtype.kind, '')}"
    )


def from_array(array: AnyArray, color: str) -> tuple[Image, U8Array | None]:
    """Turn an array into an RGB image and the alpha it carried, if any.

    Both are copies: the array may be changed or used again at once.

    Args:
        array: uint8, uint16, or float16/32/64 in [0, 1]; (H, W) or (H, W, 1) grey, (H, W, 2) grey
            and alpha, (H, W, 3), or (H, W, 4) with straight alpha. Any strides.
        color: "RGB" or "BGR": the order of three or four channels.

    Raises:
        ImageError: Another dtype, shape or range.
    """
    if array.ndim not in (2, 3) or 0 in array.shape or array.shape[2:] not in ((), *_LAST):
        hint = ""
        if array.ndim == 1 and array.dtype == np.uint8:
            hint = "; for the bytes of an encoded file pass array.tobytes()"
        elif array.ndim == 3 and array.shape[0] in _CHANNELS:  # noqa: PLR2004 - rank
            hint = "; channels come last: np.moveaxis(array, 0, -1)"
        elif array.ndim == 4:  # noqa: PLR2004 - rank
            hint = "; pass the images of a batch one by one"
        raise ImageError(f"image: expected {_EXPECTED}; got {_describe(array)}{hint}")
    levels = to_u8(array, "image")
    if levels.ndim == 2:  # noqa: PLR2004 - rank
        levels = levels[..., None]
    channels = levels.shape[2]
    alpha = np.array(levels[..., -1], order="C") if channels in (2, 4) else None
    if channels < 3:  # noqa: PLR2004 - RGB
        return np.repeat(levels[..., :1], 3, axis=2), alpha
    order = slice(None, 3) if color == "RGB" else slice(2, None, -1)
    return np.array(levels[..., order], order="C"), alpha


_LAST = tuple((n,) for n in _CHANNELS)


@cache
def _sixteen_to_eight() -> U8Array:
    """For each 16-bit value the nearest of 255 levels: ``round(v * 255 / 65535)``."""
    return ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _describe(array: AnyArray) -> str:
    return f"{array.dtype} ({', '.join(map(str, array.shape))})"
