"""What may happen to a person, a background and a picture on their way into a composite.

Every function takes the generator it draws from, and nothing else is random. Pixels are float32 in
[0, 1]; whatever moves or softens a person moves and softens their alpha alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from portrait_sdk.types import AlphaF32, F32Array, Image, ImageF32

    Rng = np.random.Generator
    Drawn = dict[str, Any]

_SHRINK_BLURRED = 0.75  # scales below it: bilinear taps would skip pixels
_TOUCHES = 0.02  # share of an edge's pixels that are the person's: the photo cuts them off there
_RIM = 1  # px
_VISIBLE = 0.5  # alpha from which on a pixel tells where the person is
_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))  # Rec. 601


def turn_about(
    centre: tuple[float, float],
    to: tuple[float, float],
    scale: tuple[float, float],
    turn_deg: float,
) -> F32Array:
    """The affine map that scales, turns, and takes ``centre`` to ``to`` (both x, y): (2, 3)."""
    angle = np.deg2rad(turn_deg)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
        scale
    )
    shift = np.array(to) - linear @ np.array(centre)
    return np.asarray(np.column_stack((linear, shift)), np.float32)


def warp(array: Any, matrix: F32Array, size: tuple[int, int], border: int) -> Any:  # noqa: ANN401
    """Resample an array of any dtype through an affine map, bilinearly.

    Args:
        array: (H, W) or (H, W, C).
        matrix: (2, 3), from ``array``'s x, y to the result's.
        size: Height and width of the result.
        border: OpenCV's border mode for what lies outside.
    """
    height, width = size
    # Shrinking by warpAffine samples points: blur first by as much as the shrink needs.
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < _SHRINK_BLURRED:
        array = cv2.GaussianBlur(array, (0, 0), 0.4 / scale)
    return cv2.warpAffine(array, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)


def jpeg(image: ImageF32, quality: int) -> ImageF32:
    """A picture as JPEG of this quality shows it, float32 (H, W, 3) RGB in [0, 1]."""
    bgr = np.rint(image[..., ::-1] * 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return np.asarray(decoded, np.float32)[..., ::-1] / np.float32(255)


def continued(image: Image, alpha: AlphaF32, least: float = 0.03) -> Image:
    """Colours of an RGBA file, each where alpha is below ``least`` from the nearest pixel above it.

    Under transparent pixels a file holds anything: the old background, black, white. Estimating
    foreground colours takes what lies there for the old background, so it must look like the
    outermost visible pixels: the old background in a raw cutout, the person in a clean one.

    Args:
        image: uint8 (H, W, 3).
        alpha: float32 (H, W) in [0, 1].
        least: About 8 of 255: below it 8-bit colours are mostly rounding.
    """
    hidden = (alpha < least).astype(np.uint8)
    if not hidden.any() or hidden.all():
        return image
    labels = cv2.distanceTransformWithLabels(
        hidden, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    seen = np.flatnonzero(hidden == 0)
    nearest[labels.reshape(-1)[seen]] = seen
    return np.ascontiguousarray(image.reshape(-1, 3)[nearest[labels]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody cut out: float32 colours (H, W, 3) and alpha (H, W) in [0, 1]."""

    colours: ImageF32
    alpha: AlphaF32


