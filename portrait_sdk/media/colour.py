"""Colours to sRGB, by the embedded profile where there is a good one.

littleCMS does it, relative colorimetric with black point compensation: what is inside sRGB keeps
its exact colour, black stays black, and what lies outside goes to the nearest edge. It is what
photo editors do by default. Without a profile RGB and grey are taken as sRGB, and CMYK is mixed as
``(255 - C) (255 - K) / 255``, since nothing tells which inks were meant.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image as Pil

_log = logging.getLogger(__name__)
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_MAX_PROFILE = 16 * 2**20
_GRID = 17


def to_srgb(colour: Pil.Image, icc: bytes | None, name: str) -> Pil.Image:
    """Return ``colour`` as an sRGB image of mode RGB.

    Args:
        colour: Mode L, RGB, CMYK or LAB, eight bits.
        icc: The embedded profile. One that is broken, or meant for other channels than the image
            has, is left aside with a warning in the log. Ignored for LAB, which says all itself.
        name: The file's, for that warning.
    """
    if colour.mode == "LAB":
        from PIL import ImageCms

        return _apply(colour, _transform(ImageCms.createProfile("LAB"), "LAB"))
    if icc:
        from PIL import ImageCms

        try:
            colour, transform = _prepare(colour, icc)
            if transform is None:
                return colour
            return _apply(colour, transform)
        except (OSError, ValueError, TypeError, ImageCms.PyCMSError) as error:
            reason = " ".join(str(error).split())
            _log.warning("%s: its colour profile is ignored: %s", name, reason)
    # ``convert`` would copy what is RGB already.
    return colour if colour.mode == "RGB" else colour.convert("RGB")


def _prepare(colour: Pil.Image, icc: bytes) -> tuple[Pil.Image, Any]:
    """Match image and profile; the transform is None where it would change nothing."""
    from PIL import Image, ImageCms

    if len(icc) > _MAX_PROFILE:
        raise ValueError(f"it has {len(icc):,} bytes")
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    space = profile.profile.xcolor_space.strip()
    if colour.mode == "L" and space == "RGB":
        colour = colour.convert("RGB")
    if _SPACES[colour.mode] != space:
        raise ValueError(f"it is for {space}, the picture is {colour.mode}")
    transform = _transform(profile, colour.mode)
    if colour.mode == "RGB":
        # Judged by what it does, not by its name: an sRGB profile, whoever wrote it, moves no
        # colour by more than a level, and 12 megapixels need not pass through littleCMS for that.
        steps = np.linspace(0, 255, _GRID).astype(np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        moved = np.asarray(_apply(Image.fromarray(grid), transform))
        if np.abs(moved.astype(np.int16) - grid).max() <= 1:
            return colour, None
    return colour, transform


def _transform(profile: Any, mode: str) -> Any:  # noqa: ANN401 - Pillow's types differ by release
    from PIL import ImageCms

    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _apply(colour: Pil.Image, transform: Any) -> Pil.Image:  # noqa: ANN401
    from PIL import ImageCms

    converted = ImageCms.applyTransform(colour, transform)
    assert converted is not None
    return converted
