"""Reading a picture from whatever the caller has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.media.decode import decode, decode_stored, from_pil
from portrait_sdk.media.limits import DEFAULT_LIMITS, Limits
from portrait_sdk.media.samples import from_array
from portrait_sdk.media.source import is_encoded, is_pil, read_bytes, read_file, read_path

if TYPE_CHECKING:
    from portrait_sdk.media.stored import Stored
    from portrait_sdk.types import Image, U8Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """One picture, ready to be matted."""

    image: Image
    """Straight colours, upright; under transparent pixels, whatever the file has there. May be
    read-only."""
    source_alpha: U8Array | None
    """The input's own alpha, uint8 (H, W); None where it is opaque throughout. Not applied to
    ``image``: it is multiplied into the result."""
    format: str | None
    """"JPEG", "PNG", "WebP", "TIFF" or "BMP" for a file; None for an array or a Pillow image."""

    def over_white(self) -> Image:
        """Return what the network is shown: ``image`` laid over white by ``source_alpha``.

        Colours under transparent pixels are arbitrary: black, white, or the background that an
        earlier cut-out removed, which a network would find again. White is what a viewer shows
        there. Opaque pictures are returned as they are, without a copy.
        """
        if self.source_alpha is None:
            return self.image
        alpha = self.source_alpha[..., None].astype(np.uint16)
        # 255 * 255 + 127 fits 16 bits; adding 127 rounds to nearest, as 255 is odd.
        return ((self.image * alpha + (255 - alpha) * 255 + 127) // 255).astype(np.uint8)


def load_image(  # noqa: PLR0911 - one for each kind of picture
    image: object, *, color: str = "RGB", limits: Limits = DEFAULT_LIMITS
) -> Loaded:
    """Read a picture as uint8 sRGB, upright.

    Args:
        image: A path; the bytes of an encoded file; a binary file object, read from where it stands
            to its end; a ``PIL.Image.Image``; or an array, or anything with the array interface or
            a shaped buffer: uint8, uint16, or float16/32/64 in [0, 1], of shape (H, W) or (H, W, 1)
            grey, (H, W, 2) grey and alpha, (H, W, 3), or (H, W, 4) with straight alpha. Files may
            be JPEG, PNG, WebP, TIFF or BMP; of several pages or frames the first is read. Exif's
            orientation is applied, embedded profiles are converted to sRGB, and more than 8 bits
            are rounded to 8. Arrays and Pillow images are copied: what becomes of them afterwards
            does not change the result.
        color: "RGB" or "BGR": the channel order of an array; files and Pillow images know theirs.
        limits: What a file may hold at most, judged from its header before memory is taken; also
            one that Pillow has opened and not read.

    Raises:
        ImageError: It is missing, unreadable, damaged, truncated, of another format, or an array of
            another dtype, shape or range.
        ImageTooLargeError: It passes a limit.
        OptionError: ``color`` is neither "RGB" nor "BGR".
    """
    if color not in ("RGB", "BGR"):
        raise OptionError(f"color: expected 'RGB' or 'BGR', got {color!r}")
    if isinstance(image, Loaded):
        return image
    if isinstance(image, np.ndarray):
        return _loaded(*from_array(np.asarray(image), color), None)
    if is_pil(image):
        return _loaded(*from_pil(image, limits), None)
    if isinstance(image, str | os.PathLike):
        return _loaded(*decode(*read_path(image, limits), limits))
    if is_encoded(image):
        return _loaded(*decode(*read_bytes(image, limits), limits))
    if hasattr(image, "read"):
        return _loaded(*decode(*read_file(image, limits), limits))
    return _loaded(*from_array(_as_array(image), color), None)


def load_stored(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Stored:
    """Read the values a file stores: of a matte, a mask, or numbers of classes.

    Nothing is converted: 16 bits stay 16 (PNG), a palette's numbers stay numbers, profiles are not
    applied. Exif's orientation is.

    Raises:
        ImageError: It is missing, unreadable, damaged, truncated, or of another format.
        ImageTooLargeError: It passes a limit.
    """
    return decode_stored(*read_path(path, limits), limits)


def _loaded(image: Image, alpha: U8Array | None, form: str | None) -> Loaded:
    opaque = alpha is None or bool(alpha.min() == 255)  # noqa: PLR2004 - of 8 bits
    return Loaded(image=image, source_alpha=None if opaque else alpha, format=form)


def _as_array(image: object) -> np.ndarray[Any, np.dtype[Any]]:
    has_interface = hasattr(image, "__array__") or hasattr(image, "__array_interface__")
    try:
        return np.asarray(image if has_interface else memoryview(image))  # type: ignore[arg-type]
    except Exception as error:  # foreign code: a tensor on a device, one that needs its gradient
        kind = f"{type(image).__module__}.{type(image).__qualname__}".removeprefix("builtins.")
        reason = f" ({' '.join(str(error).split())})" if has_interface else ""
        raise ImageError(
            "image: expected a path, bytes, a binary file, a PIL image or an array,"
            f" got {kind}{reason}"
        ) from error
