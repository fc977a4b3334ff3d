"""Alpha to trimap: what is certain, and the band in between."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.ops import threads
from portrait_sdk.types import require

if TYPE_CHECKING:
    from portrait_sdk.types import AlphaF32, Trimap, U8Array

_BAND_SHARE = 100  # the default band's radius is the long side divided by this


def trimap_from_alpha(
    alpha: AlphaF32,
    *,
    foreground_threshold: float = 0.95,
    background_threshold: float = 0.05,
    band_radius_px: float | None = None,
) -> Trimap:
    """Mark the certain foreground and background, the rest unknown.

    Thresholds come first, then the unknown region grows by a disc; growing a soft alpha directly
    would leave rings.

    Args:
        alpha: float32 (H, W) in [0, 1].
        foreground_threshold: Above it a pixel is foreground before growing.
        background_threshold: Below it a pixel is background before growing.
        band_radius_px: The unknown region grows by this many pixels; None: 1/100 of the
            longer side.

    Returns:
        uint8 (H, W): 0 background, 128 unknown, 255 foreground.

    Raises:
        ImageError: ``alpha`` has another dtype or shape.
        OptionError: Thresholds out of order or a negative radius.
    """
    require(alpha, "alpha", (None, None))
    if not 0 <= background_threshold < foreground_threshold <= 1:
        raise OptionError(
            "trimap thresholds: expected 0 <= background < foreground <= 1, "
            f"got {background_threshold} and {foreground_threshold}"
        )
    if band_radius_px is None:
        band_radius_px = round(max(alpha.shape) / _BAND_SHARE)
    if not isinstance(band_radius_px, int | float) or not 0 <= band_radius_px < math.inf:
        raise OptionError(
            f"trimap band: expected a radius of 0 pixels or more, got {band_radius_px}"
        )
    solid = (alpha > foreground_threshold).astype(np.uint8)
    clear = (alpha < background_threshold).astype(np.uint8)
    trimap = np.full(alpha.shape, 128, np.uint8)
    trimap[_eroded(solid, band_radius_px)] = 255
    trimap[_eroded(clear, band_radius_px)] = 0
    return trimap


def _eroded(region: U8Array, radius_px: float) -> Any:  # noqa: ANN401 - bool array
    """Where the disc lies inside the region: by distance, in time that knows no radius.

    Beyond the frame nothing is known, so that a person cut off by it stays solid up to its edge.
    """
    if radius_px == 0 or region.all():
        return region > 0
    cv2 = threads.opencv()
    return cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > radius_px
