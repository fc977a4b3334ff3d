"""The report as one HTML file that asks for nothing else: tables, plots, pictures."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.evaluation import gallery, plots, scores, statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portrait_sdk.evaluation.result import Evaluation

LAYERS = ("photo", "alpha", "truth", "error")
_PHOTOS = 1000  # rows of the table of photos: with six models about 1 MB
_FAILURES = 100


def require_jinja2() -> Any:  # noqa: ANN401 - the module
    """Import and return jinja2; raise OptionError where it is not installed."""
    try:
        import jinja2
    except ImportError as error:
        raise OptionError(
            "the HTML report needs jinja2, not installed: `pip install 'portrait-sdk[evaluate]'` "
            "brings it, and --no-html does without"
        ) from error
    return jinja2


def render(found: Evaluation, table: dict[str, Any]) -> str:
    """The page.

    Its pictures take at most 16 MB, and its table lists at most 1000 photos, so that it stays below
    20 MB whatever the dataset.

    Args:
        found: What ``evaluate`` returned.
        table: What ``report.summary`` made of it.

    Raises:
        OptionError: jinja2 is not installed.
    """
    jinja2 = require_jinja2()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("portrait_sdk.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text: str = environment.get_template("report.html.j2").render(_context(found, table))
    return text


def _context(found: Evaluation, table: dict[str, Any]) -> dict[str, Any]:
    data = table["facts"]["dataset"]
    columns = scores.described(table["facts"]["convention"])
    photo_rows = _photo_rows(found)
    count = len(found.models)
    return {
        "title": f"{count} {'model' if count == 1 else 'models'} on {Path(data['root']).name}",
        "about": table["about"],
        "confidence": round(100 * statistics.CONFIDENCE),
        "models": found.models,
        "model_columns": [
            ("model", ""),
            ("ms", "network alone, median and quartiles"),
            *((columns[m].label, columns[m].what) for m in found.metrics),
        ],
        "model_rows": _model_rows(found, table, columns),
        "explained": [(columns[m].label, columns[m].what) for m in found.metrics],
        "plots": plots.plots(found, table),
        "scene_columns": [(model, "") for model in found.models],
        "scene_rows": _scene_rows(found, table),
        "differences": _differences(table),
        "layers": LAYERS,
        "galleries": _galleries(found),
        "left_out": found.gallery.left_out,
        "photo_columns": [(model, "") for model in found.models],
        "photo_rows": photo_rows,
        "photos_left_out": len(found.photos) - len(photo_rows),
        "failures": table["failures"][:_FAILURES],
        "failures_left_out": max(0, len(table["failures"]) - _FAILURES),
        "problems": table["problems"],
        "notes": _notes(table),
        "pictures": {
            key: base64.b64encode(picture).decode("ascii")
            for key, picture in found.gallery.pictures.items()
        },
    }


def _cell(metric: scores.Metric, value: float | None, best: float | None, ends: str = "") -> Any:  # noqa: ANN401
    known = value is not None and math.isfinite(value)
    return {
        "value": f"{value:.6g}" if known else "",
        "text": metric.text(math.nan if value is None else value),
        "ends": ends,
        "best": known and best is not None and metric.text(best) == metric.text(value or 0.0),
    }


def _best(metric: scores.Metric, values: Sequence[float | None]) -> float | None:
    """The best of several; None where there is nothing to choose between."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if len(values) < 2:  # noqa: PLR2004 - to choose between
        return None
    return (max if metric.higher_is_better else min)(known, default=None)


def _model_rows(
    found: Evaluation, table: dict[str, Any], columns: dict[str, scores.Metric]
) -> list[dict[str, Any]]:
    total, milliseconds = table["total"], scores.Metric(label="ms", what="", scale=1000, digits=1)
    best = {
        name: _best(columns[name], [total[model][name]["mean"] for model in found.models])
        for name in found.metrics
    }
    times = {model: table["seconds"][model] for model in found.models}
    quickest = _best(milliseconds, [time["median"] for time in times.values()])
    rows = []
    for model in table["ranking"]:
        time = times[model]
        cells = [_cell(milliseconds, time["median"], quickest, _ends(milliseconds, time))]
        cells += [
            _cell(columns[name], cell["mean"], best[name], _ends(columns[name], cell))
            for name, cell in total[model].items()
        ]
        rows.append({"model": model, "number": found.models.index(model), "cells": cells})
    return rows


