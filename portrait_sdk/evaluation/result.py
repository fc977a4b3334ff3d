"""What a run of several models on one dataset found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portrait_sdk.evaluation.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portrait_sdk.evaluation.statistics import F64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One evaluated picture."""

    name: str
    scenes: tuple[str, ...]
    group: str | None
    """Photos of one group count as one piece of evidence: see ``statistics``."""
    height: int
    """Of the truth, at whose size alpha is scored."""
    width: int
    resized: bool
    """Whether the picture has another size than its truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A picture that counts for no model, and why."""

    name: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """What a dataset's layout has of one kind of defect."""

    kind: str
    count: int
    first: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """What a run found; ``report`` makes tables and files of it."""

    facts: Mapping[str, Any]
    """What was evaluated, how, and on what machine."""
    models: tuple[str, ...]
    """Names; the second axis of ``values``."""
    metrics: tuple[str, ...]
    """Keys of ``scores.METRICS``, and the convention's; the third axis of ``values``."""
    photos: tuple[Photo, ...]
    """The first axis of ``values``; pictures that failed are not among them."""
    values: F64Array
    """(photos, models, metrics), unscaled; NaN where a photo has no such value."""
    seconds: F64Array
    """(photos, models): wall time of the network alone, without what surrounds it."""
    failures: tuple[Failure, ...]
    problems: tuple[Problems, ...]
    """What the dataset's layout has of orphans and strays, of all its splits and scenes; those
    files took no part."""
    gallery: Gallery = field(default_factory=Gallery, repr=False)

    def column(self, metric: str) -> F64Array:
        """One metric's values: (photos, models)."""
        return self.values[:, :, self.metrics.index(metric)]
