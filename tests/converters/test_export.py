"""Export: what is written computes the same, describes itself, and is the same bytes each time."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'convert' is not installed")

import onnx  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

import portrait_sdk  # noqa: E402
from portrait_sdk.converters import architectures, export, metadata  # noqa: E402
from portrait_sdk.errors import ModelError  # noqa: E402
from portrait_sdk.model.session import read_spec  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURE = architectures.find("portrait")


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(5)
    return ARCHITECTURE.build().eval()


def write(net: Any, out: Path, **options: Any) -> Any:
    spec = export.describe(ARCHITECTURE, "fresh", "Apache-2.0", b"checkpoint")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own deprecations
        return export.export(net, ARCHITECTURE, spec, out, **options)


@pytest.fixture(scope="module")
def written(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "fresh.onnx"
    write(net, out, half_storage=True)
    return out


def test_the_runtime_computes_what_torch_computes(net: Any, written: Path) -> None:
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (90, 131, 3), dtype=np.uint8)
    from portrait_sdk.model.session import Session
    from portrait_sdk.ops import preprocess

    session = Session(written, "cpu")
    batch, _ = preprocess.prepare([photo], session.spec.input)
    with torch.inference_mode():
        want = net(torch.from_numpy(batch)).numpy()
    assert np.abs(session.run(batch) - want).max() <= session.spec.tolerance
    assert portrait_sdk.load(written, provider="cpu").matte(photo).alpha.shape == (90, 131)


def test_it_describes_itself(written: Path) -> None:
    spec = read_spec(written)
    assert (spec.name, spec.architecture, spec.license) == ("fresh", "portrait", "Apache-2.0")
    assert len(spec.provenance["source_sha256"]) == 64
    assert spec.provenance["verified"]["max"] <= spec.tolerance
    assert spec.input == ARCHITECTURE.input


def test_no_path_and_no_exporter_noise_is_left(written: Path) -> None:
    data = written.read_bytes()
    for noise in (
        b"site-packages",
        b"/home",
        b"/usr",
        b"/root",
        b"pkg.torch",
        b"stack_trace",
        b".py",
    ):
        assert noise not in data, noise
    model = onnx.load(written)
    assert [entry.key for entry in model.metadata_props] == ["portrait_sdk"]


def test_batch_height_and_width_are_free(written: Path) -> None:
    shape = onnx.load(written).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 3, "height", "width"]


def test_the_same_checkpoint_gives_the_same_bytes(net: Any, written: Path, tmp_path: Path) -> None:
    write(net, tmp_path / "again.onnx", half_storage=True)
    assert (tmp_path / "again.onnx").read_bytes() == written.read_bytes()


def test_half_storage_halves_the_file(net: Any, written: Path, tmp_path: Path) -> None:
    write(net, tmp_path / "full.onnx")
    assert written.stat().st_size < 0.6 * (tmp_path / "full.onnx").stat().st_size


def test_a_graph_that_differs_is_not_written(net: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    strict = replace(ARCHITECTURE, tolerance=0.0)
    spec = export.describe(strict, "fresh", "Apache-2.0", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ModelError, match="not written: alpha differs"):
            export.export(net, strict, spec, tmp_path / "no.onnx", half_storage=True)
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_float16_are_refused() -> None:
    weight = numpy_helper.from_array(np.full(300, 1e6, np.float32), "w")
    y = helper.make_tensor_value_info("y", 1, [300])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [y], [weight])
    with pytest.raises(ModelError, match="weight w: values up to 1e"):
        export.store_half(helper.make_model(graph))


def test_checkpoints_that_hold_code_are_refused() -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("executed",))

    for data in (pickle.dumps(Evil()), b"<html>", b""):
        with pytest.raises(ModelError, match="not a torch checkpoint of tensors alone"):
            export.load_checkpoint(data)


def test_metadata_replaces_its_own_entry_and_keeps_others(written: Path) -> None:
    model = onnx.load(written)
    entry = model.metadata_props.add()
    entry.key, entry.value = "author", "somebody"
    spec = read_spec(written)
    metadata.write(model, spec)
    metadata.write(model, spec)
    assert sorted(e.key for e in model.metadata_props) == ["author", "portrait_sdk"]
