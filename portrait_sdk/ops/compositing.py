"""Foreground, alpha and background put together: cutouts, composites, premultiplied colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.ops import kernels, threads
from portrait_sdk.types import require

if TYPE_CHECKING:
    from portrait_sdk.types import AlphaF32, Cutout, Image

_BLUR_SHARE = 40  # the default blur radius is the long side divided by this
_WORK_RADIUS = 8.0  # px: wide blurs are made on a smaller picture, where they are this wide


def cutout(foreground: Image, alpha: AlphaF32) -> Cutout:
    """Colours with alpha, straight (not pre-multiplied).

    Args:
        foreground: uint8 (H, W, 3) RGB; estimated foreground colours leave no halo, the photo's own
            keep the old background's colour in every soft edge.
        alpha: float32 (H, W) in [0, 1]; rounded to 8 bits, never truncated.

    Returns:
        uint8 (H, W, 4) RGBA.

    Raises:
        ImageError: An array has another dtype or shape.
    """
    require(foreground, "foreground", (None, None, 3), np.uint8)
    require(alpha, "alpha", foreground.shape[:2])
    return kernels.cutout(foreground, alpha)


def composite(foreground: Image, alpha: AlphaF32, background: Image) -> Image:
    """Lay ``foreground`` over ``background``: ``alpha * F + (1 - alpha) * B``, rounded.

    Args:
        foreground: uint8 (H, W, 3) RGB, straight.
        alpha: float32 (H, W) in [0, 1]; 1 is all foreground.
        background: uint8 (H, W, 3) RGB, or (1, 1, 3) for one colour.

    Returns:
        A new uint8 (H, W, 3) RGB image.

    Raises:
        ImageError: An array has another dtype or shape.

    Source:
        Porter & Duff, "Compositing Digital Images", SIGGRAPH 1984: the *over* operator, on
        sRGB-encoded values, as peers and image editors do by default.
    """
    require(foreground, "foreground", (None, None, 3), np.uint8)
    size = foreground.shape[:2]
    require(alpha, "alpha", size)
    whole = isinstance(background, np.ndarray) and background.shape[:2] == (1, 1)
    require(background, "background", (1, 1, 3) if whole else (*size, 3), np.uint8)
    return kernels.composite(foreground, alpha, background)


def premultiply(straight: Cutout) -> Cutout:
    """Straight to pre-multiplied RGBA, rounded.

    Args:
        straight: uint8 (H, W, 4).

    Raises:
        ImageError: The array has another dtype or shape.
    """
    require(straight, "straight", (None, None, 4), np.uint8)
    return kernels.premultiply(straight)


def unpremultiply(premultiplied: Cutout) -> Cutout:
    """Pre-multiplied to straight RGBA, rounded; colours where alpha is 0 become 0.

    Args:
        premultiplied: uint8 (H, W, 4).

    Raises:
        ImageError: The array has another dtype or shape.
    """
    require(premultiplied, "premultiplied", (None, None, 4), np.uint8)
    return kernels.unpremultiply(premultiplied)


def cover(background: Image, size: tuple[int, int]) -> Image:
    """Scale a background until it covers ``size``, keep its aspect, cut off what sticks out.

    Args:
        background: uint8 (h, w, 3).
        size: Height and width wanted.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ImageError: The array has another dtype or shape.
    """
    cv2 = threads.opencv()

    require(background, "background", (None, None, 3), np.uint8)
    have_h, have_w = background.shape[:2]
    height, width = size
    scale = max(height / have_h, width / have_w)
    # Cut first: resizing only what stays keeps a huge panorama behind a small portrait cheap.
    keep_h, keep_w = min(have_h, round(height / scale)), min(have_w, round(width / scale))
    keep_h, keep_w = max(1, keep_h), max(1, keep_w)
    top, left = (have_h - keep_h) // 2, (have_w - keep_w) // 2
    part = background[top : top + keep_h, left : left + keep_w]
    if part.shape[:2] == size:
        return np.ascontiguousarray(part)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (width, height), interpolation=how), np.uint8)


def check_blur_radius(radius_px: float) -> None:
    """Refuse what is no radius.

    Raises:
        OptionError: It is not a positive number.
    """
    if not (math.isfinite(radius_px) and radius_px > 0):
        raise OptionError(f"blur radius: expected a number of pixels above 0, got {radius_px}")


def blur_background(image: Image, alpha: AlphaF32, radius_px: float | None = None) -> Image:
    """The photo's surroundings out of focus, without the person smeared into them.

    Each pixel is the Gaussian mean of *background* pixels alone (weights ``1 - alpha``), so that no
    coloured glow surrounds the person when they are laid back over it.

    Args:
        image: uint8 (H, W, 3) RGB.
        alpha: float32 (H, W) in [0, 1].
        radius_px: Of the blur, two standard deviations; None: 1/40 of the longer side.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ImageError: An array has another dtype or shape.
        OptionError: The radius is not a positive number.

    Source:
        Knutsson & Westin, "Normalized and differential convolution", CVPR 1993.
    """
    cv2 = threads.opencv()

    require(image, "image", (None, None, 3), np.uint8)
    height, width = image.shape[:2]
    require(alpha, "alpha", (height, width))
    if radius_px is None:
        radius_px = max(height, width) / _BLUR_SHARE
    check_blur_radius(radius_px)
    shrink = max(1.0, radius_px / _WORK_RADIUS)
    small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    # The small constant lets a photo that is all person blur into itself instead of dividing by 0.
    weight = np.clip(1 - alpha, 0, 1) + np.float32(1e-4)
    weighted = cv2.resize(image * weight[..., None], small, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    sigma = max(radius_px / shrink / 2, 0.1)
    colours = cv2.GaussianBlur(weighted, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    total = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    mean = np.rint(colours / total[..., None]).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


_NAMED = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "lime": (0, 255, 0),
    "blue": (0, 0, 255),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "orange": (255, 165, 0),
    "chroma": (0, 177, 64),
}


def parse_color(text: str) -> tuple[int, int, int] | None:
    """An RGB colour from ``white``, ``#fff``, ``#ffffff`` or ``255,255,255``; None: not a colour.

    Names are CSS's, and ``chroma`` for the green of chroma-key screens.

    Raises:
        ImageError: It begins like a colour (``#`` or numbers) but is none.
    """
    word = text.strip().lower()
    if word in _NAMED:
        return _NAMED[word]
    if word.startswith("#"):
        digits = word[1:]
        if len(digits) == 3:  # noqa: PLR2004 - #rgb
            digits = "".join(2 * d for d in digits)
        if len(digits) == 6 and all(d in "0123456789abcdef" for d in digits):  # noqa: PLR2004
            return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
        raise ImageError(f"colour {text!r}: expected #rgb or #rrggbb")
    parts = [p.strip() for p in word.split(",")]
    if len(parts) > 1 and all(p.isascii() and p.isdecimal() for p in parts):
        values = [int(p) for p in parts]
        if len(values) == 3 and max(values) <= 255:  # noqa: PLR2004 - r,g,b
            return (values[0], values[1], values[2])
        raise ImageError(f"colour {text!r}: expected three numbers from 0 to 255")
    return None
