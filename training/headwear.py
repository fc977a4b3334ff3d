"""People with hats of all sizes, and with more hair than they have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from training.pictures import Picture

    F32 = np.ndarray[Any, np.dtype[np.float32]]
    Rng = np.random.Generator

_OF_BODY, _OF_BUST = 0.13, 0.45  # a head with its hair, of what is seen of the person's height
_SMALLEST = 12.0  # pixels across a head, below which nothing is drawn
_BITS = 4  # of a pixel's fraction, in drawing


def wearing(picture: Picture, rng: Rng) -> Picture:
    """The photo, somebody's head under a hat or in front of more hair, both theirs in alpha.

    A hat has a brim, wide or hardly any, level or tilted, and shades what is below it. Hair is a
    frayed cloud behind the head, often of the colour that the head's top shows. The photo grows
    upwards by what stands out of it. Where no head is found, it stays as it is.

    Args:
        picture: With one person, upright.
        rng: The only source of chance.
    """
    found = _head(picture)
    if found is None:
        return picture
    x, top, wide, high = found
    above = max(0, round(max(0.9 * high, 1.8 * wide - 0.4 * high) - top))
    strip = ((above, 0), (0, 0))
    behind = picture.image[: max(1, int(top))]  # where the person is not
    sky = np.pad(behind, (*strip, (0, 0)), mode="symmetric")[:above]
    image = np.vstack([sky, picture.image]).astype(np.float32) / np.float32(255)
    alpha = np.pad(picture.alpha, strip).astype(np.float32) / np.float32(255)
    size, head = (alpha.shape[0], alpha.shape[1]), (x, top + above, wide, high)
    if rng.random() < 0.35:
        drawn = _cloud(size, (x, head[1] + 0.4 * high), wide, rng) * (1 - alpha)
        colours = _hair(image, alpha, head, rng)
    else:
        drawn, shade, colours = _hat(size, head, rng)
        image = image * (1 - (shade * alpha)[..., None])
    image = image + drawn[..., None] * (colours - image)
    alpha = drawn + (1 - drawn) * alpha
    rows = np.flatnonzero((drawn > 0).any(axis=1))
    first = max(0, min(above, int(rows[0]) - 2)) if rows.size else above
    return replace(
        picture,
        image=np.rint(np.clip(image[first:], 0, 1) * 255).astype(np.uint8),
        alpha=np.rint(np.clip(alpha[first:], 0, 1) * 255).astype(np.uint8),
    )


def _head(picture: Picture) -> tuple[float, float, float, float] | None:
    """Middle column, top row, width and height in pixels; None if there is none to be seen."""
    solid = picture.alpha > 127
    rows = np.flatnonzero(solid.any(axis=1))
    if not rows.size or rows[0] <= 1:
        return None
    high = (rows[-1] - rows[0] + 1) * (_OF_BUST if picture.cut_off_below else _OF_BODY)
    middle = solid[int(rows[0] + 0.2 * high) : int(rows[0] + 0.6 * high) + 1]
    widths = middle.sum(axis=1)
    wide = float(np.median(widths))
    if wide < _SMALLEST or wide > 1.5 * high:
        return None
    columns = np.nonzero(middle)[1]
    return float(np.median(columns)), float(rows[0]), wide, float(high)


def _hat(
    size: tuple[int, int], head: tuple[float, float, float, float], rng: Rng
) -> tuple[F32, F32, F32]:
    """The hat's alpha, what it takes of the light below it, and its colours."""
    x, top, wide, high = head
    tilt = rng.uniform(-25, 25)
    level = top + high * rng.uniform(0.08, 0.35)
    across = wide * float(np.exp(rng.uniform(np.log(0.5), np.log(1.6))))
    if rng.random() < 0.2:  # a cap or a beanie
        across = wide * rng.uniform(0.5, 0.6)
    deep = across * rng.uniform(0.06, 0.4)
    aside = rng.uniform(-0.3, 0.3) * max(0.0, across - wide / 2)
    brim = _ellipse(size, (x + aside, level), (across, deep), tilt)
    half, tall = wide * rng.uniform(0.46, 0.62), high * rng.uniform(0.25, 0.75)
    narrow, bulge = rng.uniform(0.55, 1.0), rng.uniform(0, 0.35)
    arc = np.linspace(0, np.pi, 9)
    outline = np.array(
        [
            [-half, 0.15 * deep],
            *zip(
                -half * narrow * np.cos(arc), -tall * (1 - bulge * (1 - np.sin(arc))), strict=True
            ),
            [half, 0.15 * deep],
        ]
    )
    crown = _polygon(size, outline, (x, level), tilt)
    shade = np.zeros(size, np.float32)
    if rng.random() < 0.7:
        below = _ellipse(size, (x, level + deep + 0.1 * high), (across, deep + 0.2 * high), tilt)
        soft = rng.uniform(0.02, 0.15) * high
        shade = cv2.GaussianBlur(below, (0, 0), soft) * np.float32(rng.uniform(0.2, 0.75))
    dark = rng.random() < 0.5
    tone = rng.random(3) * rng.uniform(0.02, 0.25) if dark else rng.random(3)
    shine = noise(size, rng, cells=int(rng.integers(3, 60))) * rng.uniform(0, 0.4)
    angle = rng.uniform(-1, 1)
    slope = np.linspace(-angle, angle, size[1], dtype=np.float32) * np.float32(0.3)
    felt = tone * (1 + shine + slope)[..., None]
    band = rng.random(3) if rng.random() < 0.4 else tone * rng.uniform(0.5, 1.5)
    strip = _polygon(size, outline * np.array([1.0, 0.25]), (x, level), tilt)
    colours = felt + strip[..., None] * (band - felt)
    edge = (brim * (1 - crown))[..., None]
    colours = colours * (1 + edge * rng.uniform(-0.4, 0.4))
    return np.maximum(brim, crown), shade, np.clip(colours, 0, 1).astype(np.float32)