def _ends(metric: scores.Metric, cell: dict[str, Any]) -> str:
    if cell["low"] is None:
        return ""
    return f"{metric.text(cell['low'])} to {metric.text(cell['high'])}"


def _scene_rows(found: Evaluation, table: dict[str, Any]) -> list[dict[str, Any]]:
    metric, beneath = scores.METRICS["mad"], scores.METRICS["iou"]
    rows = []
    for scene, row in table["scenes"].items():
        cells = [row["models"][model] for model in found.models]
        best = _best(metric, [cell["mad"]["mean"] for cell in cells])
        rows.append(
            {
                "scene": scene,
                "photos": row["photos"],
                "cells": [
                    _cell(metric, cell["mad"]["mean"], best, beneath.text(cell["iou"]["mean"]))
                    for cell in cells
                ],
            }
        )
    return rows


def _differences(table: dict[str, Any]) -> list[dict[str, Any]]:
    both = zip(table["differences"]["mad"], table["differences"]["iou"], strict=True)
    return [
        {
            "first": mad["model"],
            "second": mad["other"],
            "mad": f"{mad['mean']:+.4f}",
            "mad_low": mad["low"],
            "mad_ends": f"{mad['low']:+.4f} to {mad['high']:+.4f}",
            "better": f"{mad['lower']} of {mad['count']}",
            "share": mad["lower"] / mad["count"],
            "iou": f"{iou['mean']:+.3f}",
            "iou_low": iou["low"],
            "iou_ends": f"{iou['low']:+.3f} to {iou['high']:+.3f}",
            "verdict": ", ".join("yes" if one["clear"] else "no" for one in (mad, iou)),
        }
        for mad, iou in both
    ]


def _galleries(found: Evaluation) -> list[dict[str, Any]]:
    parts = []
    for model in found.models:
        own = [figure for figure in found.gallery.figures if figure.model == model]
        ranks = [(rank, [f for f in own if f.rank == rank]) for rank in gallery.RANKS]
        if own:
            parts.append({"model": model, "ranks": [(rank, some) for rank, some in ranks if some]})
    return parts


def _photo_rows(found: Evaluation) -> list[dict[str, Any]]:
    metric = scores.METRICS["mad"]
    errors = found.column("mad")
    order = np.argsort(-errors.mean(axis=1), kind="stable")[:_PHOTOS]
    rows = []
    for i in order.tolist():
        photo, values = found.photos[i], errors[i].tolist()
        rows.append(
            {
                "name": photo.name,
                "scenes": ", ".join(photo.scenes),
                "size": f"{photo.width} x {photo.height}",
                "pixels": photo.width * photo.height,
                "cells": [_cell(metric, value, _best(metric, values)) for value in values],
            }
        )
    return rows


def _notes(table: dict[str, Any]) -> list[str]:
    facts, machine = table["facts"], table["facts"]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    percent = round(100 * statistics.CONFIDENCE)
    lines = [
        (
            f"portrait_sdk {facts['portrait_sdk']} on {machine['system']}, {machine['processor']}; "
            f"{versions}"
        ),
        (
            f"Pictures at their own size, alpha by refine={facts['refine']}, scored at the truth's "
            f"size; {table['resized']} of {table['photos']} have a truth of another size."
        ),
        (
            "Time is the wall time of the network alone, median and quartiles; models take turns "
            "on each picture, the first run of each is left out."
        ),
        (
            f"Intervals: bootstrap over photos, {statistics.RESAMPLES} draws, seed "
            f"{table['seed']}, {percent} % percentiles; photos of one group or clip are drawn "
            "together."
        ),
    ]
    for label, model in facts["models"].items():
        lines.append(
            f"{label}: {model['file']}, {model['bytes'] / 1e6:.1f} MB, {model['license']}, "
            f"{model['precision']}, {model['provider']}, {model['threads']} threads, "
            f"SHA-256 {model['sha256'][:16]}…"
        )
    return lines
