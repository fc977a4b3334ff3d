"""The values a file stores: what mattes, masks and numbers of classes are read as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from portrait_sdk.types import U8Array

    U16Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """One file's values, upright. Profiles are not applied: they are about colours, not alpha."""

    levels: U8Array | U16Array
    """uint8 or uint16, (H, W) grey or a palette's numbers, or (H, W, 3) RGB."""
    alpha: U8Array | U16Array | None
    """(H, W), dtype of ``levels``, straight; None without an alpha channel."""
    indexed: bool
    """Whether ``levels`` are numbers of a palette."""


def upright(array: Any, orientation: int) -> Any:  # noqa: ANN401 - the array's own type
    """Turn (H, W) or (H, W, C) as Exif's orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(array[::rows, ::columns])
