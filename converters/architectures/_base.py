"""What an architecture's module says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from portrait_sdk.spec import InputSpec, OutputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One network family: how to build it, what its graph takes and gives."""

    name: str
    build: Callable[[], nn.Module]
    """An untrained module; in evaluation mode its forward takes the normalised photo (N, 3, H, W)
    and returns finished alpha (N, 1, H, W) in [0, 1]."""
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    tolerance: float
    """Largest difference of alpha from the checkpoint that a conversion may show."""
    verify_sizes: tuple[tuple[int, int], ...]
    """Heights and widths on which every conversion is compared."""
