"""A model ready for another precision: one opset, float32 weights, constants folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import ConversionError, first_line

from .. import metadata  # noqa: TID252 - the folder installs under another name
from . import measure
from ._graph import Graph, attributes

if TYPE_CHECKING:
    import onnx

    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import F32Array

_ROUNDING = 1e-4  # mean of alpha; float32 graphs in another order differ by about 1e-6
_OPSET = 17
"""The oldest in which all that is written here is valid: 13 has scales per channel, 17 what fp16
needs of normalisations. Newer models keep theirs."""


def simplified(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Raise the opset, widen float16 storage, fold constants and normalisations into weights.

    Args:
        model: Left alone.
        spec: Its own; a fixed input size becomes the graph's.

    Returns:
        A copy without metadata.

    Raises:
        ConversionError: ONNX cannot raise its opset, or the simplifier cannot read it.
    """
    import onnx
    import onnxsim
    from onnx import version_converter

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    metadata.strip(copy)
    _settle_shape(copy, spec)
    version = next((o.version for o in copy.opset_import if o.domain in ("", "ai.onnx")), 0)
    try:
        if version < _OPSET:
            copy = version_converter.convert_version(copy, _OPSET)
            copy.ir_version = max(copy.ir_version, 8)  # the version that came with opset 15
        simple, same = onnxsim.simplify(copy)
    except Exception as error:
        # Neither has a base class of its own for what it raises.
        raise ConversionError(
            f"opset {version} to {_OPSET} and simplified: {first_line(error)}"
        ) from error
    if not same:
        raise ConversionError("the simplified graph computes something else")
    metadata.strip(simple)
    graph = Graph(simple)
    _plain_resizes(graph)
    return graph.write()


def strays(
    model: onnx.ModelProto, rewritten: onnx.ModelProto, spec: ModelSpec, feed: F32Array
) -> float:
    """How far a graph rewritten in float strays from its original: alpha's mean on one picture."""
    pair = [measure.alphas(measure.session(one), spec, [feed]) for one in (model, rewritten)]
    return measure.Difference.between(*pair).mean


def check(
    model: onnx.ModelProto, rewritten: onnx.ModelProto, spec: ModelSpec, feed: F32Array
) -> None:
    """Hold a graph rewritten in float to its original.

    Raises:
        ConversionError: Alpha differs by more than rounding can explain.
    """
    mean = strays(model, rewritten, spec, feed)
    if not mean <= _ROUNDING:
        raise ConversionError(
            f"the simplified graph differs by {mean:.1e} in alpha's mean, "
            f"expected at most {_ROUNDING:.0e}"
        )


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type (TensorProto's) of every tensor the main graph's nodes make or take.

    Raises:
        ConversionError: ONNX's inference fails.
    """
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:
        # onnx raises classes of its own without a common base.
        raise ConversionError(f"types of the graph cannot be told: {first_line(error)}") from error
    graph = inferred.graph
    types = {
        v.name: v.type.tensor_type.elem_type
        for v in (*graph.value_info, *graph.input, *graph.output)
    }
    types.update({t.name: t.data_type for t in graph.initializer})
    return types


def _settle_shape(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Sizes of -1, which some exporters write for free axes, get names; a fixed size its numbers.

    The simplifier would take -1 for a size.
    """
    size = spec.input.size
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        for index, dim in enumerate(dims):
            if dim.HasField("dim_value") and dim.dim_value < 0:
                dim.dim_param = f"{value.name}_{index}"
        if value.name == spec.input.name and size.rule == "fixed" and len(dims) == 4:  # noqa: PLR2004
            first = 1 if spec.input.layout == "NHWC" else 2
            assert size.height is not None
            assert size.width is not None
            dims[first].dim_value, dims[first + 1].dim_value = size.height, size.width
    del model.graph.value_info[:]


def _plain_resizes(graph: Graph) -> None:
    """Empty regions of interest left out; doublings under one name for the same thing.

    ONNX Runtime moves layout changes through a Resize only without the region input.
    """
    for node in graph.nodes:
        if node.op_type != "Resize":
            continue
        if len(node.input) > 1 and np.size(graph.constants.get(node.input[1], 0)) == 0:
            node.input[1] = ""
        scales = graph.constants.get(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004
        # pytorch_half_pixel differs from half_pixel for outputs of one pixel: none where it grows.
        if attributes(node).get("coordinate_transformation_mode") == b"pytorch_half_pixel" and (
            scales is not None and scales.size and scales[2:].min() > 1
        ):
            for attribute in node.attribute:
                if attribute.name == "coordinate_transformation_mode":
                    attribute.s = b"half_pixel"
