"""A network's output to alpha at the photo's size, as the model's spec says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import ModelError
from portrait_sdk.ops import kernels, resample
from portrait_sdk.spec import Filter

if TYPE_CHECKING:
    from portrait_sdk.ops.geometry import Letterbox
    from portrait_sdk.ops.resample import Taps
    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import AlphaF32, F32Array

SMALLER = Filter(kernel="bilinear", antialias=True)
LARGER = Filter(kernel="bicubic", coefficient=-0.5, antialias=True)
"""Keeps the edges that the network drew: a bilinear filter makes them softer by a sixth."""


def network_alpha(output: Any, spec: ModelSpec, size: tuple[int, int]) -> F32Array:  # noqa: ANN401
    """The subject's channel with its activation applied, one per photo of the batch.

    Args:
        output: The graph's alpha output: (N, C, h, w), (N, h, w, C) for the layout NHWC, or
            (N, h, w); any float dtype.
        spec: The model's.
        size: Height and width the input had.

    Returns:
        float32 (N, h, w), not yet clamped.

    Raises:
        ModelError: Another shape than the spec lets expect, or values that are not numbers.
    """
    values = np.asarray(output, np.float32)
    channels_axis = 3 if spec.input.layout == "NHWC" else 1
    if values.ndim == 3:  # noqa: PLR2004 - (N, h, w)
        values = np.expand_dims(values, channels_axis)
    if values.ndim != 4:  # noqa: PLR2004
        raise _unexpected(spec, size, values)
    values = np.moveaxis(values, channels_axis, 1)
    if values.shape[2:] != size or values.shape[1] <= spec.alpha.channel:
        raise _unexpected(spec, size, values)
    if spec.alpha.activation == "softmax":
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        values = shifted / shifted.sum(axis=1, keepdims=True)
    alpha = values[:, spec.alpha.channel]
    if spec.alpha.activation == "sigmoid":
        # exp of a large number overflows to inf, and 1 / inf is the right answer, 0.
        with np.errstate(over="ignore"):
            alpha = np.float32(1) / (np.float32(1) + np.exp(-alpha))
    if not np.isfinite(alpha).all():
        raise ModelError(
            f"model {spec.name!r}: its alpha holds NaN or infinite values; "
            "`portrait verify` compares the file with its source"
        )
    return np.asarray(alpha, np.float32)


def _unexpected(spec: ModelSpec, size: tuple[int, int], values: F32Array) -> ModelError:
    return ModelError(
        f"model {spec.name!r}: output {spec.alpha.name!r}: "
        f"expected {size[0]} x {size[1]} values of channel {spec.alpha.channel} "
        f"in layout {spec.input.layout}, got shape {values.shape}"
    )


def taps_back(source: tuple[int, ...], target: tuple[int, ...]) -> tuple[Taps, Taps]:
    """How alpha, and what belongs to it, is resized to the photo.

    Bicubically where either side grows, else bilinearly.

    Source:
        Keys, "Cubic convolution interpolation for digital image processing", 1981; a = -0.5.
    """
    how = LARGER if resample.grows(source, target) else SMALLER
    return resample.taps_for((source[0], source[1]), (target[0], target[1]), how)


def resized(alpha: F32Array, size: tuple[int, int]) -> AlphaF32:
    """Resize alpha as :func:`taps_back` says, and clamp it.

    Args:
        alpha: float32 (h, w).
        size: Height and width of the result.

    Returns:
        float32 of ``size`` in [0, 1].
    """
    out = np.empty(size, np.float32)
    kernels.resize_alpha(alpha, out, taps_back(alpha.shape, size))
    return out


def to_photo(alpha: F32Array, place: Letterbox, size: tuple[int, int]) -> AlphaF32:
    """Undo the letterbox, resize to the photo's size as :func:`resized` does, clamp.

    Args:
        alpha: float32 (h, w) at the input's size.
        place: Where the photo lay.
        size: Height and width of the photo.

    Returns:
        float32 (H, W) in [0, 1].
    """
    return resized(alpha[place.rows, place.columns], size)
