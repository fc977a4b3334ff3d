"""Writes README's tables from benchmarks/results/*.json; ``--check`` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"


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
    rows = [*_kernel_rows(), *_png_rows(), *_process_rows(), *_folder_rows()]
    machines = {
        f"{result['machine']['threads']} threads of {result['machine']['processor']}"
        for name in ("kernels", "png", "process", "folder")
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
    for name, row in (result or {"rows": {}})["rows"].items():
        what, _, against = name.rpartition(": ")
        what = what.removesuffix(", 12 MP").replace(" to 12 MP ", " to ")
        ours, theirs = _time(row["ours"]), _time(row["theirs"])
        yield _row(what, ours, against, theirs, row["ratio"])


def _png_rows() -> Iterator[str]:
    result = _result("png")
    for picture, variants in (result or {"pictures": {}})["pictures"].items():
        if "clean" not in picture:  # a cutout's colours
            continue
        ours = variants["portrait_sdk"]
        for against, row in variants.items():
            if against != "portrait_sdk":
                yield _row(
                    f"PNG of a cutout ({picture.split(',')[0]})",
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
            f"{megapixels:.0f} megapixels in memory takes {100 * result['added']:.0f} % more time."
        )
    ]


def _time(timing: dict[str, Any]) -> str:
    seconds = timing["median"]
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"  # noqa: PLR2004 - two digits


def _megabytes(row: dict[str, Any]) -> str:
    return f"{row['bytes'] / 1e6:.1f} MB"


def _process(row: dict[str, Any]) -> str:
    return f"{row['seconds']['median']:.2f} s, {row['peak_mib']:.0f} MiB"


TABLES: dict[str, Callable[[], str]] = {"models": models, "peers": peers}


def main() -> None:
    """Rewrite the tables, or say that one is stale."""
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    for name, table in TABLES.items():
        end = f"<!-- /{name} -->\n"
        head, begin, rest = text.partition(f"<!-- {name}: ")
        mark, _, rest = rest.partition("\n")
        _, found, tail = rest.partition(end)
        if not (begin and found):
            sys.exit(f"README.md: expected <!-- {name}: … --> and <!-- /{name} -->")
        fresh = f"{head}{begin}{mark}\n{table()}{end}{tail}"
        if "--check" in sys.argv[1:] and fresh != text:
            sys.exit(
                f"README.md: its table {name!r} is stale; run `python scripts/readme_tables.py`"
            )
        text = fresh
    if "--check" not in sys.argv[1:]:
        readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
