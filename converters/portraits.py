"""Real portraits that conversions are compared on: the bundled one, or a folder's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.media import load_image

if TYPE_CHECKING:
    from portrait_sdk.types import Image

BUNDLED = Path(__file__).with_name("portraits") / "astronaut.jpg"
"""Eileen Collins, by NASA: public domain."""
_LARGEST = 16  # of a folder's; more take time and show nothing new
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""Of the files that :func:`pictures` finds."""


def bundled() -> list[tuple[str, Image]]:
    """The bundled portrait, whole and as an upright crop: names and uint8 (H, W, 3) RGB."""
    whole = load_image(BUNDLED).over_white()
    upright = np.ascontiguousarray(whole[:, 40:390])
    return [("astronaut", whole), ("astronaut, upright", upright)]


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted by name; folders inside it are not looked at."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def load(folder: Path | None) -> list[tuple[str, Image]]:
    """The portraits of a folder, or the bundled ones.

    Args:
        folder: Up to 16 of its pictures are taken, evenly spaced by name.

    Raises:
        OptionError: The folder has no picture that can be read.
    """
    if folder is None:
        return bundled()
    if not folder.is_dir():
        raise OptionError(f"{folder}: expected a folder of portraits, there is none")
    found = pictures(folder)
    if not found:
        raise OptionError(
            f"{folder}: expected portraits ({', '.join(sorted(SUFFIXES))}), found no picture"
        )
    step = max(1, len(found) // _LARGEST)
    portraits = []
    problem: ImageError | None = None
    for path in found[::step][:_LARGEST]:
        try:
            portraits.append((path.name, load_image(path).over_white()))
        except ImageError as error:
            problem = error
    if not portraits:
        raise OptionError(f"{folder}: none of its pictures can be read: {problem}")
    return portraits
