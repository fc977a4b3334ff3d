"""Static int8: quantise and dequantise nodes that ONNX Runtime turns into integer kernels.

Activations are uint8 with one scale per tensor, weights int8 with one per output channel, biases
int32; ``uint8 x int8`` is what processors' dot product instructions take (AVX-512 VNNI, AVX-VNNI,
ARM's i8mm). Without them, on AVX2 and plain AVX-512, the 16-bit sums of two products can saturate:
there ONNX Runtime's session option ``session.x64quantprecision`` = 1 trades speed for exact sums.

Before that the graph is rewritten into the same function in nodes that quantise well (``rewrite``,
``phases``). How ranges are cut and which nodes stay in float is decided by alpha's error on
calibration pictures; the figures reported are of other pictures.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import OptionError
from portrait_sdk.ops import preprocess

from .. import metadata  # noqa: TID252 - the folder installs under another name
from . import measure, prepare, quantize, ranges, rewrite, search
from ._graph import Graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import F32Array

_CHOOSING = 6  # calibration pictures that choices are judged on: each choice runs them all
_GROUPS = 12
_MARGIN = 0.75  # of the tolerance, on calibration pictures: others do a little worse


def convert(
    model: onnx.ModelProto,
    spec: ModelSpec,
    calibration: Sequence[F32Array],
    feeds: Sequence[F32Array],
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Quantise a model.

    Args:
        model: Float32, or float32 with float16 storage; left alone.
        spec: Its own.
        calibration: Prepared portraits that set ranges and decide what stays in float.
        feeds: Other portraits, which the report's figures are measured on.

    Returns:
        The model with its metadata (``precision`` int8), and the report.

    Raises:
        ConversionError: The graph cannot be rewritten, or ONNX Runtime refuses the result.
        OptionError: No pictures, or nothing in the graph can be quantised.
    """
    if not calibration or not feeds:
        raise OptionError("int8: expected pictures to calibrate and to compare on, got none")
    base = prepare.simplified(model, spec)
    prepare.check(model, base, spec, calibration[0])
    base, passes = rewrite.apply(base, spec, calibration[0])
    quantizer = _Quantizer(base, spec, calibration)
    quantized, chosen = quantizer.best()
    metadata.write(quantized, replace(spec, precision="int8"))
    report = {
        "precision": "int8",
        "rewritten": passes,
        **chosen,
        "nodes": node_counts(quantized),
        **measure.compare(model, quantized, spec, feeds, precision="int8"),
    }
    return quantized, report


class _Quantizer:
    """One rewritten model with the activations of its calibration pictures."""

    def __init__(
        self, base: onnx.ModelProto, spec: ModelSpec, calibration: Sequence[F32Array]
    ) -> None:
        self.base, self.spec = base, spec
        graph = self._graph()
        ends = _behind_last_convolutions(graph, spec.alpha.name)
        nodes = quantize.candidates(graph, prepare.element_types(base))
        self.candidates = [n.output[0] for n in nodes if n.output[0] not in ends]
        if not self.candidates:
            raise OptionError("int8: the graph has nothing that computes in integers")
        self.ends = [n.output[0] for n in nodes if n.output[0] in ends and n.op_type == "Conv"]
        tensors = {
            name
            for node in nodes
            for name in (*quantize.data_inputs(node), quantize.result(graph, node))
        }
        feeds = [measure.inputs(spec, feed) for feed in calibration]
        self.activations = ranges.Activations(base, sorted(tensors), feeds)
        self.photos = {spec.input.name} | {
            node.output[0]
            for node in graph.readers.get(spec.input.name, [])
            if node.op_type == "SpaceToDepth"
        }
        step = max(1, len(calibration) // _CHOOSING)
        self.choosing = list(calibration[::step][:_CHOOSING])
        self.want = measure.alphas(measure.session(base), spec, self.choosing)

    def best(self) -> tuple[onnx.ModelProto, dict[str, Any]]:
        """The best method, and float where the tolerance wants it."""
        nothing: frozenset[str] = frozenset()
        errors = {method: self._error(method, nothing) for method in ranges.METHODS}
        method = min(ranges.METHODS, key=lambda name: errors[name])
        goal = _MARGIN * measure.TOLERANCES["int8"]

        def error(left: frozenset[str]) -> float:
            return self._error(method, left) if left else errors[method]

        kept, reached = search.keep(search.runs(self.candidates, _GROUPS), error, goal)
        left = frozenset(name for one in kept for name in one.nodes)
        report = {
            "calibration": {
                "method": method,
                "mean_difference": {name: round(value, 6) for name, value in errors.items()},
                "reached": round(reached, 6),
            },
            "kept_in_float": [one.as_json() for one in kept]
            + [
                {
                    "from": name,
                    "to": name,
                    "nodes": 1,
                    "why": "steps of its 256 values show in alpha",
                }
                for name in self.ends
            ],
        }
        return self._quantized(method, left), report

    def _graph(self) -> Graph:
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(self.base)
        return Graph(copy)

    def _quantized(self, method: ranges.Method, left: frozenset[str]) -> onnx.ModelProto:
        graph = self._graph()
        measured = self.activations.ranges(method)
        for name in self.photos & set(measured):
            measured[name] = _photo_range(self.spec)
        chosen = [name for name in self.candidates if name not in left]
        quantize.insert(graph, quantize.plan(graph, chosen, measured))
        return graph.write()

    def _error(self, method: ranges.Method, left: frozenset[str]) -> float:
        opened = measure.session(self._quantized(method, left))
        got = measure.alphas(opened, self.spec, self.choosing)
        return measure.Difference.between(self.want, got).mean


def _behind_last_convolutions(graph: Graph, alpha: str) -> set[str]:
    """Everything from alpha back to the last convolutions, these included."""
    found: set[str] = set()
    stack = [alpha]
    while stack:
        node = graph.maker.get(stack.pop())
        if node is None or node.output[0] in found:
            continue
        found.add(node.output[0])
        if node.op_type != "Conv":
            stack.extend(node.input)
    return found


def _photo_range(spec: ModelSpec) -> quantize.Range:
    """What pixels of 0 and 255 become: the photo's own 256 levels stay apart."""
    scale, offset = preprocess.affine(spec.input)
    ends = np.array([offset, 255 * scale + offset])
    return float(ends.min()), float(ends.max())


def node_counts(model: onnx.ModelProto) -> dict[str, int]:
    """How many nodes of each type, most frequent first."""
    counts = Counter(node.op_type for node in model.graph.node)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
