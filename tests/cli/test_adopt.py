"""``portrait adopt`` and ``portrait inspect``, run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import foreign
import pytest

pytest.importorskip("onnx", reason="the extra 'adopt' is not installed")

PORTRAIT = str(Path(sysconfig.get_path("scripts")) / "portrait")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PORTRAIT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def failed(*arguments: str | Path) -> str:
    """Run, expect exit status 1 and one line of error; returns the line."""
    done = run(*arguments)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def test_adopt_then_inspect_then_matte(tmp_path: Path, astronaut: Path) -> None:
    model = foreign.foreign(tmp_path / "bare.onnx")
    assert "`portrait adopt" in failed(
        "matte", astronaut, "-o", tmp_path / "a.png", "--model", model
    )
    out = tmp_path / "mine.onnx"
    options = ["--profile", foreign.profile(tmp_path), "--name", "mine", "--license", "MIT"]
    done = run("adopt", model, "-o", out, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out}: mine, MIT; agrees with the default model")

    shown = run("inspect", out)
    assert shown.returncode == 0, shown.stderr
    for line in (
        "description: mine (portrait), MIT",
        "opset: ai.onnx 18",
        "adopted_from: bare.onnx",
    ):
        assert line in shown.stdout
    facts = json.loads(run("inspect", out, "--json").stdout)
    assert facts["spec"]["name"] == "mine"

    cut = run("matte", astronaut, "-o", tmp_path / "cut.png", "--model", out, "--json")
    assert cut.returncode == 0, cut.stderr
    assert json.loads(cut.stdout)["has_subject"]


def test_adopt_json_is_one_object(tmp_path: Path) -> None:
    model, out = foreign.foreign(tmp_path / "bare.onnx"), tmp_path / "o.onnx"
    done = run("adopt", model, "-o", out, "--profile", foreign.profile(tmp_path), "--json")
    row = json.loads(done.stdout)
    assert row["output"] == str(out)
    assert row["portrait"]["problem"] is None
    assert row["spec"]["provenance"]["adopted_from"] == "bare.onnx"


def test_an_implausible_model_fails_and_force_says_so(tmp_path: Path) -> None:
    model = foreign.foreign(tmp_path / "logits.onnx", foreign.LOGITS)
    out, profile = tmp_path / "o.onnx", foreign.profile(tmp_path)
    line = failed("adopt", model, "-o", out, "--profile", profile)
    assert "its activation may still have to be applied" in line
    assert not out.exists()
    done = run("adopt", model, "-o", out, "--profile", profile, "--force")
    assert done.returncode == 0
    assert "written all the same: alpha lies in [-5, 5]" in done.stderr
    assert "implausible: alpha lies in" in run("inspect", out).stdout


def test_errors_are_one_line(tmp_path: Path) -> None:
    model = foreign.foreign(tmp_path / "bare.onnx")
    out = ["-o", tmp_path / "o.onnx"]
    assert "did you mean 'sinet'" in failed("adopt", model, *out, "--profile", "sinett")
    assert "no such model file" in failed(
        "adopt", tmp_path / "no.onnx", *out, "--profile", "modnet"
    )
    assert "is the model to adopt" in failed("adopt", model, "-o", model, "--profile", "modnet")
    (tmp_path / "page.onnx").write_text("<html>")
    assert "expected an ONNX model" in failed("inspect", tmp_path / "page.onnx")
    assert not out[1].exists()  # type: ignore[union-attr]


def test_names_in_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(foreign.foreign(tmp_path / "bare.onnx"))
    model.producer_name = "\x1b[2Jtool\r\n"
    onnx.save(model, tmp_path / "odd.onnx")
    done = run("inspect", tmp_path / "odd.onnx")
    assert r"by \x1b[2Jtool\r\n" in done.stdout
    assert "\x1b" not in done.stdout


def test_profiles_are_listed_without_a_model() -> None:
    done = run("adopt", "--list-profiles")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["NAME", "LICENCE", "MODEL"]
    assert ["modnet", "Apache-2.0"] in [row[:2] for row in rows]
    assert "non-commercial" in done.stdout


@pytest.mark.skipif("PORTRAIT_SHARED" not in os.environ, reason="PORTRAIT_SHARED names no folder")
def test_a_published_model_from_end_to_end(tmp_path: Path, astronaut: Path) -> None:
    model = Path(os.environ["PORTRAIT_SHARED"]) / "models/sinet_320.onnx"
    out = tmp_path / "sinet.onnx"
    assert run("adopt", model, "-o", out, "--profile", "sinet").returncode == 0
    done = run("matte", astronaut, "-o", tmp_path / "cut.png", "--model", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "sinet_320"
