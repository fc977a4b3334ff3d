"""What a conversion tells of itself: steps, versions, a summary for people."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from importlib import metadata as distributions
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk import __version__
from portrait_sdk.ops import preprocess

from . import verify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx

    from portrait_sdk.spec import InputSpec
    from portrait_sdk.types import Image

    from .export import Axes

_TIMED_RUNS = 7
_TIMED_SECONDS = 6.0


class Steps:
    """Node count, size and latency after each step."""

    def __init__(self, image: InputSpec, axes: Axes, people: Sequence[tuple[str, Image]]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.feeds = [preprocess.prepare([p] * (axes.batch or 1), image)[0] for _, p in people]

    def add(self, step: str, model: onnx.ModelProto) -> None:
        """Count, weigh and time a graph."""
        session = verify.open_session(model.SerializeToString())
        ops = Counter(node.op_type for node in model.graph.node)
        self.rows.append(
            {
                "step": step,
                "nodes": len(model.graph.node),
                "bytes": model.ByteSize(),
                "latency_ms": round(_latency_s(session, self.feeds[0]) * 1e3, 2),
                "input": list(self.feeds[0].shape),
                "ops": dict(sorted(ops.items())),
            }
        )

    def note(self, step: str, text: str) -> None:
        """Say why a step changed nothing."""
        self.rows.append({"step": step, "note": text})


def _latency_s(session: Any, feed: np.ndarray[Any, Any]) -> float:  # noqa: ANN401 - no stubs
    """Median wall time of a few runs, the first dropped."""
    name = session.get_inputs()[0].name
    seconds = []
    started = time.perf_counter()
    for _ in range(_TIMED_RUNS + 1):
        before = time.perf_counter()
        session.run(["alpha"], {name: feed})
        seconds.append(time.perf_counter() - before)
        if time.perf_counter() - started > _TIMED_SECONDS:
            break
    return float(np.median(seconds[1:] or seconds))


def report_path(out: Path) -> Path:
    """Where a model's report lies."""
    return out.with_name(f"{out.stem}.report.json")


def versions() -> dict[str, str]:
    """Of everything that has a part in a conversion."""
    found = {"portrait_sdk": __version__}
    for name in ("torch", "onnx", "onnxscript", "onnxsim", "onnxruntime-gpu", "onnxruntime"):
        with contextlib.suppress(distributions.PackageNotFoundError):
            found[name] = distributions.version(name)
    return found


def summary(report: dict[str, Any], out: Path) -> list[str]:
    """A report in the few lines a person reads."""
    options = report["options"]
    head = (
        f"{out}: {report['architecture']}, profile {report['profile']}, {options['precision']}, "
        f"opset {options['opset']}, licence: {report['license']}"
    )
    lines = [head, f"  {'step':<24}{'nodes':>7}{'MB':>9}{'ms':>10}"]
    for row in report["steps"]:
        if "note" in row:
            lines.append(f"  {row['step']:<24}{row['note']}")
            continue
        lines.append(
            f"  {row['step']:<24}{row['nodes']:>7}{row['bytes'] / 1e6:>9.2f}"
            f"{row['latency_ms']:>10.1f}"
        )
    rows = [r for r in report["verification"]["rows"] if r["output"] == "alpha"]
    lines.append(
        f"  verified on {len(rows)} inputs: alpha differs from the checkpoint by at most "
        f"{report['verification']['max_difference']:.1e} "
        f"({max(r['levels'] for r in rows)} 8-bit levels), "
        f"tolerated {report['verification']['tolerance']:.0e}"
    )
    if "storage" in report:
        moved = report["storage"]
        lines.append(
            f"  weights as float16 move alpha on portraits by {moved['mean_difference']:.1e} on "
            f"average, {moved['max_difference']:.1e} at most"
        )
    if "embedding" in report:
        worst = max(row["mean_difference"] for row in report["embedding"]["rows"])
        instead = report["embedding"]["in_place_of"]
        lines.append(
            f"  preprocessing inside{f' ({instead})' if instead else ''}: alpha moves by "
            f"{worst:.1e} on average"
        )
    lines += [f"  {text}" for text in report.get("precision", {}).get("verdict", [])]
    lines.append(f"  report: {report_path(out)}")
    return lines
