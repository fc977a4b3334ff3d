"""Writes README's model table from benchmarks/results/models.json; ``--check`` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- models: written by scripts/readme_tables.py from benchmarks/results/models.json -->\n"
END = "<!-- /models -->"


def table() -> str:
    """The rows, and the sentence that says what they are."""
    result = json.loads((ROOT / "benchmarks/results/models.json").read_text("utf-8"))
    machine = result["machine"]
    lines = [
        "| model | licence | size | MAD | IoU at 0.5 | time a photo |",
        "|---|---|---|---|---|---|",
        *map(_row, result["rows"]),
        "",
        (
            f"{result['photos']} street-fashion photos with masks made by people (Clothing "
            "Co-Parsing, the list in its `validation.txt`), alpha at the photo's size, mean over "
            f"photos; median time of the network alone, {result['threads']} threads of "
            f"{machine['processor']}, models taking turns. The masks are binary with rough edges, "
            "which flatters hard alphas: see the model card."
        ),
        "",
    ]
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    milliseconds = 1000 * row["seconds"]["median"]
    return (
        f"| `{row['model']}` | {row['license']} | {row['bytes'] / 1e6:.1f} MB | {row['mad']:.4f} "
        f"| {row['iou']:.3f} | {milliseconds:.0f} ms |"
    )


def main() -> None:
    """Rewrite the table, or say that it is stale."""
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    fresh = f"{head}{BEGIN}{table()}{END}{tail}"
    if "--check" in sys.argv[1:]:
        if fresh != text:
            sys.exit("README.md: its model table is stale; run `python scripts/readme_tables.py`")
        return
    readme.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
