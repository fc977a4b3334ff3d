"""An .onnx file opened with the package ``onnx``: checked first, weights outside left outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portrait_sdk.errors import ModelError, OptionError
from portrait_sdk.model import onnx_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    import onnx

_GRAPH, _GRAPHS = 5, 10  # onnx.AttributeProto's types
_LARGEST_BYTES = 2**31 - 1  # of one protobuf message


def open_model(path: Path) -> tuple[onnx.ModelProto, onnx_file.OnnxFile]:
    """Read the graph; tensors kept in other files stay there.

    Args:
        path: An .onnx file.

    Returns:
        The model, and what the package's own reader says of the file.

    Raises:
        OptionError: The package ``onnx`` is not installed.
        ModelError: Missing, not ONNX, damaged, beyond 2 GB, or leading outside its folder.
    """
    found = onnx_file.read(path)
    package = _package()
    if path.stat().st_size > _LARGEST_BYTES:
        raise ModelError(
            f"{path}: expected at most 2 GB, got {path.stat().st_size / 1e9:.1f} GB: "
            "save it with its weights as external data"
        )
    try:
        model: onnx.ModelProto = package.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own, which has no public type hints
        raise ModelError(f"{path}: expected an ONNX model, got a damaged one ({error})") from error
    if not all(isinstance(text, str) for text in _texts(model)):
        # protobuf hands out bytes then, which nobody expects of a name
        raise ModelError(f"{path}: expected an ONNX model, got a damaged one (names not in UTF-8)")
    return model, found


def _package() -> ModuleType:
    try:
        import onnx as module
    except ImportError as error:
        raise OptionError(
            "this needs the package onnx, which is not installed: "
            "`pip install 'portrait-sdk[adopt]'`"
        ) from error
    return module


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    yield from (model.producer_name, model.producer_version)
    yield from (entry.domain for entry in model.opset_import)
    for value in (*model.graph.input, *model.graph.output):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for nodes, initializers in graphs(model):
        yield from (tensor.name for tensor in initializers)
        for node in nodes:
            yield from (node.op_type, node.domain, node.name, *node.input, *node.output)


def graphs(model: onnx.ModelProto) -> Iterator[tuple[Any, Any]]:
    """Nodes and initialisers of the graph, its subgraphs and the model's functions."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph.node, getattr(graph, "initializer", ())
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == _GRAPH:
                    waiting.append(attribute.g)
                elif attribute.type == _GRAPHS:
                    waiting.extend(attribute.graphs)


def image_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs a caller has to feed: those that no initialiser gives a value."""
    given = {tensor.name for tensor in model.graph.initializer}
    given |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in given]


def shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """Axes of an input or output: numbers where fixed, names where free; None: any rank."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    )


def shape_text(axes: tuple[int | str, ...] | None) -> str:
    """``1 x 3 x height x width``."""
    return "any shape" if axes is None else " x ".join(map(str, axes)) or "one value"
