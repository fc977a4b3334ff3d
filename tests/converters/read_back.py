"""Trained weights out of a published .onnx file, for networks whose checkpoints are not at hand.

Exporters keep a parameter's name where they leave it alone. Where they folded a batch norm into
the convolution before it they do not, but the folded convolutions stand in the network's order.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_back(path: Path, module: nn.Module, absent: tuple[str, ...] = ()) -> dict[str, int]:
    """Fill ``module`` from a graph of the same network.

    A folded convolution's bias goes into the batch norm behind it, which else does nothing.

    Args:
        path: The .onnx file.
        module: Its convolutions, linear layers and norms are registered in the graph's order.
        absent: Beginnings of the keys that the graph lacks, having no part in its outputs.

    Returns:
        How many parameters were found by name and how many layers by their place.
    """
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    state = module.state_dict()
    named = {key: value for key, value in values.items() if key in state}
    folded = [
        (values[node.input[1]], values[node.input[2]])
        for node in graph.node
        if node.op_type == "Conv" and node.input[1] not in named
    ]
    products = [values[node.input[1]].T for node in graph.node if node.op_type == "MatMul"]

    nameless = {
        name: layer
        for name, layer in module.named_modules()
        if f"{name}.weight" in state
        and f"{name}.weight" not in named
        and not name.startswith(absent or "\0")
    }
    found = dict(named)
    for (conv, norm), (weight, bias) in zip(_folds(nameless), folded, strict=True):
        found[f"{conv}.weight"] = weight
        if f"{conv}.bias" in state:
            found[f"{conv}.bias"] = np.zeros_like(bias)
        layer = nameless[norm]
        assert isinstance(layer, nn.BatchNorm2d)
        found[f"{norm}.weight"], found[f"{norm}.bias"] = np.ones_like(bias), bias
        found[f"{norm}.running_mean"] = np.zeros_like(bias)
        found[f"{norm}.running_var"] = np.full_like(bias, 1 - layer.eps)
    linear = [name for name, layer in nameless.items() if isinstance(layer, nn.Linear)]
    found.update(zip((f"{name}.weight" for name in linear), products, strict=True))

    left = {
        key
        for key in state.keys() - found.keys()
        if not key.endswith("num_batches_tracked") and not key.startswith(absent or "\0")
    }
    assert not left, f"not in the graph: {sorted(left)}"
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in found.items()}
    module.load_state_dict({**state, **tensors})
    return {"named": len(named), "folded": len(folded), "products": len(products)}


def _folds(layers: dict[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """Each convolution with the batch norm behind it."""
    names = list(layers)
    for name, following in pairwise(names):
        if isinstance(layers[name], nn.Conv2d):
            yield name, following
