"""The spec: what is written is what is read, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from conftest import native_spec
from hypothesis import given
from hypothesis import strategies as st

from portrait_sdk.errors import SpecError
from portrait_sdk.spec import (
    SCHEMA,
    Filter,
    InputSpec,
    ModelSpec,
    OutputSpec,
    SizePolicy,
    StateSpec,
    missing_spec,
)

FULL = ModelSpec(
    name="everything",
    architecture="rvm",
    license="Apache-2.0",
    input=InputSpec(
        name="src",
        layout="NHWC",
        color="BGR",
        range=255.0,
        mean=(102.9, 111.3, 126.9),
        std=(1.0, 2.0, 3.0),
        size=SizePolicy(
            rule="short-side",
            side=512,
            max_side=2048,
            multiple=32,
            rounding="down",
            fit="letterbox",
            pad=(1.0, 2.0, 3.0),
            filter=Filter(kernel="bicubic", coefficient=-0.5, antialias=False),
        ),
    ),
    outputs=(
        OutputSpec(name="pha", meaning="alpha", activation="softmax", channel=1),
        OutputSpec(name="fgr", meaning="foreground"),
    ),
    provenance={"source_sha256": "0" * 64, "converter": "portrait_sdk 0.1.0"},
    states=(StateSpec(input="r1i", output="r1o", shape=(1, 1, 1, 1)),),
    constants={"downsample_ratio": (0.25,)},
    precision="fp16",
    tolerance=2e-3,
)


@pytest.mark.parametrize("spec", [FULL, native_spec()])
def test_what_is_written_is_what_is_read(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json(), "m.onnx") == spec


@given(
    mean=st.tuples(*[st.floats(-255, 255)] * 3),
    std=st.tuples(*[st.floats(0.01, 255)] * 3),
    side=st.integers(1, 4096),
    multiple=st.integers(1, 64),
    rule=st.sampled_from(["short-side", "long-side", "area"]),
)
def test_any_numbers_survive(
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    side: int,
    multiple: int,
    rule: str,
) -> None:
    size = SizePolicy(rule=rule, side=side, multiple=multiple)  # type: ignore[arg-type]
    spec = native_spec(input=InputSpec(name="x", mean=mean, std=std, size=size))
    assert ModelSpec.from_json(spec.to_json(), "m.onnx") == spec


def test_unknown_fields_are_kept_at_every_depth() -> None:
    table = json.loads(FULL.to_json())
    table["later"] = {"a": [1, 2]}
    table["input"]["gamma"] = 2.2
    table["input"]["size"]["why"] = "because"
    table["input"]["size"]["filter"]["phase"] = 0.5
    table["outputs"][0]["unit"] = "1"
    table["states"][0]["note"] = "x"
    spec = ModelSpec.from_json(json.dumps(table), "m.onnx")
    assert spec.extra == {"later": {"a": [1, 2]}}
    assert json.loads(spec.to_json()) == table


def test_a_newer_schema_is_refused_by_name() -> None:
    table = {**json.loads(FULL.to_json()), "schema": SCHEMA + 1}
    with pytest.raises(SpecError, match=rf"^m\.onnx: described in schema {SCHEMA + 1}, .*upgrade"):
        ModelSpec.from_json(json.dumps(table), "m.onnx")


def changed(path: str, value: Any) -> str:
    table: Any = json.loads(FULL.to_json())
    at = table
    *way, last = path.split(".")
    for step in way:
        at = at[int(step)] if step.isdigit() else at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(table)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("schema", None, "schema: expected a whole number"),
        ("schema", True, "schema: expected a whole number"),
        ("name", "", "name: expected a text"),
        ("name", ..., "name: expected a text"),
        ("input", [], "input: expected an object"),
        ("input.color", "GBR", "input.color: expected one of RGB, BGR, got 'GBR'"),
        ("input.layout", "HWC", "input.layout: expected one of"),
        ("input.mean", [0, 0], "input.mean: expected three numbers"),
        ("input.mean", [0, 0, "a"], "input.mean: expected three numbers"),
        ("input.std", [1, 0, 1], "input.std: expected three numbers other than 0"),
        ("input.range", 0, "input.range: expected a number above 0"),
        ("input.size.rule", "big", "input.size.rule: expected one of"),
        ("input.size.side", ..., "input.size.side: expected a whole number"),
        ("input.size.side", 1.5, "input.size.side: expected a whole number"),
        ("input.size.multiple", 0, "input.size.multiple: expected a whole number"),
        ("input.size.filter.kernel", "sinc", "input.size.filter.kernel: expected one of"),
        ("input.size.filter.antialias", 1, "input.size.filter.antialias: expected true or false"),
        ("outputs", [], "outputs: expected exactly one whose meaning is 'alpha'"),
        ("outputs.1.meaning", "alpha", "outputs: expected exactly one"),
        ("outputs.0.channel", -1, r"outputs\[0\].channel: expected a whole number"),
        ("outputs.0.activation", "relu", r"outputs\[0\].activation: expected one of"),
        ("states.0.shape", [1, -1], r"states\[0\].shape: expected a list of whole numbers"),
        ("constants.downsample_ratio", 0.25, "constants.downsample_ratio: expected a list"),
        ("tolerance", float("nan"), "tolerance: expected a number"),
        ("tolerance", 10**400, "tolerance: expected a number"),
        ("input.size.side", 10**6, "input.size.side: expected a whole number from 1 to"),
        ("states.0.shape", [10**7, 10**7], r"states\[0\].shape: expected at most"),
    ],
)
def test_wrong_values_are_named(path: str, value: Any, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        ModelSpec.from_json(changed(path, value), "m.onnx")
    assert str(caught.value).startswith("m.onnx: ")
    assert "\n" not in str(caught.value)


def test_a_fixed_size_must_fit_its_multiple() -> None:
    size = SizePolicy(rule="fixed", height=320, width=100, multiple=32)
    spec = replace(FULL, input=replace(FULL.input, size=size))
    with pytest.raises(SpecError, match="multiple: expected a divisor of 100"):
        ModelSpec.from_json(spec.to_json(), "m.onnx")


@pytest.mark.parametrize("text", ["[" * 100_000, "", "{", "[]", "null", '"x"'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"^m\.onnx: "):
        ModelSpec.from_json(text, "m.onnx")


def test_a_missing_spec_names_the_command_that_adds_it() -> None:
    assert "`portrait adopt m.onnx -o OUT.onnx --profile NAME`" in str(missing_spec("m.onnx"))


def test_the_command_that_adds_it_can_be_pasted() -> None:
    assert "`portrait adopt 'my dir/x.onnx' -o" in str(missing_spec("my dir/x.onnx"))
