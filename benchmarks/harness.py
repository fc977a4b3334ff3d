"""Variants take turns in one process; warm-up is dropped; medians and quartiles."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESULTS = Path(__file__).with_name("results")
ROUNDS = 30
_WARM_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Wall time of one variant, in seconds."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Summarise rounds."""
        low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
        return cls(median=float(median), low=float(low), high=float(high))


def take_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, Timing]:
    """Time variants round by round, so that a busy minute of the machine meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(_WARM_UP + rounds):
        for name, call in variants.items():
            started = time.perf_counter()
            call()
            if turn >= _WARM_UP:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing.of(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    from portrait_sdk import doctor

    found = doctor.report()
    return {
        "processor": _processor(),
        "system": platform.system(),
        "python": found["python"],
        "threads": found["threads"]["budget"],
        "kernels": found["kernels"]["isa"],
        "portrait_sdk": found["portrait_sdk"],
        "versions": {
            name: version
            for name in ("numpy", "opencv-python-headless", "pillow", "onnxruntime-gpu",
                         "onnxruntime", "pymatting")
            if (version := _version(name))
        },
    }  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def save(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/NAME.json`` with the machine's facts in front."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", "utf-8")
    return path