def place(
    person: Person, size: tuple[int, int], rng: Rng, *, geometry: bool
) -> tuple[Person, Drawn]:
    """Put a person into an empty frame; where the photo cuts them off, so does the frame.

    Args:
        person: At any size.
        size: Height and width of the frame.
        rng: Draws from it only with ``geometry``.
        geometry: Scale 0.5 to 1.2 of the frame's height, mirror half of the time, turn up to
            ±8 degrees (those who stand free), stretch up to ±6 %, place. Without: as large as
            fits, in the middle, at the bottom.

    Returns:
        The person at the frame's size, and what was drawn.
    """
    height, width = size
    have_h, have_w = person.alpha.shape
    solid = person.alpha > _VISIBLE
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if not rows.size:
        rows, columns = np.array([0, have_h - 1]), np.array([0, have_w - 1])
    top, bottom = float(rows[0]), float(rows[-1] + 1)
    left, right = float(columns[0]), float(columns[-1] + 1)
    cut_sides = solid[:, 0].mean() > _TOUCHES or solid[:, -1].mean() > _TOUCHES
    cut_below = solid[-1].mean() > _TOUCHES or cut_sides
    mirror = geometry and bool(rng.integers(2))
    tall = rng.uniform(0.5, 1.2) if geometry else 0.95
    stretch = float(np.exp(rng.uniform(-0.06, 0.06) / 2)) if geometry else 1.0
    scale = tall * height / (bottom - top)
    if not geometry:
        scale = min(scale, 0.95 * width / (right - left))
    if cut_sides:  # both edges of the photo lie at the frame's, or beyond
        scale = max(scale, width / (have_w * stretch))
    scales = (scale * stretch * (-1 if mirror else 1), scale / stretch)
    half = (right - left) / 2 * scale * stretch
    if cut_sides:
        # The photo's middle, shifted by no more than keeps its edges out of sight.
        room = max(0.0, have_w * scale * stretch - width) / 2
        from_x, to_x = have_w / 2, width / 2 + (rng.uniform(-room, room) if geometry else 0.0)
    else:
        room = max(width / 2 - half, 0) + 0.4 * half
        from_x = (left + right) / 2
        to_x = width / 2 + (rng.uniform(-room, room) if geometry else 0.0)
    turn = 0.0
    if cut_below:
        tall_px = (bottom - top) * scales[1]
        sink = rng.uniform(0, 0.3) * tall_px if geometry else 0.0
        from_y, to_y = float(have_h if solid[-1].any() else bottom), height + sink
    else:
        reach = (bottom - top) / 2 * scales[1]
        room = max(height / 2 - reach, 0) + 0.2 * reach
        from_y = (top + bottom) / 2
        to_y = height / 2 + (rng.uniform(-room, room) if geometry else 0.0)
        turn = rng.uniform(-8, 8) if geometry else 0.0
    # A rim that repeats the photo's edge, so that a person cut off there is solid up to it; and
    # from edges to pixel centres, half a pixel inside.
    inside = _RIM - 0.5
    matrix = turn_about((from_x + inside, from_y + inside), (to_x - 0.5, to_y - 0.5), scales, turn)
    rim = (_RIM, _RIM, _RIM, _RIM, cv2.BORDER_REPLICATE)
    placed = Person(
        colours=warp(cv2.copyMakeBorder(person.colours, *rim), matrix, size, cv2.BORDER_REPLICATE),
        alpha=warp(cv2.copyMakeBorder(person.alpha, *rim), matrix, size, cv2.BORDER_CONSTANT),
    )
    return placed, {"matrix": [[round(float(v), 6) for v in row] for row in matrix]}


def crop_background(
    image: Image, size: tuple[int, int], rng: Rng, *, geometry: bool
) -> tuple[ImageF32, Drawn]:
    """A part of a background that fills the frame.

    Args:
        image: uint8 (h, w, 3) of any size.
        size: Height and width of the frame.
        rng: Draws from it only with ``geometry``.
        geometry: Enlarged up to 1.6 times, any part, mirrored half of the time. Without: the
            middle.
    """
    height, width = size
    have_h, have_w = image.shape[:2]
    mirror = geometry and bool(rng.integers(2))
    scale = max(height / have_h, width / have_w) * (rng.uniform(1.0, 1.6) if geometry else 1.0)
    window_w, window_h = width / scale, height / scale
    x = rng.uniform(window_w / 2, have_w - window_w / 2) if geometry else have_w / 2
    y = rng.uniform(window_h / 2, have_h - window_h / 2) if geometry else have_h / 2
    scales = (-scale if mirror else scale, scale)
    # From pixel centres to pixel centres, so that no border is drawn in.
    matrix = turn_about((x - 0.5, y - 0.5), (width / 2 - 0.5, height / 2 - 0.5), scales, 0.0)
    part = warp(image, matrix, size, cv2.BORDER_REFLECT_101)
    drawn = {"matrix": [[round(float(v), 6) for v in row] for row in matrix]}
    return np.asarray(part, np.float32) / np.float32(255), drawn


