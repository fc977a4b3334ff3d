"""Every kernel in NumPy: what it means.

The compiled module ``_kernels`` has the same functions with the same arguments, plus ``isa=``.
Arrays arrive checked (see ``kernels.py``); each function writes into ``out`` and returns None.
"""

from __future__ import annotations

import zlib
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
_PAIR = 2  # sweeps between two roundings to 16 bits
_TILE, _RIM = 64, 7  # px
_MEAN_SIDE = 512  # rows or columns at least that start colours are means over, in tiled jobs
_KNOWN = np.float32(0.5) / np.float32(255)  # nearer than that to 0 or 1 alpha is known


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
    image: Image | ImageF32,
    alpha: AlphaF32,
    foreground: Image | ImageF32,
    background: Image | ImageF32,
    foreground_out: Image | ImageF32,
    background_out: ImageF32 | None,
    size: int,
    first: int,
    last: int,
) -> None:
    """One pass of blur fusion: alpha-weighted box means, then the composition's residual.

    With ``m(x)`` the mean over ``size`` x ``size`` (anchor ``size // 2``, edges mirrored without
    repeating the edge pixel): ``B' = m((1 - a) B) / (m(1 - a) + 1e-5)``,
    ``F' = m(a F) / (m(a) + 1e-5)`` and ``F_out = clamp(F' + a (I - a F' - (1 - a) B'))``,
    ``B_out = B'``.

    Args:
        image: float32 (H, W, 3) in [0, 1], or uint8.
        alpha: float32 (H, W) in [0, 1].
        foreground: As ``image``: the estimate so far (``image`` in the first pass).
        background: Likewise.
        foreground_out: float32 or uint8 (H, W, 3), written.
        background_out: float32 (H, W, 3), written; None: not wanted.
        size: Side of the box in pixels, at least 1.
        first: Of the rows that are written.
        last: The row after them.
    """
    a = alpha[..., None]
    photo = _as_f32(image)
    weight = _box_mean(a, size)
    front = _box_mean(_as_f32(foreground) * a, size) / (weight + _EPSILON)
    back = _box_mean(_as_f32(background) * (1 - a), size) / ((1 - weight) + _EPSILON)
    residual = photo - a * front - (1 - a) * back
    fused = np.clip(front + a * residual, 0, 1)[first:last]
    if foreground_out.dtype == np.uint8:
        foreground_out[first:last] = np.rint(np.float32(255) * _clamped(fused)).astype(np.uint8)
    else:
        foreground_out[first:last] = fused
    if background_out is not None:
        background_out[first:last] = back[first:last]


def _as_f32(image: Image | ImageF32) -> ImageF32:
    if image.dtype == np.uint8:
        return np.asarray(image * np.float32(1 / 255), np.float32)
    return cast("ImageF32", image)


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
    image: Image | ImageF32,
    alpha: AlphaF32,
    foreground: Image | ImageF32,
    background: ImageF32 | None,
    regularization: float,
    gradient_weight: float,
    small_size: int,
    small_iterations: int,
    big_iterations: int,
    tiled_levels: int,
) -> None:
    """Multi-level foreground and background colours, PyMatting's numerics.

    From one pixel up to the full size, each level starts from the last one's nearest neighbours and
    solves each pixel's 2 x 2 system in raster order, in place (Gauss-Seidel). Colours are kept in
    16 bits from level to level, and from one pair of sweeps to the next.

    The last ``tiled_levels`` levels are solved only in tiles of 64 x 64 pixels that hold an alpha
    which is not 0 or 255 in 8 bits, and in those that these start from: a window for each run of
    tiles in a row, with a rim of 7 pixels that is solved with it and thrown away. Elsewhere the
    foreground is the image where alpha is above 0.5 and the last whole level's where it is not,
    the background the other way round; and the start colours are means over some rows and columns.

    Args:
        image: float32 (H, W, 3) in [0, 1], or uint8.
        alpha: float32 (H, W) in [0, 1].
        foreground: As ``image``, written.
        background: float32 (H, W, 3), written; None does without, and uint8 images must.
        regularization: Added to every neighbour's weight.
        gradient_weight: Times the difference of alpha to a neighbour, added to its weight.
        small_size: Levels whose sides are both at most this take ``small_iterations``.
        small_iterations: Sweeps on small levels.
        big_iterations: Sweeps on the others.
        tiled_levels: See above; only levels that are not small and take at most two sweeps.

    Source:
        Germer, Uelwer, Conrad & Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
    """
    height, width = alpha.shape
    levels = int(np.ceil(np.log2(max(height, width)))) if max(height, width) > 1 else 1
    sizes = [
        (round(height ** (level / levels)), round(width ** (level / levels)))
        for level in range(levels + 1)
    ]
    small = [max(size) <= small_size for size in sizes]
    sweeps = [small_iterations if few else big_iterations for few in small]
    tiled = [
        level > 0 and levels - level < tiled_levels and not small[level] and sweeps[level] <= _PAIR
        for level in range(levels + 1)
    ]
    photo = _as_f32(image)
    step = 1 + min(height, width) // _MEAN_SIDE if any(tiled) else 1
    thin_photo, thin_alpha = photo[::step, ::step], alpha[::step, ::step]
    front_mean = _mean_where(thin_photo, thin_alpha > 0.9)  # noqa: PLR2004 - the paper's
    back_mean = _mean_where(thin_photo, thin_alpha < 0.1)  # noqa: PLR2004
    front = _in_16_bits(np.broadcast_to(front_mean, (1, 1, 3)))
    back = _in_16_bits(np.broadcast_to(back_mean, (1, 1, 3)))
    runs = _runs_of_tiles(alpha, sizes, tiled)
    whole_front, whole_back = front, back
    for level, (h, w) in enumerate(sizes):
        small_image, small_alpha = _nearest(photo, h, w), _nearest(alpha, h, w)
        front, back = _nearest(front, h, w), _nearest(back, h, w)
        whole_front, whole_back = _nearest(whole_front, h, w), _nearest(whole_back, h, w)
        if tiled[level]:
            start_front, start_back = front, back
            solid = small_alpha[..., None] > 0.5  # noqa: PLR2004 - nearer 1 than 0
            front = np.where(solid, small_image, whole_front)
            back = np.where(solid, whole_back, small_image)
            for top, bottom, left, right in runs[level]:
                rim_top, rim_left = max(top - _RIM, 0), max(left - _RIM, 0)
                window = slice(rim_top, bottom + _RIM), slice(rim_left, right + _RIM)
                f, b = start_front[window].copy(), start_back[window].copy()
                few = small_image[window], small_alpha[window]
                _sweep(*few, f, b, regularization, gradient_weight, sweeps[level])
                inner = np.s_[top - rim_top : bottom - rim_top, left - rim_left : right - rim_left]
                front[top:bottom, left:right] = f[inner]
                back[top:bottom, left:right] = b[inner]
        for done in range(0, 0 if tiled[level] else sweeps[level], _PAIR):
            if done > 0:
                front, back = _in_16_bits(front), _in_16_bits(back)
            turns = min(_PAIR, sweeps[level] - done)
            _sweep(small_image, small_alpha, front, back, regularization, gradient_weight, turns)
        if level < levels:
            front, back = _in_16_bits(front), _in_16_bits(back)
        if not tiled[level]:
            whole_front, whole_back = front, back
    if image.dtype == np.uint8:
        foreground[...] = np.rint(np.float32(255) * _clamped(front)).astype(np.uint8)
    else:
        foreground[...] = front
    if background is not None:
        background[...] = back


def _in_16_bits(colours: F32Array) -> F32Array:
    steps = np.rint(np.float32(65535) * _clamped(colours))
    return np.asarray(steps * np.float32(1 / 65535), np.float32)


def _runs_of_tiles(
    alpha: AlphaF32, sizes: list[tuple[int, int]], tiled: list[bool]
) -> list[list[tuple[int, int, int, int]]]:
    """Per level (top, bottom, left, right) of each run of tiles in a row that is to be solved."""
    unknown = np.asarray((alpha > _KNOWN) & (alpha < np.float32(1) - _KNOWN))
    runs: list[list[tuple[int, int, int, int]]] = [[] for _ in sizes]
    wanted: Any = unknown  # pixels, bool; a tile with one of them is solved
    for level in reversed(range(len(sizes))):
        if not tiled[level]:
            break
        (h, w), (before_h, before_w) = sizes[level], sizes[level - 1]
        needed = np.zeros((before_h, before_w), bool)
        for top in range(0, h, _TILE):
            bottom = min(top + _TILE, h)
            row = wanted[top:bottom].any(axis=0)
            solved = [bool(row[x : x + _TILE].any()) for x in range(0, w, _TILE)]
            for tile, solve in enumerate(solved):
                if not solve:
                    continue
                left, right = tile * _TILE, min((tile + 1) * _TILE, w)
                if tile > 0 and solved[tile - 1]:
                    left = runs[level].pop()[2]
                runs[level].append((top, bottom, left, right))
        for top, bottom, left, right in runs[level]:
            y0, y1 = max(top - _RIM, 0), min(bottom + _RIM, h) - 1
            x0, x1 = max(left - _RIM, 0), min(right + _RIM, w) - 1
            rows = slice(y0 * before_h // h, y1 * before_h // h + 1)
            needed[rows, x0 * before_w // w : x1 * before_w // w + 1] = True
        wanted = needed
    return runs


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
    diagonals before and after its own, so a whole diagonal can be solved at once. With weights
    ``w`` of the neighbours that sum to 1 (``s`` before) and means ``F'``, ``B'`` of their colours,
    its system's solution is ``F = F' + a r / (a a + (1 - a)(1 - a) + s)``,
    ``B = B' + (1 - a) r / (...)`` with ``r = I - a F' - (1 - a) B'`` (Sherman-Morrison).
    """
    h, w = alpha.shape
    colours, solid = image.reshape(-1, 3), alpha.reshape(-1)
    f, b = front.reshape(-1, 3), back.reshape(-1, 3)
    reg, grad = np.float32(regularization), np.float32(gradient_weight)
    one = np.float32(1)
    for _ in range(sweeps):
        for diagonal in range(h + w - 1):
            y = np.arange(max(0, diagonal - w + 1), min(h, diagonal + 1))
            x = diagonal - y
            at = y * w + x
            a0 = solid[at]
            a1 = one - a0
            near = [
                np.clip(y + dy, 0, h - 1) * w + np.clip(x + dx, 0, w - 1)
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            ]
            weights = [reg + grad * np.abs(a0 - solid[n]) for n in near]
            total = ((weights[0] + weights[1]) + weights[2]) + weights[3]
            gain = one / ((a0 * a0 + a1 * a1) + total)
            inverse = one / total
            front_mean, back_mean = np.float32(0), np.float32(0)
            for weight, n in zip(weights, near, strict=True):
                share = (weight * inverse)[:, None]
                front_mean, back_mean = front_mean + share * f[n], back_mean + share * b[n]
            rest = (colours[at] - a0[:, None] * front_mean) - a1[:, None] * back_mean
            f[at] = np.clip(front_mean + (a0 * gain)[:, None] * rest, 0, 1)
            b[at] = np.clip(back_mean + (a1 * gain)[:, None] * rest, 0, 1)


def png_filter(image: U8Array, first: int, pixel: int, out: U8Array) -> None:
    """Rows as differences from their neighbours: filters None, Sub, Up, Average and Paeth of PNG.

    Each row gets the first of the filters with the smallest sum of differences, read as signed.

    Args:
        image: uint8 (any, n): the bytes of whole rows.
        first: The row of ``image`` that ``out`` begins with.
        pixel: Bytes of a pixel.
        out: uint8 (h, 1 + n), written: the filter's number, then the filtered row.

    Source:
        Portable Network Graphics Specification (Third Edition), W3C 2025, sections 9 and 12.7.
    """
    n = image.shape[1]
    known = np.zeros((1 + len(out), pixel + n), np.int16)  # 0 above and left of the image
    known[first == 0 :, pixel:] = image[max(first - 1, 0) : first + len(out)]
    x, a = known[1:, pixel:], known[1:, :n]
    b, c = known[:-1, pixel:], known[:-1, :n]
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    paeth = np.where((to_a <= to_b) & (to_a <= to_c), a, np.where(to_b <= to_c, b, c))
    kinds = [(x - guess).astype(np.uint8) for guess in (0, a, b, (a + b) >> 1, paeth)]
    costs = [np.minimum(kind, -kind).sum(axis=1, dtype=np.int64) for kind in kinds]
    best = np.argmin(costs, axis=0)
    for kind, rows in enumerate(kinds):
        out[best == kind, 1:] = rows[best == kind]
    out[:, 0] = best


def deflate(data: U8Array, last: bool, out: U8Array) -> int:  # noqa: FBT001 - the twin's signature
    """Compress to raw deflate (RFC 1951), with runs as its only matches.

    The compiled twin writes other bytes of the same meaning, several times as fast.

    Args:
        data: uint8 (n,).
        last: Whether the stream ends; if not, the output ends at a whole byte and the next call's
            may be appended.
        out: uint8 (m,), written; ``kernels.deflate_bound(n)`` always do.

    Returns:
        How many bytes were written.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    packed = packer.compress(data.data) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
    out[: len(packed)] = np.frombuffer(packed, np.uint8)
    return len(packed)


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


def connectivity(
    alpha: AlphaF32,
    truth: AlphaF32,
    thresholds: F32Array,
    held: U8Array,
    background: bool,  # noqa: FBT001 - the compiled twin's signature
) -> None:
    """Count how many thresholds, from the first on, find a pixel in the largest component.

    At a threshold, that is the largest 4-connected component of the pixels where both alphas reach
    it; of equal ones, the one whose first pixel in reading order comes first; nothing where none
    does. A pixel that is not in it at one threshold holds none of those after it.

    Args:
        alpha: float32 (H, W).
        truth: float32 (H, W).
        thresholds: float32 (n,), ascending, n from 1 to 255.
        held: uint8 (H, W), written: 0 to n.
        background: Whether all pixels that do not reach a threshold are a candidate too, which wins
            a tie.

    Source:
        Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
    """
    import cv2

    least = np.minimum(alpha, truth)
    held[...] = 0
    left = np.ones(least.shape, bool)
    for threshold in thresholds:
        reached = least >= threshold
        _, labels = cv2.connectedComponents(reached.view(np.uint8), connectivity=4)
        sizes = np.bincount(labels.ravel())
        sizes[0] = sizes[0] if background else 0
        largest = np.flatnonzero(sizes == sizes.max()) if sizes.max() > 0 else np.array([-1])
        if len(largest) > 1 and largest[0] > 0:
            candidates = np.isin(labels, largest)
            largest = labels.ravel()[[np.argmax(candidates)]]
        left &= labels == largest[0]
        held += left
