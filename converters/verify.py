"""Whether a graph computes what its module computes: ONNX Runtime beside torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.model import runtime

if TYPE_CHECKING:
    from torch import nn

    from .architectures._base import Architecture

_SEED = 20261121


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison."""

    input: str
    """``noise`` or ``smooth``."""
    shape: tuple[int, ...]
    max_difference: float
    mean_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All comparisons of one file."""

    rows: tuple[Row, ...]

    @property
    def max_difference(self) -> float:
        """Over all rows."""
        return max(row.max_difference for row in self.rows)

    @property
    def mean_difference(self) -> float:
        """Mean over rows of their means."""
        return float(np.mean([row.mean_difference for row in self.rows]))

    def as_json(self) -> list[dict[str, Any]]:
        """Plain values."""
        return [asdict(row) for row in self.rows]


def compare(data: bytes, module: nn.Module, architecture: Architecture) -> Report:
    """Run both on the same inputs, batches of 1 and 2, every size of the architecture.

    Args:
        data: The .onnx file.
        module: In evaluation mode.
        architecture: Of both.
    """
    import torch

    onnxruntime = runtime.onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    name = next(output.name for output in architecture.outputs if output.meaning == "alpha")
    rng = np.random.default_rng(_SEED)
    rows = []
    for height, width in architecture.verify_sizes:
        for batch in (1, 2):
            for kind in ("noise", "smooth"):
                x = _input(kind, (batch, 3, height, width), rng)
                with torch.inference_mode():
                    want = module(torch.from_numpy(x)).numpy()
                got = session.run([name], {architecture.input.name: x})[0]
                difference = np.abs(got.astype(np.float64) - want)
                rows.append(
                    Row(
                        input=kind,
                        shape=x.shape,
                        max_difference=float(difference.max()),
                        mean_difference=float(difference.mean()),
                    )
                )
    return Report(rows=tuple(rows))


def _input(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:  # noqa: ANN401
    """Normalised photos would lie in about [-2, 2]: noise over that, or a few smooth blobs."""
    if kind == "noise":
        return rng.uniform(-2, 2, shape).astype(np.float32)
    y, x = np.mgrid[0 : shape[2], 0 : shape[3]]
    planes = np.empty(shape, np.float32)
    for plane in planes.reshape(-1, *shape[2:]):
        a, b, c, d = rng.uniform(0, 0.1, 4)
        plane[...] = np.sin(a * x + c * 60) + np.cos(b * y + d * 60)
    return planes
