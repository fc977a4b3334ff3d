"""Inspecting: what is in a file, without running it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import build_model, native_spec
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="the extra 'adopt' is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from portrait_sdk.converters.inspect_model import inspect  # noqa: E402
from portrait_sdk.errors import ModelError  # noqa: E402
from portrait_sdk.model import registry  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


def build(path: Path, nodes: list[Any], weights: dict[str, np.ndarray], shape: list[Any]) -> Path:
    """A graph from ``x`` of this shape to ``y``, with these weights."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


CONV = np.zeros((8, 3, 3, 3), np.float32)


def test_the_embedded_model() -> None:
    path = registry.resolve(None)
    found = inspect(path)
    assert found["spec"]["name"] == "portrait-s"
    assert found["note"] is None
    assert found["size_bytes"] == path.stat().st_size
    assert found["inputs"] == [
        {"name": "image", "type": "float", "shape": ["batch", 3, "height", "width"]}
    ]
    assert [value["name"] for value in found["outputs"]] == ["alpha"]
    assert found["opsets"] == {"ai.onnx": 18}
    assert sum(found["ops"].values()) == found["nodes"]
    assert 3e6 < found["parameters"] < 3.5e6
    # Kept as float16, each behind a Cast that widens it: that is storage, not precision.
    assert found["weights"]["float16"]["bytes"] == 2 * found["weights"]["float16"]["count"]
    assert found["precision"] == "fp32"
    assert found["float16_nodes"] == found["quantized_nodes"] == {}
    assert found["macs"] is None  # its axes are free
    json.dumps(found)


def test_without_a_description_the_command_is_named(tmp_path: Path) -> None:
    found = inspect(build_model(tmp_path / "m.onnx", None))
    assert found["spec"] is None
    assert "`portrait adopt" in found["note"]


def test_a_damaged_description_is_told_and_the_rest_shown(tmp_path: Path) -> None:
    path = build_model(tmp_path / "m.onnx", None)
    model = onnx.load(path)
    helper.set_model_props(model, {"portrait_sdk": '{"schema": 1, "name": 5}'})
    onnx.save(model, path)
    found = inspect(path)
    assert found["spec"] is None
    assert "name: expected a text, got 5" in found["note"]
    assert found["ops"] == {"Clip": 1, "ReduceMean": 1}


def test_multiply_adds_by_hand(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["a", "t"], ["b"], strides=[2, 2]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "m"], ["y"]),
    ]
    weights = {
        "w": CONV,
        "t": np.zeros((8, 4, 2, 2), np.float32),
        "m": np.zeros((4 * 10 * 12, 5), np.float32),
    }
    found = inspect(build(tmp_path / "m.onnx", nodes, weights, [1, 3, 10, 12]))
    conv, transposed, gemm = 5 * 6 * 8 * 3 * 9, 8 * 5 * 6 * 4 * 4, 4 * 10 * 12 * 5
    assert found["macs"] == conv + transposed + gemm
    free = build(tmp_path / "free.onnx", nodes[:1], weights, [1, 3, "height", 12])
    assert inspect(free)["macs"] is None


def test_float16_nodes_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "w"], ["a"], name="first"),
        helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT),
    ]
    weights = {"w": CONV.astype(np.float16)}
    found = inspect(build(tmp_path / "m.onnx", nodes, weights, [1, 3, 8, 8]))
    assert found["precision"] == "fp16"
    assert found["float16_nodes"] == {"Conv": ["first"]}
    assert found["weights"] == {"float16": {"count": 216, "bytes": 432}}


def test_quantized_nodes_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="q0"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    weights = {"scale": np.float32(0.1).reshape(()), "zero": np.uint8(0).reshape(())}
    found = inspect(build(tmp_path / "m.onnx", nodes, weights, [1, 3, 8, 8]))
    assert found["precision"] == "int8"
    assert found["quantized_nodes"] == {"DequantizeLinear": ["y"], "QuantizeLinear": ["q0"]}


def test_subgraphs_are_counted_too(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["z"])], "then", [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(CONV, "unused")],
    )  # fmt: skip
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)]
    found = inspect(build(tmp_path / "m.onnx", nodes, {"yes": np.ones((), bool)}, [1, 3, 8, 8]))
    assert found["ops"] == {"If": 1, "Neg": 2}
    assert found["weights"]["float"]["count"] == 2 * CONV.size
    assert found["macs"] is None


def test_external_data_is_listed_with_its_size(tmp_path: Path) -> None:
    path = build_model(tmp_path / "m.onnx", native_spec())
    model = onnx.load(path)
    weight = numpy_helper.from_array(np.zeros(300, np.float32), "unused")
    model.graph.initializer.append(weight)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=100)
    found = inspect(path)
    assert found["external_data"] == {"w.bin": 1200}
    assert found["weights"]["float"]["count"] == 302


def _truncated(path: Path) -> bytes:
    return path.read_bytes()[:-40]


def _bad_utf8(path: Path) -> bytes:
    return path.read_bytes().replace(b"ReduceMean", b"\xff\xfe\xfd\xfc\xfb\xfaMean")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda _: b"", "got an empty file"),
        (lambda _: b"<html>no model</html>", "expected an ONNX model, got something else"),
        (lambda _: np.random.default_rng(1).bytes(5000), "expected an ONNX model"),
        (_truncated, "truncated"),
        (_bad_utf8, "names not in UTF-8"),
    ],
)
def test_what_is_no_model_is_one_line(tmp_path: Path, content: Any, says: str) -> None:
    path = build_model(tmp_path / "m.onnx", native_spec())
    path.write_bytes(content(path))
    with pytest.raises(ModelError, match=rf"m\.onnx: .*{says}") as caught:
        inspect(path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("fuzz") / "small.onnx", native_spec())


@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=150)
def test_damage_gives_facts_or_one_of_our_errors(
    small: Path, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(small.read_bytes())
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    path = small.with_name("damaged.onnx")
    path.write_bytes(data)
    try:
        told = json.dumps(inspect(path))
    except ModelError as error:
        told = str(error)
    assert told.isprintable()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        inspect(tmp_path / "none.onnx")


def test_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    path = build_model(tmp_path / "m.onnx", native_spec())
    model = onnx.load(path)
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type = "w", TensorProto.FLOAT
    tensor.dims.append(1)
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="leads outside the model's folder"):
        inspect(path)
