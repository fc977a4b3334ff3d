"""Tiny real ONNX models, the sample photo, and a header that says what is tested."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import portrait_sdk
from portrait_sdk.ops import kernels
from portrait_sdk.spec import (
    METADATA_KEY,
    InputSpec,
    ModelSpec,
    OutputSpec,
    SizePolicy,
    StateSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# A busy machine is no failure: examples are not timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

CHECKOUT = Path(__file__).resolve().parents[1]
ASTRONAUT = CHECKOUT / "samples/portraits/astronaut.jpg"


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would the commands that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    return [f"portrait_sdk: {Path(portrait_sdk.__file__).parent}, kernels: {kernels.ISA}"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--editable",
        action="store_true",
        help="Allow the tested package to lie in the checkout (an editable install).",
    )
    parser.addoption(
        "--kill-photos",
        type=int,
        default=60,
        help="How many photos the folder has that is killed ten times.  [default: 60]",
    )


def native_spec(**changes: Any) -> ModelSpec:
    """A spec that feeds photos at their own size in [0, 1]."""
    fields: dict[str, Any] = {
        "name": "brightness",
        "architecture": "test",
        "license": "Apache-2.0",
        "input": InputSpec(name="image", size=SizePolicy(rule="native")),
        "outputs": (OutputSpec(name="alpha", meaning="alpha"),),
    }
    return ModelSpec(**{**fields, **changes})


def build_model(
    path: Path,
    spec: ModelSpec | None,
    *,
    batch: int | str = "batch",
    extra: Callable[[Any, list[Any], list[Any], list[Any]], None] | None = None,
) -> Path:
    """Write a graph whose alpha is the clamped mean of the three channels.

    Args:
        path: Where to.
        spec: Put into its metadata; None leaves the metadata empty.
        batch: The batch axis: a name (free) or a number (fixed).
        extra: Changes nodes, inputs and outputs before the graph is made.
    """
    import onnx
    from onnx import TensorProto, helper

    shape = [batch, 3, "height", "width"]
    nhwc = spec is not None and spec.input.layout == "NHWC"
    if nhwc:
        shape = [batch, "height", "width", 3]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, None)]
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=1),
        helper.make_node("Clip", ["mean", "zero", "one"], ["alpha"]),
    ]
    if extra is not None:
        extra(helper, nodes, inputs, outputs)
    graph = helper.make_graph(
        nodes,
        "brightness",
        inputs,
        outputs,
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [3 if nhwc else 1]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, path)
    return path


def summing_model(path: Path) -> Path:
    """Write a recurrent graph: a quarter of the brightness of all frames so far, in one state."""

    def extra(helper: Any, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> None:
        inputs.append(helper.make_tensor_value_info("sum_in", 1, [1, 1, "a", "b"]))
        inputs.append(helper.make_tensor_value_info("ratio", 1, [1]))
        outputs.append(helper.make_tensor_value_info("sum_out", 1, None))
        nodes.insert(1, helper.make_node("Add", ["mean", "sum_in"], ["sum_out"]))
        nodes.insert(2, helper.make_node("Mul", ["sum_out", "ratio"], ["quarter"]))
        nodes[3].input[0] = "quarter"

    spec = native_spec(
        states=(StateSpec(input="sum_in", output="sum_out", shape=(1, 1, 1, 1)),),
        constants={"ratio": (0.25,)},
    )
    return build_model(path, spec, extra=extra)


@pytest.fixture
def brightness(tmp_path: Path) -> Path:
    """A model file whose alpha is a photo's brightness, at the photo's own size."""
    return build_model(tmp_path / "brightness.onnx", native_spec())


@pytest.fixture
def astronaut() -> Path:
    return ASTRONAUT


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
