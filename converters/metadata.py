"""The spec's way into an .onnx file, and everything else's way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portrait_sdk.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx


def write(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Put the spec into the model, in place of one it has; other entries stay.

    The JSON is read back first, so that nothing is written that the runtime would refuse.

    Args:
        model: Changed in place.
        spec: What the model says about itself from now on.

    Raises:
        SpecError: The spec contradicts itself.
    """
    text = spec.to_json()
    ModelSpec.from_json(text, spec.name)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    kept_pairs = [(entry.key, entry.value) for entry in kept]
    del model.metadata_props[:]
    for key, value in (*kept_pairs, (METADATA_KEY, text)):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def strip(model: onnx.ModelProto) -> None:
    """Remove what exporters leave behind: doc strings, stack traces with local paths, names.

    Args:
        model: Changed in place, subgraphs and functions included.
    """
    model.doc_string = ""
    model.producer_name = "portrait_sdk"
    model.producer_version = ""
    model.domain = ""
    del model.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        _strip_nodes(function.node)
    _strip_graph(model.graph)


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.doc_string = ""
    graph.name = "graph"
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    _strip_nodes(graph.node)


def _strip_nodes(nodes: list[onnx.NodeProto]) -> None:
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.doc_string = ""
            for graph in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                _strip_graph(graph)
