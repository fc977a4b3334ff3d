"""How large a picture is, before it is decoded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from portrait_sdk.media.container import kind_of
from portrait_sdk.media.decode import READERS
from portrait_sdk.media.source import is_encoded, is_pil

if TYPE_CHECKING:
    from typing import NoReturn

_HEAD_BYTES = 2**18  # reaches past a JPEG's thumbnail and colour profile


def count_pixels(image: object) -> int | None:
    """How many pixels a picture has, by its shape or its file's first 256 KiB.

    Args:
        image: As for ``load_image``.

    Returns:
        Width times height; None where they do not tell: a file object (not read here), a TIFF
        whose directory stands at its end, or what is no picture.
    """
    if is_pil(image):
        return image.width * image.height
    if isinstance(image, str | os.PathLike):
        try:
            with Path(os.fsdecode(image)).open("rb", buffering=0) as file:
                return _claimed(file.read(_HEAD_BYTES))
        except (OSError, ValueError):  # decoding will say it
            return None
    if is_encoded(image):
        return _claimed(bytes(memoryview(image)[:_HEAD_BYTES]))
    if isinstance(image, np.ndarray) and image.ndim > 1:
        return int(image.shape[0] * image.shape[1])
    return None


class _ToldError(Exception):
    """Carries width times height out of a reader."""


def _told(width: int, height: int) -> NoReturn:
    raise _ToldError(width * height)


def _claimed(head: bytes) -> int | None:
    read = READERS.get(kind_of(head) or "")
    if read is None:
        return None
    try:
        read(head, _told)
    except _ToldError as told:
        return cast("int", told.args[0])
    except Exception:  # noqa: BLE001 - as where it is decoded, which will say it
        return None
    return None
