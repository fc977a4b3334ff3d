"""Preprocessing baked into the graph: uint8 photos in, alpha at their own size out.

For C++, mobile and browser users, who then run the file with ONNX Runtime and nothing else. The
graph takes (N, H, W, 3) RGB and gives (N, H, W, 1); its metadata tells our own runtime to feed the
photo as it is. ONNX has no area filter and no Lanczos: the antialiased linear resize stands for the
first and the antialiased cubic for the second, and the report says how far alpha moves by it. Where
a filter depends on whether the photo shrinks, so does the graph (``If``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import ConversionError, OptionError
from portrait_sdk.ops import geometry, postprocess, preprocess
from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy, plain

from . import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from portrait_sdk.spec import ModelSpec
    from portrait_sdk.types import Image

PHOTO = "photo"
"""The embedded graph's input."""
_TOLERANCE = 1e-3  # mean of alpha's difference that the same filter may cause by rounding
_STAND_IN_TOLERANCE = 8e-3  # likewise, where another filter stands in: two 8-bit levels
_FOR_AREA = "antialiased linear resize in place of the area filter"
_RESIZES: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest", "nearest_mode": "round_prefer_floor"},
    "area": {"mode": "linear", "antialias": 1},
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic"},
    "lanczos4": {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5},
}


def stand_in(used: Filter) -> str | None:
    """What replaces a filter that ONNX does not have, in words; None where none is needed."""
    words = {
        "area": _FOR_AREA,
        "area-bicubic": f"{_FOR_AREA}, where the photo shrinks",
        "lanczos4": "antialiased cubic resize in place of Lanczos",
    }
    return words.get(used.kernel)


