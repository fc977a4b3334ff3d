"""One open model: what it refuses, what it reports, threads and forks."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import build_model, native_spec

from portrait_sdk.errors import ClosedError, ModelError, OptionError, ProviderError, SpecError
from portrait_sdk.model.session import Session, read_spec
from portrait_sdk.spec import InputSpec, OutputSpec, SizePolicy, StateSpec


def test_reports_what_runs(brightness: Path) -> None:
    session = Session(brightness, "cpu", threads=1)
    assert (session.provider, session.threads, session.batches) == ("cpu", 1, True)
    assert session.spec == native_spec()
    batch = np.full((2, 3, 4, 5), 0.25, np.float32)
    np.testing.assert_allclose(session.run(batch), 0.25)


def test_the_file_name_decides_nothing(tmp_path: Path) -> None:
    path = build_model(tmp_path / "u2net_modnet_rvm.onnx", native_spec(name="own"))
    assert Session(path, "cpu").spec.name == "own"


def test_no_spec_names_the_command(tmp_path: Path) -> None:
    path = build_model(tmp_path / "bare.onnx", None)
    with pytest.raises(SpecError, match=rf"`portrait adopt {path} -o OUT.onnx --profile NAME`"):
        Session(path)


def test_the_spec_is_read_without_opening_the_graph(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from portrait_sdk.model.session import read_spec;"
        f"print(read_spec(Path({str(build_model(tmp_path / 'm.onnx', native_spec()))!r})).name);"
        "assert 'onnxruntime' not in sys.modules"
    )
    out = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True
    )
    assert out.stdout.strip() == "brightness"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input": InputSpec(name="photo", size=SizePolicy(rule="native"))}, r"names the inputs"),
        ({"outputs": (OutputSpec(name="pha", meaning="alpha"),)}, "names the outputs"),
        ({"states": (StateSpec(input="r", output="ro", shape=(1,)),)}, "names the inputs"),
        ({"constants": {"ratio": (1.0,)}}, "names the inputs"),
    ],
)
def test_a_spec_that_contradicts_its_graph_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = build_model(tmp_path / "m.onnx", native_spec(**changes))
    with pytest.raises(ModelError, match=says):
        Session(path, "cpu")


def test_states_start_at_zero_and_constants_are_fed(tmp_path: Path) -> None:
    def extra(helper: Any, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> None:
        inputs.append(helper.make_tensor_value_info("r1i", 1, [1, 1, "a", "b"]))
        inputs.append(helper.make_tensor_value_info("ratio", 1, [1]))
        outputs.append(helper.make_tensor_value_info("r1o", 1, None))
        nodes[1].output[0] = "clipped"
        nodes.append(helper.make_node("Add", ["clipped", "r1i"], ["r1o"]))
        nodes.append(helper.make_node("Mul", ["r1o", "ratio"], ["alpha"]))

    spec = native_spec(
        states=(StateSpec(input="r1i", output="r1o", shape=(1, 1, 1, 1)),),
        constants={"ratio": (0.5,)},
    )
    session = Session(build_model(tmp_path / "m.onnx", spec, extra=extra), "cpu")
    np.testing.assert_allclose(session.run(np.full((1, 3, 2, 2), 0.5, np.float32)), 0.25)


def test_a_damaged_graph_is_one_line(tmp_path: Path) -> None:
    def extra(_helper: Any, nodes: list[Any], _inputs: list[Any], _outputs: list[Any]) -> None:
        nodes[0].op_type = "NoSuchOperator"

    path = build_model(tmp_path / "m.onnx", native_spec(), extra=extra)
    with pytest.raises(ModelError, match=r"ONNX Runtime cannot open it") as caught:
        Session(path, "cpu")
    assert "\n" not in str(caught.value)


def test_a_run_that_fails_is_one_line(brightness: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot run it on cpu with input \(1, 4\)") as caught:
        Session(brightness, "cpu").run(np.zeros((1, 4), np.float32))
    assert "\n" not in str(caught.value)


def test_an_unusable_provider_is_an_error_not_a_fallback(brightness: Path) -> None:
    with pytest.raises(ProviderError, match="'openvino' cannot be used"):
        Session(brightness, "openvino")


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_wrong_threads(brightness: Path, threads: Any) -> None:
    with pytest.raises(OptionError, match="threads: expected"):
        Session(brightness, "cpu", threads)


def test_close_is_idempotent_and_use_after_it_is_refused(brightness: Path) -> None:
    session = Session(brightness, "cpu")
    session.close()
    session.close()
    assert session.closed
    with pytest.raises(ClosedError, match="'brightness' is closed: load it again"):
        session.run(np.zeros((1, 3, 2, 2), np.float32))


def test_many_threads_share_one_session(brightness: Path) -> None:
    session = Session(brightness, "cpu")

    def one(value: float) -> float:
        return float(session.run(np.full((1, 3, 8, 8), value, np.float32)).mean())

    values = np.linspace(0, 1, 64)
    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_allclose(list(pool.map(one, values)), values, rtol=1e-6)


FORK = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, portrait_sdk
matting = portrait_sdk.load({model!r}, provider="cpu", threads=2)
image = np.zeros((4, 4, 3), np.uint8)
if {used}:
    matting.matte(image)
time.sleep(1)  # ONNX Runtime's workers sleep by then; while they spin, much goes well by luck
pid = os.fork()
if pid == 0:
    try:
        {child}
    except portrait_sdk.ClosedError as error:
        print(error, flush=True)
        sys.exit(7)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == {status}
matting.matte(image)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize(
    ("child", "status"),
    [
        ("matting.matte(image)", 7),
        ("matting.close()", 0),
        ("del matting", 0),
        ("portrait_sdk.load({model!r}, provider='cpu').matte(image)", 0),
        ("pass", 0),
    ],
)
def test_a_fork_neither_uses_nor_destroys_its_parents_session(
    brightness: Path, child: str, status: int, *, used: bool
) -> None:
    child = child.format(model=str(brightness))
    code = FORK.format(model=str(brightness), child=child, status=status, used=used)
    out = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    if status:
        assert "load it again here, or start workers with 'spawn'" in out.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 or UTF-16 elsewhere")
def test_a_name_that_is_not_utf8_opens(tmp_path: Path, brightness: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.onnx"))
    odd.write_bytes(brightness.read_bytes())
    session = Session(odd, "cpu")
    assert float(session.run(np.full((1, 3, 2, 2), 0.5, np.float32)).mean()) == 0.5


def test_messages_are_one_line_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError) as caught:
        Session(path, "cpu")
    assert str(caught.value).isprintable()


def test_a_batch_really_runs_as_one(tmp_path: Path) -> None:
    """A graph that answers with its batch size: singles would answer 1 / 10."""
    import portrait_sdk

    def extra(helper: Any, nodes: list[Any], _inputs: list[Any], _outputs: list[Any]) -> None:
        nodes[1].output[0] = "clipped"
        nodes += [
            helper.make_node("Shape", ["image"], ["size"], start=0, end=1),
            helper.make_node("Cast", ["size"], ["count"], to=1),
            helper.make_node("Constant", [], ["ten"], value_float=10.0),
            helper.make_node("Div", ["count", "ten"], ["share"]),
            helper.make_node("Mul", ["clipped", "zero"], ["blank"]),
            helper.make_node("Add", ["blank", "share"], ["alpha"]),
        ]

    model = build_model(tmp_path / "m.onnx", native_spec(), extra=extra)
    photo = np.zeros((4, 4, 3), np.uint8)
    with portrait_sdk.load(model, provider="cpu") as matting:
        mattes = matting.matte_many([photo] * 5, batch_size=3)
    assert [round(float(m.alpha.mean()), 3) for m in mattes] == [0.3, 0.3, 0.3, 0.2, 0.2]


def test_the_embedded_model_describes_itself() -> None:
    from portrait_sdk.model import registry

    path = registry.resolve(None)
    spec = read_spec(path)
    assert spec.name == "portrait-s"
    assert spec.license == "Apache-2.0"
    assert len(spec.provenance["source_sha256"]) == 64
    assert path.stat().st_size <= 8_000_000
    data = path.read_bytes()
    assert b"/home/" not in data
    assert b"site-packages" not in data
