"""Variants take turns in one process; warm-up is dropped; medians and quartiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait_sdk import bench
from portrait_sdk.bench import Timing, machine
from portrait_sdk.media import load_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portrait_sdk.types import Image

__all__ = ["RESULTS", "ROUNDS", "Timing", "machine", "portraits", "save", "take_turns"]

RESULTS = Path(__file__).with_name("results")
ROUNDS = 30
_FOLDER_SHARE = 60  # photos of a folder, evenly spaced by name: more than any mosaic holds


def take_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, Timing]:
    """Time variants round by round, so that a busy minute of the machine meets all of them."""
    return bench.take_turns(variants, rounds)


def portraits(folder: Path | None) -> list[Image]:
    """Photos to make mosaics of: a folder's, or the bundled portrait alone."""
    if folder is None:
        return [load_image(bench.bundled()).over_white()]
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise SystemExit(f"{folder}: expected photos (.jpg, .png), found none")
    chosen = found[:: max(1, len(found) // _FOLDER_SHARE)]
    return [load_image(path).over_white() for path in chosen]


def save(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/NAME.json`` with the machine's facts in front."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", "utf-8")
    return path
