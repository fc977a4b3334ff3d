"""Means over photos, how sure they are, and how sure a difference between two models is.

All by the percentile bootstrap: photos are drawn anew with replacement, as many as there are, and
the mean is taken again; the middle 95 % of those means is the interval. Photos of one group (near
duplicates, frames of one video) are drawn together, as they are no independent evidence. Models are
compared photo by photo, on the same draws.

Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

F64Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 2000
"""How often photos are drawn anew: another seed moves an interval's ends by a fiftieth of its width
or so."""
CONFIDENCE = 0.95
_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_AT_ONCE = 1 << 22  # draws held in memory: photos times resamples


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over photos, and the interval that holds 95 % of the resampled means."""

    mean: float
    low: float
    high: float
    count: int
    """Photos that have a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One model's mean less another's, on the same photos."""

    model: str
    other: str
    interval: Interval
    lower: int
    """Photos where ``model`` has the lower value."""
    higher: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0. Not corrected for the number of comparisons."""
        return self.interval.low > 0 or self.interval.high < 0


def means(values: F64Array) -> F64Array:
    """Mean over the first axis, leaving out NaN; NaN where nothing is left."""
    valid = np.isfinite(values)
    counts = valid.sum(axis=0)
    sums = np.where(valid, values, 0).sum(axis=0)
    return _divided(sums, counts)


def intervals(values: F64Array, groups: Sequence[str | None], seed: int) -> list[Interval]:
    """The mean of each column of ``values`` with its interval.

    Args:
        values: (photos, columns); NaN where a photo has no value.
        groups: Of each photo; None: a group of its own.
        seed: Of the draws; the same gives the same intervals.
    """
    lows, highs = _quantiles(values, groups, seed)
    counts = np.isfinite(values).sum(axis=0)
    return [
        Interval(mean=float(mean), low=float(low), high=float(high), count=int(count))
        for mean, low, high, count in zip(means(values), lows, highs, counts, strict=True)
    ]


def differences(
    values: F64Array, names: Sequence[str], groups: Sequence[str | None], seed: int
) -> list[list[Difference]]:
    """Every model against every one after it, on the photos that both have a value for.

    Args:
        values: (photos, models, metrics).
        names: Of the models.
        groups: As for :func:`intervals`.
        seed: Likewise.

    Returns:
        For each metric, its pairs.
    """
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    metrics = values.shape[2]
    if not pairs:
        return [[] for _ in range(metrics)]
    apart = np.stack([values[:, a] - values[:, b] for a, b in pairs], axis=2)
    # One metric's pairs side by side; all share the same draws.
    found = intervals(apart.reshape(len(values), -1), groups, seed)
    lower, higher = (apart < 0).sum(axis=0), (apart > 0).sum(axis=0)
    return [
        [
            Difference(
                model=names[a],
                other=names[b],
                interval=found[metric * len(pairs) + pair],
                lower=int(lower[metric, pair]),
                higher=int(higher[metric, pair]),
            )
            for pair, (a, b) in enumerate(pairs)
        ]
        for metric in range(metrics)
    ]


def _quantiles(
    values: F64Array, groups: Sequence[str | None], seed: int
) -> tuple[F64Array, F64Array]:
    """The ends of each column's interval; NaN where it has no value."""
    numbers = _numbers(groups)
    count = int(numbers.max()) + 1 if len(numbers) else 0
    if count == 0:
        empty = np.full(values.shape[1], np.nan)
        return empty, empty
    valid = np.isfinite(values)
    sums = np.zeros((count, values.shape[1]))
    sizes = np.zeros_like(sums)
    np.add.at(sums, numbers, np.where(valid, values, 0))
    np.add.at(sizes, numbers, valid)
    resampled = np.concatenate([_resampled(drawn, sums, sizes) for drawn in _draws(count, seed)])
    with np.errstate(invalid="ignore"):
        filled = np.isfinite(resampled).any(axis=0)
    ends = np.full((2, values.shape[1]), np.nan)
    if filled.any():
        ends[:, filled] = np.nanquantile(resampled[:, filled], _TAILS, axis=0)
    return ends[0], ends[1]


def _numbers(groups: Sequence[str | None]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A number for each photo's group."""
    known: dict[object, int] = {}
    keys: list[object] = [(i,) if group is None else group for i, group in enumerate(groups)]
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)


def _draws(count: int, seed: int) -> Iterator[F64Array]:
    """How often each group is drawn, in blocks of (resamples, groups)."""
    rng = np.random.default_rng(seed)
    block = max(1, _AT_ONCE // count)
    for first in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - first)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        flat = np.bincount(drawn.ravel(), minlength=rows * count)
        yield flat.reshape(rows, count).astype(np.float64)


def _resampled(drawn: F64Array, sums: F64Array, sizes: F64Array) -> F64Array:
    """The means of the drawn groups' photos: (resamples, columns)."""
    total, photos = drawn @ sums, drawn @ sizes
    return _divided(total, photos)


def _divided(sums: F64Array, counts: F64Array) -> F64Array:
    """A mean; NaN of nothing."""
    out = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=out, where=counts > 0)
    return out
