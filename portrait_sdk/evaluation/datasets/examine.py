"""Integrity and statistics of a dataset: every picture is decoded once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import DatasetError, ImageError
from portrait_sdk.evaluation.datasets._files import Problem
from portrait_sdk.evaluation.datasets._parallel import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from portrait_sdk.evaluation.datasets._base import Sample

BROKEN = frozenset(("image", "truth", "trimap", "size"))
"""Kinds of problems that make a sample useless; files of the others are only left out."""

_SEEN = 0.5  # alpha somewhere above it: there is a person


def check(samples: Iterable[Sample], *, workers: int | None = None) -> Iterator[Problem]:
    """What is wrong with samples' files; ``Dataset.problems`` tells what is wrong with the layout.

    Kinds: ``image``, ``truth``, ``trimap`` (it cannot be read as it should), ``size`` (the files of
    one sample differ in it), ``empty`` (nobody in the truth).

    Args:
        samples: A dataset, or some of its samples.
        workers: None: the thread budget.
    """
    for found in in_order(_examine, samples, workers):
        yield from found


def _examine(sample: Sample) -> list[Problem]:
    problems = []
    sizes: dict[tuple[int, ...], list[str]] = {}

    def look(kind: str, path: Path, load: Callable[[], Any]) -> Any:  # noqa: ANN401 - an array
        try:
            array = load()
        except ImageError as error:
            problems.append(Problem(kind=kind, path=path, text=_without_name(error, path)))
            return None
        sizes.setdefault(array.shape[:2], []).append(kind)
        return array

    look("image", sample.image, sample.load_image)
    if sample.truth is not None:
        alpha = look("truth", sample.truth, sample.load_alpha)
        if alpha is not None and alpha.max() <= _SEEN:
            problems.append(Problem(kind="empty", path=sample.truth, text="nobody in the truth"))
    if sample.trimap is not None:
        look("trimap", sample.trimap, sample.load_trimap)
    if len(sizes) > 1:
        text = "; ".join(
            f"{' and '.join(kinds)} {size[1]} x {size[0]}" for size, kinds in sizes.items()
        )
        problems.append(Problem(kind="size", path=sample.image, text=f"sizes differ: {text}"))
    return problems


def _without_name(error: ImageError, path: Path) -> str:
    return str(error).removeprefix(f"{str(path)!r}: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What :func:`stats` counts and measures."""

    samples: int
    mean: tuple[float, float, float]
    """Of R, G, B in [0, 1], over all pixels of all pictures."""
    std: tuple[float, float, float]
    """Of R, G, B in [0, 1], over all pixels of all pictures, about ``mean``."""
    coverage: float
    """Mean of alpha: the share of the pictures that is person, a mean over pictures."""
    soft: float
    """Share of the pixels with alpha strictly between 0 and 1, a mean over pictures."""
    binary: int
    """Truths of 0 and 1 alone."""
    sizes: Counter[tuple[int, int]]
    """Pictures of each (height, width)."""
    splits: Counter[str]
    scenes: Counter[str]
    """A picture in several scenes counts in each."""
    by_scene: dict[str, Counter[str]] = field(default_factory=dict)
    """Pictures of each split in each scene."""
    groups: int
    sequences: int
    unreadable: int
    """Samples left out of everything above, since a file cannot be read; ``check`` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One sample's colours and alpha, each by a few numbers."""

    sample: Sample
    size: tuple[int, int]
    mean: Any
    std: Any
    coverage: float | None = None
    soft: float = 0.0


def stats(samples: Iterable[Sample], *, workers: int | None = None) -> Stats:
    """Count and measure samples.

    Args:
        samples: A dataset, or some of its samples.
        workers: None: the thread budget.

    Raises:
        DatasetError: None of them can be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    splits: Counter[str] = Counter()
    scenes: Counter[str] = Counter()
    by_scene: dict[str, Counter[str]] = {}
    groups: set[str] = set()
    sequences: set[str] = set()
    unreadable = pixels = binary = truths = 0
    total, squares = np.zeros(3), np.zeros(3)
    coverage = soft = 0.0
    for one in in_order(measure, samples, workers):
        if one is None:
            unreadable += 1
            continue
        sample, count = one.sample, one.size[0] * one.size[1]
        sizes[one.size] += 1
        splits[sample.split or "-"] += 1
        scenes.update(sample.scenes)
        for scene in sample.scenes:
            by_scene.setdefault(scene, Counter())[sample.split or "-"] += 1
        groups.add(sample.group or sample.name)
        sequences.update(filter(None, [sample.sequence]))
        pixels += count
        total += one.mean * count
        squares += (one.std**2 + one.mean**2) * count
        if one.coverage is not None:
            truths += 1
            coverage += one.coverage
            soft += one.soft
            binary += one.soft == 0
    if not pixels:
        raise DatasetError(
            f"none of {unreadable} samples can be read; `portrait dataset check` says why"
        )
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return Stats(
        samples=sum(sizes.values()),
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
        coverage=coverage / max(truths, 1),
        soft=soft / max(truths, 1),
        binary=binary,
        sizes=sizes,
        splits=splits,
        scenes=scenes,
        by_scene=by_scene,
        groups=len(groups),
        sequences=len(sequences),
        unreadable=unreadable,
    )


def measure(sample: Sample) -> Measured | None:
    """Decode one sample and measure it; None where it cannot be read."""
    import cv2

    try:
        image = sample.load_image()
        mean, std = (v[:, 0] / 255 for v in cv2.meanStdDev(image))
        size = (image.shape[0], image.shape[1])
        if sample.truth is None:
            return Measured(sample=sample, size=size, mean=mean, std=std)
        alpha = sample.load_alpha()
    except ImageError:
        return None
    return Measured(
        sample=sample,
        size=size,
        mean=mean,
        std=std,
        coverage=float(alpha.mean()),
        soft=float(((alpha > 0) & (alpha < 1)).mean()),
    )
