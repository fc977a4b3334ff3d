"""An ONNX graph under edit: who makes a tensor, who reads it, and which values are constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    import onnx

    Values = dict[str, Any]


class Graph:
    """The main graph of a model, edited in place; ``write`` puts it back, sorted and pruned.

    ``Constant`` nodes become initializers, so that constants stand in one place.

    Attributes:
        nodes: In any order until ``write``.
        constants: Arrays by name; do not change one in place, it may be shared.
        outputs: Names the graph gives.
        inputs: Names the graph takes.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: Values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                self.nodes.append(node)
        self.inputs = [v.name for v in graph.input if v.name not in self.constants]
        self.outputs = [v.name for v in graph.output]
        self._taken = {name for node in self.nodes for name in (*node.output, node.name)}
        self._taken |= set(self.constants) | set(self.inputs)
        self.index()

    def index(self) -> None:
        """Look again who makes and who reads what; needed after edits, before the next look-up."""
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in _reads(node):
                self.readers.setdefault(name, []).append(node)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads ``name``; None where others, or the caller, read it too."""
        found = self.readers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None

    def name(self, hint: str) -> str:
        """A name not yet taken that begins with ``hint``; the same for the same edits."""
        name, count = hint, 1
        while name in self._taken:
            count += 1
            name = f"{hint}_{count}"
        self._taken.add(name)
        return name

    def constant(self, value: Any, hint: str) -> str:  # noqa: ANN401 - an array or number
        """Add a constant; returns its name."""
        name = self.name(hint)
        self.constants[name] = np.asarray(value)
        return name

    def add(
        self,
        kind: str,
        inputs: list[str],
        output: str,
        **attributes: Any,  # noqa: ANN401 - whatever ONNX takes
    ) -> str:
        """Add a node with one output; returns the output."""
        self._taken.add(output)
        node = helper.make_node(kind, inputs, [output], self.name(f"{output}/{kind}"), **attributes)
        self.nodes.append(node)
        return output

    def drop(self, *nodes: onnx.NodeProto) -> None:
        """Remove nodes."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def sort(self) -> None:
        """Makers before readers; what no output needs is gone."""
        self.index()
        self.nodes = _sorted(self)
        self.index()

    def write(self) -> onnx.ModelProto:
        """Sort, leave out what nothing needs, and put everything into the model."""
        self.sort()
        order = self.nodes
        used = {name for node in order for name in _reads(node)} | set(self.outputs)
        graph = self.model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(order)
        for name, value in self.constants.items():
            if name in used:
                tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
                # ascontiguousarray makes a scalar one value long
                del tensor.dims[:]
                tensor.dims.extend(np.shape(value))
                graph.initializer.append(tensor)
        return self.model


def attributes(node: onnx.NodeProto) -> Values:
    """A node's attributes as plain values."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def bias(graph: Graph, conv: onnx.NodeProto) -> Any:  # noqa: ANN401 - an array
    """A convolution's bias, zeros where it has none."""
    if len(conv.input) > 2 and conv.input[2]:  # noqa: PLR2004 - the third is the bias
        return graph.constants[conv.input[2]]
    return np.zeros(graph.constants[conv.input[1]].shape[0], np.float32)


def _reads(node: onnx.NodeProto) -> set[str]:
    """Every name a node reads, those inside its subgraphs included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
            for inner in graph.node:
                names |= _reads(inner)
    return names


def _sorted(graph: Graph) -> list[onnx.NodeProto]:
    """The nodes the outputs need, makers first; deterministic."""
    order: list[onnx.NodeProto] = []
    done: set[int] = set()
    stack = [(graph.maker[name], False) for name in reversed(graph.outputs) if name in graph.maker]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if ready:
            done.add(id(node))
            order.append(node)
            continue
        stack.append((node, True))
        for name in sorted(_reads(node), reverse=True):
            maker = graph.maker.get(name)
            if maker is not None and id(maker) not in done:
                stack.append((maker, False))
    return order
