"""How papers scale, restrict and vary the metrics, as data; so that rows can be compared.

Each convention is named after the evaluation whose numbers it gives::

    raw = measure("p3m", alpha, truth)  # per picture; average over the set
    for cell in row("p3m", raw):
        print(cell.label, cell.value, cell.how)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from portrait_sdk.errors import OptionError
from portrait_sdk.evaluation import metrics, regions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portrait_sdk.evaluation.metrics import Alpha
    from portrait_sdk.evaluation.temporal import Frames
    from portrait_sdk.types import Trimap


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One number of a paper's row."""

    label: str
    """As the paper prints it."""
    metric: str
    """A function of ``metrics``."""
    power: int = 0
    """What is printed is the raw value times ten to this power."""
    region: regions.Name = "whole"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the function: the variant."""

    @property
    def of_sequences(self) -> bool:
        """Whether it is measured between frames."""
        return self.metric in ("dtssd", "messddt")

    @property
    def how(self) -> str:
        """Scaling, region and variant, to stand beside the number."""
        sign = "x" if self.power > 0 else "/"
        scaling = f"{self.metric} {sign} {10 ** abs(self.power)}" if self.power else self.metric
        place = "whole picture" if self.region == "whole" else f"{self.region} region"
        return ", ".join([scaling, place, *(f"{k}={v}" for k, v in self.options.items())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How one evaluation makes its row."""

    name: str
    source: str
    columns: tuple[Column, ...]
    known_from_trimap: bool = False
    """Before anything is measured, alpha becomes 1 and 0 where the trimap is 255 and 0."""
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number as a paper prints it."""

    label: str
    value: float
    how: str
    """Which scaling was applied, over which region, by which variant."""


def _by_trimap(name: str, source: str, notes: str) -> Convention:
    unknown: dict[str, Any] = {"region": "unknown"}
    return Convention(
        name=name,
        source=source,
        columns=(
            Column(label="SAD", metric="sad", power=-3, **unknown),
            Column(label="MSE", metric="mse", **unknown),
            Column(label="Grad", metric="gradient", power=-3, options={"stretch": True}, **unknown),
            Column(label="Conn", metric="connectivity", power=-3, **unknown),
        ),
        known_from_trimap=True,
        notes=notes,
    )


CONVENTIONS: Mapping[str, Convention] = {
    convention.name: convention
    for convention in (
        _by_trimap(
            "dim",
            'the MATLAB evaluation of Xu et al., "Deep Image Matting", CVPR 2017',
            "For methods that are given a trimap. Ports without the stretch (GCA, MGMatting) print "
            "other gradients, and another connectivity: component=any.",
        ),
        _by_trimap(
            "mmagic",
            "mmagic's SAD, MattingMSE, GradientError and ConnectivityError; PaddleSeg's alike",
            "PaddleSeg measures over the whole picture where a model is given no trimap.",
        ),
        Convention(
            name="p3m",
            source='the evaluation of Li et al., "Privacy-Preserving Portrait Matting", MM 2021',
            columns=(
                Column(label="SAD", metric="sad", power=-3),
                Column(label="MSE", metric="mse"),
                Column(label="MAD", metric="mad"),
                Column(label="Grad", metric="gradient", power=-1, options={"kernel": "unit-sum"}),
                Column(
                    label="Conn", metric="connectivity", power=-3, options={"when_empty": "skip"}
                ),
            ),
            notes="For methods without a trimap; with one, P3M's rows are over the unknown region.",
        ),
        Convention(
            name="rvm",
            source='the low-resolution evaluation of Lin et al., "Robust High-Resolution Video '
            'Matting with Temporal Guidance", WACV 2022',
            columns=(
                Column(label="MAD", metric="mad", power=3),
                Column(label="MSE", metric="mse", power=3),
                Column(label="Grad", metric="gradient", power=-3, options={"stretch": True}),
                Column(label="Conn", metric="connectivity", power=-3),
                Column(
                    label="dtSSD", metric="dtssd", power=2, options={"first_frame_counts": True}
                ),
            ),
            notes="On frames saved in 8 bits; means over frames, then over clips. At high "
            "resolution the gradient is not stretched, and there is no connectivity.",
        ),
    )
}


def convention(name: str) -> Convention:
    """Look a convention up.

    Raises:
        OptionError: There is none of this name.
    """
    if name not in CONVENTIONS:
        near = get_close_matches(name, CONVENTIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OptionError(
            f"convention: expected one of {', '.join(CONVENTIONS)}; got {name!r}{hint}"
        )
    return CONVENTIONS[name]


def measure(
    name: str, alpha: Alpha, truth: Alpha, trimap: Trimap | None = None
) -> dict[str, float]:
    """Raw values of one picture by a convention's variants and regions, by label.

    Args:
        name: Of the convention.
        alpha: The estimate, float32 or float64 (H, W) in [0, 1].
        truth: What it should be, likewise.
        trimap: Of the data set; None: derived from the truth, see ``regions.region``.

    Returns:
        One value for each column but those of sequences; NaN for a mean over no pixel.

    Raises:
        ImageError: An array has another dtype, shape or range.
        OptionError: There is no such convention.
    """
    chosen = convention(name)
    masks = {c.region: regions.region(c.region, truth, trimap) for c in chosen.columns}
    if chosen.known_from_trimap:
        alpha = regions.known_from_trimap(alpha, truth, trimap)
    return {
        c.label: getattr(metrics, c.metric)(alpha, truth, region=masks[c.region], **c.options)
        for c in chosen.columns
        if not c.of_sequences
    }


def measure_sequence(name: str, alpha: Frames, truth: Frames) -> dict[str, float]:
    """Raw values of one sequence, of the columns that lie between frames, by label.

    Args:
        name: Of the convention.
        alpha: Frames of the estimate, see ``temporal``.
        truth: Those of the truth.

    Raises:
        ImageError: As ``metrics.dtssd``.
        OptionError: There is no such convention.
    """
    columns = [c for c in convention(name).columns if c.of_sequences]
    return {c.label: getattr(metrics, c.metric)(alpha, truth, **c.options) for c in columns}


def row(name: str, raw: Mapping[str, float]) -> list[Cell]:
    """Raw values as the paper prints them, with how beside each.

    Args:
        name: Of the convention.
        raw: By label, such as means over a set of what :func:`measure` returned; labels that the
            convention does not have are refused, those that are not there left out.

    Raises:
        OptionError: There is no such convention, or it has no such label.
    """
    chosen = convention(name)
    labels = [c.label for c in chosen.columns]
    unknown = [label for label in raw if label not in labels]
    if unknown:
        raise OptionError(f"{name}: expected {', '.join(labels)}; got {', '.join(unknown)}")
    return [
        Cell(label=c.label, value=_scaled(raw[c.label], c.power), how=c.how)
        for c in chosen.columns
        if c.label in raw
    ]


def _scaled(value: float, power: int) -> float:
    """Ten to a positive power is exact, a tenth is not."""
    factor = float(10 ** abs(power))
    return value * factor if power > 0 else value / factor
