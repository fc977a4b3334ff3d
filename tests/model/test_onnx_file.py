"""Reading an .onnx file without opening it, and refusing data outside its folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from conftest import build_model, native_spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from portrait_sdk.errors import ModelError
from portrait_sdk.model import onnx_file
from portrait_sdk.model.session import Session
from portrait_sdk.spec import METADATA_KEY

if TYPE_CHECKING:
    from pathlib import Path


def external_model(folder: Path, location: str, *, subgraph: bool = False) -> Path:
    """A model one of whose tensors lies in ``location``."""
    tensor = numpy_helper.from_array(np.zeros((4, 4), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 4])
    if subgraph:
        inner = helper.make_graph(
            [helper.make_node("Identity", ["w"], ["y1"])], "i", [],
            [helper.make_tensor_value_info("y1", TensorProto.FLOAT, [4, 4])], [tensor],
        )  # fmt: skip
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
        graph = helper.make_graph([node], "g", [c], [y])
    else:
        graph = helper.make_graph(
            [helper.make_node("Identity", ["w"], ["y"])], "g", [], [y], [tensor]
        )
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_metadata_is_read(brightness: Path) -> None:
    found = onnx_file.read(brightness)
    assert found.metadata == {METADATA_KEY: native_spec().to_json()}
    assert found.external == set()


@pytest.mark.parametrize("subgraph", [False, True])
def test_data_beside_the_model_is_allowed(tmp_path: Path, *, subgraph: bool) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/w.bin").write_bytes(bytes(64))
    path = external_model(tmp_path, "sub/w.bin", subgraph=subgraph)
    assert onnx_file.read(path).external == {"sub/w.bin"}


@pytest.mark.parametrize("subgraph", [False, True])
@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/../../w.bin", "link.bin"])
def test_data_outside_the_folder_is_refused(
    tmp_path: Path, location: str, *, subgraph: bool
) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(ModelError, match="leads outside the model's folder"):
        onnx_file.read(external_model(folder, location, subgraph=subgraph))


def test_a_folder_that_is_a_link_is_resolved_first(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "w.bin").write_bytes(bytes(64))
    external_model(real, "w.bin")
    (tmp_path / "alias").symlink_to(real)
    assert onnx_file.read(tmp_path / "alias/m.onnx").external == {"w.bin"}


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"external data 'w\.bin' is missing beside it"):
        onnx_file.read(external_model(tmp_path, "w.bin"))


def test_the_session_refuses_before_onnxruntime_opens_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(64))
    with pytest.raises(ModelError, match="leads outside"):
        Session(external_model(folder, "../w.bin"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>not found</html>", "expected an ONNX model"),
        (b"\x80\x02}q\x00.", "expected an ONNX model"),
        (os.urandom(7) + bytes(1000), "expected an ONNX model"),
        (b"\x08\x07", "expected an ONNX model"),
    ],
)
def test_something_else_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        onnx_file.read(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        onnx_file.read(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        onnx_file.read(tmp_path)


@given(
    cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4)
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
def test_damage_is_read_or_refused_never_worse(
    tmp_path: Path, cut: float, flips: list[tuple[float, int]]
) -> None:
    whole = bytearray(build_model(tmp_path / "whole.onnx", native_spec()).read_bytes())
    for where, value in flips:
        whole[int(where * (len(whole) - 1))] = value
    path = tmp_path / "damaged.onnx"
    path.write_bytes(bytes(whole[: max(1, int(cut * len(whole)))]))
    try:
        found = onnx_file.read(path)
    except ModelError:
        return
    assert isinstance(found.metadata, dict)


def test_weights_are_not_read_into_memory(tmp_path: Path) -> None:
    import tracemalloc

    weights = numpy_helper.from_array(np.zeros(8_000_000, np.float32), "w")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [8_000_000])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [y], [weights])
    onnx.save(helper.make_model(graph), tmp_path / "big.onnx")
    tracemalloc.start()
    onnx_file.read(tmp_path / "big.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # of 32 MB


def test_a_tag_wider_than_protobufs_does_not_hide_external_data(tmp_path: Path) -> None:
    """Protobuf drops all but 32 bits of a tag; field 13 spelled so must not pass unseen."""
    path = external_model(tmp_path, "../w.bin")
    data = path.read_bytes()
    tag = bytes([13 << 3 | 2])
    wide = bytes([tag[0] | 0x80, 0x80, 0x80, 0x80, 0x10])  # the same, with bit 32 set
    tensor_at = data.index(b"location") - 4
    assert data[tensor_at : tensor_at + 1] == tag
    changed = data[:tensor_at] + wide + data[tensor_at + 1 :]
    path.write_bytes(changed)  # lengths around it are now 4 too short: refused either way
    with pytest.raises(ModelError):
        onnx_file.read(path)
    entry = b"\x0a\x08location\x12\x08../w.bin"
    tensor = wide + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    path.write_bytes(b"\x3a" + bytes([len(graph)]) + graph)
    with pytest.raises(ModelError, match="expected an ONNX model"):
        onnx_file.read(path)


@pytest.mark.parametrize("location", ["a\0b", "x" * 5000])
def test_impossible_locations_are_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(ModelError, match="external data"):
        onnx_file.read(external_model(tmp_path, location))


def test_the_hash_is_of_the_weights_too(tmp_path: Path) -> None:
    path = external_model(tmp_path, "w.bin")
    found = set()
    for weights in (bytes(8), bytes(7) + b"1"):
        (tmp_path / "w.bin").write_bytes(weights)
        found.add(onnx_file.sha256(path))
    assert len(found) == 2
    assert onnx_file.sha256(path) in found
