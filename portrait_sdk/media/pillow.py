"""Pillow's many modes brought down to colour and alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.media.container import DamagedError
from portrait_sdk.media.samples import to_u8

if TYPE_CHECKING:
    from PIL import Image as Pil

    from portrait_sdk.types import U8Array

_BAND_ROWS = 32  # of a 12-megapixel photo: half a megabyte, which stays in a core's cache
_PLAIN = {
    "1": "L",
    "P": "RGB",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}


def open_checked(picture: Pil.Image, width: int, height: int) -> Pil.Image:
    """Pass on a file that Pillow has opened, if it reads the size that was checked; unread yet."""
    if picture.size != (width, height):
        raise DamagedError(
            f"its header claims {width} x {height} pixels, or {picture.width} x {picture.height}"
        )
    return picture


def split(picture: Pil.Image) -> tuple[Pil.Image, Pil.Image | None]:
    """Take a Pillow image apart into colour (L, RGB, CMYK or LAB) and straight alpha (L, or None).

    Palettes are looked up and transparency given as a colour or per palette entry becomes alpha.
    Samples of more than eight bits are rounded.
    """
    picture.load()
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_samples(np.asarray(picture))
    if "transparency" in picture.info and picture.mode in ("1", "L", "P", "RGB"):
        picture = picture.convert("RGBA")
    if picture.mode in _PLAIN:
        picture = picture.convert(_PLAIN[picture.mode])
    if picture.mode in ("LA", "RGBA"):
        return picture.convert(picture.mode[:-1]), picture.getchannel("A")
    if picture.mode not in ("L", "RGB", "CMYK", "LAB"):
        raise DamagedError(f"mode {picture.mode!r} is not supported; convert it to 'RGB' first")
    return picture, None


def as_array(picture: Pil.Image) -> U8Array:
    """Copy an image of mode L or RGB out of Pillow: uint8 (H, W) or (H, W, 3).

    In bands of rows, 12 ms for 12 megapixels; ``np.asarray`` takes 44, since it writes the whole
    picture into pieces and the pieces into one, and needs its memory twice over meanwhile.
    """
    from PIL import Image

    width, height = picture.size
    channels = () if picture.mode == "L" else (3,)
    out: U8Array = np.empty((height, width, *channels), np.uint8)
    band = Image.new(picture.mode, (width, min(_BAND_ROWS, height)))
    for top in range(0, height, _BAND_ROWS):
        band.paste(picture, (0, -top))  # what reaches past the band is cut off; ``crop`` may warn
        rows = np.frombuffer(band.tobytes(), np.uint8).reshape(-1, width, *channels)
        out[top : top + _BAND_ROWS] = rows[: height - top]
    return out


def from_u16(samples: np.ndarray[Any, np.dtype[np.uint16]]) -> tuple[Pil.Image, Pil.Image | None]:
    """Round (H, W, C) 16-bit samples to eight: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""
    from PIL import Image

    levels = to_u8(samples, "samples")
    channels = levels.shape[2]
    alpha = levels[..., -1] if channels in (2, 4) else None
    colour = levels[..., 0] if channels < 3 else levels[..., :3]  # noqa: PLR2004 - RGB
    return (
        Image.fromarray(np.ascontiguousarray(colour)),
        None if alpha is None else Image.fromarray(np.ascontiguousarray(alpha)),
    )


def _from_samples(samples: np.ndarray[Any, Any]) -> tuple[Pil.Image, None]:
    from PIL import Image

    if samples.dtype == np.int32:  # mode "I", where some releases keep 16-bit grey
        low, high = int(samples.min()), int(samples.max())
        if low < 0 or high > np.iinfo(np.uint16).max:
            raise DamagedError(f"32-bit grey: expected values in [0, 65535], got {low} to {high}")
        samples = samples.astype(np.uint16)
    return Image.fromarray(to_u8(samples, "its samples")), None
