"""Every sample runs as its first line says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from conftest import CHECKOUT, build_model

SAMPLES = CHECKOUT / "samples"


def run(script: str, *arguments: str | Path, cwd: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", str(SAMPLES / script), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_sample_is_tested_and_short() -> None:
    scripts = {p.name: p for p in SAMPLES.glob("*.py")}
    tested = Path(__file__).read_text("utf-8")
    for name, path in scripts.items():
        assert f'run("{name}"' in tested, name
        assert len(path.read_text("utf-8").splitlines()) <= 45, name


def test_quickstart(tmp_path: Path) -> None:
    assert "of the photo is foreground" in run("quickstart.py", cwd=tmp_path)
    assert cv2.imread(str(tmp_path / "cutout.png"), cv2.IMREAD_UNCHANGED).shape == (512, 512, 4)


def test_new_background(tmp_path: Path) -> None:
    run("new_background.py", cwd=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"blue.jpg", "blurred.jpg"}
    corner = cv2.imread(str(tmp_path / "blue.jpg"))[5:30, 300:330].reshape(-1, 3).mean(0)
    assert corner == pytest.approx([255, 144, 30], abs=4)  # BGR


def test_custom_model(tmp_path: Path, astronaut: Path) -> None:
    bare = build_model(tmp_path / "bare.onnx", None)
    out = tmp_path / "out.png"
    run("custom_model.py", bare, astronaut, out, cwd=tmp_path)
    assert cv2.imread(str(out), cv2.IMREAD_UNCHANGED).shape == (512, 512, 4)


def test_custom_model_with_a_published_one(tmp_path: Path, astronaut: Path) -> None:
    shared = os.environ.get("PORTRAIT_SHARED")
    if not shared:
        pytest.skip("PORTRAIT_SHARED does not name the folder with third-party models")
    out = tmp_path / "out.png"
    run("custom_model.py", Path(shared) / "models/modnet_photographic.onnx", astronaut, out,
        cwd=tmp_path)  # fmt: skip
    alpha = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)[..., 3]
    assert alpha[120, 220] == 255
    assert alpha[20, 20] == 0
