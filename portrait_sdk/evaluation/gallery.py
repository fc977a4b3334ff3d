"""The worst, median and best photos of each model as small pictures: photo, alpha, truth, error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from portrait_sdk.media import encode_image
from portrait_sdk.ops import kernels, threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portrait_sdk.evaluation.statistics import F64Array
    from portrait_sdk.types import AlphaF32, Image, U8Array

Rank: TypeAlias = Literal["worst", "median", "best"]
RANKS: tuple[Rank, ...] = ("worst", "median", "best")
MOST_BYTES = 12 * 1024 * 1024
"""Of all pictures together; base64 in a page makes a third more of it."""
_LONG_SIDE = 400
_QUALITY = 80
_GROUND = np.array((24, 24, 24), np.float32)
_TOO_MUCH = np.array((255, 140, 0), np.float32)  # orange and blue: apart for the colour-blind, too
_TOO_LITTLE = np.array((70, 160, 255), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A photo to show, and for what."""

    photo: int
    model: int
    rank: Rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One photo as one model cut it."""

    name: str
    model: str
    rank: Rank
    mad: float
    pictures: dict[str, str]
    """``photo``, ``alpha``, ``truth`` and ``error``: keys of :attr:`Gallery.pictures`."""
    height: int
    width: int
    """Of the truth; the pictures are smaller copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Figures, and their pictures once each."""

    figures: tuple[Figure, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)
    """WebP files by key. Error maps show what is too much in orange, what is missing in blue."""
    left_out: int = 0
    """Figures for which there was no room."""


class Collector:
    """Makes the chosen photos' pictures as they come by.

    Attributes:
        choices: What to show, the most telling first.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = choices
        self._pictures: dict[str, bytes] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    def add(self, photo: int, image: Image, truth: AlphaF32, alphas: Sequence[AlphaF32]) -> None:
        """Keep one photo's pictures.

        Args:
            photo: Its number in ``choices``.
            image: uint8 (H, W, 3).
            truth: float32 (h, w).
            alphas: Of every model, (h, w) each.
        """
        height, width = truth.shape
        if image.shape[:2] != truth.shape:
            image = _resized(image, (height, width))
        self._pictures[f"{photo}-photo"] = _small(image)
        self._pictures[f"{photo}-truth"] = _small(kernels.quantize(truth))
        for model in {c.model for c in self.choices if c.photo == photo}:
            self._pictures[f"{photo}-alpha-{model}"] = _small(kernels.quantize(alphas[model]))
            self._pictures[f"{photo}-error-{model}"] = _small(error_map(alphas[model], truth))
        self._sizes[photo] = height, width

    def gallery(self, names: Sequence[str], models: Sequence[str], errors: F64Array) -> Gallery:
        """The figures, as many as there is room for.

        Args:
            names: Of the photos.
            models: Their names.
            errors: (photos, models).
        """
        figures: list[Figure] = []
        kept: dict[str, bytes] = {}
        shown = [c for c in self.choices if c.photo in self._sizes]
        for choice in shown:
            photo, model = choice.photo, choice.model
            keys = {
                "photo": f"{photo}-photo",
                "alpha": f"{photo}-alpha-{model}",
                "truth": f"{photo}-truth",
                "error": f"{photo}-error-{model}",
            }
            more = {key: self._pictures[key] for key in keys.values() if key not in kept}
            if sum(map(len, kept.values())) + sum(map(len, more.values())) > MOST_BYTES:
                break
            kept |= more
            height, width = self._sizes[photo]
            figures.append(
                Figure(
                    name=names[photo],
                    model=models[model],
                    rank=choice.rank,
                    mad=float(errors[photo, model]),
                    pictures=keys,
                    height=height,
                    width=width,
                )
            )
        return Gallery(
            figures=tuple(figures), pictures=kept, left_out=len(self.choices) - len(figures)
        )


def choose(errors: F64Array, count: int) -> list[Choice]:
    """For each model the ``count`` photos of largest, middle and least error, no photo twice.

    Args:
        errors: (photos, models).
        count: Of each rank; fewer where there are fewer than three times as many photos.

    Returns:
        The worst of every model first, then the second worst, and so on: what is cut off at the
        end matters least.
    """
    photos, models = errors.shape
    count = min(count, -(-photos // len(RANKS)))
    orders = np.argsort(-errors, axis=0, kind="stable")
    middle = (photos - count) // 2
    taken: set[tuple[int, int]] = set()
    chosen = []
    for place in range(count):
        at = {"worst": place, "median": middle + place, "best": photos - 1 - place}
        for rank in RANKS:
            for model in range(models):
                photo = int(orders[at[rank], model])
                if (photo, model) not in taken:
                    taken.add((photo, model))
                    chosen.append(Choice(photo=photo, model=model, rank=rank))
    return chosen


def error_map(alpha: AlphaF32, truth: AlphaF32) -> Image:
    """Where alpha is too much (orange) or too little (blue), dark where it is right: (H, W, 3)."""
    error = alpha - truth
    colour = np.where(error[..., None] > 0, _TOO_MUCH, _TOO_LITTLE)
    shown = _GROUND + np.abs(error)[..., None] * (colour - _GROUND)
    return np.asarray(np.rint(shown), np.uint8)


def _small(picture: U8Array) -> bytes:
    """A picture as WebP, its longer side at most 400 pixels."""
    height, width = picture.shape[:2]
    scale = _LONG_SIDE / max(height, width)
    if scale < 1:
        picture = _resized(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
    if picture.ndim == 2:  # noqa: PLR2004 - WebP has no grey
        picture = np.repeat(picture[..., None], 3, axis=2)
    return encode_image(picture, "webp", quality=_QUALITY)


def _resized(picture: U8Array, size: tuple[int, int]) -> U8Array:
    cv2 = threads.opencv()
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA))
