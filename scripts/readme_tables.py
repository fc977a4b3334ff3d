"""Writes the tables of README and of the model cards from benchmarks/results/*.json.

``--check`` only compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
_PICTURES = ("enlarged, 12 MP", "mosaic, 12 MP")
"""Which of the measured inputs README shows."""


def _result(name: str) -> dict[str, Any] | None:
    """One result file; None where that was not measured."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def models() -> str:
    """The rows, and the sentence that says what they are."""
    result = _result("models")
    assert result is not None
    lines = [
        "| model | licence | size | MAD | IoU at 0.5 | time a photo |",
        "|---|---|---|---|---|---|",
        *map(_model_row, result["rows"]),
        "",
        (
            f"{result['photos']} street-fashion photos with masks made by people (Clothing "
            "Co-Parsing, the list in its `validation.txt`), alpha at the photo's size, mean over "
            f"photos; median time of the network alone, {result['threads']} threads of "
            f"{result['machine']['processor']}, models taking turns. The masks are binary with "
            "rough edges, which flatters hard alphas: see the model card."
        ),
        "",
    ]
    return "\n".join(lines)


def _model_row(row: dict[str, Any]) -> str:
    milliseconds = 1000 * row["seconds"]["median"]
    return (
        f"| `{row['model']}` | {row['license']} | {row['bytes'] / 1e6:.1f} MB | {row['mad']:.4f} "
        f"| {row['iou']:.3f} | {milliseconds:.0f} ms |"
    )


def peers() -> str:
    """Every comparison that was measured, as time and ratio."""
    rows = [*_kernel_rows(), *_foreground_rows(), *_png_rows(), *_process_rows(), *_folder_rows()]
    machines = {
        f"{result['machine']['threads']} threads of {result['machine']['processor']}"
        for name in ("kernels", "foreground", "png", "process", "folder")
        if (result := _result(name)) is not None
    }
    whole = (
        ""
        if _result("process") is None
        else (
            " Whole processes go from a JPEG to a PNG on disk, with peak memory; only `rembg -a` "
            "estimates foreground colours as we do."
        )
    )
    lines = [
        "| 12 megapixels | Portrait SDK | against | theirs | ratio |",
        "|---|---|---|---|---|",
        *rows,
        "",
        (
            f"Medians on {' and '.join(sorted(machines))}, the two taking turns; results compared "
            f"before they are timed.{whole}"
        ),
        *_runtime_sentence(),
        "",
    ]
    return "\n".join(lines)


def _row(what: str, ours: str, against: str, theirs: str, ratio: float) -> str:
    return f"| {what} | {ours} | {against} | {theirs} | {ratio:.1f}x |"


def _kernel_rows() -> Iterator[str]:
    result = _result("kernels")
    rows = {} if result is None else result["inputs"]["mosaic, 12 MP"]
    for name, row in rows.items():
        what, _, against = name.rpartition(": ")
        yield _row(what, _time(row["ours"]), against, _time(row["theirs"]), row["ratio"])


def _foreground_rows() -> Iterator[str]:
    result = _result("foreground")
    for picture in _PICTURES if result is not None else ():
        assert result is not None
        times = result["inputs"][picture]["times"]
        for method in ("multilevel", "multilevel-fast", "blur-fusion"):
            against = "OpenCV blur fusion" if method == "blur-fusion" else "PyMatting"
            row = times[f"{method}, uint8"]
            yield _row(
                f"foreground, {method} ({_short(picture)})",
                _time(row),
                against.removesuffix(" blur fusion"),
                _time(times[against]),
                row["ratio"],
            )


def _png_rows() -> Iterator[str]:
    result = _result("png")
    for picture in _PICTURES if result is not None else ():
        assert result is not None
        variants = result["pictures"][f"{picture}, clean foreground"]
        ours = variants["portrait_sdk"]
        for against, row in variants.items():
            if against != "portrait_sdk":
                yield _row(
                    f"PNG of a cutout ({_short(picture)})",
                    f"{_time(ours)}, {_megabytes(ours)}",
                    against,
                    f"{_time(row)}, {_megabytes(row)}",
                    row["ratio"],
                )


def _process_rows() -> Iterator[str]:
    result = _result("process")
    for picture, found in (result or {"pictures": {}})["pictures"].items():
        ours = found["rows"]["portrait"]
        for against, row in found["rows"].items():
            if against != "portrait":
                yield _row(
                    f"whole process, u2netp ({picture}, {found['coverage']:.0%} of it kept)",
                    _process(ours),
                    f"`{against.replace('rembg', 'rembg i')}`",
                    _process(row),
                    row["time_ratio"],
                )


def _folder_rows() -> Iterator[str]:
    result = _result("folder")
    for pictures, found in (result or {"sets": {}})["sets"].items():
        measured = found.get("processes", {"rows": {}})["rows"]
        ours = measured.get("portrait folder")
        if ours is not None and pictures.startswith("12 MP"):
            theirs = measured["rembg p"]
            yield _row(
                f"folder of {found['processes']['photos']}, u2netp ({pictures.split()[-1]})",
                _process(ours),
                "`rembg p`",
                _process(theirs),
                ours["time_ratio"],
            )


