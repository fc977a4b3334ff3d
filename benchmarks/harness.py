"""Variants take turns in one process; warm-up is dropped; medians and quartiles."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

import portrait_sdk
from portrait_sdk import bench
from portrait_sdk.bench import Timing, machine
from portrait_sdk.media import load_image
from portrait_sdk.ops import compositing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portrait_sdk.types import AlphaF32, Image

__all__ = [
    "RESULTS", "ROUNDS", "SIZES", "Timing", "enlarged", "inputs", "machine", "mosaic", "pairs",
    "portraits", "process", "save", "take_turns",
]  # fmt: skip

RESULTS = Path(__file__).with_name("results")
ROUNDS = 30
_WATCH = """
import os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - started, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
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


def pairs(folder: Path | None) -> list[tuple[Image, AlphaF32]]:
    """Photos with their alphas at native size, to make pictures of: 60 in a seeded order.

    Args:
        folder: Holds ``image/`` and ``alpha/`` of equal stems; None: the sample portrait and the
            tests' pictures, all under the sample's alpha.
    """
    if folder is None:
        sample = portrait_sdk.matte(bench.bundled())
        found = [(sample.image, sample.alpha)]
        for path in sorted((RESULTS.parents[1] / "tests/data/pictures").glob("*.jpg")):
            image = load_image(path).over_white()
            found.append((image, cv2.resize(sample.alpha, image.shape[1::-1])))
        return found
    paths = sorted((folder / "image").iterdir())
    order = np.random.default_rng(1).permutation(len(paths))[:_FOLDER_SHARE]
    found = []
    for path in (paths[i] for i in order):
        alpha = cv2.imread(str(folder / "alpha" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        if alpha is None:
            raise SystemExit(f"{path}: its alpha cannot be read")
        found.append((load_image(path).over_white(), alpha.astype(np.float32) / np.float32(255)))
    return found


def mosaic(
    photos: Sequence[tuple[Image, AlphaF32]], size: tuple[int, int]
) -> tuple[Image, AlphaF32]:
    """Photos side by side at native resolution, and their alphas likewise."""
    images, alphas = zip(*photos, strict=True)
    return bench.mosaic(images, size), bench.mosaic(alphas, size)


def enlarged(pair: tuple[Image, AlphaF32], size: tuple[int, int]) -> tuple[Image, AlphaF32]:
    """One portrait blown up to cover ``size``, with a sensor's grain: smooth but for noise."""
    photo, alpha = pair
    level = np.rint(np.repeat(alpha[..., None], 3, axis=2) * 255).astype(np.uint8)
    soft = compositing.cover(level, size)[..., 0].astype(np.float32) / np.float32(255)
    return bench.upscaled(photo, size), soft


SIZES = {
    "mosaic, 1237 x 811": (811, 1237),
    "mosaic, 2 MP": (1224, 1632),
    "mosaic, 12 MP": (3000, 4000),
    "mosaic, 48 MP": (6000, 8000),
}
"""Height and width of the mosaics that kernels are timed on."""


def inputs(
    photos: Sequence[tuple[Image, AlphaF32]],
) -> Iterator[tuple[str, tuple[Image, AlphaF32]]]:
    """Photos with alphas, by name: one as it is, mosaics of :data:`SIZES`, one enlarged."""
    yield "as it is", photos[0]
    for label, size in SIZES.items():
        yield label, mosaic(photos, size)
    yield "enlarged, 12 MP", enlarged(photos[0], SIZES["mosaic, 12 MP"])


def process(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> tuple[float, int]:
    """Run a command to its end; returns its wall time in seconds and its peak memory in bytes.

    Through a small process of its own: a child's peak begins with what its parent holds at the
    fork, which here are pictures.
    """
    found = subprocess.run(
        [sys.executable, "-S", "-c", _WATCH, *map(str, command)],
        env=environment, capture_output=True, check=False,
    )  # fmt: skip
    if found.returncode != 0:
        raise SystemExit(f"{command[0]}: failed\n{found.stderr.decode()}")
    seconds, peak = found.stdout.split()[-2:]
    return float(seconds), int(peak) * (1 if sys.platform == "darwin" else 1024)


def save(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/NAME.json`` with the machine's facts in front."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", "utf-8")
    return path
