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
    assert all(place.input == places[0].input for place in places)
    batch, planes = _empty(len(images), places[0].input, spec)
    scale, offset = affine(spec)
    for image, place, out in zip(images, places, planes, strict=True):
        if place.padded:
            _pad(out, spec)
        kernels.resize_to_planes(
            image,
            out[:, place.rows, place.columns],
            resample.taps_for(image.shape[:2], (place.height, place.width), spec.size.filter),
            scale,
            offset,
            reverse=spec.color == "BGR",
        )
    return batch, places


def prepare_windows(
    image: Image,
    size: tuple[int, int],
    corners: Sequence[tuple[int, int]],
    window: tuple[int, int],
    spec: InputSpec,
) -> F32Array:
    """Resize one photo and lay out windows of it as one batch.

    Args:
        image: uint8 (H, W, 3) RGB.
        size: Height and width it is resized to; of that, only the windows are computed.
        corners: Top and left of each window in the resized photo. What lies outside is padding.
        window: Height and width of each.
        spec: The model's input.

    Returns:
        float32 (N, 3, h, w), or (N, h, w, 3) for the layout NHWC.
    """
    batch, planes = _empty(len(corners), window, spec)
    scale, offset = affine(spec)
    vertical, horizontal = resample.taps_for(image.shape[:2], size, spec.size.filter)
    for (top, left), out in zip(corners, planes, strict=True):
        first, last = max(0, top), min(size[0], top + window[0])
        begin, end = max(0, left), min(size[1], left + window[1])
        if (last - first, end - begin) != window:
            _pad(out, spec)
        kernels.resize_to_planes(
            image,
            out[:, first - top : last - top, begin - left : end - left],
            (vertical.rows(first, last), horizontal.rows(begin, end)),
            scale,
            offset,
            reverse=spec.color == "BGR",
        )
    return batch


def _empty(count: int, size: tuple[int, int], spec: InputSpec) -> tuple[F32Array, F32Array]:
    """A batch in the model's layout, and the same memory as (N, 3, h, w)."""
    if spec.layout == "NHWC":
        batch = np.empty((count, *size, 3), np.float32)
        return batch, batch.transpose(0, 3, 1, 2)
    batch = np.empty((count, 3, *size), np.float32)
    return batch, batch


def _pad(planes: F32Array, spec: InputSpec) -> None:
    """Fill one photo's planes with the normalised padding colour."""
    scale, offset = affine(spec)
    pad = np.array(spec.size.pad if spec.color == "RGB" else spec.size.pad[::-1])
    planes[...] = (pad * scale + offset).astype(np.float32)[:, None, None]


def affine(spec: InputSpec) -> tuple[F32Array, F32Array]:
    """Per plane in the model's colour order: ``scale * pixel + offset`` normalises uint8 pixels."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    scale, offset = spec.range / 255 / std, -mean / std
    return scale.astype(np.float32), offset.astype(np.float32)
