"""Encoding results as PNG, WebP, TIFF or JPEG. No profile is embedded: untagged means sRGB.

Figures are for a 4000 x 3000 photograph with noise as an RGBA cutout, on one core.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import ImageError, OptionError, OutputError
from portrait_sdk.media.atomic import write_atomic

if TYPE_CHECKING:
    from portrait_sdk.types import U8Array

    U16Array = np.ndarray[Any, np.dtype[np.uint16]]

__all__ = ["encode_image", "output_format", "save_image", "write_atomic"]

_FORMATS = {
    ".png": "png",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}
_MAX_SIDE = {"webp": 16383, "jpeg": 65500, "png": 1_000_000, "tiff": 2**31 - 1}
_SHAPES = ((), (3,), (4,))


def output_format(path: str | os.PathLike[str]) -> str:
    """Name the format that a path's extension asks for: "png", "webp", "tiff" or "jpeg".

    Raises:
        OptionError: The extension is missing or not one of these.
    """
    name = os.fsdecode(path)
    suffix = Path(name).suffix.lower()
    if suffix not in _FORMATS:
        raise OptionError(
            f"{name!r}: expected a name that ends in {', '.join(_FORMATS)}; got"
            f" {repr(suffix) if suffix else 'no extension'}"
        )
    return _FORMATS[suffix]


def encode_image(
    array: U8Array | U16Array,
    format: str,  # noqa: A002 - the word everybody uses
    *,
    quality: int | None = None,
) -> bytes:
    """Encode one result.

    Args:
        array: uint8 (H, W), (H, W, 3) RGB, or (H, W, 4) RGB with straight alpha; for PNG and TIFF
            also uint16 (H, W), of either byte order. Colours under transparent pixels are kept.
        format: "png", "webp", "tiff" or "jpeg".
        quality: A whole number from 1 to 100, for "jpeg" (default 95) and "webp" (default:
            lossless; with a quality the colours are lossy, alpha never is).

    Raises:
        ImageError: Another dtype or shape.
        OptionError: An unknown format, a quality that does not apply, or something the format
            cannot hold (alpha in JPEG, more than 16383 pixels a side in WebP).
    """
    if format not in _MAX_SIDE:
        raise OptionError(f"format: expected {', '.join(sorted(_MAX_SIDE))}; got {format!r}")
    if isinstance(array, np.ndarray) and array.dtype.newbyteorder("=") == np.uint16:
        array = array.astype(np.uint16, copy=False)  # from either byte order to this machine's
    _check_array(array, format)
    if quality is not None:
        if format not in ("jpeg", "webp"):
            raise OptionError(f"quality: {format} is lossless; leave it out or choose jpeg or webp")
        quality = _whole_quality(quality)
    encoder = {"png": _png, "webp": _webp, "tiff": _tiff, "jpeg": _jpeg}[format]
    return encoder(array if format == "png" else np.ascontiguousarray(array), quality)


def save_image(
    array: U8Array | U16Array,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the word everybody uses
    quality: int | None = None,
) -> None:
    """Encode one result and write it atomically.

    Args:
        array: As for ``encode_image``.
        path: Where to; an existing file is replaced.
        format: As for ``encode_image``; None goes by the extension.
        quality: As for ``encode_image``.

    Raises:
        ImageError: Another dtype or shape.
        OptionError: As for ``encode_image``, or an unknown extension.
        OutputError: It cannot be written; nothing is left behind.
    """
    write_atomic(path, encode_image(array, format or output_format(path), quality=quality))


def _whole_quality(quality: object) -> int:
    if isinstance(quality, int | np.integer) and not isinstance(quality, bool):
        whole = int(quality)
        if 1 <= whole <= 100:  # noqa: PLR2004 - its scale
            return whole
    raise OptionError(f"quality: expected a whole number from 1 to 100, got {quality!r}")


def _check_array(array: U8Array | U16Array, form: str) -> None:
    ok = isinstance(array, np.ndarray) and array.ndim in (2, 3) and 0 not in array.shape
    if not ok or array.shape[2:] not in _SHAPES or array.dtype not in (np.uint8, np.uint16):
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise ImageError(f"array: expected uint8 (H, W), (H, W, 3) or (H, W, 4); got {got}")
    if array.dtype == np.uint16 and (array.ndim == 3 or form not in ("png", "tiff")):  # noqa: PLR2004
        raise ImageError(
            f"array: 16 bits are for (H, W) as png or tiff; got {array.shape} as {form}"
        )
    if form == "jpeg" and array.shape[2:] == (4,):
        raise OptionError("JPEG has no alpha: choose .png, .webp or .tiff, or --output composite")
    if max(array.shape[:2]) > _MAX_SIDE[form]:
        raise OptionError(
            f"{form} holds at most {_MAX_SIDE[form]} pixels a side, got"
            f" {array.shape[1]} x {array.shape[0]}; choose .png or .tiff"
        )


def _png(array: Any, _quality: int | None) -> bytes:  # noqa: ANN401
    from portrait_sdk.media import _png_write

    return _png_write.png(array)


def _jpeg(array: Any, quality: int | None) -> bytes:  # noqa: ANN401
    # Full colour resolution, 44 ms and 3.0 MB against 27 ms and 2.2 MB: where foreground meets a
    # new background, colour is most of the edge.
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, 95 if quality is None else quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _opencv(array, ".jpg", options)


def _opencv(array: Any, suffix: str, options: list[int]) -> bytes:  # noqa: ANN401
    import cv2

    swap = {(3,): cv2.COLOR_RGB2BGR, (4,): cv2.COLOR_RGBA2BGRA}.get(array.shape[2:])
    try:
        done, encoded = cv2.imencode(
            suffix, array if swap is None else cv2.cvtColor(array, swap), options
        )
    except cv2.error as error:
        raise OutputError(f"cannot encode {suffix}: {' '.join(str(error).split())}") from error
    if not done:
        raise OutputError(f"cannot encode {suffix}: the encoder gave up")
    return bytes(encoded.tobytes())


def _webp(array: Any, quality: int | None) -> bytes:  # noqa: ANN401
    # Lossless at method 1, effort 20: 775 ms, 6.3 MB. Method 0: 357 ms, 8.7 MB; 4: 1419 ms, 6.2 MB.
    # Pillow, since OpenCV does not ask for ``exact`` and so zeroes colours under transparency.
    from PIL import WebPImagePlugin  # noqa: F401 - registers itself, so that Pillow loads no others

    if quality is None:
        return _pillow(array, "WEBP", lossless=True, exact=True, method=1, quality=20)
    return _pillow(array, "WEBP", exact=True, quality=quality)


def _tiff(array: Any, _quality: int | None) -> bytes:  # noqa: ANN401
    # LZW with differences: 268 ms, 10.3 MB; deflate with differences 826 ms, 9.7 MB. Pillow, since
    # OpenCV does not declare what the fourth channel is.
    from PIL import TiffImagePlugin  # noqa: F401 - registers itself

    return _pillow(array, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})


def _pillow(array: Any, form: str, **options: Any) -> bytes:  # noqa: ANN401
    from PIL import Image

    out = io.BytesIO()
    try:
        Image.fromarray(array).save(out, form, **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot encode {form}: {' '.join(str(error).split())}") from error
    return out.getvalue()