class _Nodes:
    """Collects nodes and constants under one prefix; each call names its result."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: type[np.generic]) -> str:
        from onnx import numpy_helper

        name = f"{self.prefix}constant_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:  # noqa: ANN401
        from onnx import helper

        result = name or f"{self.prefix}{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [result], **attributes))
        return result


def embed(model: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, ModelSpec]:
    """Put the spec's preprocessing before the graph and the way back to the photo behind it.

    Args:
        model: Takes normalised photos as ``spec.input`` says; left alone. Outputs other than alpha
            stay as they are.
        spec: Of the model; layout NCHW, no recurrent states.

    Returns:
        The new graph, and its spec: photos at their own size, as uint8 (N, H, W, 3) RGB.

    Raises:
        OptionError: The spec wants something that is not written into graphs.
    """
    from onnx import ModelProto, TensorProto, compose, helper

    source = spec.input
    if source.layout != "NCHW" or source.size.fit != "stretch" or spec.states:
        raise OptionError(
            f"{spec.name}: --embed-preprocessing is for graphs in layout NCHW that stretch photos "
            f"and keep no states, got layout {source.layout}, {source.size.fit}, "
            f"{len(spec.states)} states"
        )
    core = ModelProto()
    core.CopyFrom(model)
    compose.add_prefix(core, "net_", inplace=True)
    before, after = _Nodes("pre_"), _Nodes("post_")

    shape = before.add("Shape", PHOTO)
    count = before.add("Slice", shape, *_range(before, 0, 1))
    photo_size = before.add("Slice", shape, *_range(before, 1, 3))
    planes = before.add("Transpose", PHOTO, perm=[0, 3, 1, 2])
    if source.color == "BGR":
        order = before.constant([2, 1, 0], np.int64)
        planes = before.add("Gather", planes, order, axis=1)
    values = before.add("Cast", planes, to=TensorProto.FLOAT)
    goal = _network_size(before, photo_size, source.size)
    channels = before.constant([3], np.int64)
    target = before.add("Concat", count, channels, goal, axis=0)
    used = source.size.filter
    if used.kernel == "area-bicubic":
        larger = replace(used, kernel="bicubic")
        sizes = photo_size, goal
        values = _resize_either(before, values, target, sizes, larger, replace(used, kernel="area"))
    else:
        values = _resize(before, values, target, used)
    scale, offset = preprocess.affine(source)
    factor = before.constant(scale[:, None, None], np.float32)
    values = before.add("Mul", values, factor)
    shift = before.constant(offset[:, None, None], np.float32)
    before.add("Add", values, shift, name=f"net_{source.name}")

    one = after.constant([1], np.int64)
    back = after.add("Concat", count, one, photo_size, axis=0)
    sizes, filters = (goal, photo_size), (postprocess.LARGER, postprocess.SMALLER)
    large = _resize_either(after, f"net_{spec.alpha.name}", back, sizes, *filters)
    ends = after.constant(0, np.float32), after.constant(1, np.float32)
    clipped = after.add("Clip", large, *ends)
    after.add("Transpose", clipped, perm=[0, 2, 3, 1], name="alpha")

    nodes = [*before.nodes, *core.graph.node, *after.nodes]
    dims = [*core.graph.input[0].type.tensor_type.shape.dim]
    batch = dims[0].dim_value or "batch"
    axes: list[int | str] = [batch, "height", "width"]
    others = [output for output in core.graph.output if output.name != f"net_{spec.alpha.name}"]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(PHOTO, TensorProto.UINT8, [*axes, 3])],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, [*axes, 1]), *others],
        [*before.tensors, *core.graph.initializer, *after.tensors],
    )
    whole = helper.make_model(
        graph, opset_imports=list(core.opset_import), ir_version=core.ir_version
    )
    whole.functions.extend(core.functions)
    described = replace(
        spec,
        input=InputSpec(name=PHOTO, layout="NHWC", range=255.0, size=SizePolicy(rule="native")),
        outputs=(
            OutputSpec(name="alpha", meaning="alpha"),
            *(replace(o, name=f"net_{o.name}") for o in spec.outputs if o.meaning != "alpha"),
        ),
    )
    return whole, described


def _range(nodes: _Nodes, start: int, stop: int) -> tuple[str, str]:
    return nodes.constant([start], np.int64), nodes.constant([stop], np.int64)


def _network_size(nodes: _Nodes, photo: str, policy: SizePolicy) -> str:
    """Height and width of the network's input, int64 (2,), as ``ops.geometry.place`` has them."""
    from onnx import TensorProto

    if policy.rule == "fixed":
        return nodes.constant([policy.height, policy.width], np.int64)
    size = nodes.add("Cast", photo, to=TensorProto.DOUBLE)
    longer = nodes.add("ReduceMax", size, keepdims=0)
    one = nodes.constant(1.0, np.float64)
    if policy.rule == "native":
        scale = one
        if policy.max_side is not None:
            most = nodes.constant(policy.max_side, np.float64)
            scale = nodes.add("Min", one, nodes.add("Div", most, longer))
    else:
        side = nodes.constant(policy.side, np.float64)
        if policy.rule == "long-side":
            scale = nodes.add("Div", side, longer)
        else:
            assert policy.side is not None
            if policy.rule == "area":
                measure = nodes.add("Sqrt", nodes.add("ReduceProd", size, keepdims=0))
            else:
                measure = nodes.add("ReduceMin", size, keepdims=0)
            scale = nodes.add("Div", side, measure)
            if policy.rule == "short-side" and policy.leave_straddling:
                small = nodes.add("LessOrEqual", measure, side)
                large = nodes.add("GreaterOrEqual", longer, side)
                scale = nodes.add("Where", nodes.add("And", small, large), one, scale)
            most = nodes.constant(policy.max_side or geometry.PANORAMA * policy.side, np.float64)
            scale = nodes.add("Min", scale, nodes.add("Div", most, longer))
    hair = nodes.constant(1e-6, np.float64)
    pixels = nodes.add("Floor", nodes.add("Add", nodes.add("Mul", size, scale), hair))
    multiple = nodes.constant(policy.multiple, np.float64)
    counts = nodes.add("Div", pixels, multiple)
    if policy.rounding == "nearest":
        counts = nodes.add("Add", counts, nodes.constant(0.5, np.float64))
    counts = nodes.add("Ceil" if policy.rounding == "up" else "Floor", counts)
    counts = nodes.add("Max", counts, one)
    return nodes.add("Cast", nodes.add("Mul", counts, multiple), to=TensorProto.INT64)


