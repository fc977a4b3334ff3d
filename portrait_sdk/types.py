"""Array aliases, and the one check of dtype and shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

U8Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
F32Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
I32Array: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

Image: TypeAlias = U8Array
"""uint8 (H, W, 3), RGB, sRGB-encoded."""
ImageF32: TypeAlias = F32Array
"""float32 (H, W, 3), RGB, sRGB-encoded, in [0, 1]."""
AlphaF32: TypeAlias = F32Array
"""float32 (H, W) in [0, 1]; 1 is all foreground."""
Trimap: TypeAlias = U8Array
"""uint8 (H, W): 0 background, 128 unknown, 255 foreground."""
Cutout: TypeAlias = U8Array
"""uint8 (H, W, 4), straight (not pre-multiplied) RGB with alpha."""
Planes: TypeAlias = F32Array
"""float32 (3, h, w): a network's input."""


def require(
    array: object,
    name: str,
    shape: Sequence[int | None],
    dtype: type[np.generic] | tuple[type[np.generic], ...] = np.float32,
) -> None:
    """Refuse an array of another dtype or shape.

    Args:
        array: What was given.
        name: The argument's name, for the message.
        shape: Expected extents; None stands for any extent of at least 1.
        dtype: Expected dtype, or several.

    Raises:
        ImageError: ``array`` is no NumPy array, or has another dtype or shape, or is empty. The
            message reads *alpha: expected float32 (720, 1280), got uint8 (720, 1280)*.
    """
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
    if (
        isinstance(array, np.ndarray)
        and any(array.dtype == d for d in dtypes)
        and array.ndim == len(shape)
        and all(n > 0 and want in (None, n) for n, want in zip(array.shape, shape, strict=True))
    ):
        return
    kinds = " or ".join(np.dtype(d).name for d in dtypes)
    wanted = ", ".join("any" if n is None else str(n) for n in shape)
    if isinstance(array, np.ndarray):
        got = f"{array.dtype.name} ({', '.join(map(str, array.shape))})"
    else:
        got = type(array).__name__
    raise ImageError(f"{name}: expected {kinds} ({wanted}), got {got}")