def colour(image: ImageF32, rng: Rng, strength: float = 1.0) -> tuple[ImageF32, Drawn]:
    """Gain 0.8 to 1.25, gamma 0.8 to 1.25, saturation 0.5 to 1.4, white balance ±8 %.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: What to draw from.
        strength: 1: these ranges; smaller ones narrow them towards no change.
    """
    gain = float(np.exp(rng.uniform(-0.22, 0.22) * strength))
    gamma = float(np.exp(rng.uniform(-0.22, 0.22) * strength))
    saturation = 1 + float(rng.uniform(-0.5, 0.4)) * strength
    balance = 1 + rng.uniform(-0.08, 0.08, 3) * strength
    lit = np.power(np.clip(image, 0, 1), np.float32(gamma)) * (gain * balance).astype(np.float32)
    # Summed one by one, not by a matrix product, whose rounding hangs on how it is parted.
    luma = lit[..., 0] * _LUMA[0] + lit[..., 1] * _LUMA[1] + lit[..., 2] * _LUMA[2]
    grey = luma[..., None]
    toned = np.asarray(np.clip(grey + (lit - grey) * np.float32(saturation), 0, 1), np.float32)
    drawn = {"gain": gain, "gamma": gamma, "saturation": saturation, "balance": balance.tolist()}
    return toned, drawn


def cast_shadow(behind: ImageF32, alpha: AlphaF32, rng: Rng) -> tuple[ImageF32, Drawn]:
    """The person's soft shadow on what is behind them: shifted, blurred, 15 to 55 % dark.

    Args:
        behind: float32 (H, W, 3).
        alpha: The person's, at the same size; it does not change.
        rng: What to draw from.
    """
    side = max(alpha.shape)
    shift = (float(rng.uniform(-0.12, 0.12)) * side, float(rng.uniform(0.0, 0.06)) * side)
    sigma, dark = float(rng.uniform(0.01, 0.04)) * side, float(rng.uniform(0.15, 0.55))
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    shade = cv2.GaussianBlur(
        warp(alpha, moved, (alpha.shape[0], alpha.shape[1]), cv2.BORDER_REPLICATE), (0, 0), sigma
    )
    shaded = behind * (1 - np.float32(dark) * shade[..., None])
    return shaded, {"shift_px": shift, "sigma_px": sigma, "darkness": dark}


def soften(image: ImageF32, alpha: AlphaF32, rng: Rng) -> tuple[ImageF32, AlphaF32, Drawn]:
    """Out of focus (sigma 0.5 to 1.8 px) or shaken (3 to 9 px): picture and alpha by one kernel.

    The blurred alpha is exactly how much of each blurred pixel is the person.
    """
    if rng.integers(2):
        sigma = float(rng.uniform(0.5, 1.8))
        line = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma)
        kernel, drawn = line @ line.T, {"focus_sigma_px": sigma}
    else:
        length, angle = int(rng.integers(3, 10)), float(rng.uniform(0, np.pi))
        kernel, drawn = _shake(length, angle), {"shake_px": length, "shake_rad": angle}
    border = cv2.BORDER_REPLICATE
    return (
        np.clip(cv2.filter2D(image, -1, kernel, borderType=border), 0, 1),
        np.clip(cv2.filter2D(alpha, -1, kernel, borderType=border), 0, 1),
        drawn,
    )


def _shake(length: int, angle: float) -> F32Array:
    """A line of ``length`` pixels through the middle of a kernel that sums to 1."""
    side = length + 1 + length % 2
    middle, reach = side // 2, (length - 1) / 2
    kernel = np.zeros((side, side), np.float32)
    for step in np.linspace(-reach, reach, 8 * length):
        x, y = middle + step * np.cos(angle), middle + step * np.sin(angle)
        kernel[int(np.rint(y)), int(np.rint(x))] += 1
    return np.asarray(kernel / kernel.sum(), np.float32)


def grain(image: ImageF32, rng: Rng) -> tuple[ImageF32, Drawn]:
    """A sensor's noise, Gaussian, 1 to 8 of 255; alpha has none."""
    sigma = float(rng.uniform(1, 8)) / 255
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + noise * np.float32(sigma), 0, 1), {"sigma": sigma}
