"""Foreground colours under a known alpha: a cutout carries nothing of its old background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.ops import kernels, threads
from portrait_sdk.types import require

if TYPE_CHECKING:
    from portrait_sdk.types import AlphaF32, Image, ImageF32

Method: TypeAlias = Literal["multilevel-fast", "multilevel", "blur-fusion", "closed-form"]
METHODS: tuple[str, ...] = get_args(Method)
DEFAULT: Method = "multilevel-fast"
"""Of cutouts and composites."""

_PYMATTINGS: dict[str, Any] = {
    "regularization": 1e-5,
    "gradient_weight": 1.0,
    "small_size": 32,
    "small_iterations": 10,
    "big_iterations": 2,
}
_TILED_LEVELS = 2  # of multilevel-fast: 15/16 of the pixels
_BLUR_FUSION_BOXES = (90, 6)  # px, the two passes of Forte 2021


def estimate_foreground(image: Image | ImageF32, alpha: AlphaF32, method: Method = DEFAULT) -> Any:  # noqa: ANN401 - the dtype of ``image``
    """Estimate the foreground colour of every pixel.

    Args:
        image: (H, W, 3) RGB; uint8, or float32 in [0, 1].
        alpha: float32 (H, W) in [0, 1].
        method: ``multilevel-fast``: as ``multilevel``, but the two finest levels are solved only
            in tiles where alpha is neither 0 nor 255 in 8 bits; within 2/255 of it where alpha is
            in (.02, .98). ``multilevel``: Germer et al. 2020, the numerics of PyMatting's
            ``estimate_foreground_ml`` with its default parameters. ``blur-fusion``: Forte 2021, two
            passes, coarser and cheap. ``closed-form``: Levin et al. 2008 through PyMatting (extra
            ``pymatting``; minutes on large photos, and its first import compiles for about 40 s).

    Returns:
        The foreground, same shape and dtype as ``image``, straight. Where alpha is 0 it is a smooth
        guess without meaning, with ``multilevel-fast`` in blocks of 4 x 4 pixels.

    Raises:
        ImageError: An array has another dtype, shape or range.
        OptionError: The method is unknown, or PyMatting is not installed.

    Source:
        Germer, Uelwer, Conrad & Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
        Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
    """
    if method not in METHODS:
        raise OptionError(
            f"foreground method: expected one of {', '.join(METHODS)}, got {method!r}"
        )
    require(image, "image", (None, None, 3), (np.uint8, np.float32))
    require(alpha, "alpha", image.shape[:2])
    _check_range(alpha, "alpha")
    if image.dtype != np.uint8:
        _check_range(image, "image")
    if method in ("multilevel", "multilevel-fast"):
        tiled = _TILED_LEVELS if method == "multilevel-fast" else 0
        return kernels.multilevel(
            image, alpha, **_PYMATTINGS, tiled_levels=tiled, background=False
        )[0]
    if method == "blur-fusion":
        front, back = image, image
        for size in _BLUR_FUSION_BOXES:
            front, back = kernels.blur_fusion(
                image, alpha, front, back, size, last=size == _BLUR_FUSION_BOXES[-1]
            )
        return front
    if image.dtype == np.uint8:
        colours = _closed_form(image * np.float32(1 / 255), alpha)
        return np.rint(colours * np.float32(255)).astype(np.uint8)
    return _closed_form(cast("ImageF32", image), alpha)


def multilevel(
    image: ImageF32,
    alpha: AlphaF32,
    *,
    regularization: float = 1e-5,
    gradient_weight: float = 1.0,
    small_size: int = 32,
    small_iterations: int = 10,
    big_iterations: int = 2,
) -> tuple[ImageF32, ImageF32]:
    """Multi-level foreground and background with every parameter of the method.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        alpha: float32 (H, W) in [0, 1].
        regularization: Pull of every neighbour, whatever alpha does.
        gradient_weight: Pull of a neighbour per difference of alpha.
        small_size: Levels whose sides are both at most this many pixels count as small.
        small_iterations: Sweeps on small levels.
        big_iterations: Sweeps on the others.

    Returns:
        Foreground and background, float32 (H, W, 3) in [0, 1].

    Raises:
        ImageError: An array has another dtype or shape.
        OptionError: A parameter is negative, or both pulls are 0.

    Source:
        Germer, Uelwer, Conrad & Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
    """
    require(image, "image", (None, None, 3))
    require(alpha, "alpha", image.shape[:2])
    if regularization <= 0 or gradient_weight < 0:
        raise OptionError(
            "multilevel: expected regularization > 0 and gradient_weight >= 0, "
            f"got {regularization} and {gradient_weight}"
        )
    if min(small_size, small_iterations, big_iterations) < 0:
        raise OptionError("multilevel: expected sizes and iterations of 0 or more")
    return kernels.multilevel(
        image,
        alpha,
        regularization=regularization,
        gradient_weight=gradient_weight,
        small_size=small_size,
        small_iterations=small_iterations,
        big_iterations=big_iterations,
    )


def blur_fusion(
    image: ImageF32, alpha: AlphaF32, boxes_px: tuple[int, ...] = _BLUR_FUSION_BOXES
) -> tuple[ImageF32, ImageF32]:
    """Blur fusion, one pass per box, each starting from the last one's colours.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        alpha: float32 (H, W) in [0, 1].
        boxes_px: Side of each pass's box in pixels. They are not scaled with the photo.

    Returns:
        Foreground and background, float32 (H, W, 3) in [0, 1].

    Raises:
        ImageError: An array has another dtype or shape.
        OptionError: No box, or one below 1 pixel.

    Source:
        Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
    """
    require(image, "image", (None, None, 3))
    require(alpha, "alpha", image.shape[:2])
    if not boxes_px or min(boxes_px) < 1:
        raise OptionError(f"blur-fusion: expected boxes of at least 1 pixel, got {boxes_px}")
    front, back = image, image
    for size in boxes_px:
        front, back = kernels.blur_fusion(image, alpha, front, back, size)
    return front, back


def _closed_form(image: ImageF32, alpha: AlphaF32) -> ImageF32:
    try:
        from pymatting import estimate_foreground_cf
    except ImportError as error:
        raise OptionError(
            "foreground method 'closed-form' needs PyMatting: "
            "`pip install 'portrait-sdk[pymatting]'`"
        ) from error
    colours = estimate_foreground_cf(image.astype(np.float64), alpha.astype(np.float64))
    front: ImageF32 = np.clip(colours, 0, 1).astype(np.float32)
    return front


def _check_range(array: Any, name: str) -> None:  # noqa: ANN401 - float32 array
    bounds: list[tuple[float, float]] = []

    def band(first: int, last: int) -> None:
        rows = array[first:last]
        bounds.append((float(rows.min()), float(rows.max())))

    threads.over_rows(len(array), array[0].nbytes, band)
    low, high = float(np.min(bounds)), float(np.max(bounds))
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ImageError(f"{name}: expected values in [0, 1], got {low:g} to {high:g}")
