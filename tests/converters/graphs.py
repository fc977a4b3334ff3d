"""Networks through the converter's own export and simplification, run by ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from portrait_sdk.converters import export, simplify, verify

if TYPE_CHECKING:
    import onnx

    from portrait_sdk.converters.architectures._base import Architecture

SHARED = Path(os.environ.get("PORTRAIT_SHARED") or "/nonexistent")
needs_shared = pytest.mark.skipif(
    "PORTRAIT_SHARED" not in os.environ, reason="third-party weights: PORTRAIT_SHARED is not set"
)


def graph(architecture: Architecture, network: Any) -> onnx.ModelProto:
    """As ``portrait convert --outputs raw`` makes it; batch, height and width are free.

    Args:
        architecture: Of the network.
        network: In evaluation mode.
    """
    names = tuple(output.name for output in architecture.raw)
    axes = export.Axes()
    model = export.to_onnx(network, architecture, input_name="image", axes=axes, raw=names)
    shape = (2, 3, *architecture.verify_sizes[0])
    return simplify.simplify(model, [shape], tolerance=architecture.tolerance)


class Run:
    """A graph, open; called with a float32 (N, 3, H, W), gives its outputs by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.session = verify.open_session(model.SerializeToString())
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.names, self.session.run(None, {"image": x}), strict=True))


def torch_run(architecture: Architecture, network: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """What torch computes for the same outputs."""
    with torch.inference_mode():
        raw = network(torch.from_numpy(x))
    raw = raw if isinstance(raw, tuple) else (raw,)
    names = ["alpha", *(output.name for output in architecture.raw)]
    values = [architecture.finish(raw), *raw]
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def worst(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> float:
    """Largest difference of any output; names and shapes must be the same."""
    assert got.keys() == want.keys()
    for name, value in got.items():
        assert value.shape == want[name].shape, name
    return max(float(np.abs(got[name] - want[name]).max()) for name in got)
