"""What one alpha is scored by, and how tables print it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from portrait_sdk.evaluation import conventions, metrics, regions
from portrait_sdk.ops import threads

if TYPE_CHECKING:
    from portrait_sdk.types import AlphaF32, Trimap

BAND_RADIUS_PX = 4
"""Of the band around the mask's edge that ``mad_outside_band`` leaves out: as far as masks made by
people are off by."""
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A column of tables."""

    label: str
    what: str
    """In one line, with its scaling."""
    scale: float = 1.0
    """Tables print the value times this; ``values``, JSON and CSV hold it unscaled."""
    digits: int = 4
    higher_is_better: bool = False

    def text(self, value: float) -> str:
        """A value as tables print it."""
        return f"{value * self.scale:.{self.digits}f}" if math.isfinite(value) else "-"


def _sum(label: str, what: str) -> Metric:
    return Metric(label=label, what=f"{what}, / 1000", scale=1e-3, digits=2)


METRICS: dict[str, Metric] = {
    "mad": Metric(label="MAD", what="mean absolute difference, whole picture"),
    "mad_outside_band": Metric(
        label="MAD outside band",
        what=f"MAD but for {BAND_RADIUS_PX} pixels on either side of the truth's edge at 0.5",
    ),
    "mad_thresholded": Metric(
        label="MAD at 0.5", what="MAD of alpha cut at 0.5: what a hard edge would get"
    ),
    "mse": Metric(label="MSE", what="mean squared difference, whole picture"),
    "sad": _sum("SAD", "sum of absolute differences, whole picture"),
    "gradient": _sum("Gradient", "gradient error, whole picture"),
    "connectivity": _sum("Connectivity", "connectivity error, whole picture"),
    "iou": Metric(
        label="IoU", what="intersection over union at 0.5", digits=3, higher_is_better=True
    ),
    "boundary_iou": Metric(
        label="Boundary IoU",
        what="IoU of the inner edges, as wide as 2 % of the diagonal",
        digits=3,
        higher_is_better=True,
    ),
    "mad_unknown": Metric(label="MAD unknown", what="MAD over the unknown region"),
    "mse_unknown": Metric(label="MSE unknown", what="MSE over the unknown region"),
    "sad_unknown": _sum("SAD unknown", "SAD over the unknown region"),
    "gradient_unknown": _sum("Gradient unknown", "gradient error over the unknown region"),
    "connectivity_unknown": _sum("Connectivity unknown", "connectivity error, unknown region"),
    "dtssd": Metric(label="dtSSD", what="frame to frame, x 100", scale=100, digits=2),
    "messddt": Metric(label="MESSDdt", what="along the motion, x 1000", scale=1000, digits=2),
}
"""Ours, in the order of tables. The unknown region is the trimap's, or where there is none that of
``regions.region``."""


def described(convention: str | None) -> dict[str, Metric]:
    """All columns of a run: ours, then the convention's as ``NAME: LABEL``."""
    if convention is None:
        return METRICS
    theirs = {
        _key(convention, column.label): Metric(
            label=_key(convention, column.label),
            what=column.how,
            scale=10.0**column.power,
            digits=2 if column.power else 4,
        )
        for column in conventions.convention(convention).columns
    }
    return METRICS | theirs


def _key(convention: str, label: str) -> str:
    return f"{convention}: {label}"


Scores: TypeAlias = "dict[str, float | None]"
"""Unscaled values by column; None where there is no pixel to measure."""


class Truth:
    """One truth, ready to score many alphas against."""

    def __init__(
        self, truth: AlphaF32, trimap: Trimap | None = None, convention: str | None = None
    ) -> None:
        """Find its regions.

        Args:
            truth: float32 (H, W) in [0, 1].
            trimap: The dataset's, (H, W); None derives the unknown region from the truth.
            convention: Score by a paper's, too.

        Raises:
            ImageError: An array has another dtype, shape or range.
        """
        self._truth, self._trimap, self._convention = truth, trimap, convention
        self._unknown = regions.region("unknown", truth, trimap)
        cv2 = threads.opencv()
        side = 2 * BAND_RADIUS_PX + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        person = (truth > _HALF).astype(np.uint8)
        self._certain = cv2.dilate(person, disc) == cv2.erode(person, disc)

    def scores(self, alpha: AlphaF32) -> Scores:
        """Every metric of a single picture, unscaled; None where it has no pixel to measure.

        Args:
            alpha: float32 (H, W) in [0, 1].
        """
        truth, unknown = self._truth, self._unknown
        cut = (alpha > _HALF).astype(np.float32)
        found: Scores = {
            "mad": metrics.mad(alpha, truth),
            "mad_outside_band": metrics.mad(alpha, truth, region=self._certain),
            "mad_thresholded": metrics.mad(cut, truth),
            "iou": metrics.iou(alpha, truth),
            "boundary_iou": metrics.boundary_iou(alpha, truth),
            "mse": metrics.mse(alpha, truth),
            "sad": metrics.sad(alpha, truth),
            "gradient": metrics.gradient(alpha, truth),
            "connectivity": metrics.connectivity(alpha, truth),
        }
        if unknown is not None and unknown.any():
            found |= {
                "mad_unknown": metrics.mad(alpha, truth, region=unknown),
                "mse_unknown": metrics.mse(alpha, truth, region=unknown),
                "sad_unknown": metrics.sad(alpha, truth, region=unknown),
                "gradient_unknown": metrics.gradient(alpha, truth, region=unknown),
                "connectivity_unknown": metrics.connectivity(alpha, truth, region=unknown),
            }
        name = self._convention
        if name is not None:
            theirs = conventions.measure(name, alpha, truth, self._trimap)
            found |= {_key(name, label): value for label, value in theirs.items()}
        return _finite(found)


Frame: TypeAlias = "tuple[AlphaF32, AlphaF32]"
"""An alpha and its truth."""


def temporal(before: Frame | None, after: Frame, convention: str | None) -> Scores:
    """The temporal metrics of a clip's frame, against the one before it.

    Args:
        before: None for a clip's first frame.
        after: The frame.
        convention: As for :class:`Truth`.
    """
    found: Scores = {}
    if before is not None:
        alphas, truths = zip(before, after, strict=True)
        found["dtssd"] = metrics.dtssd(alphas, truths)
        found["messddt"] = metrics.messddt(alphas, truths)
    columns = () if convention is None else conventions.convention(convention).columns
    for column in columns:
        key = _key(str(convention), column.label)
        if column.metric in found:
            found[key] = found[column.metric]
        elif column.of_sequences and column.options.get("first_frame_counts"):
            found[key] = 0.0
    return _finite(found)


def _finite(found: Scores) -> Scores:
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in found.items()
    }
