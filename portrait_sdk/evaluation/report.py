"""An evaluation as tables: for people, for programs, and as files in a folder."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait_sdk.bench import Timing
from portrait_sdk.errors import OutputError
from portrait_sdk.evaluation import scores, statistics
from portrait_sdk.media import write_atomic

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from portrait_sdk.evaluation.result import Evaluation
    from portrait_sdk.evaluation.statistics import F64Array

SEED = 1
"""Of the bootstrap's draws, by default."""
_DIGITS = 6  # significant, of single values in files
_SHOWN = (
    "mad",
    "mad_outside_band",
    "mad_thresholded",
    "mse",
    "sad",
    "gradient",
    "connectivity",
    "iou",
    "boundary_iou",
    "mad_unknown",
    "dtssd",
    "messddt",
)
"""Columns on a terminal."""
_PAIRS = 15  # lines of differences on a terminal: six models


def summary(found: Evaluation, *, seed: int = SEED) -> dict[str, Any]:
    """Tables of means over photos, ready for JSON.

    Args:
        found: What ``evaluate`` returned.
        seed: Of the bootstrap's draws; the same gives the same intervals.

    Returns:
        ``about``, a sentence; ``facts``; ``photos``, ``failed``, ``resized``, numbers;
        ``metrics``: each with ``label``, ``what`` (scaling, region), ``scale``,
        ``higher_is_better``;
        ``ranking``: models by mean MAD; ``total``: model → metric → ``mean``, ``low``, ``high``
        (95 % interval), ``count``; ``scenes``: likewise for each scene, with its ``photos``;
        ``differences``: metric → pairs of models; ``seconds``: model → ``median``, ``low``,
        ``high`` (quartiles); ``failures``, ``problems``. Values are unscaled, None where there
        are none.
    """
    columns = scores.described(found.facts["convention"])
    total = _table(found, found.values, [p.group for p in found.photos], seed)
    scenes = {}
    for scene in sorted({scene for photo in found.photos for scene in photo.scenes}):
        chosen = [i for i, photo in enumerate(found.photos) if scene in photo.scenes]
        groups = [found.photos[i].group for i in chosen]
        scenes[scene] = {
            "photos": len(chosen),
            "models": _table(found, found.values[chosen], groups, seed),
        }
    return {
        "about": _about(found),
        "facts": found.facts,
        "photos": len(found.photos),
        "failed": len(found.failures),
        "resized": sum(photo.resized for photo in found.photos),
        "confidence": statistics.CONFIDENCE,
        "seed": seed,
        "metrics": {
            name: {
                "label": columns[name].label,
                "what": columns[name].what,
                "scale": columns[name].scale,
                "higher_is_better": columns[name].higher_is_better,
            }
            for name in found.metrics
        },
        "ranking": sorted(found.models, key=lambda model: total[model]["mad"]["mean"]),
        "total": total,
        "scenes": scenes,
        "differences": _differences(found, seed),
        "seconds": {
            model: asdict(Timing.of(found.seconds[:, number].tolist()))
            for number, model in enumerate(found.models)
        },
        "failures": [asdict(failure) for failure in found.failures],
        "problems": [asdict(problem) for problem in found.problems],
    }


def _table(
    found: Evaluation, values: F64Array, groups: Sequence[str | None], seed: int
) -> dict[str, Any]:
    """Model → metric → interval."""
    flat = statistics.intervals(values.reshape(len(values), -1), groups, seed)
    cells = iter(_plain(asdict(interval)) for interval in flat)
    return {model: {metric: next(cells) for metric in found.metrics} for model in found.models}


