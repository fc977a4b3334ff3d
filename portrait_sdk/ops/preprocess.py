"""A photo to a network's input, as the model's spec says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.ops import geometry, kernels, resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portrait_sdk.spec import InputSpec
    from portrait_sdk.types import F32Array, Image


def prepare(images: Sequence[Image], spec: InputSpec) -> tuple[F32Array, list[geometry.Letterbox]]:
    """Resize, order, normalise and lay out photos as one batch.

    Args:
        images: uint8 (H, W, 3) RGB each; all must come to the same input size under ``spec.size``.
        spec: The model's input.

    Returns:
        float32 (N, 3, h, w), or (N, h, w, 3) for the layout NHWC; and each photo's place.
    """
    places = [geometry.place(image.shape[:2], spec.size) for image in images]
    height, width = places[0].input
    assert all(place.input == (height, width) for place in places)
    scale, offset = affine(spec)
    if spec.layout == "NHWC":
        batch = np.empty((len(images), height, width, 3), np.float32)
        planes = batch.transpose(0, 3, 1, 2)
    else:
        batch = planes = np.empty((len(images), 3, height, width), np.float32)
    for image, place, out in zip(images, places, planes, strict=True):
        if place.padded:
            pad = np.array(spec.size.pad if spec.color == "RGB" else spec.size.pad[::-1])
            out[...] = (pad * scale + offset).astype(np.float32)[:, None, None]
        kernels.resize_to_planes(
            image,
            out[:, place.rows, place.columns],
            resample.taps_for(image.shape[:2], (place.height, place.width), spec.size.filter),
            scale,
            offset,
            reverse=spec.color == "BGR",
        )
    return batch, places


def affine(spec: InputSpec) -> tuple[F32Array, F32Array]:
    """Per plane in the model's colour order: ``scale * pixel + offset`` normalises uint8 pixels."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    scale, offset = spec.range / 255 / std, -mean / std
    return scale.astype(np.float32), offset.astype(np.float32)
