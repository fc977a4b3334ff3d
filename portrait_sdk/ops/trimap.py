"""Alpha to trimap: what is certain, and the band in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.types import require

if TYPE_CHECKING:
    from portrait_sdk.types import AlphaF32, Trimap

_BAND_SHARE = 100  # the default band's radius is the long side divided by this


def trimap_from_alpha(
    alpha: AlphaF32,
    *,
    foreground_threshold: float = 0.95,
    background_threshold: float = 0.05,
    band_radius_px: int | None = None,
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
    import cv2

    require(alpha, "alpha", (None, None))
    if not 0 <= background_threshold < foreground_threshold <= 1:
        raise OptionError(
            "trimap thresholds: expected 0 <= background < foreground <= 1, "
            f"got {background_threshold} and {foreground_threshold}"
        )
    if band_radius_px is None:
        band_radius_px = round(max(alpha.shape) / _BAND_SHARE)
    if band_radius_px < 0:
        raise OptionError(
            f"trimap band: expected a radius of 0 pixels or more, got {band_radius_px}"
        )
    solid = (alpha > foreground_threshold).astype(np.uint8)
    clear = (alpha < background_threshold).astype(np.uint8)
    if band_radius_px:
        side = 2 * band_radius_px + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        # Beyond the frame nothing is known: a border of 1 lets a person stay solid up to the edge.
        edge = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 1}
        solid, clear = cv2.erode(solid, disc, **edge), cv2.erode(clear, disc, **edge)
    trimap = np.full(alpha.shape, 128, np.uint8)
    trimap[solid > 0] = 255
    trimap[clear > 0] = 0
    return trimap