def _differences(found: Evaluation, seed: int) -> dict[str, Any]:
    groups = [photo.group for photo in found.photos]
    by_metric = statistics.differences(found.values, found.models, groups, seed)
    return {
        metric: [
            {
                "model": pair.model,
                "other": pair.other,
                **_plain(asdict(pair.interval)),
                "lower": pair.lower,
                "higher": pair.higher,
                "clear": pair.clear,
            }
            for pair in pairs
        ]
        for metric, pairs in zip(found.metrics, by_metric, strict=True)
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def images(found: Evaluation) -> Iterator[dict[str, Any]]:
    """Every photo of every model: name, scenes, size, unscaled values, seconds."""
    for i, photo in enumerate(found.photos):
        for j, model in enumerate(found.models):
            values = zip(found.metrics, found.values[i, j], strict=True)
            yield {
                "photo": photo.name,
                "model": model,
                "scenes": " ".join(photo.scenes),
                "height": photo.height,
                "width": photo.width,
                **{name: _rounded(value) for name, value in values},
                "seconds": _rounded(found.seconds[i, j]),
            }


def _rounded(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def as_csv(found: Evaluation) -> str:
    """One line for each photo and model, failures at the end."""
    out = io.StringIO()
    names = ["photo", "model", "scenes", "height", "width", *found.metrics, "seconds", "error"]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(images(found))
    writer.writerows({"photo": f.name, "error": f.error} for f in found.failures)
    return out.getvalue()


def as_text(table: dict[str, Any]) -> str:
    """What a terminal shows of a :func:`summary`: models by MAD, scenes, differences."""
    lines = [table["about"], ""]
    shown = [name for name in table["metrics"] if name in _SHOWN or ": " in name]
    columns = scores.described(table["facts"]["convention"])
    rows = [["", *(columns[name].label for name in shown), "ms"]]
    for number, model in enumerate(table["ranking"], start=1):
        cells = table["total"][model]
        values = [columns[name].text(_value(cells[name]["mean"])) for name in shown]
        rows.append([f"{number}  {model}", *values, f"{_ms(table, model):.1f}"])
    lines += _aligned(rows)
    lines += ["", *(f"{columns[n].label}: {columns[n].what}" for n in shown)]
    lines += ["", "95 % intervals of MAD and IoU, by the bootstrap over photos:"]
    for model in table["ranking"]:
        ends = [
            f"{columns[name].label} {columns[name].text(_value(cell['low']))} to "
            f"{columns[name].text(_value(cell['high']))}"
            for name in ("mad", "iou")
            for cell in [table["total"][model][name]]
        ]
        lines.append(f"  {model}: {', '.join(ends)}")
    lines += _scene_lines(table)
    lines += _difference_lines(table)
    return "\n".join(lines)


def _about(found: Evaluation) -> str:
    """What was evaluated, in a sentence."""
    data = found.facts["dataset"]
    parts = [f"{data['kind']}:{data['root']}"]
    parts += [f"{name} {data[name]}" for name in ("split", "scene") if data[name]]
    count = len(found.photos)
    parts.append(f"{count} {'photo' if count == 1 else 'photos'}, {len(found.failures)} failed")
    model = next(iter(found.facts["models"].values()))
    parts.append(
        f"refine {found.facts['refine']}; time of the network alone, median, models taking turns, "
        f"{model['provider']}, {model['threads']} threads of {found.facts['machine']['processor']}"
    )
    return "; ".join(parts)


def _scene_lines(table: dict[str, Any]) -> list[str]:
    if not table["scenes"]:
        return []
    metric = scores.METRICS["mad"]
    rows = [["MAD by scene", "photos", *table["ranking"]]]
    for scene, found in table["scenes"].items():
        means = [_value(found["models"][model]["mad"]["mean"]) for model in table["ranking"]]
        rows.append([scene, str(found["photos"]), *map(metric.text, means)])
    return ["", *_aligned(rows)]


def _difference_lines(table: dict[str, Any]) -> list[str]:
    pairs = table["differences"]["mad"]
    if not pairs:
        return []
    best = table["ranking"][0]
    if len(pairs) > _PAIRS:
        pairs = [pair for pair in pairs if best in (pair["model"], pair["other"])]
    lines = ["", "MAD, photo by photo (95 % interval of the mean difference):"]
    for pair in pairs:
        low, high = _value(pair["low"]), _value(pair["high"])
        verdict = "" if pair["clear"] else "; not clear"
        lines.append(
            f"  {pair['model']} - {pair['other']}: {_value(pair['mean']):+.4f} ({low:+.4f} to "
            f"{high:+.4f}), better on {pair['lower']} of {pair['count']}{verdict}"
        )
    return lines


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _value(value: float | None) -> float:
    return math.nan if value is None else value


def _ms(table: dict[str, Any], model: str) -> float:
    return 1000 * float(table["seconds"][model]["median"])


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those above it, unless it is there.

    Raises:
        OutputError: It cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


def write(
    found: Evaluation,
    folder: str | os.PathLike[str],
    table: dict[str, Any] | None = None,
    *,
    html: bool = True,
) -> list[Path]:
    """Write ``report.json``, ``images.csv`` and ``report.html`` into a folder, made if need be.

    Args:
        found: What ``evaluate`` returned.
        folder: Where to; files of these names are replaced.
        table: What :func:`summary` made of it; None makes one.
        html: Whether to write the page, which needs jinja2.

    Returns:
        The files.

    Raises:
        OptionError: jinja2 is not installed.
        OutputError: A file cannot be written.
    """
    folder = make_folder(folder)
    table = summary(found) if table is None else table
    files = {
        "report.json": json.dumps({**table, "images": list(images(found))}, indent=1),
        "images.csv": as_csv(found),
    }
    if html:
        from portrait_sdk.evaluation import page

        files["report.html"] = page.render(found, table)
    for name, text in files.items():
        # A file's name may hold bytes that are no UTF-8.
        write_atomic(folder / name, text.encode("utf-8", "backslashreplace"))
    return [folder / name for name in files]
