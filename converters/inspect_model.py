"""What is in an .onnx file: metadata, inputs, outputs, operators, weights, low-precision nodes."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from portrait_sdk.errors import SpecError
from portrait_sdk.spec import METADATA_KEY, ModelSpec, missing_spec

from .macs import multiply_adds
from .onnx_model import graphs, image_inputs, open_model, shape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

    from portrait_sdk.spec import Precision

_QUANTIZED = (
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "MatMulNBits",
    "QuantizeLinear",
)
_FLOAT16, _TENSOR = 10, 4  # onnx.TensorProto's and AttributeProto's numbers
_BITS = {
    "BFLOAT16": 16, "BOOL": 8, "COMPLEX128": 128, "COMPLEX64": 64, "DOUBLE": 64, "FLOAT": 32,
    "FLOAT16": 16, "INT16": 16, "INT32": 32, "INT4": 4, "INT64": 64, "INT8": 8, "UINT16": 16,
    "UINT32": 32, "UINT4": 4, "UINT64": 64, "UINT8": 8,
}  # fmt: skip


def inspect(path: Path) -> dict[str, Any]:
    """Look into an .onnx file without running it.

    Args:
        path: The file.

    Returns:
        Plain values: ``spec`` (None where it has none, with ``note`` saying why), ``inputs``,
        ``outputs``, ``opsets``, ``ops`` (how often each), ``weights`` (count and bytes by type),
        ``macs`` (multiply-adds of one run; None where free axes leave them open),
        ``float16_nodes`` and ``quantized_nodes`` (names by operator), ``external_data``, sizes.

    Raises:
        OptionError: The package ``onnx`` is not installed.
        ModelError: Missing, not ONNX, damaged, or leading outside its folder.
    """
    model, file = open_model(path)
    spec, note = _spec(path, file.metadata.get(METADATA_KEY))
    data = {name: (path.parent / name).stat().st_size for name in sorted(file.external)}
    weights = _weights(model)
    return {
        "file": str(path),
        "size_bytes": path.stat().st_size,
        "external_data": data,
        "spec": spec,
        "note": note,
        "metadata_keys": sorted(file.metadata),
        "producer": " ".join(filter(None, (model.producer_name, model.producer_version))),
        "ir_version": model.ir_version,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_value(value) for value in image_inputs(model)],
        "outputs": [_value(value) for value in model.graph.output],
        "nodes": sum(1 for _ in _nodes(model)),
        "ops": dict(sorted(Counter(_op(node) for node in _nodes(model)).items())),
        "parameters": sum(entry["count"] for entry in weights.values()),
        "weights": weights,
        "macs": multiply_adds(model),
        "precision": precision(model),
        "float16_nodes": _by_op(_float16_nodes(model)),
        "quantized_nodes": _by_op(_quantized_nodes(model)),
    }


def precision(model: onnx.ModelProto) -> Precision:
    """What the graph computes in: int8 where it quantizes, fp16 where operators take such weights.

    Weights kept as float16 and widened by a Cast are computed with in fp32.
    """
    if any(True for _ in _quantized_nodes(model)):
        return "int8"
    return "fp16" if any(True for _ in _float16_nodes(model)) else "fp32"


def _spec(path: Path, text: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """The description inside, or why there is none."""
    import json

    if text is None:
        return None, str(missing_spec(str(path)))
    try:
        plain: dict[str, Any] = json.loads(ModelSpec.from_json(text, str(path)).to_json())
    except SpecError as error:
        return None, str(error)
    return plain, None


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    axes = shape(value)
    return {
        "name": value.name,
        "type": _type_name(value.type.tensor_type.elem_type).lower(),
        "shape": None if axes is None else list(axes),
    }


def _type_name(number: int) -> str:
    from onnx import TensorProto

    try:
        return str(TensorProto.DataType.Name(number))
    except ValueError:
        return f"type {number}"


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for nodes, _ in graphs(model):
        yield from nodes


def _op(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Initialisers, and tensors of Constant nodes, under their value's name."""
    for nodes, initializers in graphs(model):
        yield from initializers
        for node in nodes:
            if node.op_type == "Constant":
                yield from (a.t for a in node.attribute if a.type == _TENSOR)


def _weights(model: onnx.ModelProto) -> dict[str, dict[str, int]]:
    """Values and bytes of all constants by type, the most first."""
    counts: Counter[str] = Counter()
    for tensor in _constants(model):
        counts[_type_name(tensor.data_type)] += math.prod(max(0, d) for d in tensor.dims)
    return {
        name.lower(): {"count": count, "bytes": -(-count * _BITS.get(name, 8) // 8)}
        for name, count in counts.most_common()
    }


def _float16_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Operators that take float16 weights as they are."""
    for nodes, initializers in graphs(model):
        half = {tensor.name for tensor in initializers if tensor.data_type == _FLOAT16}
        for node in nodes:
            if node.op_type == "Constant" and any(
                a.type == _TENSOR and a.t.data_type == _FLOAT16 for a in node.attribute
            ):
                half.update(node.output)
        for node in nodes:
            if node.op_type != "Cast" and not half.isdisjoint(node.input):
                yield node


def _quantized_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for node in _nodes(model):
        if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
            yield node


def _by_op(nodes: Iterator[onnx.NodeProto]) -> dict[str, list[str]]:
    """Names of nodes, or of their first output where they have none, by operator."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(_op(node), []).append(node.name or next(iter(node.output), ""))
    return dict(sorted(found.items()))
