"""Every kernel in NumPy: what it means.

The compiled module ``_kernels`` has the same functions with the same arguments, plus ``isa=``.
Arrays arrive checked (see ``kernels.py``); each function writes into ``out`` and returns None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from portrait_sdk.types import (
        AlphaF32,
        Cutout,
        F32Array,
        I32Array,
        Image,
        ImageF32,
        Planes,
        U8Array,
    )

_FLAT = np.float32(1 / 512)  # alpha that differs by no more in a window has no slopes
_EPSILON = np.float32(1e-5)  # Forte 2021: keeps an empty window's mean finite


def _resample(
    rows_first: Any,  # noqa: ANN401 - float32, any rank
    start: I32Array,
    weights: F32Array,
) -> F32Array:
    """Resample axis 0; float32 in, float32 out."""
    index = start[:, None] + np.arange(weights.shape[1], dtype=np.int32)
    out = np.zeros((len(start), *rows_first.shape[1:]), np.float32)
    shape = (len(start),) + (1,) * (rows_first.ndim - 1)
    for j in range(weights.shape[1]):
        out += weights[:, j].reshape(shape) * rows_first[index[:, j]]
    return out


def resize_to_planes(
    image: Image,
    out: Planes,
    y_start: I32Array,
    y_weights: F32Array,
    x_start: I32Array,
    x_weights: F32Array,
    scale: F32Array,
    offset: F32Array,
    reverse: bool,  # noqa: FBT001 - the compiled twin's signature
) -> None:
    """Resize, reorder, normalise and transpose: a network's input from a photo in one go.

    Args:
        image: uint8 (H, W, 3).
        out: float32 (3, h, w), written; any strides.
        y_start: int32 (h,), see ``resample.Taps``.
        y_weights: float32 (h, ky).
        x_start: int32 (w,).
        x_weights: float32 (w, kx).
        scale: float32 (3,): plane c of ``out`` is ``scale[c] * channel + offset[c]``.
        offset: float32 (3,).
        reverse: Plane c takes channel 2 - c (RGB to BGR).
    """
    tall = _resample(image.astype(np.float32), y_start, y_weights)
    small = _resample(tall.transpose(1, 0, 2), x_start, x_weights)  # (w, h, 3)
    planes = small.transpose(2, 1, 0)
    if reverse:
        planes = planes[::-1]
    out[...] = planes * scale[:, None, None] + offset[:, None, None]


def resize_alpha(
    alpha: AlphaF32,
    out: AlphaF32 | U8Array,
    y_start: I32Array,
    y_weights: F32Array,
    x_start: I32Array,
    x_weights: F32Array,
) -> None:
    """Resize alpha and clamp it to [0, 1]; to uint8 it is multiplied by 255 and rounded.

    Args:
        alpha: float32 (h, w).
        out: float32 or uint8 (H, W), written.
        y_start: int32 (H,), see ``resample.Taps``.
        y_weights: float32 (H, ky).
        x_start: int32 (W,).
        x_weights: float32 (W, kx).
    """
    wide = _resample(alpha.T, x_start, x_weights).T
    full = _resample(wide, y_start, y_weights)
    if out.dtype == np.uint8:
        quantize(full, cast("U8Array", out))
    else:
        out[...] = _clamped(full)


def _clamped(alpha: F32Array) -> F32Array:
    """To [0, 1]; NaN becomes 0."""
    return np.where(alpha > 0, np.minimum(alpha, np.float32(1)), np.float32(0))


def quantize(alpha: AlphaF32, out: U8Array) -> None:
    """``out = round(255 * clamp(alpha, 0, 1))``; halves go to even, NaN to 0.

    Args:
        alpha: float32 (H, W).
        out: uint8 (H, W), written.
    """
    out[...] = np.rint(np.float32(255) * _clamped(alpha)).astype(np.uint8)


def cutout(foreground: Image, alpha: AlphaF32, out: Cutout) -> None:
    """Lay straight foreground colours and rounded alpha side by side.

    Args:
        foreground: uint8 (H, W, 3).
        alpha: float32 (H, W), clamped.
        out: uint8 (H, W, 4), written.
    """
    out[..., :3] = foreground
    quantize(alpha, out[..., 3])


def composite(foreground: Image, alpha: AlphaF32, background: Image, out: Image) -> None:
    """``out = round(alpha * F + (1 - alpha) * B)``, computed as ``B + alpha * (F - B)``.

    Args:
        foreground: uint8 (H, W, 3), straight.
        alpha: float32 (H, W), clamped.
        background: uint8 (H, W, 3), or (1, 1, 3) for one colour.
        out: uint8 (H, W, 3), written.
    """
    back = background.astype(np.float32)
    mixed = back + _clamped(alpha)[..., None] * (foreground.astype(np.float32) - back)
    out[...] = np.rint(mixed).astype(np.uint8)


def premultiply(straight: Cutout, out: Cutout) -> None:
    """Multiply colours by their alpha: ``round(colour * alpha / 255)``, halves up.

    Args:
        straight: uint8 (H, W, 4).
        out: uint8 (H, W, 4), written; may be ``straight`` itself.
    """
    weight = straight[..., 3:].astype(np.uint32)
    product = straight[..., :3].astype(np.uint32) * weight
    out[..., :3] = (product + 127) // 255
    out[..., 3] = straight[..., 3]


def unpremultiply(premultiplied: Cutout, out: Cutout) -> None:
    """Divide colours by their alpha: ``min(255, round(255 * colour / alpha))``; 0 where alpha is 0.

    Args:
        premultiplied: uint8 (H, W, 4).
        out: uint8 (H, W, 4), written; may be ``premultiplied`` itself.
    """
    weight = premultiplied[..., 3:].astype(np.uint32)
    divisor = np.maximum(weight, 1)
    straight = (premultiplied[..., :3].astype(np.uint32) * 255 + divisor // 2) // divisor
    out[..., :3] = np.where(weight > 0, np.minimum(straight, 255), 0)
    out[..., 3] = premultiplied[..., 3]


def blur_fusion(
    image: ImageF32,
    alpha: AlphaF32,
    foreground: ImageF32,
    background: ImageF32,
    foreground_out: ImageF32,
    background_out: ImageF32,
    size: int,
) -> None:
    """One pass of blur fusion: alpha-weighted box means, then the composition's residual.

    With ``m(x)`` the mean over ``size`` x ``size`` (anchor ``size // 2``, edges mirrored without
    repeating the edge pixel): ``B' = m((1 - a) B) / (m(1 - a) + 1e-5)``,
    ``F' = m(a F) / (m(a) + 1e-5)`` and ``F_out = clamp(F' + a (I - a F' - (1 - a) B'))``,
    ``B_out = B'``.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        alpha: float32 (H, W) in [0, 1].
        foreground: float32 (H, W, 3), the estimate so far (``image`` in the first pass).
        background: float32 (H, W, 3), likewise.
        foreground_out: float32 (H, W, 3), written.
        background_out: float32 (H, W, 3), written.
        size: Side of the box in pixels, at least 1.
    """
    a = alpha[..., None]
    weight = _box_mean(a, size)
    front = _box_mean(foreground * a, size) / (weight + _EPSILON)
    back = _box_mean(background * (1 - a), size) / ((1 - weight) + _EPSILON)
    residual = image - a * front - (1 - a) * back
    foreground_out[...] = np.clip(front + a * residual, 0, 1)
    background_out[...] = back


def _box_mean(array: F32Array, size: int) -> F32Array:
    before, after = size // 2, size - 1 - size // 2
    mean = array.astype(np.float64)
    for axis in (0, 1):
        pads = [(0, 0)] * array.ndim
        pads[axis] = (before + 1, after)
        padded = np.pad(mean, pads, mode="reflect")
        zero = [slice(None)] * array.ndim
        zero[axis] = slice(0, 1)
        padded[tuple(zero)] = 0.0
        total = np.cumsum(padded, axis=axis)
        length = array.shape[axis]
        high = np.take(total, np.arange(size, size + length), axis=axis)
        low = np.take(total, np.arange(length), axis=axis)
        mean = (high - low) / size
    return mean.astype(np.float32)


def multilevel(
    image: ImageF32,
    alpha: AlphaF32,
    foreground: ImageF32,
    background: ImageF32,
    regularization: float,
    gradient_weight: float,
    small_size: int,
    small_iterations: int,
    big_iterations: int,
) -> None:
    """Multi-level foreground and background colours, PyMatting's numerics.

    From one pixel up to the full size, each level starts from the last one's nearest neighbours and
    solves each pixel's 2 x 2 system in raster order, in place (Gauss-Seidel).

    Args:
        image: float32 (H, W, 3) in [0, 1].
        alpha: float32 (H, W) in [0, 1].
        foreground: float32 (H, W, 3), written.
        background: float32 (H, W, 3), written.
        regularization: Added to every neighbour's weight.
        gradient_weight: Times the difference of alpha to a neighbour, added to its weight.
        small_size: Levels whose sides are both at most this take ``small_iterations``.
        small_iterations: Sweeps on small levels.
        big_iterations: Sweeps on the others.

    Source:
        Germer, Uelwer, Conrad & Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
    """
    height, width = alpha.shape
    front_mean = _mean_where(image, alpha > 0.9)  # noqa: PLR2004 - the paper's start values
    back_mean = _mean_where(image, alpha < 0.1)  # noqa: PLR2004
    front = np.broadcast_to(front_mean, (1, 1, 3)).astype(np.float32)
    back = np.broadcast_to(back_mean, (1, 1, 3)).astype(np.float32)
    levels = int(np.ceil(np.log2(max(height, width)))) if max(height, width) > 1 else 1
    for level in range(levels + 1):
        h = round(height ** (level / levels))
        w = round(width ** (level / levels))
        small_image, small_alpha = _nearest(image, h, w), _nearest(alpha, h, w)
        front, back = _nearest(front, h, w), _nearest(back, h, w)
        sweeps = small_iterations if max(h, w) <= small_size else big_iterations
        _sweep(small_image, small_alpha, front, back, regularization, gradient_weight, sweeps)
    foreground[...] = front
    background[...] = back


def _mean_where(image: ImageF32, where: Any) -> F32Array:  # noqa: ANN401 - bool array
    count = max(int(np.count_nonzero(where)), 1)
    total = image[where].sum(axis=0, dtype=np.float64)
    return np.asarray(total / count, np.float32)


def _nearest(array: F32Array, height: int, width: int) -> F32Array:
    rows = np.arange(height) * array.shape[0] // height
    columns = np.arange(width) * array.shape[1] // width
    return np.ascontiguousarray(array[rows[:, None], columns])


def _sweep(
    image: ImageF32,
    alpha: AlphaF32,
    front: ImageF32,
    back: ImageF32,
    regularization: float,
    gradient_weight: float,
    sweeps: int,
) -> None:
    """Gauss-Seidel in raster order, one anti-diagonal at a time.

    A pixel needs its left and upper neighbours new and the other two old. Those lie on the
    diagonals before and after its own, so a whole diagonal can be solved at once.
    """
    h, w = alpha.shape
    colours, solid = image.reshape(-1, 3), alpha.reshape(-1)
    f, b = front.reshape(-1, 3), back.reshape(-1, 3)
    reg, grad = np.float32(regularization), np.float32(gradient_weight)
    for _ in range(sweeps):
        for diagonal in range(h + w - 1):
            y = np.arange(max(0, diagonal - w + 1), min(h, diagonal + 1))
            x = diagonal - y
            at = y * w + x
            a0 = solid[at]
            a1 = 1 - a0
            a00, a01, a11 = a0 * a0, a0 * a1, a1 * a1
            b0, b1 = a0[:, None] * colours[at], a1[:, None] * colours[at]
            for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
                near = np.clip(y + dy, 0, h - 1) * w + np.clip(x + dx, 0, w - 1)
                da = reg + grad * np.abs(a0 - solid[near])
                a00, a11 = a00 + da, a11 + da
                b0, b1 = b0 + da[:, None] * f[near], b1 + da[:, None] * b[near]
            inverse = 1 / (a00 * a11 - a01 * a01)
            f[at] = np.clip((inverse * a11)[:, None] * b0 - (inverse * a01)[:, None] * b1, 0, 1)
            b[at] = np.clip((inverse * a00)[:, None] * b1 - (inverse * a01)[:, None] * b0, 0, 1)


def guided_slopes(
    guide: Planes, alpha: AlphaF32, out: F32Array, first: int, epsilon: float
) -> None:
    """How alpha follows the colours of a small photo, pixel by pixel.

    Over each pixel's 3 x 3 window (edges repeated) the ridge regression
    ``s = (cov(I, I) + epsilon * 1)^-1 cov(I, p)``, with ``s = 0`` where alpha differs from the
    window's centre by at most 1/512; written as ``(s / 255, s . I)``.

    Args:
        guide: float32 (3, h, w), RGB in [0, 1].
        alpha: float32 (h, w) in [0, 1].
        out: float32 (rows, w, 4), written: rows ``first`` and following.
        first: Row of ``guide`` that ``out`` begins with.
        epsilon: Squared differences of colour below it count for little: noise.

    Source:
        He, Sun & Tang, "Guided Image Filtering", PAMI 2013, for the regression.
    """
    height = len(out)
    channels = np.concatenate([guide, alpha[None]])
    near = np.pad(channels, ((0, 0), (1, 1), (1, 1)), mode="edge")
    near = near[:, first : first + height + 2]
    centre = near[:, 1:-1, 1:-1]
    sums = np.zeros_like(centre)
    products = np.zeros((4, *centre.shape), np.float32)
    active = np.zeros(centre.shape[1:], np.bool_)
    for i in range(3):
        for j in range(3):
            window = near[:, i : i + height, j : j + centre.shape[2]]
            difference = window - centre
            sums += difference
            products += difference[:, None] * difference
            active |= np.abs(difference[3]) > _FLAT
    cov = np.float32(9) * products - sums[:, None] * sums  # 81 times the covariances
    ridge = np.float32(81) * np.float32(epsilon)
    rr, gg, bb = (cov[c, c] + ridge for c in range(3))
    rg, rb, gb, (rp, gp, bp) = cov[0, 1], cov[0, 2], cov[1, 2], cov[:3, 3]
    l_g, l_b = rg / rr, rb / rr
    d_g, m_b = gg - l_g * rg, gb - l_g * rb
    l_gb = m_b / d_g
    d_b = (bb - l_b * rb) - l_gb * m_b
    y_g = gp - l_g * rp
    y_b = (bp - l_b * rp) - l_gb * y_g
    a_b = y_b / d_b
    a_g = y_g / d_g - l_gb * a_b
    a_r = (rp / rr - l_g * a_g) - l_b * a_b
    level = np.float32(1) / np.float32(255)
    offset = (a_r * centre[0] + a_g * centre[1]) + a_b * centre[2]
    slopes = np.stack([a_r * level, a_g * level, a_b * level, offset], axis=-1)
    out[...] = np.where(active[..., None], slopes, np.float32(0))


def guided_detail(
    image: Image,
    slopes: F32Array,
    alpha: AlphaF32,
    out: AlphaF32,
    y_start: I32Array,
    y_weights: F32Array,
    x_start: I32Array,
    x_weights: F32Array,
) -> None:
    """Add what the photo shows and its small copy does not: ``alpha + s.rgb . photo - s.w``.

    Args:
        image: uint8 (H, W, 3).
        slopes: float32 (h, w, 4), see ``guided_slopes``; resampled to the photo's size by the taps.
        alpha: float32 (H, W) in [0, 1].
        out: float32 (H, W), written, clamped to [0, 1]; may be ``alpha`` itself.
        y_start: int32 (H,), see ``resample.Taps``.
        y_weights: float32 (H, ky).
        x_start: int32 (W,).
        x_weights: float32 (W, kx).
    """
    tall = _resample(slopes, y_start, y_weights)
    full = _resample(tall.transpose(1, 0, 2), x_start, x_weights).transpose(1, 0, 2)
    colour = image.astype(np.float32)
    red, green, blue = (full[..., c] * colour[..., c] for c in range(3))
    out[...] = _clamped(alpha + ((red + green + blue) - full[..., 3]))