def _resize_either(
    nodes: _Nodes, values: str, target: str, sizes: tuple[str, str], larger: Filter, smaller: Filter
) -> str:
    """Resize by ``larger`` where either side grows, else by ``smaller``.

    Args:
        nodes: What the graph has so far.
        values: (N, C, h, w).
        target: Its four sizes afterwards.
        sizes: Height and width before and after, int64 (2,) each.
        larger: The filter for growing.
        smaller: The other one.
    """
    from onnx import TensorProto, helper

    before, after = sizes
    longer = nodes.add("Cast", nodes.add("Greater", after, before), to=TensorProto.INT32)
    grows = nodes.add("Cast", nodes.add("ReduceMax", longer, keepdims=0), to=TensorProto.BOOL)
    branches = {}
    for branch, used in (("then_branch", larger), ("else_branch", smaller)):
        inner = _Nodes(f"{nodes.prefix}{branch}_")
        result = _resize(inner, values, target, used)
        info = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        branches[branch] = helper.make_graph(inner.nodes, branch, [], [info], inner.tensors)
    return nodes.add("If", grows, **branches)


def _resize(nodes: _Nodes, values: str, target: str, used: Filter) -> str:
    attributes = dict(_RESIZES[used.kernel])
    if used.kernel == "bicubic":
        attributes["cubic_coeff_a"] = used.coefficient
    if used.kernel in ("bilinear", "bicubic") and used.antialias:
        attributes["antialias"] = 1
    nothing = nodes.constant([], np.float32)
    return nodes.add(
        "Resize", values, nothing, nothing, target,
        coordinate_transformation_mode="half_pixel", **attributes,
    )  # fmt: skip


def compare(
    session: Any,  # noqa: ANN401 - no stubs
    network: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
    spec: ModelSpec,
    people: Sequence[tuple[str, Image]],
) -> list[dict[str, Any]]:
    """Alpha at the photo's size: a graph with preprocessing inside beside the runtime's path.

    Args:
        session: Takes photos.
        network: Takes what ``spec.input`` describes, gives alpha (N, 1, h, w).
        spec: Of the graph without preprocessing.
        people: Names and uint8 (H, W, 3) RGB.
    """
    shape = session.get_inputs()[0].shape
    batch = shape[0] if isinstance(shape[0], int) else 1
    rows = []
    for name, photo in people:
        size = photo.shape[:2]
        feed, places = preprocess.prepare([photo] * batch, spec.input)
        small = postprocess.network_alpha(network(feed), spec, places[0].input)
        want = postprocess.to_photo(small[0], places[0], size)
        photos = np.repeat(photo[None], batch, axis=0)
        got = session.run(["alpha"], {session.get_inputs()[0].name: photos})[0][0, :, :, 0]
        if got.shape != want.shape:
            raise ConversionError(
                f"embedding the preprocessing: alpha of {name}: expected {want.shape}, "
                f"got {got.shape}"
            )
        rows.append({"input": name, "photo": list(size), **verify.difference(got, want)})
    return rows


def tolerance(used: Filter) -> float:
    """Mean difference of alpha from the runtime's path that embedding may cause."""
    return _TOLERANCE if stand_in(used) is None else _STAND_IN_TOLERANCE


def checked(
    model: onnx.ModelProto, spec: ModelSpec, people: Sequence[tuple[str, Image]]
) -> tuple[onnx.ModelProto, ModelSpec, dict[str, Any]]:
    """:func:`embed`, compared with the runtime's own path on photos.

    Args:
        model: As for :func:`embed`.
        spec: Of the model.
        people: Names and uint8 (H, W, 3) RGB.

    Returns:
        The graph, its spec with the network's own input kept in the provenance, and what the
        report says.

    Raises:
        ConversionError: Alpha moves by more than rounding, or the stand-in filter, explains.
    """
    whole, described = embed(model, spec)
    inner = verify.open_session(model.SerializeToString())
    outer = verify.open_session(whole.SerializeToString())

    def network(feed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        values: np.ndarray[Any, Any] = inner.run(["alpha"], {spec.input.name: feed})[0]
        return values

    rows = compare(outer, network, spec, people)
    replaced, limit = stand_in(spec.input.size.filter), tolerance(spec.input.size.filter)
    worst = max(rows, key=lambda row: row["mean_difference"])
    if not worst["mean_difference"] <= limit:
        raise ConversionError(
            f"embedding the preprocessing: alpha of {worst['input']} moves by "
            f"{worst['mean_difference']:.1e} on average, {limit:.0e} is tolerated "
            f"({replaced or 'with the same filter'})"
        )
    provenance = {**described.provenance, "embedded_input": plain(spec.input)}
    details = {
        "in_place_of": replaced,
        "against": "the runtime's own preprocessing",
        "tolerance": limit,
        "rows": rows,
    }
    return whole, replace(described, provenance=provenance), details
