"""The same function in nodes that quantise well; float, and compared before it is used.

Every pass takes a simplified graph and says how often it found its pattern. They are exact up to
rounding, but for the picture's outermost ring in ``phases``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import measure, phases, prepare
from ._graph import Graph, attributes, bias

if TYPE_CHECKING:
    import onnx

    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import F32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class _HalfNorms:
    """One place where the pattern stands."""

    conv: onnx.NodeProto
    cuts: tuple[onnx.NodeProto, onnx.NodeProto]
    """Slices, or one Split twice."""
    batch: onnx.NodeProto
    instance: onnx.NodeProto


def apply(
    model: onnx.ModelProto, spec: ModelSpec, feed: F32Array
) -> tuple[onnx.ModelProto, dict[str, int]]:
    """Every pass that leaves alpha as it is.

    Args:
        model: Simplified; left alone.
        spec: Its own.
        feed: A prepared portrait. Moving the last stage to half the size changes the picture's edge
            (see ``phases``); where that moves alpha's mean by more than a tenth of what int8 may,
            the stage stays where it was.

    Returns:
        The rewritten graph, and how often each pass found its pattern.
    """
    import onnx

    base = onnx.ModelProto()
    base.CopyFrom(model)
    graph = Graph(base)
    found = {"half_norms": half_norms(graph), "upsampled_convolutions": 0}
    graph.write()
    prepare.check(model, base, spec, feed)
    moved = onnx.ModelProto()
    moved.CopyFrom(base)
    graph = Graph(moved)
    count = phases.upsampled_convolutions(graph, spec)
    if not count:
        return base, found
    graph.write()
    if prepare.strays(base, moved, spec, feed) > measure.TOLERANCES["int8"] / 10:
        return base, found
    return moved, {**found, "upsampled_convolutions": count}


def half_norms(graph: Graph) -> int:
    """A convolution normalised half by batch, half by instance: two convolutions.

    ``Conv → (Slice → BatchNormalization, Slice → InstanceNormalization) → Concat → Relu`` becomes
    one convolution with the batch normalisation in its weights, and one for the instance
    normalisation. The first then runs in integers from end to end, and only the second half is
    widened for its statistics. (One convolution with its output cut in two gathers its input once,
    but widens and narrows both halves: MODNet in int8 took 1.15 x the processor time that way.)

    Source:
        The normalisation is IBN: Pan et al., "Two at Once", ECCV 2018; MODNet's decoder uses it.
    """
    found = 0
    for concat in [node for node in graph.nodes if node.op_type == "Concat"]:
        match = _match_half_norms(graph, concat)
        if match is None:
            continue
        conv, batch, instance = match.conv, match.batch, match.instance
        relu = graph.only_reader(concat.output[0])
        rectified = relu is not None and relu.op_type == "Relu"
        weight = graph.constants[conv.input[1]]
        shift = bias(graph, conv)
        count = len(graph.constants[batch.input[1]])
        gain, offset, mean, variance = (
            graph.constants[name].astype(np.float64) for name in batch.input[1:5]
        )
        scale = gain / np.sqrt(variance + attributes(batch).get("epsilon", 1e-5))
        halves = (
            (weight[:count] * scale[:, None, None, None], offset + (shift[:count] - mean) * scale),
            (weight[count:], shift[count:]),
        )
        parts = []
        for (w, b), end in zip(halves, (batch.output[0], instance.input[0]), strict=True):
            names = [
                conv.input[0],
                graph.constant(w.astype(np.float32), f"{end}/weight"),
                graph.constant(b.astype(np.float32), f"{end}/bias"),
            ]
            parts.append((names, end))
        graph.drop(conv, *match.cuts, batch, concat)
        for names, end in parts:
            graph.add("Conv", names, end, **attributes(conv))
        ends = [batch.output[0], instance.output[0]]
        if rectified:
            assert relu is not None
            graph.drop(relu)
            ends = [graph.add("Relu", [end], graph.name(f"{end}/relu")) for end in ends]
        graph.add("Concat", ends, (relu if rectified else concat).output[0], axis=1)  # type: ignore[union-attr]
        graph.index()
        found += 1
    return found


def _match_half_norms(graph: Graph, concat: onnx.NodeProto) -> _HalfNorms | None:
    norms = [graph.maker.get(name) for name in concat.input]
    kinds = [node.op_type for node in norms if node is not None]
    if kinds != ["BatchNormalization", "InstanceNormalization"] or attributes(concat)["axis"] != 1:
        return None
    batch, instance = (node for node in norms if node is not None)
    cuts = [graph.maker.get(node.input[0]) for node in (batch, instance)]
    first, second = cuts
    conv = graph.maker.get(first.input[0]) if first is not None else None
    if first is None or second is None or conv is None or not _plain(graph, conv):
        return None
    alone = (batch.input[0], instance.input[0], *concat.input)
    if any(graph.only_reader(name) is None for name in alone):
        return None
    if {id(node) for node in graph.readers[conv.output[0]]} != {id(first), id(second)}:
        return None
    count, total = len(graph.constants[batch.input[1]]), len(graph.constants[conv.input[1]])
    if (_channels(graph, first, 0), _channels(graph, second, 1)) != ((0, count), (count, total)):
        return None
    return _HalfNorms(conv=conv, cuts=(first, second), batch=batch, instance=instance)


def _plain(graph: Graph, conv: onnx.NodeProto) -> bool:
    return (
        conv.op_type == "Conv"
        and conv.output[0] not in graph.outputs
        and conv.input[1] in graph.constants
        and attributes(conv).get("group", 1) == 1
    )


def _channels(graph: Graph, node: onnx.NodeProto, half: int) -> tuple[int, int] | None:
    """The channels that a Slice takes, or a Split gives out in its first or second half."""
    total = len(graph.constants[graph.maker[node.input[0]].input[1]])
    values = [graph.constants.get(name) for name in node.input[1:]]
    if node.op_type == "Split" and len(node.output) == 2:  # noqa: PLR2004 - halves
        sizes = values[0].tolist() if values and values[0] is not None else [total // 2] * 2
        run = (sizes[0], total) if half else (0, sizes[0])
        return run if attributes(node).get("axis", 0) == 1 else None
    numbers = [int(v.ravel()[0]) for v in values if v is not None and v.size == 1]
    if node.op_type != "Slice" or len(numbers) != len(values) or len(numbers) < 3:  # noqa: PLR2004
        return None
    start, end, axis, *step = numbers
    return (start, min(end, total)) if axis == 1 and step in ([], [1]) else None
