"""A model of another precision beside its float32 original: alpha's error, speed, size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.ops import postprocess, threads

from .. import verify  # noqa: TID252 - the folder installs under another name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import F32Array

TOLERANCES = {"fp32": 1e-4, "fp16": 0.001, "int8": 0.004}
"""Largest mean difference of alpha from float32 on portraits, alpha in [0, 1]: 0.004 is one 8-bit
level."""
ROUNDS = 15
_WARM_UP = 2
_LEVELS = 255


def session(model: onnx.ModelProto | bytes, *, thread_count: int | None = None) -> Any:  # noqa: ANN401
    """Open a model on the CPU, with the runtime's threads.

    Raises:
        ConversionError: ONNX Runtime refuses it.
    """
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return verify.open_session(data, threads=thread_count or threads.budget())


def inputs(spec: ModelSpec, feed: F32Array) -> dict[str, Any]:
    """All of a model's inputs: the photo, its constants, and its states before the first frame."""
    return {
        spec.input.name: feed,
        **{name: np.array(values, np.float32) for name, values in spec.constants.items()},
        **{state.input: np.zeros(state.shape, np.float32) for state in spec.states},
    }


def alphas(opened: Any, spec: ModelSpec, feeds: Sequence[F32Array]) -> list[F32Array]:  # noqa: ANN401
    """Alpha of every feed, clamped to [0, 1]."""
    found = []
    for feed in feeds:
        size = feed.shape[1:3] if spec.input.layout == "NHWC" else feed.shape[2:]
        raw = opened.run([spec.alpha.name], inputs(spec, feed))[0]
        alpha = postprocess.network_alpha(raw, spec, (size[0], size[1]))
        found.append(np.clip(alpha, 0, 1))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of alpha from float32's, over all pixels of all pictures; alpha in [0, 1]."""

    mean: float
    high: float
    """99.9 % of the pixels differ by less."""
    max: float

    @classmethod
    def between(cls, want: Sequence[F32Array], got: Sequence[F32Array]) -> Difference:
        """Every picture weighs the same in the mean, whatever its size."""
        each = [np.abs(a - b) for a, b in zip(want, got, strict=True)]
        return cls(
            mean=float(np.mean([d.mean(dtype=np.float64) for d in each])),
            high=float(np.quantile(np.concatenate([d.ravel() for d in each]), 0.999)),
            max=float(max(d.max() for d in each)),
        )


def compare(
    fp32: onnx.ModelProto | bytes,
    other: onnx.ModelProto | bytes,
    spec: ModelSpec,
    feeds: Sequence[F32Array],
    *,
    precision: str = "int8",
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Run both on the same pictures and take turns for their time.

    Args:
        fp32: The original.
        other: The same model in another precision.
        spec: Of both.
        feeds: Prepared portraits that no choice was made on; see ``calibration.load``.
        precision: Of ``other``; its entry of ``TOLERANCES`` is what the error is held to.
        rounds: Timed runs of each, taking turns; the first feed is what they run.

    Returns:
        Plain values: differences in 8-bit levels, milliseconds, sizes, ``within_tolerance``,
        ``slower``, and ``verdict`` in sentences.

    Raises:
        ConversionError: ONNX Runtime refuses one of them.
        OptionError: No feeds.
    """
    if not feeds:
        raise OptionError("precision: expected at least one picture to compare on, got none")
    data = [m if isinstance(m, bytes) else m.SerializeToString() for m in (fp32, other)]
    pair = [session(one) for one in data]
    difference = Difference.between(*(alphas(one, spec, feeds) for one in pair))
    first = inputs(spec, feeds[0])
    seconds: list[list[float]] = [[], []]
    for turn in range(_WARM_UP + rounds):
        for opened, times in zip(pair, seconds, strict=True):
            started = time.perf_counter()
            opened.run([spec.alpha.name], first)
            if turn >= _WARM_UP:
                times.append(time.perf_counter() - started)
    medians = [float(np.median(times)) for times in seconds]
    # Of each turn: a busy moment of the machine meets both halves of it.
    ratio = float(np.median(np.array(seconds[0]) / np.array(seconds[1])))
    tolerance = TOLERANCES[precision]
    within, slower = difference.mean <= tolerance, ratio < 1
    levels = {
        "mean": round(_LEVELS * difference.mean, 4),
        "p99.9": round(_LEVELS * difference.high, 3),
        "max": round(_LEVELS * difference.max, 3),
    }
    return {
        "pictures": len(feeds),
        "alpha_levels": levels,
        "alpha_mean": round(difference.mean, 6),
        "tolerance_mean": tolerance,
        "within_tolerance": within,
        "milliseconds": {
            "fp32": round(1000 * medians[0], 2),
            precision: round(1000 * medians[1], 2),
            "size": list(feeds[0].shape),
            "threads": threads.budget(),
            "rounds": rounds,
        },
        "speed_ratio": round(ratio, 3),
        "slower": slower,
        "bytes": {"fp32": len(data[0]), precision: len(data[1])},
        "verdict": [
            f"{precision}: alpha differs from fp32 by {difference.mean:.4f} in the mean, "
            + (f"within its {tolerance}" if within else f"worse than its tolerance of {tolerance}"),
            f"{precision}: {ratio:.2f} x the speed of fp32 on this processor"
            + (": slower" if slower else ""),
        ],
    }
