"""A checkpoint to a file: it computes the same, describes itself, and appears whole or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'convert' is not installed")

import onnx  # noqa: E402
from conftest import CHECKOUT  # noqa: E402

import portrait_sdk  # noqa: E402
from portrait_sdk.converters import (  # noqa: E402
    against,
    architectures,
    convert,
    metadata,
    report,
    storage,
    verify,
)
from portrait_sdk.converters.architectures import portrait  # noqa: E402
from portrait_sdk.converters.precision import prepare  # noqa: E402
from portrait_sdk.errors import (  # noqa: E402
    CheckpointError,
    ConversionError,
    OptionError,
    OutputError,
)
from portrait_sdk.model.session import Session, read_spec  # noqa: E402
from portrait_sdk.ops import preprocess  # noqa: E402

from . import tiny  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "_registered", {})  # no other test's
    tiny.register()


def run(checkpoint: Path, out: Path, **options: Any) -> dict[str, Any]:
    settings = {"profile": "free", **options}
    return convert.convert(checkpoint, out, convert.Options(**settings))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def written(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny.register()
    out = tmp_path_factory.mktemp("written") / "tiny.onnx"
    run(weights, out, outputs="raw")
    return out


def network(checkpoint: Path) -> Any:
    net = tiny.TinyNet().eval()
    net.load_state_dict(torch.load(checkpoint, weights_only=True))
    return net


def test_the_runtime_computes_what_torch_computes(weights: Path, written: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (90, 131, 3), dtype=np.uint8)
    session = Session(written, "cpu")
    batch, _ = preprocess.prepare([photo], session.spec.input)
    with torch.inference_mode():
        want = torch.sigmoid(network(weights)(torch.from_numpy(batch))[0]).numpy()
    assert np.abs(session.run(batch) - want).max() <= session.spec.tolerance
    assert portrait_sdk.load(written, provider="cpu").matte(photo).alpha.shape == (90, 131)


def test_it_describes_itself(weights: Path, written: Path) -> None:
    import hashlib

    spec = read_spec(written)
    assert (spec.name, spec.architecture, spec.license) == ("free", "tiny", "Apache-2.0")
    assert spec.input == tiny.FREE.input
    assert [o.name for o in spec.outputs] == ["alpha", "logits", "classes"]
    told = spec.provenance
    assert told["source_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert told["source_format"] == "torch-zip"
    assert told["verified"]["max_difference"] <= spec.tolerance
    assert [1, 3, 38, 62] in told["verified"]["shapes"]
    assert told["verified"]["portraits"] == ["astronaut", "astronaut, upright"]


def test_the_report_is_enough_to_make_it_again(weights: Path, written: Path) -> None:
    told = json.loads(report.report_path(written).read_text("utf-8"))
    assert told["checkpoint"]["name"] == weights.name
    assert told["options"]["profile"] == "free"
    assert set(told["versions"]) >= {"portrait_sdk", "torch", "onnx", "onnxsim"}
    assert told["verification"]["seed"] == verify.SEED
    assert [row["step"] for row in told["steps"]][:2] == ["exported", "simplified"]
    for row in told["steps"][:2]:
        assert row["latency_ms"] > 0
        assert row["bytes"] > 0
    assert 0 < told["steps"][1]["nodes"] <= told["steps"][0]["nodes"]
    rows = told["verification"]["rows"]
    shapes = {tuple(row["shape"]) for row in rows if row["input"] == "noise"}
    assert shapes == {(b, 3, *s) for b in (1, 2) for s in tiny.architecture().verify_sizes}
    assert {row["output"] for row in rows} == {"alpha", "logits", "classes"}
    assert {row["input"] for row in rows} == {"noise", "smooth", "astronaut", "astronaut, upright"}


def test_no_path_and_no_exporter_noise_is_left(written: Path) -> None:
    for path in (written, report.report_path(written)):
        data = path.read_bytes()
        for noise in (b"site-packages", b"/home", b"/usr", b"/root", b"/tmp", b"pkg.torch",
                      b"stack_trace", b".py"):  # fmt: skip
            assert noise not in data, (path.name, noise)
    model = onnx.load(written)
    assert [entry.key for entry in model.metadata_props] == ["portrait_sdk"]


def test_the_same_checkpoint_gives_the_same_bytes(
    weights: Path, written: Path, tmp_path: Path
) -> None:
    run(weights, tmp_path / "again.onnx", outputs="raw")
    assert (tmp_path / "again.onnx").read_bytes() == written.read_bytes()


def test_a_fixed_size_goes_into_graph_and_description(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "fixed.onnx"
    run(weights, out, size=(38, 62), batch=1)
    spec = read_spec(out)
    assert (spec.input.size.rule, spec.input.size.height, spec.input.size.width) == (
        "fixed", 38, 62,
    )  # fmt: skip
    dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [1, 3, 38, 62]
    photos = [np.zeros((20, 30, 3), np.uint8), np.zeros((50, 10, 3), np.uint8)]
    mattes = portrait_sdk.load(out, provider="cpu").matte_many(photos)
    assert [m.alpha.shape for m in mattes] == [(20, 30), (50, 10)]


def test_a_profile_of_one_size_fixes_it_unless_told(weights: Path, tmp_path: Path) -> None:
    run(weights, tmp_path / "square.onnx", profile="square")
    run(weights, tmp_path / "free.onnx", profile="square", size="dynamic")
    for name, expected in (("square", [48, 48]), ("free", ["height", "width"])):
        model = onnx.load(tmp_path / f"{name}.onnx")
        dims = model.graph.input[0].type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in dims[2:]] == expected
        assert read_spec(tmp_path / f"{name}.onnx").input.size.rule == "fixed"


def test_half_storage_halves_weights_and_says_what_it_costs(weights: Path, tmp_path: Path) -> None:
    told = run(weights, tmp_path / "half.onnx", half_storage=True)
    assert told["verification"]["max_difference"] <= 2e-5  # of the float32 graph
    assert 0 < told["storage"]["mean_difference"] < 1e-3  # 11 bits of a weight
    model = onnx.load(tmp_path / "half.onnx")
    kinds = {t.data_type for t in model.graph.initializer if np.prod(t.dims) >= 256}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert against.verify_file(tmp_path / "half.onnx", weights)["problems"] == []
    widened = prepare.simplified(model, read_spec(tmp_path / "half.onnx"))
    assert "Cast" not in {node.op_type for node in widened.graph.node}
    assert {t.data_type for t in widened.graph.initializer} >= {onnx.TensorProto.FLOAT}


def test_weights_beyond_float16_are_refused(tmp_path: Path) -> None:
    def large(state: dict[str, Any]) -> None:
        state["down.weight"] = state["down.weight"] * 1e7
        state["norm.running_var"] = state["norm.running_var"] * 1e-4

    big = tiny.checkpoint(tmp_path / "big.pth", large)
    with pytest.raises(ConversionError, match=r"weight .*: values up to .* pass float16; keep"):
        run(big, tmp_path / "no.onnx", half_storage=True)
    assert not (tmp_path / "no.onnx").exists()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_narrower_precision_is_measured_and_said(
    weights: Path, tmp_path: Path, precision: str
) -> None:
    out = tmp_path / "narrow.onnx"
    options: dict[str, Any] = {"precision": precision}
    if precision == "int8":
        options["calibration"] = CHECKOUT / "tests/data/pictures"
    told = run(weights, out, **options)
    spec = read_spec(out)
    assert spec.precision == precision
    narrow = told["precision"]
    assert narrow["within_tolerance"] == (narrow["alpha_mean"] <= spec.tolerance)
    assert narrow["speed_ratio"] > 0
    assert any(precision in line for line in report.summary(told, out)[3:])
    kinds = {node.op_type for node in onnx.load(out).graph.node}
    assert ("QuantizeLinear" in kinds) == (precision == "int8")
    photo = np.full((40, 60, 3), 90, np.uint8)
    matting = portrait_sdk.load(out, provider="cpu", precision=precision)
    assert matting.matte(photo).alpha.shape == (40, 60)
    found = against.verify_file(out, weights)
    assert found["problems"] == []
    assert found["tolerance"] == spec.tolerance


def test_tensors_lie_beside_the_graph_when_asked(weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    out = tmp_path / "model.onnx"
    wide = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Add", ["image", "w"], ["alpha"])],
            "g",
            [onnx.helper.make_tensor_value_info("image", 1, [1000])],
            [onnx.helper.make_tensor_value_info("alpha", 1, [1000])],
            [onnx.numpy_helper.from_array(np.arange(1000, dtype=np.float32), "w")],
        ),
        ir_version=10,
        opset_imports=[onnx.helper.make_opsetid("", 18)],
    )
    files = storage.write(wide, out, external=True)
    assert files == [next(tmp_path.glob("model.*.data")), out]
    assert out.stat().st_size < 1000
    got = verify.open_session(out).run(None, {"image": np.ones(1000, np.float32)})[0]
    np.testing.assert_array_equal(got, np.arange(1000) + 1)
    assert sorted(tmp_path.iterdir()) == sorted(files)

    run(weights, tmp_path / "tiny.onnx", external_data=True)  # small tensors stay inside
    assert portrait_sdk.load(tmp_path / "tiny.onnx", provider="cpu").spec.name == "free"


def test_a_graph_that_differs_is_not_written(weights: Path, tmp_path: Path) -> None:
    tiny.register(tolerance=0.0)
    # The simplifier's own check stands before the verification; both refuse.
    with pytest.raises(ConversionError, match=r"something else|differs from the checkpoint by"):
        run(weights, tmp_path / "no.onnx")
    assert list(tmp_path.iterdir()) == []


def test_every_difference_is_reported_with_the_largest_first(weights: Path, written: Path) -> None:
    other = network(weights)
    with torch.no_grad():
        other.out.bias += 0.05
    arch = tiny.architecture()
    feeds = [("noise", np.zeros((1, 3, 8, 8), np.float32)), ("smooth", np.ones((1, 3, 8, 8), "f4"))]
    outputs = {name: name for name in ("alpha", "logits", "classes")}
    session = verify.open_session(written)
    told = verify.compare(session, other, arch, feeds, input_name="image", outputs=outputs)
    assert len(told.problems) == 3
    assert told.problems[0].startswith("logits differs from the checkpoint by 5.0e-02")
    told = verify.compare(session, other, arch, feeds, input_name="photo", outputs={"a": "a"})
    assert told.problems[0] == "inputs: expected 'photo', the graph has ['image']"
    assert told.problems[1].startswith("outputs: expected ['a'], the graph has ['alpha', ")


def test_pixels_too_near_to_call_are_counted_and_left_out(weights: Path, tmp_path: Path) -> None:
    def decide(raw: tuple[Any, ...]) -> Any:
        return (raw[0] > 0).float()

    def near(raw: tuple[Any, ...]) -> Any:
        return raw[0].abs() < 1e-3

    tiny.register(finish=decide, undecided=near)
    told = run(weights, tmp_path / "hard.onnx")
    rows = [row for row in told["verification"]["rows"] if row["output"] == "alpha"]
    assert max(row["max_difference"] for row in rows) == 0
    assert sum(row["undecided"] for row in rows) > 0
    assert [o.name for o in onnx.load(tmp_path / "hard.onnx").graph.output] == ["alpha"]


def test_verify_accepts_the_source_and_names_what_differs(
    weights: Path, written: Path, tmp_path: Path
) -> None:
    found = against.verify_file(written, weights)
    assert found["problems"] == []
    assert found["same_source"]
    changed = tiny.checkpoint(
        tmp_path / "changed.pth", lambda s: s.update({"out.bias": s["out.bias"] + 0.1})
    )
    found = against.verify_file(written, changed)
    assert not found["same_source"]
    assert "differs from the checkpoint by" in found["problems"][0]


def test_verify_of_an_unknown_architecture_says_so(written: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    model = onnx.load(written)
    metadata.write(model, replace(read_spec(written), architecture="resnet"))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ConversionError, match=r"'resnet', which has no converter here \(.*tiny"):
        against.verify_file(tmp_path / "other.onnx", tmp_path / "unread.pth")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"profile": None}, OptionError, "name one with --profile: free, square"),
        ({"profile": "round"}, OptionError, "expected one of free, square for tiny, got 'round'"),
        ({"architecture": "swin"}, OptionError, "architecture: expected one of .*got 'swin'"),
        ({"size": (63, 48)}, OptionError, "multiples of 2"),
        ({"opset": 3}, OptionError, "opset: expected 18 to 23"),
        ({"precision": "int8"}, OptionError, "--calibration DIR"),
        ({"half_storage": True, "precision": "fp16"}, OptionError, "half storage is for fp32"),
        ({"portraits": "nowhere"}, OptionError, "nowhere: expected a folder of portraits"),
    ],
)
def test_impossible_options_write_nothing(
    weights: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    if "portraits" in options:
        options = {"portraits": tmp_path / "nowhere"}
    with pytest.raises(error, match=message):
        run(weights, tmp_path / "no.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="does not exist; create it first"):
        run(weights, tmp_path / "missing" / "no.onnx")
    with pytest.raises(OutputError, match="is a folder"):
        run(weights, tmp_path)


def test_wrong_width_is_a_table_of_keys(tmp_path: Path) -> None:
    wide = tiny.checkpoint(
        tmp_path / "wide.pth", lambda s: s.update({"out.weight": torch.zeros(1, 27, 3, 3)})
    )
    with pytest.raises(CheckpointError) as caught:
        run(wide, tmp_path / "no.onnx", architecture="tiny")
    assert "\n" not in str(caught.value)
    assert "out.weight" in str(caught.value)
    assert "out.weight" in caught.value.table


def test_metadata_replaces_its_own_entry_and_keeps_others(written: Path) -> None:
    model = onnx.load(written)
    entry = model.metadata_props.add()
    entry.key, entry.value = "author", "somebody"
    spec = read_spec(written)
    metadata.write(model, spec)
    metadata.write(model, spec)
    assert sorted(e.key for e in model.metadata_props) == ["author", "portrait_sdk"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": "fixed", "height": 48, "width": 32, "side": None},
        {"rule": "long-side", "side": 96, "rounding": "up"},
        {"rule": "area", "side": 64, "leave_straddling": True},
        {"rule": "area", "side": 64, "max_side": 80},
        {"rule": "native", "side": None, "max_side": 100},
        {"leave_straddling": True, "rounding": "down"},
    ],
)
def test_embedded_preprocessing_computes_what_the_runtime_does(
    weights: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    from dataclasses import replace

    size = replace(tiny.FREE.input.size, **changes)
    profile = replace(tiny.FREE, input=replace(tiny.FREE.input, size=size))
    tiny.register(profiles=(profile,))
    plain, out = tmp_path / "plain.onnx", tmp_path / "embedded.onnx"
    run(weights, plain)
    told = run(weights, out, embed_preprocessing=True)
    assert told["embedding"]["in_place_of"] is None
    graph = onnx.load(out).graph
    assert [(i.name, i.type.tensor_type.elem_type) for i in graph.input] == [("photo", 2)]
    session = verify.open_session(out)
    rng = np.random.default_rng(5)
    for shape in ((90, 131), (400, 37), (64, 64), (1, 1), (33, 90)):
        photo = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        want = portrait_sdk.load(plain, provider="cpu").matte(photo, refine="none").alpha
        got = session.run(["alpha"], {"photo": photo[None]})[0]
        assert got.shape == (1, *shape, 1)
        # Two resizes of noise, in float32 here and fixed tables there.
        assert np.abs(got[0, :, :, 0] - want).max() < 5e-4, shape
        ours = portrait_sdk.load(out, provider="cpu").matte(photo).alpha
        np.testing.assert_allclose(ours, got[0, :, :, 0], atol=1e-6)
    assert against.verify_file(out, weights)["problems"] == []


def test_embedding_says_which_filter_stands_in(weights: Path, tmp_path: Path) -> None:
    told = run(weights, tmp_path / "e.onnx", profile="square", embed_preprocessing=True)
    assert told["embedding"]["in_place_of"] == (
        "antialiased linear resize in place of the area filter"
    )


def test_the_recipes_checkpoint_goes_through_the_same_door(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = portrait.PortraitNet().eval()
    torch.save(net.state_dict(), tmp_path / "final.pt")
    out = tmp_path / "fresh.onnx"
    told = convert.convert(tmp_path / "final.pt", out, convert.Options(name="fresh", size=(96, 64)))
    assert told["architecture"] == "portrait"
    assert told["profile"] == "portrait-s"
    spec = read_spec(out)
    assert spec.name == "fresh"
    assert (spec.input.mean, spec.input.size.height) == ((127 / 255,) * 3, 96)
    photo = np.zeros((9, 9, 3), np.uint8)
    assert portrait_sdk.load(out, provider="cpu").matte(photo).alpha.shape == (9, 9)
