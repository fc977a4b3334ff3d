"""Cuts people out of photos: alpha, clean foreground colours, cutouts and composites.

>>> import portrait_sdk
>>> matte = portrait_sdk.matte("portrait.jpg")
>>> matte.cutout()            # uint8 (H, W, 4) RGBA with estimated foreground colours
>>> matte.composite("blur")   # uint8 (H, W, 3) RGB

Names are bound on first use: importing the package loads neither ONNX Runtime nor a codec.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portrait_sdk.api import Matte, Matting, MattingSequence, load, matte
    from portrait_sdk.errors import (
        CheckpointError,
        ClosedError,
        ConversionError,
        DatasetError,
        DownloadError,
        ImageError,
        ImageTooLargeError,
        ModelError,
        OptionError,
        OutputError,
        PortraitError,
        ProviderError,
        SpecError,
    )
    from portrait_sdk.media import Limits, load_image, save_image
    from portrait_sdk.ops.compositing import composite, cutout, premultiply, unpremultiply
    from portrait_sdk.ops.foreground import estimate_foreground
    from portrait_sdk.ops.threads import set_threads
    from portrait_sdk.ops.trimap import trimap_from_alpha
    from portrait_sdk.pipeline.folder import process_folder
    from portrait_sdk.pipeline.job import FolderJob
    from portrait_sdk.pipeline.outputs import Output, Outputs
    from portrait_sdk.pipeline.report import FolderReport
    from portrait_sdk.pipeline.stream import MatteStream, stream
    from portrait_sdk.pipeline.watch import Watch
    from portrait_sdk.spec import ModelSpec

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ClosedError",
    "ConversionError",
    "DatasetError",
    "DownloadError",
    "FolderJob",
    "FolderReport",
    "ImageError",
    "ImageTooLargeError",
    "Limits",
    "Matte",
    "MatteStream",
    "Matting",
    "MattingSequence",
    "ModelError",
    "ModelSpec",
    "OptionError",
    "Output",
    "OutputError",
    "Outputs",
    "PortraitError",
    "ProviderError",
    "SpecError",
    "Watch",
    "__version__",
    "composite",
    "cutout",
    "estimate_foreground",
    "load",
    "load_image",
    "matte",
    "premultiply",
    "process_folder",
    "save_image",
    "set_threads",
    "stream",
    "trimap_from_alpha",
    "unpremultiply",
]

_HOMES = {
    "portrait_sdk.api": ("Matte", "Matting", "MattingSequence", "load", "matte"),
    "portrait_sdk.errors": (
        "CheckpointError",
        "ClosedError",
        "ConversionError",
        "DatasetError",
        "DownloadError",
        "ImageError",
        "ImageTooLargeError",
        "ModelError",
        "OptionError",
        "OutputError",
        "PortraitError",
        "ProviderError",
        "SpecError",
    ),
    "portrait_sdk.media": ("Limits", "load_image", "save_image"),
    "portrait_sdk.ops.compositing": ("composite", "cutout", "premultiply", "unpremultiply"),
    "portrait_sdk.ops.foreground": ("estimate_foreground",),
    "portrait_sdk.ops.threads": ("set_threads",),
    "portrait_sdk.ops.trimap": ("trimap_from_alpha",),
    "portrait_sdk.pipeline.folder": ("process_folder",),
    "portrait_sdk.pipeline.job": ("FolderJob",),
    "portrait_sdk.pipeline.outputs": ("Output", "Outputs"),
    "portrait_sdk.pipeline.report": ("FolderReport",),
    "portrait_sdk.pipeline.stream": ("MatteStream", "stream"),
    "portrait_sdk.pipeline.watch": ("Watch",),
    "portrait_sdk.spec": ("ModelSpec",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name's module on its first use."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, bound or not."""
    return sorted(__all__)
