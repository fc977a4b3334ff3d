"""Pictures through the shipped preprocessing: what int8's ranges are measured on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.media import load_image
from portrait_sdk.ops import preprocess

from ..portraits import SUFFIXES, pictures  # noqa: TID252 - the folder installs under another name

if TYPE_CHECKING:
    from pathlib import Path

    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import F32Array

LIMIT = 32
"""Pictures taken by default: more moved no measured alpha."""
_log = logging.getLogger(__name__)


def load(folder: Path, spec: ModelSpec, limit: int = LIMIT) -> list[F32Array]:
    """Prepare pictures as the model's spec says.

    Args:
        folder: Holds pictures; folders inside it are not looked at.
        spec: The model's.
        limit: Take at most this many, spread evenly over the names in order.

    Returns:
        One input each: float32 (1, 3, h, w), or (1, h, w, 3) for the layout NHWC. Files that
        cannot be read are left out, counted in a logged warning, and replaced by others.

    Raises:
        OptionError: It is no folder, holds no readable picture, or ``limit`` is below 1.
    """
    if limit < 1:
        raise OptionError(f"calibration limit: expected at least 1, got {limit}")
    if not folder.is_dir():
        raise OptionError(f"calibration: expected a folder of pictures, got {folder}")
    paths = pictures(folder)
    feeds: list[F32Array] = []
    unreadable: list[str] = []
    for path in _spread(paths, limit):
        if len(feeds) == limit:
            break
        try:
            image = load_image(path).over_white()
        except ImageError as error:
            unreadable.append(str(error))
            continue
        feeds.append(preprocess.prepare([image], spec.input)[0])
    if not feeds:
        why = f"{len(unreadable)} unreadable, the first: {unreadable[0]}" if unreadable else "empty"
        raise OptionError(
            f"calibration: no readable picture in {folder} ({why}); "
            f"give a folder with {', '.join(SUFFIXES)} files"
        )
    if unreadable:
        _log.warning("calibration: %d unreadable pictures left out in %s", len(unreadable), folder)
    return feeds


def _spread(paths: list[Path], limit: int) -> list[Path]:
    """``limit`` paths evenly over all of them, then the rest as a reserve."""
    if len(paths) <= limit:
        return paths
    first = set(np.linspace(0, len(paths) - 1, limit).round().astype(int).tolist())
    return [paths[i] for i in sorted(first)] + [
        path for i, path in enumerate(paths) if i not in first
    ]
