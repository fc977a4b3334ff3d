"""Export and simplification: names, free and fixed axes, opsets, outputs, fewer nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'convert' is not installed")


from onnx import ModelProto, TensorProto, helper, numpy_helper  # noqa: E402

from portrait_sdk.converters import export, simplify, verify  # noqa: E402
from portrait_sdk.errors import ConversionError, OptionError  # noqa: E402

from . import tiny  # noqa: E402

TINY = tiny.architecture()


def to_onnx(**options: Any) -> ModelProto:
    torch.manual_seed(1)
    settings = {"input_name": "image", "axes": export.Axes(), **options}
    return export.to_onnx(tiny.TinyNet().eval(), TINY, **settings)


def shape(value: Any) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (export.Axes(), ["batch", 3, "height", "width"]),
        (export.Axes(size=(64, 48)), ["batch", 3, 64, 48]),
        (export.Axes(batch=1), [1, 3, "height", "width"]),
        (export.Axes(size=(64, 48), batch=3), [3, 3, 64, 48]),
    ],
)
def test_axes_are_free_or_fixed(axes: export.Axes, expected: list[int | str]) -> None:
    model = to_onnx(axes=axes)
    assert [i.name for i in model.graph.input] == ["image"]
    assert shape(model.graph.input[0]) == expected
    alpha = model.graph.output[0]
    assert alpha.name == "alpha"
    assert shape(alpha) == [expected[0], 1, *expected[2:]]


def test_raw_outputs_stand_beside_alpha() -> None:
    model = to_onnx(raw=("classes", "logits"))
    assert [o.name for o in model.graph.output] == ["alpha", "classes", "logits"]


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_the_opset_asked_for_is_written(opset: int) -> None:
    model = to_onnx(opset=opset)
    assert {e.domain: e.version for e in model.opset_import}[""] == opset
    assert verify.open_session(model.SerializeToString()) is not None


@pytest.mark.parametrize("opset", [0, 11, 17, 24, 99])
def test_other_opsets_are_refused(opset: int) -> None:
    with pytest.raises(OptionError, match=rf"opset: expected 18 to 23 .*got {opset}"):
        to_onnx(opset=opset)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (export.Axes(size=(63, 48)), "size 63x48: tiny takes multiples of 2 .*63 is none: 6[24]"),
        (export.Axes(size=(0, 48)), "size 0x48: .* 0 is none: 2 is the nearest"),
        (export.Axes(size=(48, 10_000)), "from 2 to 8192; 10000 is none: 8192"),
        (export.Axes(batch=0), "batch: expected 1 to 64, got 0"),
    ],
)
def test_impossible_axes_are_refused(axes: export.Axes, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        to_onnx(axes=axes)


def test_simplification_folds_batch_norm_and_computes_the_same() -> None:
    rng = np.random.default_rng(2)
    tensors = {
        "w": rng.normal(size=(4, 3, 3, 3)),
        "scale": rng.uniform(0.5, 2, 4),
        "bias": rng.normal(size=4),
        "mean": rng.normal(size=4),
        "var": rng.uniform(0.5, 2, 4),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "scale", "bias", "mean", "var"], ["b"]),
        helper.make_node("Identity", ["b"], ["alpha"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    simple = simplify.simplify(model, [(1, 3, 64, 48), (2, 3, 38, 62)], tolerance=1e-5)
    assert [node.op_type for node in simple.graph.node] == ["Conv"]
    assert len(model.graph.node) == 3


def test_a_simplification_that_changes_the_function_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """onnxsim itself is made to be wrong here: the check behind it must notice."""
    import onnxsim

    def wrong(model: ModelProto, **_: Any) -> tuple[ModelProto, bool]:
        other = ModelProto()
        other.CopyFrom(model)
        weight = next(t for t in other.graph.initializer if len(t.dims) == 4)
        values = numpy_helper.to_array(weight) * np.float32(1.01)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        return other, True

    monkeypatch.setattr(onnxsim, "simplify", wrong)
    with pytest.raises(ConversionError, match=r"at input \(1, 3, 64, 48\) .*something else"):
        simplify.simplify(to_onnx(), [(1, 3, 64, 48)], tolerance=1e-5)


def test_dropping_an_output_drops_what_only_it_needs() -> None:
    model = to_onnx(raw=("classes",))
    nodes, tensors = len(model.graph.node), {t.name for t in model.graph.initializer}
    simplify.drop_outputs(model, ["classes"])
    assert [o.name for o in model.graph.output] == ["alpha"]
    assert len(model.graph.node) == nodes - 1
    assert tensors - {t.name for t in model.graph.initializer} == {
        "network.classes.weight",
        "network.classes.bias",
    }


def test_folding_in_the_runtime_leaves_standard_operators() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, ["n", 4])
    one = numpy_helper.from_array(np.ones(4, np.float32), "one")
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Add", ["one", "one"], ["two"]),
        helper.make_node("Mul", ["a", "two"], ["alpha"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    folded = simplify.fold_in_runtime(model)
    assert folded is not None
    assert [node.op_type for node in folded.graph.node] == ["Mul"]
    assert [(e.domain, e.version) for e in folded.opset_import] == [("", 18)]
