"""Pictures in and out of files: the one place where codecs are used, imported when first needed."""

from portrait_sdk.media.atomic import open_atomic, write_atomic
from portrait_sdk.media.encode import encode_image, output_format, save_image
from portrait_sdk.media.header import count_pixels
from portrait_sdk.media.limits import DEFAULT_LIMITS, Limits
from portrait_sdk.media.load import Loaded, load_image, load_stored
from portrait_sdk.media.stored import Stored

__all__ = [
    "DEFAULT_LIMITS",
    "Limits",
    "Loaded",
    "Stored",
    "count_pixels",
    "encode_image",
    "load_image",
    "load_stored",
    "open_atomic",
    "output_format",
    "save_image",
    "write_atomic",
]
