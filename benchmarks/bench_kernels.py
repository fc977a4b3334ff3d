"""The pixel kernels beside OpenCV, NumPy and rembg, at several sizes.

``python benchmarks/bench_kernels.py [PHOTOS]``; PHOTOS holds ``image/`` and ``alpha/``. Results are
asserted equal, or close within a stated bound, before they are timed. The foreground's kernels have
``bench_foreground.py``, the PNG writer ``bench_png.py``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import harness
import numpy as np
from PIL import Image as PillowImage

from portrait_sdk.ops import compositing, kernels, resample
from portrait_sdk.ops import preprocess as prep
from portrait_sdk.spec import Filter, InputSpec, SizePolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from portrait_sdk.types import AlphaF32, Image

SIDE = 512
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILTER_BACK = Filter(kernel="bilinear")
ROUNDS = {"mosaic, 48 MP": 10}
# Lanczos and area filters of one picture: edges differ, the mean does not.
FILTERS_APART = 0.1


def close(ours: np.ndarray, theirs: np.ndarray, bound: float) -> None:
    """Refuse to time what is not the same: every value within ``bound``."""
    difference = np.abs(ours.astype(np.float64) - theirs).max()
    if difference > bound:
        raise SystemExit(f"results differ by up to {difference}, {bound} was expected")


def rembg_input(image: Image, size: tuple[int, int]) -> Callable[[], np.ndarray] | None:
    """What rembg's own code does before the network; None where it is not installed."""
    try:
        from rembg.sessions.base import BaseSession
    except ImportError:
        print("rembg is not installed, not compared")
        return None
    # Its method wants a session for the input's name alone.
    names = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name="x")])
    session = SimpleNamespace(inner_session=names)
    photo = PillowImage.fromarray(image)

    def run() -> np.ndarray:
        found: dict[str, Any] = BaseSession.normalize(session, photo, MEAN, STD, size[::-1])
        array: np.ndarray = found["x"]
        return array

    return run


def measure(  # noqa: C901 - one block a comparison
    label: str, image: Image, alpha: AlphaF32
) -> dict[str, Any]:
    """Time every pair on one picture."""
    height, width = image.shape[:2]
    scale = SIDE / min(height, width)
    size = (round(height * scale), round(width * scale))
    small = np.ascontiguousarray(cv2.resize(alpha, size[::-1], interpolation=cv2.INTER_AREA))
    spec = InputSpec(
        name="x",
        mean=MEAN,
        std=STD,
        size=SizePolicy(rule="fixed", height=size[0], width=size[1]),
    )
    rows: dict[str, Any] = {}

    def compare(
        name: str, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray], bound: float
    ) -> None:
        close(ours(), theirs(), bound)
        record(name, ours, theirs)

    def record(name: str, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray]) -> None:
        rounds = ROUNDS.get(label, harness.ROUNDS)
        timing = harness.take_turns({"ours": ours, "theirs": theirs}, rounds)
        ratio = timing["theirs"].median / timing["ours"].median
        speed = height * width / 1e6 / timing["ours"].median
        rows[name] = {
            **{k: asdict(v) for k, v in timing.items()},
            "ratio": round(ratio, 2),
            "megapixels_per_second": round(speed),
        }
        print(f"{label:<18} {name:<46} {1000 * timing['ours'].median:8.1f} ms  "
              f"{1000 * timing['theirs'].median:8.1f} ms  {ratio:5.1f}x", flush=True)  # fmt: skip

    def ours_input() -> np.ndarray:
        return prep.prepare([image], spec)[0]

    mean, std = np.float32(MEAN), np.float32(STD)

    def cv_input() -> np.ndarray:
        x = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        return np.ascontiguousarray(((x - mean) / std).transpose(2, 0, 1))[None]

    # OpenCV rounds to 8 bits in between: half a level over the smallest std.
    compare("photo to 512-side input, area: OpenCV + NumPy", ours_input, cv_input,
            0.51 / 255 / min(STD))  # fmt: skip
    theirs = rembg_input(image, size)
    if theirs is not None:
        apart = float(np.abs(ours_input() - theirs()).mean())
        if apart > FILTERS_APART:
            raise SystemExit(f"rembg's input differs by {apart} on the average")
        record("photo to 512-side input, area: rembg", ours_input, theirs)

    full = np.empty((height, width), np.uint8)
    taps = resample.taps_for(small.shape, full.shape, FILTER_BACK)

    def ours_back() -> np.ndarray:
        kernels.resize_alpha(small, full, taps)
        return full

    def cv_back() -> np.ndarray:
        wide = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        return (np.clip(wide, 0, 1) * 255 + 0.5).astype(np.uint8)

    compare("alpha to uint8: OpenCV + NumPy", ours_back, cv_back, 1)

    def np_cutout() -> np.ndarray:
        return np.dstack([image, np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)])

    compare("cutout: NumPy", lambda: compositing.cutout(image, alpha), np_cutout, 0)
    behind = np.ascontiguousarray(image[::-1, ::-1])

    def np_composite() -> np.ndarray:
        weight = alpha[..., None]
        return np.rint(weight * image + (1 - weight) * behind).astype(np.uint8)

    compare("composite: NumPy in float32",
            lambda: compositing.composite(image, alpha, behind), np_composite, 1)  # fmt: skip
    return rows


def main() -> None:
    """Time every pair at every size."""
    found = harness.pairs(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    rows = {label: measure(label, *picture) for label, picture in harness.inputs(found)}
    print(harness.save("kernels", {"inputs": rows}))


if __name__ == "__main__":
    main()
