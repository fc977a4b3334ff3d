"""Where the marks of the report's plots stand, in SVG units; the template draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.evaluation import scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portrait_sdk.evaluation.result import Evaluation

WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 40
_HEIGHT = 300
_MARGIN = 0.06  # of an axis, beyond the outermost value
_FLOOR = 1e-5  # of a logarithmic axis: an alpha that is exact
_TICKS = 6
_QUANTILES = 100
_ROW, _GAP = 11, 12  # of a scene's models, and between scenes
_LETTER = 6.5  # a label's letter is about so wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Values to positions."""

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    @classmethod
    def over(
        cls, values: list[float], begin: float, end: float, *, logarithmic: bool = False
    ) -> Axis:
        """An axis that holds all values with a margin."""
        found = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
        if logarithmic:
            found = [math.log10(max(v, _FLOOR)) for v in found]
        low, high = min(found), max(found)
        wide = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
        low, high = low - wide, high + wide
        return cls(low=low, high=high, begin=begin, end=end, logarithmic=logarithmic)

    def at(self, value: float) -> float:
        """Where a value lies."""
        place = math.log10(max(value, _FLOOR)) if self.logarithmic else value
        share = (place - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of round values."""
        return [(self.at(value), f"{value:.6g}") for value in self._round()]

    def _round(self) -> list[float]:
        if self.logarithmic:
            low, high = 10**self.low, 10**self.high
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            for steps in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
                found = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
                if len(found) > 2:  # noqa: PLR2004 - enough to read by
                    return found
        else:
            low, high = self.low, self.high
        rough = (high - low) / _TICKS
        step = 10.0 ** math.floor(math.log10(rough))
        step *= next(s for s in (1, 2, 5, 10) if s * step >= rough)
        first = math.ceil(low / step)
        return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)]


def plots(found: Evaluation, table: dict[str, Any]) -> list[dict[str, Any]]:
    """Every plot, as the template wants it."""
    made = [_speed(found, table), _spread(found)]
    return made + [_scenes(found, table, metric) for metric in ("mad", "iou") if table["scenes"]]


def _frame(title: str, x: Axis, y: Axis | None, height: float) -> dict[str, Any]:
    return {
        "title": title,
        "width": WIDTH,
        "height": height,
        "left": x.begin,
        "right": x.end,
        "top": _TOP,
        "bottom": height - _BOTTOM,
        "x_ticks": x.ticks(),
        "y_ticks": [] if y is None else y.ticks(),
        "lines": [],
        "whiskers": [],
        "marks": [],
        "labels": [],
        "x_label": "",
        "y_label": "",
    }


def _speed(found: Evaluation, table: dict[str, Any]) -> dict[str, Any]:
    """Quality beside time: one mark a model, its interval as a whisker."""
    means = {model: table["total"][model]["mad"] for model in found.models}
    times = {model: 1000 * table["seconds"][model]["median"] for model in found.models}
    x = Axis.over(list(times.values()), _LEFT, WIDTH - _RIGHT, logarithmic=True)
    ends = [cell[end] for cell in means.values() for end in ("low", "high")]
    y = Axis.over(ends, _HEIGHT - _BOTTOM, _TOP, logarithmic=True)
    plot = _frame("Error beside time", x, y, _HEIGHT)
    plot |= {"x_label": "milliseconds a photo, network alone", "y_label": "MAD"}
    for number, model in enumerate(found.models):
        cell = means[model]
        across, down = x.at(times[model]), y.at(cell["mean"])
        title = f"{model}: MAD {cell['mean']:.4f}, {times[model]:.1f} ms"
        plot["marks"].append({"x": across, "y": down, "model": number, "title": title})
        whisker = {"x1": across, "x2": across, "y1": y.at(cell["low"]), "y2": y.at(cell["high"])}
        plot["whiskers"].append({**whisker, "model": number})
    plot["labels"] = _beside([(m["x"], m["y"]) for m in plot["marks"]], found.models)
    return plot


def _beside(marks: list[tuple[float, float]], texts: Sequence[str]) -> list[dict[str, Any]]:
    """A label beside each mark, where it is clear of marks and labels if anywhere."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    labels = []
    for (x, y), text in zip(marks, texts, strict=True):
        wide = _LETTER * len(text)
        places = []
        for dy in (-6, 14, -18, 26):
            for anchor, left in (("start", x + 8), ("end", x - 8 - wide)):
                box = (left, y + dy - 10, left + wide, y + dy + 2)
                beyond = max(0.0, _LEFT - box[0]) + max(0.0, box[2] - WIDTH)
                beyond += max(0.0, box[3] - (_HEIGHT - _BOTTOM)) + max(0.0, -box[1])
                places.append((beyond + sum(_overlap(box, other) for other in taken), box, anchor))
        _, box, anchor = min(places, key=lambda place: place[0])
        taken.append(box)
        at = box[0] if anchor == "start" else box[2]
        labels.append({"x": round(at, 1), "y": box[3] - 2, "text": text, "anchor": anchor})
    return labels


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Of two boxes (left, top, right, bottom), in units of area."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, tall)


def _spread(found: Evaluation) -> dict[str, Any]:
    """The error of every share of the photos: one line a model."""
    shares = np.linspace(0, 1, _QUANTILES + 1)
    errors = found.column("mad")
    levels = np.nanquantile(errors, shares, axis=0)
    x = Axis(low=0, high=100, begin=_LEFT, end=WIDTH - _RIGHT)
    y = Axis.over(levels.ravel().tolist(), _HEIGHT - _BOTTOM, _TOP, logarithmic=True)
    plot = _frame("Errors of all photos, best to worst", x, y, _HEIGHT)
    plot |= {"x_label": "% of the photos have at most this error", "y_label": "MAD"}
    for number, model in enumerate(found.models):
        points = " ".join(
            f"{x.at(100 * share)},{y.at(level)}"
            for share, level in zip(shares, levels[:, number], strict=True)
        )
        plot["lines"].append({"points": points, "model": number, "title": model})
    return plot


def _scenes(found: Evaluation, table: dict[str, Any], metric: str) -> dict[str, Any]:
    """A row a scene: each model's mean and interval."""
    cells = {
        (scene, number): row["models"][model][metric]
        for scene, row in table["scenes"].items()
        for number, model in enumerate(found.models)
    }
    left = min(WIDTH / 3, 24 + _LETTER * max(len(scene) + 6 for scene in table["scenes"]))
    ends = [c[end] for c in cells.values() for end in ("low", "high") if c[end] is not None]
    x = Axis.over(ends, left, WIDTH - _RIGHT)
    block = len(found.models) * _ROW + _GAP
    height = _TOP + block * len(table["scenes"]) + _BOTTOM
    label = scores.METRICS[metric].label
    plot = _frame(f"{label} by scene", x, None, height)
    plot["x_label"] = label
    for place, (scene, row) in enumerate(table["scenes"].items()):
        top = _TOP + place * block + _GAP / 2
        middle = top + len(found.models) * _ROW / 2
        text = f"{scene} ({row['photos']})"
        plot["labels"].append({"x": left - 8, "y": middle + 4, "text": text, "anchor": "end"})
        for number, model in enumerate(found.models):
            cell = cells[scene, number]
            if cell["mean"] is None:
                continue
            down = round(top + (number + 0.5) * _ROW, 1)
            plot["whiskers"].append(
                {
                    "x1": x.at(cell["low"]),
                    "x2": x.at(cell["high"]),
                    "y1": down,
                    "y2": down,
                    "model": number,
                }
            )
            title = f"{scene}, {model}: {label} {cell['mean']:.4f}"
            plot["marks"].append(
                {"x": x.at(cell["mean"]), "y": down, "model": number, "title": title}
            )
    return plot
