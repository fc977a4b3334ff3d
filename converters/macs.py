"""Multiply-adds of one run of a graph, where its shapes tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .onnx_model import shape

if TYPE_CHECKING:
    import onnx

_COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_UNCOUNTED = (
    "Attention", "ConvInteger", "DeformConv", "Einsum", "GRU", "LSTM", "MatMulInteger",
    "QLinearConv", "QLinearMatMul", "RNN",
)  # fmt: skip
_SUBGRAPHS = (5, 10)  # onnx.AttributeProto: a graph, graphs


def multiply_adds(model: onnx.ModelProto) -> int | None:
    """Multiply-adds of convolutions and matrix products; None where one cannot be known."""
    from onnx import shape_inference

    inside = any(a.type in _SUBGRAPHS for node in model.graph.node for a in node.attribute)
    if inside or model.functions:
        return None
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # noqa: BLE001 - whatever a damaged graph makes it raise; nothing is lost
        return None
    known: dict[str, tuple[int | str, ...] | None] = {
        value.name: shape(value) for value in (*graph.value_info, *graph.input, *graph.output)
    }
    known |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type in _COUNTED and node.domain in ("", "ai.onnx"):
            count = _node_macs(node, [known.get(name) for name in (*node.input[:2], *node.output)])
            if count is None:
                return None
            total += count
        elif node.domain not in ("", "ai.onnx") or node.op_type in _UNCOUNTED:
            return None
    return total


def _node_macs(node: onnx.NodeProto, shapes: list[tuple[int | str, ...] | None]) -> int | None:
    """Of one node, from the shapes of its two operands and its result."""
    if len(shapes) != 3:  # noqa: PLR2004 - two operands, one result
        return None
    first, second, out = shapes
    if node.op_type == "ConvTranspose":
        return _product(first, second[1:] if second else None)
    if node.op_type == "Conv":
        return _product(out, second[1:] if second else None)
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return _product(out, first[:1] if transposed else first[-1:]) if first else None


def _product(*shapes: tuple[int | str, ...] | None) -> int | None:
    total = 1
    for axes in shapes:
        for axis in ("?",) if axes is None else axes:
            if isinstance(axis, str):
                return None
            total *= axis
    return total
