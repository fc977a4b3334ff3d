"""The command line, run as a user runs it: a process, real files, exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import build_model

PORTRAIT = str(Path(sysconfig.get_path("scripts")) / "portrait")


def run(
    *arguments: str | Path, stdin: bytes | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PORTRAIT, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


def failed(status: int, *arguments: str | Path, **environment: str) -> str:
    """Run, expect this exit status and one line of error; returns the line."""
    result = run(*arguments, **environment)
    text = result.stderr.decode().strip()
    assert result.returncode == status, (result.returncode, text)
    assert result.stdout == b""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("Error")]
    assert len(lines) == 1, text
    if status == 1:
        assert text == lines[0]
    return lines[0]


def read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None, path
    return picture


@pytest.mark.parametrize("extension", ["png", "webp", "tiff", "tif"])
def test_cutout_in_every_format_with_alpha(tmp_path: Path, astronaut: Path, extension: str) -> None:
    out = tmp_path / f"cutout.{extension}"
    result = run("matte", astronaut, "-o", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == b""
    assert read(out).shape == (512, 512, 4)
    assert list(tmp_path.iterdir()) == [out]


def test_outputs_are_what_the_api_gives(tmp_path: Path, astronaut: Path) -> None:
    import portrait_sdk

    matte = portrait_sdk.load(provider="cpu").matte(astronaut)
    kinds = {
        "cutout": cv2.cvtColor(matte.cutout(), cv2.COLOR_RGBA2BGRA),
        "alpha": np.rint(matte.alpha * 255).astype(np.uint8),
        "foreground": matte.foreground()[..., ::-1],
    }
    for kind, want in kinds.items():
        out = tmp_path / f"{kind}.png"
        assert (
            run("matte", astronaut, "-o", out, "--output", kind, "--provider", "cpu").returncode
            == 0
        )
        np.testing.assert_array_equal(read(out), want, err_msg=kind)
    for background in ("#1e90ff", "blur", "blur:8", str(astronaut)):
        out = tmp_path / "composite.png"
        done = run("matte", astronaut, "-o", out, "--background", background, "--provider", "cpu")
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(read(out), matte.composite(background)[..., ::-1])
    out = tmp_path / "plain.png"
    assert run("matte", astronaut, "-o", out, "--foreground", "none").returncode == 0
    np.testing.assert_array_equal(read(out)[..., :3], matte.image[..., ::-1])


def test_jpeg_for_opaque_outputs(tmp_path: Path, astronaut: Path) -> None:
    out = tmp_path / "c.jpg"
    done = run("matte", astronaut, "-o", out, "--background", "white", "--quality", "80")
    assert done.returncode == 0, done.stderr
    assert read(out).shape == (512, 512, 3)


def test_pipes(astronaut: Path) -> None:
    result = run("matte", "-", "-o", "-", "--json", stdin=astronaut.read_bytes())
    assert result.returncode == 0, result.stderr
    picture = cv2.imdecode(np.frombuffer(result.stdout, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (512, 512, 4)
    row = json.loads(result.stderr)
    assert row["input"] == row["output"] == "-"


def test_json_is_one_object_with_the_truth(tmp_path: Path, astronaut: Path) -> None:
    out = tmp_path / "a.png"
    result = run("matte", astronaut, "-o", out, "--output", "alpha", "--threads", "1", "--json")
    row = json.loads(result.stdout)
    assert row["bytes"] == out.stat().st_size
    assert (row["width"], row["height"], row["threads"]) == (512, 512, 1)
    assert row["kind"] == "alpha"
    assert row["has_subject"] is True
    assert row["coverage"] == pytest.approx(read(out).mean() / 255, abs=1e-3)
    assert {"load", "decode", "preprocess", "inference", "postprocess", "compose", "encode",
            "write"} == set(row["seconds"])  # fmt: skip


def test_refine_is_what_the_library_does(tmp_path: Path, astronaut: Path) -> None:
    import portrait_sdk

    large, out = tmp_path / "large.png", tmp_path / "a.png"
    cv2.imwrite(str(large), cv2.resize(cv2.imread(str(astronaut)), (1100, 1100)))
    options = ("--output", "alpha", "--provider", "cpu")
    found = {}
    with portrait_sdk.load(provider="cpu") as matting:
        for mode in ("auto", "guided", "patches", "none"):
            assert run("matte", large, "-o", out, "--refine", mode, *options).returncode == 0
            found[mode] = read(out)
            want = np.rint(matting.matte(large, refine=mode).alpha * 255)
            np.testing.assert_array_equal(found[mode], want)
    np.testing.assert_array_equal(found["auto"], found["guided"])
    assert (found["none"] != found["guided"]).any()
    assert (found["patches"] != found["guided"]).any()
    assert run("matte", large, "-o", out, *options).returncode == 0
    np.testing.assert_array_equal(read(out), found["auto"])


def test_own_model_by_path(tmp_path: Path, brightness: Path, astronaut: Path) -> None:
    out = tmp_path / "a.png"
    result = run(
        "matte", astronaut, "-o", out, "--model", brightness, "--output", "alpha", "--json"
    )
    assert json.loads(result.stdout)["model"] == "brightness"


def test_nobody_in_the_photo_is_said(tmp_path: Path, brightness: Path) -> None:
    cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((8, 8, 3), np.uint8))
    result = run("matte", tmp_path / "dark.png", "-o", tmp_path / "o.png", "--model", brightness)
    assert result.returncode == 0
    assert b"nobody found" in result.stderr
    assert read(tmp_path / "o.png")[..., 3].max() == 0


def test_exif_orientation(tmp_path: Path, brightness: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (60, 20), "black")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    out = tmp_path / "o.png"
    run("matte", tmp_path / "turned.jpg", "-o", out, "--model", brightness, "--output", "alpha")
    assert read(out).shape == (60, 20)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "o.jpg"], "a cutout has alpha and JPEG has none"),
        (["-o", "o.bmp"], "expected the extension .png, .webp, .tiff or .jpg"),
        (["-o", "o"], "expected the extension"),
        (["-o", "o.png", "--output", "mask"], "is not one of"),
        (["-o", "o.png", "--output", "composite"], "needs --background"),
        (["-o", "o.png", "--output", "alpha", "--background", "red"], "--background goes with"),
        (["-o", "o.png", "--foreground", "ml"], "is not one of"),
        (["-o", "o.png", "--refine", "sharp"], "is not one of"),
        (["-o", "o.png", "--threads", "0"], "is not in the range"),
        (["-o", "o.png", "--quality", "9"], "--quality goes with a JPEG or WebP"),
        (["-o", "o.png", "--bogus"], "No such option"),
        ([], "Missing option"),
    ],
)
def test_wrong_usage_is_exit_2(astronaut: Path, arguments: list[str], says: str) -> None:
    assert says in failed(2, "matte", astronaut, *arguments)


def test_in_and_out_must_differ(tmp_path: Path, astronaut: Path) -> None:
    photo = tmp_path / "p.png"
    photo.write_bytes(astronaut.read_bytes())
    assert "same file" in failed(2, "matte", photo, "-o", photo)
    assert photo.read_bytes() == astronaut.read_bytes()


def test_failures_are_exit_1_and_leave_nothing(tmp_path: Path, astronaut: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    out = work / "o.png"
    (tmp_path / "bad.jpg").write_bytes(astronaut.read_bytes()[:20_000])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "bomb.png").write_bytes(bomb())
    bare = build_model(tmp_path / "bare.onnx", None)
    for arguments, says in [
        (["matte", tmp_path / "none.jpg", "-o", out], "none.jpg"),
        (["matte", tmp_path, "-o", out], str(tmp_path)),
        (["matte", tmp_path / "bad.jpg", "-o", out], "bad.jpg"),
        (["matte", tmp_path / "text.png", "-o", out], "text.png"),
        (["matte", tmp_path / "bomb.png", "-o", out], "pixels"),
        (["matte", astronaut, "-o", work / "no/o.png"], "no"),
        (["matte", astronaut, "-o", out, "--model", "portrat-s"], "did you mean 'portrait-s'"),
        (["matte", astronaut, "-o", out, "--model", tmp_path / "none.onnx"], "no such model file"),
        (["matte", astronaut, "-o", out, "--model", bare], "portrait adopt"),
        (["matte", astronaut, "-o", out, "--model", "shm-mindspore"], "portrait convert"),
        (["matte", astronaut, "-o", out, "--provider", "gpu"], "expected auto or one of"),
        (["matte", astronaut, "-o", out, "--provider", "openvino"], "cannot be used"),
        (["matte", astronaut, "-o", out, "--background", "nothing.png"], "no such file"),
        (["matte", astronaut, "-o", out, "--background", tmp_path / "text.png"], "text.png"),
    ]:  # fmt: skip
        assert says in failed(1, *arguments)
        assert list(work.iterdir()) == []


def bomb() -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line(astronaut: Path) -> None:
    failed(1, "matte", astronaut, "-o", "/dev/full", "--format", "png")


def test_an_existing_output_survives_a_failure(tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    out.write_bytes(b"earlier")
    failed(1, "matte", tmp_path / "none.jpg", "-o", out)
    assert out.read_bytes() == b"earlier"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_is_130_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [PORTRAIT, "matte", "-", "-o", str(tmp_path / "o.png")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(1.5)  # it waits for its standard input
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors.decode().strip() == "interrupted"
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_commands_and_is_light() -> None:
    result = run("--help")
    assert result.returncode == 0
    for command in ("doctor", "matte", "models"):
        assert re.search(rf"^\s+{command}\s", result.stdout.decode(), re.MULTILINE)
    for command in ("doctor", "matte", "models"):
        assert run(command, "--help").returncode == 0


def test_version() -> None:
    import portrait_sdk

    assert run("--version").stdout.decode().split()[-1] == portrait_sdk.__version__


def test_doctor_tells_the_truth() -> None:
    from portrait_sdk.model import providers
    from portrait_sdk.ops import kernels

    found = json.loads(run("doctor", "--json").stdout)
    assert found["kernels"]["isa"] == kernels.ISA
    assert found["auto"] == providers.choose("auto")[0]
    assert {p["name"] for p in found["providers"]} == set(providers.KNOWN)
    text = run("doctor").stdout.decode()
    for status in found["providers"]:
        assert status["reason"] in text


def test_a_wrong_thread_variable_is_named(astronaut: Path, tmp_path: Path) -> None:
    line = failed(1, "matte", astronaut, "-o", tmp_path / "o.png", PORTRAIT_THREADS="many")
    assert "PORTRAIT_THREADS" in line


def test_a_wrong_instruction_set_is_named(astronaut: Path, tmp_path: Path) -> None:
    line = failed(1, "matte", astronaut, "-o", tmp_path / "o.png", PS_FORCE_ISA="mmx")
    assert "PS_FORCE_ISA" in line
    assert "scalar" in line


def test_quality_makes_webp_lossy(tmp_path: Path, astronaut: Path) -> None:
    sizes = {}
    for name, options in {"lossless": [], "lossy": ["--quality", "60"]}.items():
        out = tmp_path / f"{name}.webp"
        assert run("matte", astronaut, "-o", out, *options).returncode == 0
        sizes[name] = out.stat().st_size
    assert sizes["lossy"] < sizes["lossless"] / 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    "command", ["matte {photo} -o -", "matte {photo} -o {out} --json", "doctor", "models list"]
)
def test_a_full_standard_output_is_one_line(astronaut: Path, tmp_path: Path, command: str) -> None:
    words = command.format(photo=astronaut, out=tmp_path / "o.png").split()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [PORTRAIT, *words], stdout=full, stderr=subprocess.PIPE, timeout=120, check=False
        )
    assert done.returncode == 1
    lines = done.stderr.decode().strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error")


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_closed_standard_streams_are_one_line(astronaut: Path, tmp_path: Path) -> None:
    for line in (f"matte - -o {tmp_path}/o.png <&-", f"matte {astronaut} -o - >&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{PORTRAIT} {line}"], capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 1
        assert b"is closed" in done.stderr
        assert b"Traceback" not in done.stderr


def test_odd_options_are_one_line(astronaut: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    for options in (
        ["--background", "\u00b2,1,2"],
        ["--provider", "cuda:\u00b2"],
        ["--provider", "cpu:3"],
        ["--model", "x" * 300],
        ["--model", "x" * 300 + "/y.onnx"],
        ["--model", "a\nb.onnx"],
    ):
        failed(1, "matte", astronaut, "-o", out, *options)


def test_a_broken_onnxruntime_is_one_line(astronaut: Path, tmp_path: Path) -> None:
    """Half an installation, as two wheels over each other leave behind."""
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime/__init__.py").write_text("__version__ = '0'\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    line = failed(1, "matte", astronaut, "-o", tmp_path / "o.png", **environment)
    assert "pip install --force-reinstall" in line
    done = run("doctor", **environment)
    assert done.returncode == 0, done.stderr
    assert b"installed only in part" in done.stdout


def test_a_wrong_model_is_told_without_waiting_for_a_pipe(tmp_path: Path) -> None:
    command = [
        PORTRAIT,
        "matte",
        "-",
        "-o",
        tmp_path / "out.png",
        "--model",
        tmp_path / "none.onnx",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.wait(timeout=60) == 1  # standard input is still open
        assert b"no such model file" in process.stderr.read()


def test_bench_times_every_stage(tmp_path: Path) -> None:
    arguments = ("bench", "--megapixels", "0.5", "--rounds", "1", "--provider", "cpu")
    result = run(*arguments, "--json", PYTHONPATH=str(_without_pymatting(tmp_path)))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    stages = [row["stage"] for row in found["rows"]]
    assert stages[:2] == ["decode JPEG", "photo to network input"]
    assert {"network portrait-s", "alpha to photo size", "foreground multilevel", "cutout", "PNG",
            "JPEG to PNG cutout"} <= set(stages)  # fmt: skip
    assert [row["stage"] for row in found["rows"] if row["differ"]] == []
    assert all(row["seconds"]["median"] > 0 for row in found["rows"])
    table = run(*arguments, PYTHONPATH=str(_without_pymatting(tmp_path))).stdout.decode()
    assert all(stage in table for stage in stages)


def _without_pymatting(folder: Path) -> Path:
    """A folder whose pymatting is not there: the real one may compile for 40 s."""
    (folder / "pymatting.py").write_text("raise ImportError")
    return folder


def test_ctrl_c_that_a_destructor_swallows_is_not_lost() -> None:
    code = """
import os, signal
from portrait_sdk.cli import interrupt
class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        os.getpid()
interrupt.install()
interrupt.check()
Swallows()
print("went on")
interrupt.check()
print("was lost")
"""
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert found.stdout == "went on\n"
    assert found.stderr.endswith("KeyboardInterrupt\n")
