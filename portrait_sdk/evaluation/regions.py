"""Parts of a picture to measure over, each by a stated rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.evaluation import _checks
from portrait_sdk.ops.trimap import trimap_from_alpha

if TYPE_CHECKING:
    from portrait_sdk.evaluation._checks import Mask
    from portrait_sdk.evaluation.metrics import Alpha
    from portrait_sdk.types import Trimap

Name = Literal["whole", "unknown", "detail", "subject", "background"]
NAMES: tuple[Name, ...] = get_args(Name)
_LEVELS = {"unknown": 128, "subject": 255, "background": 0}


def region(name: Name, truth: Alpha, trimap: Trimap | None = None) -> Mask | None:
    """A region as the metrics take it: bool (H, W), or None for the whole picture.

    ``whole``
        Every pixel.
    ``unknown``
        Where the trimap is 128: the transition region of papers.
    ``detail``
        Where the truth is soft, 0 < t < 1: hair, fur, veils, motion; no trimap is asked.
    ``subject``
        Where the trimap is 255: errors there are holes in a person.
    ``background``
        Where the trimap is 0: errors there are ghosts.

    Args:
        name: One of these.
        truth: The true alpha, float32 or float64 (H, W) in [0, 1].
        trimap: Of the data set; None: ``trimap_from_alpha(truth)``: unknown from 0.05 to 0.95,
            grown by 1/100 of the longer side.

    Raises:
        ImageError: An array has another dtype, shape or range.
        OptionError: Another name.
    """
    truth = _checks.unit(truth, "truth", (None, None))
    if name == "whole":
        return None
    if name == "detail":
        return (truth > 0) & (truth < 1)
    if name not in _LEVELS:
        raise OptionError(f"region: expected one of {', '.join(NAMES)}; got {name!r}")
    return np.asarray(_given_or_derived(truth, trimap) == _LEVELS[name])


def known_from_trimap(alpha: Alpha, truth: Alpha, trimap: Trimap | None = None) -> Alpha:
    """A copy of ``alpha``, 1 and 0 where the trimap knows so; trimaps as for :func:`region`.

    Raises:
        ImageError: An array has another dtype, shape or range.
    """
    alpha, truth = _checks.pair(alpha, truth)
    levels = _given_or_derived(truth, trimap)
    return np.where(levels == _LEVELS["unknown"], alpha, levels > 0).astype(alpha.dtype)


def _given_or_derived(truth: Alpha, trimap: Trimap | None) -> Trimap:
    if trimap is None:
        return trimap_from_alpha(truth.astype(np.float32, copy=False))
    return _checks.trimap(trimap, "trimap", truth.shape)
