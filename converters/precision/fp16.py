"""Float16 where the network's values allow it; inputs, outputs and what overflows stay float32.

The types are settled here node by node from ONNX's own type inference, which leaves no mixed-type
node behind: the usual converters work from names and lists of operators, and what they miss shows
when the file is opened. Every tensor is cast at most once in each direction, every constant stored
once in each type it is read in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import OptionError

from .. import metadata  # noqa: TID252 - the folder installs under another name
from . import measure, prepare, ranges, search
from ._graph import Graph, attributes
from .int8 import node_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import F32Array

_LARGEST = 65504.0
_HEADROOM = 4.0  # values up to a quarter of the largest: other photos go further than these
_FLOAT, _HALF = 1, 10  # TensorProto's
_FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are float32 whatever the others are: regions and scales."""
_SPATIAL = ("InstanceNormalization", "GlobalAveragePool")
_SUMMING = (*_SPATIAL, "LayerNormalization", "ReduceMean", "ReduceSum", "ReduceSumSquare")
_SQUARING = ("InstanceNormalization", "LayerNormalization", "ReduceSumSquare")
_NEVER = ("If", "Loop", "Scan", "Cast", "CastLike", "ConstantOfShape", "RandomNormal", "Range")
"""Bodies with types of their own, and nodes whose type is their purpose."""
_GROUPS = 12
_MARGIN = 0.75


def convert(
    model: onnx.ModelProto, spec: ModelSpec, feeds: Sequence[F32Array]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Compute in float16 what can be; inputs and outputs stay float32.

    Args:
        model: Float32, or float32 with float16 storage; left alone.
        spec: Its own.
        feeds: Prepared portraits: values are checked and alpha compared on them.

    Returns:
        The model with its metadata (``precision`` fp16), and the report.

    Raises:
        ConversionError: A weight passes float16, or ONNX Runtime refuses the result.
        OptionError: No pictures.
    """
    if not feeds:
        raise OptionError("fp16: expected pictures to check values on, got none")
    base = prepare.simplified(model, spec)
    prepare.check(model, base, spec, feeds[0])
    types = prepare.element_types(base)
    reasons = _out_of_range(base, spec, types, feeds)
    all_names = [n.output[0] for n in Graph(base).nodes if n.op_type not in _NEVER]
    free = [name for name in all_names if name not in reasons]
    want = measure.alphas(measure.session(base), spec, feeds)

    def built(left: frozenset[str]) -> onnx.ModelProto:
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(base)
        graph = Graph(copy)
        _retype(graph, {name for name in free if name not in left}, types)
        return graph.write()

    def error(left: frozenset[str]) -> float:
        got = measure.alphas(measure.session(built(left)), spec, feeds)
        return measure.Difference.between(want, got).mean

    goal = _MARGIN * measure.TOLERANCES["fp16"]
    kept, reached = search.keep(search.runs(free, _GROUPS), error, goal)
    half = built(frozenset(name for one in kept for name in one.nodes))
    metadata.write(half, replace(spec, precision="fp16"))
    report = {
        "precision": "fp16",
        "reached": round(reached, 6),
        "kept_in_float": [
            {"from": name, "to": name, "nodes": 1, "why": why} for name, why in reasons.items()
        ]
        + [one.as_json() for one in kept],
        "nodes": node_counts(half),
        **measure.compare(model, half, spec, feeds, precision="fp16"),
    }
    return half, report


def _out_of_range(
    model: onnx.ModelProto, spec: ModelSpec, types: dict[str, int], feeds: Sequence[F32Array]
) -> dict[str, str]:
    """Nodes whose values, or the sums they take on the way, could pass float16; with the reason."""
    graph = Graph(model)
    names = {name for name in graph.inputs if types.get(name) == _FLOAT}
    names |= {
        name for node in graph.nodes for name in node.output if types.get(name) == _FLOAT and name
    }
    seen = ranges.Activations(model, sorted(names), [measure.inputs(spec, f) for f in feeds])
    limit = _LARGEST / _HEADROOM
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        tops = {
            name: max(map(abs, seen.extremes[name]))
            for name in (*node.input, *node.output)
            if name in seen.extremes
        }
        for name in node.input:
            value = graph.constants.get(name)
            if value is not None and value.dtype == np.float32 and value.size:
                tops[name] = float(np.abs(value).max())
        worst = max(tops, key=lambda name: tops[name], default="")
        if worst and not tops[worst] <= limit:
            reasons[node.output[0]] = f"{worst} reaches {tops[worst]:.3g} of float16's 65504"
        elif node.op_type in _SUMMING and node.input[0] in seen.extremes:
            total = _sum(graph, node, seen)
            if total > limit:
                reasons[node.output[0]] = f"{node.op_type} sums up to {total:.3g}, past float16"
    return reasons


def _sum(graph: Graph, node: onnx.NodeProto, seen: ranges.Activations) -> float:
    """What a node's sum reaches if it is taken in its own type."""
    name = node.input[0]
    shape, squares = seen.shapes[name], seen.squares[name]
    values = attributes(node)
    if node.op_type in _SPATIAL:
        axes = list(range(2, len(shape)))
    elif node.op_type == "LayerNormalization":
        axes = list(range(values.get("axis", -1) % len(shape), len(shape)))
    else:
        given = values.get("axes")
        if given is None and len(node.input) > 1 and node.input[1] in graph.constants:
            given = graph.constants[node.input[1]].tolist()
        axes = [axis % len(shape) for axis in given] if given else list(range(len(shape)))
    count = float(np.prod([shape[axis] for axis in axes]))
    return count * (squares if node.op_type in _SQUARING else float(np.sqrt(squares)))


def _retype(graph: Graph, half: set[str], types: dict[str, int]) -> None:
    """Give the named nodes float16 operands and results.

    Args:
        graph: Changed in place.
        half: First outputs of the nodes.
        types: Element types before.
    """
    nodes = list(graph.nodes)
    chosen = [node for node in nodes if node.output and node.output[0] in half]
    chosen = [n for n in chosen if any(types.get(name) == _FLOAT for name in (*n.input, *n.output))]
    narrow = {name for node in chosen for name in node.output if types.get(name) == _FLOAT}
    ids = {id(node) for node in chosen}
    made: dict[tuple[str, int], str] = {}

    def as_type(name: str, kind: int) -> str:
        now = _HALF if name in narrow else _FLOAT
        if types.get(name) != _FLOAT or now == kind:
            return name
        if (name, kind) not in made:
            hint = graph.name(f"{name}/{'half' if kind == _HALF else 'float'}")
            value = graph.constants.get(name)
            if value is not None:
                graph.constants[hint] = value.astype(np.float16)
                made[name, kind] = hint
            else:
                made[name, kind] = graph.add("Cast", [name], hint, to=kind)
        return made[name, kind]

    for node in nodes:
        is_half = id(node) in ids
        stay = _FLOAT_INPUTS.get(node.op_type, ())
        for index, name in enumerate(node.input):
            if name:
                node.input[index] = as_type(
                    name, _HALF if is_half and index not in stay else _FLOAT
                )
    for name in graph.outputs:
        if name in narrow:
            _widen_output(graph, name)


def _widen_output(graph: Graph, name: str) -> None:
    """The graph's output keeps its name and float32; its float16 self gets another name."""
    inner = graph.name(f"{name}/inner")
    for node in graph.nodes:
        for index, other in enumerate(node.output):
            if other == name:
                node.output[index] = inner
        for index, other in enumerate(node.input):
            if other == name:
                node.input[index] = inner
    graph.add("Cast", [inner], name, to=_FLOAT)
