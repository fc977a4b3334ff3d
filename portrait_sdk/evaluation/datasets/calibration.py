"""Some pictures that stand for a dataset: what int8's ranges are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import DatasetError, ImageError, OptionError
from portrait_sdk.evaluation.datasets._parallel import in_order
from portrait_sdk.evaluation.datasets.convert import new_folder
from portrait_sdk.evaluation.datasets.examine import measure
from portrait_sdk.media import write_atomic

if TYPE_CHECKING:
    import os

    from portrait_sdk.evaluation.datasets._base import Dataset, Sample
    from portrait_sdk.evaluation.datasets.examine import Measured

_STEM = 50  # characters of a sample's name: file names have an end
_CANDIDATES = 2000  # decoded at most: more change the draws, not what they stand for


def representative(
    dataset: Dataset, count: int, *, seed: int = 0, workers: int | None = None
) -> list[Sample]:
    """Samples that differ as the dataset does, in its order.

    Each is described by its mean and deviation of R, G and B and by its share of person, all
    standardised over the set. The first is drawn at random, every later one with a probability
    proportional to the squared distance from the nearest drawn before: rare kinds of pictures get
    in, and common ones are not crowded out as they are where the farthest is taken each time. Of
    more than 2000 samples, 2000 are drawn at random first.

    Args:
        dataset: What to draw from; samples that cannot be read are left out.
        count: How many; fewer where the dataset has no more.
        seed: The same gives the same samples.
        workers: None: the thread budget.

    Raises:
        DatasetError: No sample can be read.
        OptionError: ``count`` is below 1.

    Source:
        Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.
    """
    if count < 1:
        raise OptionError(f"count: expected at least 1, got {count}")
    rng = np.random.default_rng(seed)
    samples = list(dataset)
    if len(samples) > _CANDIDATES:
        drawn = np.sort(rng.choice(len(samples), _CANDIDATES, replace=False))
        samples = [samples[i] for i in drawn]
    found = [one for one in in_order(measure, samples, workers) if one is not None]
    if not found:
        raise DatasetError(f"{dataset.kind}:{dataset.root}: no sample can be read; run the check")
    chosen = _spread_out(_described(found), min(count, len(found)), rng)
    return [found[i].sample for i in sorted(chosen)]


def _described(found: list[Measured]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seven standardised numbers each."""
    rows = np.array([[*one.mean, *one.std, one.coverage or 0.0] for one in found])
    spread = rows.std(axis=0)
    return np.asarray((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _spread_out(
    rows: np.ndarray[Any, np.dtype[np.float64]], count: int, rng: np.random.Generator
) -> list[int]:
    chosen = [int(rng.integers(len(rows)))]
    nearest = np.full(len(rows), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, ((rows - rows[chosen[-1]]) ** 2).sum(axis=1))
        weights = nearest.copy()
        if weights.sum() == 0:  # nothing but copies is left
            weights[:] = 1
            weights[chosen] = 0
        chosen.append(int(rng.choice(len(rows), p=weights / weights.sum())))
    return chosen


def export(samples: list[Sample], out: str | os.PathLike[str]) -> list[Path]:
    """Copy the samples' pictures, byte for byte, side by side into one folder.

    Args:
        samples: What to copy; files are named by their place and their sample's name.
        out: A new or empty folder.

    Returns:
        The files.

    Raises:
        ImageError: A picture has gone.
        OutputError: The folder has something in it, or a file cannot be written.
    """
    folder = Path(out)
    new_folder(folder)
    written = []
    for number, sample in enumerate(samples):
        stem = sample.name.replace("/", "-")[-_STEM:]
        path = folder / f"{number:04d}-{stem}{sample.image.suffix.lower()}"
        try:
            data = sample.image.read_bytes()
        except OSError as error:
            raise ImageError(f"{str(sample.image)!r}: cannot be read: {error.strerror}") from error
        write_atomic(path, data)
        written.append(path)
    return written
