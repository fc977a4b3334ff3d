"""``portrait convert`` and ``verify`` as a user runs them: a process, real files, exit status."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from .test_cli import PORTRAIT, failed, read, run

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'convert' is not installed")

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from portrait_sdk.converters.architectures import portrait

    torch.manual_seed(8)
    path = tmp_path_factory.mktemp("weights") / "final.pt"
    torch.save(portrait.PortraitNet().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> Path:
    out = weights.with_name("final.onnx")
    result = run("convert", weights, "-o", out, "--size", "64x96", "--name", "mine")
    assert result.returncode == 0, result.stderr.decode()
    text = result.stdout.decode()
    assert "portrait, profile portrait-s, fp32, opset 18" in text
    assert "verified on" in text
    assert "reading the checkpoint" in result.stderr.decode()
    return out


def edited(weights: Path, out: Path, key: str, value: Any) -> Path:
    state = torch.load(weights, weights_only=True)
    state[key] = value(state[key])
    torch.save(state, out)
    return out


def test_what_is_written_runs_and_has_its_report(
    model: Path, tmp_path: Path, astronaut: Path
) -> None:
    files = {p.name for p in model.parent.iterdir()}
    assert files == {"final.pt", "final.onnx", "final.report.json"}
    report = json.loads((model.parent / "final.report.json").read_text("utf-8"))
    assert report["options"]["size"] == [64, 96]
    out = tmp_path / "cutout.png"
    result = run("matte", astronaut, "-o", out, "--model", model, "--json")
    assert result.returncode == 0, result.stderr.decode()
    assert json.loads(result.stdout)["model"] == "mine"
    assert read(out).shape == (512, 512, 4)


def test_verify_tells_its_source_from_another(model: Path, weights: Path, tmp_path: Path) -> None:
    result = run("verify", model, "--against", weights)
    assert result.returncode == 0, result.stderr.decode()
    assert b"computes what" in result.stdout
    other = edited(weights, tmp_path / "other.pt", "head.logits.bias", lambda v: v + 0.5)
    result = run("verify", model, "--against", other)
    assert result.returncode == 1
    last = result.stderr.decode().strip().splitlines()[-1]
    start = re.escape(
        f"Error: {model}: "
    )  # which of the two portraits is worse, the weights decide
    assert re.match(start + "alpha of astronaut(, upright)? differs from the checkpoint by", last)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "63x96"], "multiples of 32 from 32 to 8192; 63 is none: 64 is the nearest"),
        (["--opset", "7"], "opset: expected 18 to 23"),
        (["--arch", "resnet"], "architecture: expected one of"),
        (["--profile", "portrait-xl"], "profile: expected one of portrait-s"),
        (["--precision", "int8"], "--calibration DIR"),
        (["--precision", "int8", "--calibration", "EMPTY"], "no readable picture in"),
        (["--portraits", "EMPTY"], "found no picture"),
    ],
)
def test_impossible_options_are_one_line(
    weights: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "no.onnx"
    arguments = [str(empty) if a == "EMPTY" else a for a in arguments]
    assert message in complaint(1, "convert", weights, "-o", out, *arguments)
    assert list(tmp_path.iterdir()) == [empty]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "large"],
        ["--batch", "few"],
        ["--precision", "int4"],
        ["--calibration", "photos"],
        ["--sharpen"],
    ],
)
def test_wrong_usage_is_status_2(weights: Path, tmp_path: Path, arguments: list[str]) -> None:
    complaint(2, "convert", weights, "-o", tmp_path / "no.onnx", *arguments)
    assert list(tmp_path.iterdir()) == []


def complaint(status: int, *arguments: str | Path) -> str:
    """Run, expect this status, nothing on stdout, and one line of error after the progress."""
    result = run(*arguments)
    text = result.stderr.decode()
    assert result.returncode == status, text
    assert result.stdout == b""
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("Error")]
    assert len(errors) == 1, text
    return errors[0]


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def test_bad_checkpoints_are_one_line_each(weights: Path, tmp_path: Path) -> None:
    whole = weights.read_bytes()
    bad = tmp_path / "bad"
    bad.mkdir()
    cases: dict[str, tuple[bytes, str]] = {
        "truncated.pt": (whole[: len(whole) // 2], "truncated"),
        "page.pth": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        "bomb.pt": (pickle.dumps({"state_dict": _Runs()}), "system"),
        "empty.ckpt": (b"", "empty"),
        "noise.ckpt": (bytes(range(7, 256)) * 9, "expected"),
    }
    for name, (data, message) in cases.items():
        path = bad / name
        path.write_bytes(data)
        said = complaint(1, "convert", path, "-o", bad / "no.onnx")
        assert message in said, said
        assert name in said
        path.unlink()
    assert list(bad.iterdir()) == []
    assert not list(tmp_path.glob("**/executed"))


def test_weights_that_do_not_fit_are_named(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "no.onnx"
    nan = edited(weights, tmp_path / "nan.pt", "head.logits.bias", lambda v: v * float("nan"))
    assert "head.logits.bias" in complaint(1, "convert", nan, "-o", out)
    wide = edited(weights, tmp_path / "wide.pt", "head.logits.weight", lambda v: torch.cat([v, v]))
    result = run("convert", wide, "-o", out, "--arch", "portrait")
    assert result.returncode == 1
    text = result.stderr.decode()
    assert "head.logits.weight" in text.strip().splitlines()[-1]
    channels = torch.load(weights, weights_only=True)["head.logits.weight"].shape[1]
    assert f"expected [4, {channels}, 3, 3], got [8, {channels}, 3, 3]" in text
    assert not out.exists()


def test_a_folder_that_takes_no_files_is_refused_first(weights: Path) -> None:
    said = failed(1, "convert", str(weights), "-o", "/proc/no.onnx")
    assert "takes no new files" in said or "cannot be written" in said


def test_ctrl_c_leaves_nothing(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "no.onnx"
    process = subprocess.Popen(
        [PORTRAIT, "convert", str(weights), "-o", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"exporting" not in process.stderr.readline():
        pass
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.decode().strip().splitlines()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []
