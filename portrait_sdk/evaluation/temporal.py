"""How far an alpha's changes from frame to frame are from the truth's.

A sequence is an array (T, H, W), or anything that gives frames (H, W) one after another, such as a
generator over a video's files: two frames are held at a time.
"""

from __future__ import annotations

import math
from itertools import repeat, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk.errors import ImageError
from portrait_sdk.evaluation import _checks, _sums
from portrait_sdk.ops import threads
from portrait_sdk.types import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from portrait_sdk.evaluation._checks import Array
    from portrait_sdk.types import F32Array

    _Frame = tuple[Array, Array]

Frames: TypeAlias = "Iterable[Any]"
"""Frames, float32 or float64 (H, W) in [0, 1], all of one shape."""

_END = object()
_LEAST_FLOW_SIDE = 16  # px; OpenCV's search refuses smaller frames


def dtssd(alpha: Frames, truth: Frames, *, first_frame_counts: bool = False) -> float:
    """Mean over pairs of neighbouring frames of ``sqrt(mean_p ((a' - a) - (t' - t))^2)``.

    Printed times 100 by RVM, MatAnyone and others. The paper sums over pixels where these take
    means.

    Args:
        alpha: The estimate, frame by frame.
        truth: What it should be, likewise.
        first_frame_counts: RVM's evaluation counts the first frame, which has none before it, as 0:
            the mean is over T frames, not T - 1 pairs.

    Raises:
        ImageError: As the other metrics, or fewer than two frames, or not as many in both.

    Source:
        Erofeev et al., "Perceptually Motivated Benchmark for Video Matting", BMVC 2015.
    """
    roots = [
        math.sqrt(_sums.squared(next_a - a, next_t - t) / a.size)
        for (a, t), (next_a, next_t) in _pairs(alpha, truth)
    ]
    return math.fsum(roots) / (len(roots) + first_frame_counts)


def messddt(alpha: Frames, truth: Frames, flow: Frames | None = None) -> float:
    """Mean over pairs of frames of ``mean_p |e^2(p) - e'^2(p + v(p))|``, ``e = a - t``.

    v is the motion from a frame to the next; pixels whose ``p + v`` lies outside the frame are
    dropped. In between pixels e'^2 is interpolated linearly, to 1/32 pixel. An error that moves
    with what it is on costs nothing here; one that flickers does. The paper sums over pixels.

    Args:
        alpha: The estimate, frame by frame.
        truth: What it should be, likewise.
        flow: Per pair float32 (H, W, 2), pixels to the right and down; vectors that are not finite
            drop their pixel. None: OpenCV's DIS (medium preset) on the truth in 8 bits.

    Returns:
        NaN where no pixel of any pair stays in the frame.

    Raises:
        ImageError: As for :func:`dtssd`, or a flow that does not fit.

    Source:
        Erofeev et al. 2015, as for :func:`dtssd`; Kroeger et al., "Fast Optical Flow using Dense
        Inverse Search", ECCV 2016.
    """
    means = []
    flows: Iterable[Any] = repeat(None) if flow is None else flow
    moving = iter(flows)
    for (a, t), (next_a, next_t) in _pairs(alpha, truth):
        vectors: Any = next(moving, _END)
        if vectors is _END:
            raise ImageError("flow: expected one for each pair of frames, got fewer")
        if vectors is None:
            vectors = _motion(t, next_t)
        require(vectors, "flow", (*a.shape, 2))
        mean = _along((a - t) ** 2, (next_a - next_t) ** 2, vectors)
        if mean is not None:
            means.append(mean)
    if flow is not None and next(moving, _END) is not _END:
        raise ImageError("flow: expected one for each pair of frames, got more")
    return math.fsum(means) / len(means) if means else math.nan


def _pairs(alpha: Frames, truth: Frames) -> Iterator[tuple[_Frame, _Frame]]:
    """Neighbouring frames of both, checked."""
    before: _Frame | None = None
    count = 0
    for a, t in zip_longest(alpha, truth, fillvalue=_END):
        if a is _END or t is _END:
            raise ImageError("truth: expected as many frames as alpha has, got another number")
        frame = _checks.pair(a, t)
        if before is not None:
            if frame[0].shape != before[0].shape:
                raise ImageError(
                    f"alpha: expected frames of one shape, got {frame[0].shape} after"
                    f" {before[0].shape}"
                )
            yield before, frame
        before = frame
        count += 1
    if count < 2:  # noqa: PLR2004 - a pair
        raise ImageError(f"alpha: expected two frames or more, got {count}")


def _motion(truth: Array, after: Array) -> F32Array:
    """Float32 (H, W, 2), from ``truth`` to ``after``."""
    cv2 = threads.opencv()
    height, width = truth.shape
    more = [max(0, _LEAST_FLOW_SIDE - side) for side in (height, width)]
    frames = []
    for frame in (truth, after):
        levels = np.rint(frame * 255).astype(np.uint8)
        if any(more):
            levels = cv2.copyMakeBorder(levels, 0, more[0], 0, more[1], cv2.BORDER_REPLICATE)
        frames.append(levels)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: F32Array = dis.calc(*frames, None)
    return flow[:height, :width]


def _along(error: Array, after: Array, flow: F32Array) -> float | None:
    cv2 = threads.opencv()
    height, width = error.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    if not inside.any():
        return None
    x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    there = cv2.remap(after, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(np.abs(error - there)[inside].mean(dtype=np.float64))