def _runtime_sentence() -> list[str]:
    result = _result("runtime")
    if result is None:
        return []
    megapixels = result["height"] * result["width"] / 1e6
    return [
        (
            f"Around ONNX Runtime's own `session.run` of `{result['model']}`, a photo of "
            f"{megapixels:.0f} megapixels in memory takes {100 * result['added']['matte']:.0f} % "
            f"more time, {100 * result['added']['matte, refine none']:.0f} % without refining."
        )
    ]


def _short(picture: str) -> str:
    return picture.removesuffix(", 12 MP")


def _time(timing: dict[str, Any]) -> str:
    seconds = timing["median"]
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"  # noqa: PLR2004 - two digits


def _megabytes(row: dict[str, Any]) -> str:
    return f"{row['bytes'] / 1e6:.1f} MB"


def _process(row: dict[str, Any]) -> str:
    return f"{row['seconds']['median']:.2f} s, {row['peak_mib']:.0f} MiB"


def validation() -> str:
    """The model card's: every error, and the time beside the first model's."""
    result = _result("models")
    assert result is not None
    lines = [
        "| model | MAD | outside the band | cut at 0.5 | IoU at 0.5 | ms | of MODNet's time |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| `{row['model']}` | {row['mad']:.4f} | {row['mad_outside_band']:.4f} "
            f"| {row['mad_thresholded']:.4f} | {row['iou']:.4f} "
            f"| {1000 * row['seconds']['median']:.0f} | {row['time_ratio_to_first']:.2f} |"
            for row in result["rows"]
        ),
        "",
    ]
    return "\n".join(lines)


def quality() -> str:
    """The model card's: a row per measure, a column per model."""
    result = _result("quality")
    assert result is not None
    models, counts = result["models"], result["counts"]

    def row(what: str, kind: str, name: str, digits: int = 4) -> str:
        values = (f"{found[kind][name]:.{digits}f}" for found in models.values())
        return f"| {what} | {' | '.join(values)} |"

    first = next(iter(models.values()))
    empty = " and ".join(f"{count} {kind}" for kind, count in counts["empty"].items())
    lines = [
        f"| | {' | '.join(f'`{name}`' for name in models)} |",
        f"|---|{'---|' * len(models)}",
        row(
            f"edges, {counts['edges']} composites: SAD in the unknown band, / 1000",
            "edges",
            "sad",
            3,
        ),
        row("edges: gradient error in the unknown band, / 1000", "edges", "gradient", 3),
        row(f"no people, {empty}: mean alpha", "empty", "mean"),
        row("no people: the worst", "empty", "worst"),
        row(f"groups, near and far, {counts['mixed']} composites: MAD", "mixed", "mad"),
        row("groups: IoU at 0.5", "mixed", "iou"),
        *(
            row(what, "elsewhere", name, digits)
            for what, name, digits in (
                (f"{counts['elsewhere']} photos of people from elsewhere: MAD", "mad", 4),
                ("photos from elsewhere: IoU at 0.5", "iou", 4),
                ("photos from elsewhere: so many with an IoU below 0.8", "lost", 0),
            )
        ),
        *(
            f"| {counts['poor']} street photos, {kind}: MAD | "
            + " | ".join(f"{found['poor'][kind]['mad']:.4f}" for found in models.values())
            + " |"
            for kind in first["poor"]
        ),
        *(row(f"close-ups, {kind}: MAD", "people", kind) for kind in first["people"]),
        row(
            f"{counts['poor']} street photos: their masks lie right of alpha, pixels",
            "moved",
            "right",
            2,
        ),
        row("street photos: below it", "moved", "below", 2),
        row("street photos: IoU at 0.5 of alpha moved there", "moved", "iou"),
        *(
            row(
                f"street photos: alpha lies {where} the photo's own edges, pixels "
                f"(the masks: {result['masks'][name]:.2f})",
                "on the photo",
                name,
                2,
            )
            for name, where in (("right", "right of"), ("below", "below"))
        ),
        "",
    ]
    return "\n".join(lines)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"models": models, "peers": peers},
    "docs/model-card.md": {"validation": validation, "quality": quality},
    "docs/model-card-portrait-m.md": {"validation": validation, "quality": quality},
}


def filled(document: str) -> str:
    """The document's text with its tables written anew."""
    text = (ROOT / document).read_text("utf-8")
    for name, table in TABLES[document].items():
        end = f"<!-- /{name} -->\n"
        head, begin, rest = text.partition(f"<!-- {name}: ")
        mark, _, rest = rest.partition("\n")
        _, found, tail = rest.partition(end)
        if not (begin and found):
            sys.exit(f"{document}: expected <!-- {name}: … --> and <!-- /{name} -->")
        text = f"{head}{begin}{mark}\n{table()}{end}{tail}"
    return text


def main() -> None:
    """Rewrite the tables, or say that one is stale."""
    fresh = {ROOT / document: filled(document) for document in TABLES}
    for path, text in fresh.items():
        if "--check" not in sys.argv[1:]:
            path.write_text(text, "utf-8")
        elif text != path.read_text("utf-8"):
            sys.exit(f"{path.name}: a table is stale; run `python scripts/readme_tables.py`")


if __name__ == "__main__":
    main()
