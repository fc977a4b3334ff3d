"""Quantise and dequantise nodes around what ONNX Runtime runs in integers (static QDQ)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx

    from ._graph import Graph

_FLOAT = 1  # TensorProto.FLOAT
Range = tuple[float, float]

COMPUTING = ("Conv", "Add", "Mul", "Concat", "Sigmoid", "GlobalAveragePool", "AveragePool")
"""Operators with an integer kernel between quantised tensors."""
PASSING = ("Resize", "MaxPool")
"""Operators whose output values lie between their input's: one scale for both, and the runtime
drops the conversions around them."""
ABSORBED = ("Relu", "Clip")
"""Operators that a quantiser does on its own where its range ends where they cut."""
_SHARE = 1.5  # Concat inputs whose ranges differ by less share one, so that it copies bytes


@dataclass(slots=True)
class Plan:
    """Which nodes compute in integers, and the range of each quantised tensor."""

    nodes: set[str] = field(default_factory=set)
    """Outputs of the nodes between quantise and dequantise."""
    ranges: dict[str, Range] = field(default_factory=dict)


def candidates(graph: Graph, types: Mapping[str, int]) -> list[onnx.NodeProto]:
    """The nodes that could compute in integers, in graph order.

    Args:
        graph: Float.
        types: Element type of each tensor; see ``prepare.element_types``.
    """
    return [
        node
        for node in graph.nodes
        if _fits(graph, node) and all(types.get(name) == _FLOAT for name in data_inputs(node))
    ]


def _fits(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type == "Conv":
        return node.input[1] in graph.constants and (
            len(node.input) < 3 or not node.input[2] or node.input[2] in graph.constants  # noqa: PLR2004
        )
    if node.op_type in ("Add", "Mul"):
        return not any(name in graph.constants for name in node.input)
    return node.op_type in COMPUTING or node.op_type in PASSING


def data_inputs(node: onnx.NodeProto) -> list[str]:
    """The inputs that hold features, not weights, sizes or scales."""
    if node.op_type in ("Add", "Mul", "Concat"):
        return list(node.input)
    return [node.input[0]]


def result(graph: Graph, node: onnx.NodeProto) -> str:
    """The tensor to quantise after a node: its output, or that of the Relu or Clip behind it."""
    name = node.output[0]
    reader = graph.only_reader(name)
    if reader is not None and reader.op_type in ABSORBED and reader.input[0] == name:
        return str(reader.output[0])
    return str(name)


def plan(graph: Graph, chosen: Collection[str], measured: Mapping[str, Range]) -> Plan:
    """Settle the ranges of everything that the chosen nodes read and write.

    Args:
        graph: Float.
        chosen: Outputs of nodes that shall compute in integers; see ``candidates``.
        measured: Range of every activation, over the calibration pictures.
    """
    out = Plan()
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for node in graph.nodes:
        if not node.output or node.output[0] not in chosen:
            continue
        out.nodes.add(node.output[0])
        names = [*data_inputs(node), result(graph, node)]
        for name in names:
            find(name)
        if node.op_type in PASSING or (
            node.op_type == "Concat" and _alike([measured[n] for n in names[:-1]])
        ):
            for name in names[1:]:
                leader[find(name)] = find(names[0])
    out.ranges = _joined({name: find(name) for name in leader}, measured)
    return out


def _joined(leader: Mapping[str, str], measured: Mapping[str, Range]) -> dict[str, Range]:
    """One range for all tensors of the same leader: the widest of theirs."""
    groups: dict[str, list[str]] = {}
    for name, first in leader.items():
        groups.setdefault(first, []).append(name)
    ranges: dict[str, Range] = {}
    for members in groups.values():
        low = min(measured[name][0] for name in members)
        high = max(measured[name][1] for name in members)
        ranges.update(dict.fromkeys(members, (low, high)))
    return ranges


def _alike(ranges: list[Range]) -> bool:
    widths = [max(high, 0.0) - min(low, 0.0) for low, high in ranges]
    return min(widths) > 0 and max(widths) / min(widths) < _SHARE


def insert(graph: Graph, settled: Plan) -> None:
    """Put the nodes in.

    Args:
        graph: Changed in place.
        settled: From ``plan``.
    """
    chosen = [n for n in graph.nodes if n.output and n.output[0] in settled.nodes]
    outside = [n for n in graph.nodes if not (n.output and n.output[0] in settled.nodes)]
    quantised: dict[str, str] = {}
    parameters: dict[str, tuple[float, int]] = {}
    made = {result(graph, node) for node in chosen}
    for name in sorted(settled.ranges):
        parameters[name] = scale_and_zero(settled.ranges[name])
        scale, zero = parameters[name]
        s = graph.constant(np.float32(scale), f"{name}/scale")
        z = graph.constant(np.uint8(zero), f"{name}/zero")
        q = graph.add("QuantizeLinear", [name, s, z], graph.name(f"{name}/quantized"))
        quantised[name] = graph.add("DequantizeLinear", [q, s, z], graph.name(f"{name}/back"))
    for node in chosen:
        for index, name in enumerate(node.input):
            if name in quantised and name in data_inputs(node):
                node.input[index] = quantised[name]
        if node.op_type == "Conv":
            _weights(graph, node, parameters[_before(quantised, node.input[0])][0])
    inner = {id(graph.maker[name]) for name in made if name in graph.maker}
    for node in outside:
        if id(node) in inner:  # the absorbed Relu: it reads its convolution, not a quantiser
            continue
        for index, name in enumerate(node.input):
            if name in made:
                node.input[index] = quantised[name]
    # An output of the graph keeps its name and its float value.
    graph.index()


def _before(quantised: dict[str, str], back: str) -> str:
    return next(name for name, end in quantised.items() if end == back)


def scale_and_zero(limits: Range) -> tuple[float, int]:
    """Scale and zero point of uint8 for a range; 0 is always exact.

    >>> scale_and_zero((0.0, 25.5))
    (0.1, 0)
    """
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = max(high - low, 1e-8) / 255
    return scale, int(np.clip(np.rint(-low / scale), 0, 255))


def _weights(graph: Graph, conv: onnx.NodeProto, input_scale: float) -> None:
    """Weights to int8, one scale per output channel; the bias to int32 on the product's scale."""
    weight = graph.constants[conv.input[1]].astype(np.float64)
    top = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = (np.maximum(top, 1e-8) / 127).astype(np.float32)
    shape = (-1,) + (1,) * (weight.ndim - 1)
    values = np.clip(np.rint(weight / scale.astype(np.float64).reshape(shape)), -127, 127)
    base = conv.output[0]
    conv.input[1] = _stored(graph, values.astype(np.int8), scale, f"{base}/weight")
    if len(conv.input) > 2 and conv.input[2]:  # noqa: PLR2004 - the bias
        product = scale * np.float32(input_scale)
        bias = graph.constants[conv.input[2]].astype(np.float64) / product
        limit = 2**31 - 1
        whole = np.clip(np.rint(bias), -limit, limit).astype(np.int32)
        conv.input[2] = _stored(graph, whole, product, f"{base}/bias")


def _stored(graph: Graph, values: Any, scale: Any, hint: str) -> str:  # noqa: ANN401 - arrays
    names = [
        graph.constant(values, f"{hint}/values"),
        graph.constant(scale, f"{hint}/scale"),
        graph.constant(np.zeros(len(scale), values.dtype), f"{hint}/zero"),
    ]
    return graph.add("DequantizeLinear", names, graph.name(hint), axis=0)