def _hair(
    image: F32,
    alpha: F32,
    head: tuple[float, float, float, float],
    rng: Rng,
) -> F32:
    """Curls of the colour that the head's top has, or of another."""
    x, top, wide, high = head
    rows = slice(int(top), int(top + 0.25 * high) + 1)
    columns = slice(max(0, int(x - wide / 3)), int(x + wide / 3) + 1)
    seen = image[rows, columns][alpha[rows, columns] > 0.8]
    known = seen.size and rng.random() < 0.7
    tone = np.median(seen, axis=0) if known else rng.random(3) * rng.uniform(0.1, 0.9)
    size = (image.shape[0], image.shape[1])
    curls = noise(size, rng, cells=int(rng.integers(40, 200)))
    curls = curls + noise(size, rng, cells=int(rng.integers(5, 30)))
    return np.clip(tone * (1 + curls * rng.uniform(0.1, 0.7))[..., None], 0, 1).astype(np.float32)


def _cloud(size: tuple[int, int], middle: tuple[float, float], wide: float, rng: Rng) -> F32:
    """Round, its edge frayed."""
    across, down = wide * rng.uniform(0.6, 1.15), wide * rng.uniform(0.6, 1.2)
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    far = np.hypot((x - middle[0]) / across, (y - middle[1]) / down)
    frayed = noise(size, rng, cells=int(rng.integers(20, 80))) * rng.uniform(0.03, 0.15)
    bumps = noise(size, rng, cells=int(rng.integers(3, 10))) * rng.uniform(0.0, 0.3)
    soft = rng.uniform(0.04, 0.2)
    return np.clip((1 - far + frayed + bumps) / soft + 0.5, 0, 1).astype(np.float32)


def noise(size: tuple[int, int], rng: Rng, *, cells: int) -> F32:
    """Smooth, about -1 to 1, so many of its waves from left to right."""
    drawn = rng.uniform(-1, 1, (max(2, cells * size[0] // size[1]), cells)).astype(np.float32)
    resized = cv2.resize(drawn, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, np.float32)


def _ellipse(
    size: tuple[int, int], middle: tuple[float, float], axes: tuple[float, float], tilt: float
) -> F32:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    points = np.stack([axes[0] * np.cos(angles), axes[1] * np.sin(angles)], axis=1)
    return _polygon(size, points, middle, tilt)


def _polygon(size: tuple[int, int], points: Any, middle: tuple[float, float], tilt: float) -> F32:  # noqa: ANN401
    """Filled, turned by ``tilt`` degrees about its origin, which comes to ``middle``; alpha."""
    turn = np.deg2rad(tilt)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    canvas = np.zeros(size, np.uint8)
    placed = np.round((points @ matrix + middle) * (1 << _BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [placed], 255, cv2.LINE_AA, _BITS)
    return canvas.astype(np.float32) / np.float32(255)
