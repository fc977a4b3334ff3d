"""People in other clothes than they wear: plain, striped, checked, printed, or like the wall."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from training.headwear import noise

if TYPE_CHECKING:
    from training.pictures import Picture

    F32 = np.ndarray[Any, np.dtype[np.float32]]
    Rng = np.random.Generator

_LEAST = 24  # pixels from neck to hem, below which nothing is drawn
_CLEAR = 8  # of 8-bit alpha: what lies behind


def changed(picture: Picture, head: float, rng: Rng) -> Picture:
    """The photo, what somebody wears below the neck of another cloth; alpha stays.

    The old cloth's folds, its light and dark, are on the new one. Hands are under it, too.

    Args:
        picture: With one person, upright.
        head: About how much of their height in it is head and neck, 0 to 1.
        rng: The only source of chance.
    """
    rows = np.flatnonzero((picture.alpha > 127).any(axis=1))
    if not rows.size or (rows[-1] - rows[0] + 1) * (1 - head) < _LEAST:
        return picture
    size = (picture.alpha.shape[0], picture.alpha.shape[1])
    image = picture.image.astype(np.float32) / np.float32(255)
    alpha = picture.alpha.astype(np.float32) / np.float32(255)
    tall = float(rows[-1] - rows[0] + 1)
    worn = alpha * _below(picture.alpha, rows[0] + tall * head * rng.uniform(0.85, 1.2), rng)
    if not (worn > 0.5).any():
        return picture
    behind = image[picture.alpha < _CLEAR]
    cloth = _cloth(size, tall, behind, rng)
    if rng.random() < 0.5:  # trousers, a skirt
        waist = rows[0] + tall * rng.uniform(max(0.4, head), 1.0)
        lower = _below(picture.alpha, waist, rng)[..., None]
        cloth = cloth + lower * (_cloth(size, tall, behind, rng) - cloth)
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    light = cv2.GaussianBlur(grey, (0, 0), 0.002 * tall + 0.3)
    folds = light / max(float(light[worn > 0.5].mean()), 0.02)
    shade = np.clip(folds, 0.2, 2.0) ** np.float32(rng.uniform(0.2, 1.0))
    new = np.clip(cloth * shade[..., None], 0, 1)
    image = image + worn[..., None] * (new - image)
    return replace(picture, image=np.rint(image * 255).astype(np.uint8))


def _below(alpha: Any, level: float, rng: Rng) -> F32:  # noqa: ANN401
    """1 below a neckline or a waist about the row ``level``, else 0; straight, round or pointed."""
    height, width = alpha.shape
    row = alpha[min(height - 1, max(0, int(level)))] > 127
    across = max(float(row.sum()), 8.0)
    middle = float(np.flatnonzero(row).mean()) if row.any() else width / 2
    x = (np.arange(width, dtype=np.float32) - np.float32(middle)) / np.float32(across)
    deep = rng.uniform(-0.15, 0.5) * across
    dent = np.exp(-((x * 4) ** 2)) if rng.random() < 0.5 else np.clip(1 - 3 * np.abs(x), 0, None)
    line = level + deep * dent + rng.uniform(-0.3, 0.3) * across * x
    y = np.arange(height, dtype=np.float32)[:, None]
    soft = rng.uniform(1.0, 3.0)
    return np.asarray(np.clip((y - line[None]) / soft + 0.5, 0, 1), np.float32)


def _cloth(size: tuple[int, int], tall: float, behind: F32, rng: Rng) -> F32:
    """A frame full of it, (H, W, 3)."""
    palette = [_tone(behind, rng) for _ in range(int(rng.integers(2, 6)))]
    period = tall * float(np.exp(rng.uniform(np.log(0.012), np.log(0.15))))
    kind = rng.random()
    if kind < 0.35:
        surface = np.broadcast_to(np.asarray(palette[0], np.float32), (*size, 3))
    elif kind < 0.65:
        surface = _stripes(size, period, palette, rng)
    elif kind < 0.75:
        across = _stripes(size, period, palette, rng)
        surface = (across + _stripes(size, period, palette, rng)) / np.float32(2)
    else:
        cells = max(2, min(size[1], round(2 * size[1] / period)))
        level = noise(size, rng, cells=cells) + 0.5 * noise(size, rng, cells=max(2, cells // 3))
        index = np.clip((level + 0.75) / 1.5, 0, 0.999) * len(palette)
        surface = np.asarray(palette, np.float32)[index.astype(int)]
    if rng.random() < 0.5:
        weave = noise(size, rng, cells=int(rng.integers(40, 300))) * rng.uniform(0, 0.25)
        surface = surface * (1 + weave)[..., None]
    return np.asarray(cv2.GaussianBlur(surface, (0, 0), 0.7), np.float32)


def _stripes(size: tuple[int, int], period: float, palette: list[Any], rng: Rng) -> F32:
    """In the colours of ``palette``, in turn, bent as cloth lies."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    angle = rng.uniform(0, np.pi) if rng.random() < 0.5 else np.pi / 2 * rng.integers(2)
    bend = noise(size, rng, cells=int(rng.integers(3, 12))) * rng.uniform(0, 1.5) * period
    along = (x * np.cos(angle) + y * np.sin(angle) + bend) / period
    index = np.floor(along * len(palette)).astype(int) % len(palette)
    return np.asarray(np.asarray(palette, np.float32)[index], np.float32)


def _tone(behind: F32, rng: Rng) -> Any:  # noqa: ANN401
    """A colour: any, dark, nearly white, or of what lies behind the person."""
    kind = rng.random()
    if kind < 0.15 and len(behind):
        return behind[int(rng.integers(len(behind)))]
    if kind < 0.35:
        return rng.random(3) * rng.uniform(0.02, 0.25)
    if kind < 0.5:
        return 1 - rng.random(3) * rng.uniform(0.0, 0.25)
    return rng.random(3)
