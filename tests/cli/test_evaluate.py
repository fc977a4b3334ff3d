"""``portrait evaluate`` and ``portrait dataset calibrate``, run as a user runs them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli.test_cli import PORTRAIT, failed, run
from conftest import ASTRONAUT, native_spec
from evaluation import trees

from portrait_sdk.media import load_image


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four photos that are their own alpha, and so exact for the model of brightness."""
    root = tmp_path / "set"
    for number in range(4):
        alpha = trees.portrait(number)[1]
        trees.write(root / f"im/p{number}.png", np.dstack([alpha] * 3))
        trees.write(root / f"gt/p{number}.png", alpha)
    return root


def evaluate(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return run("evaluate", *arguments, "--dataset", f"pairs:{root}", "--provider", "cpu")


def test_one_command_ranks_models_and_writes_every_file(
    brightness: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = evaluate(pairs, "portrait-s", brightness, "-o", out, "--convention", "p3m")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[3].startswith("1  brightness")
    assert lines[4].startswith("2  portrait-s")
    assert "p3m: SAD" in lines[2]
    assert {path.name for path in out.iterdir()} == {
        "record.jsonl", "report.json", "images.csv", "report.html"
    }  # fmt: skip
    table = json.loads((out / "report.json").read_text())
    assert table["ranking"] == ["brightness", "portrait-s"]
    assert len(table["images"]) == 8
    with (out / "images.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert "data-picture" in (out / "report.html").read_text("utf-8")


def test_json_is_one_object(brightness: Path, pairs: Path) -> None:
    done = evaluate(pairs, brightness, "--json", "--limit", "2")
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["photos"] == 2
    assert table["facts"]["limit"] == 2
    assert done.stderr == b""


def test_broken_pairs_are_reported_and_leave_status_3(
    brightness: Path, pairs: Path, tmp_path: Path
) -> None:
    (pairs / "im/p1.png").write_bytes(b"no picture")
    done = evaluate(pairs, brightness, "-o", tmp_path / "out")
    assert done.returncode == 3
    error = done.stderr.decode()
    assert "p1" in error
    assert "1 of 4 pictures failed" in error
    assert "Traceback" not in error
    assert json.loads((tmp_path / "out/report.json").read_text())["failed"] == 1


def test_wrong_usage_and_layouts_are_one_line(
    brightness: Path, pairs: Path, tmp_path: Path
) -> None:
    data = f"pairs:{pairs}"
    (tmp_path / "file").write_text("")
    failed(2, "evaluate", "--dataset", data)
    failed(2, "evaluate", brightness, "--dataset", data, "--resume")
    failed(2, "evaluate", brightness, "--dataset", data, "--convention", "shm")
    assert "KIND:PATH" in failed(1, "evaluate", brightness, "--dataset", str(pairs))
    assert "expected a folder" in failed(
        1, "evaluate", brightness, "--dataset", f"pairs:{tmp_path}/x"
    )
    assert "aisegment" in failed(1, "evaluate", brightness, "--dataset", f"pear:{pairs}")
    assert "found gt/, im/" in failed(1, "evaluate", brightness, "--dataset", f"aisegment:{pairs}")
    assert "split" in failed(1, "evaluate", brightness, "--dataset", data, "--split", "dev")
    assert "none.onnx" in failed(1, "evaluate", tmp_path / "none.onnx", "--dataset", data)
    failed(1, "evaluate", brightness, "--dataset", data, "-o", tmp_path / "file")
    for path in (pairs / "im").iterdir():
        path.write_bytes(b"no picture")
    assert "none of 4 pictures" in failed(1, "evaluate", brightness, "--dataset", data)


def test_a_model_that_cannot_be_opened_leaves_no_folder(pairs: Path, tmp_path: Path) -> None:
    given = ("--dataset", f"pairs:{pairs}", "-o", tmp_path / "out")
    assert "expected an ONNX model" in failed(1, "evaluate", ASTRONAUT, *given)
    assert not (tmp_path / "out").exists()


def test_a_second_run_does_not_write_over_the_first(
    brightness: Path, pairs: Path, tmp_path: Path
) -> None:
    assert evaluate(pairs, brightness, "-o", tmp_path / "out", "--no-html").returncode == 0
    again = evaluate(pairs, brightness, "-o", tmp_path / "out")
    assert again.returncode == 1
    assert b"--resume" in again.stderr
    done = evaluate(pairs, brightness, "-o", tmp_path / "out", "--resume")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(
    brightness: Path, tmp_path: Path, number: signal.Signals
) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    for i in range(60):  # large enough to be stopped in between
        alpha = np.kron(trees.portrait(i)[1], np.ones((8, 8), np.uint8))
        trees.write(root / f"im/p{i:02d}.png", np.dstack([alpha] * 3))
        trees.write(root / f"gt/p{i:02d}.png", alpha)
    words = ["evaluate", brightness, "--dataset", f"pairs:{root}", "--provider", "cpu", "-o", out]
    with subprocess.Popen([PORTRAIT, *map(str, words)], stderr=subprocess.PIPE) as process:
        record = out / "record.jsonl"
        deadline = time.monotonic() + 60
        while not record.is_file() or record.read_bytes().count(b"\n") < 4:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        assert process.stderr is not None
        error = process.stderr.read()
        status = process.wait(timeout=60)
    if number == signal.SIGINT:
        assert status == 130
        assert b"--resume goes on" in error
        assert b"Traceback" not in error
    before = record.read_bytes()
    kept = before[: before.rfind(b"\n") + 1]
    assert kept.count(b"\n") < 61
    done = run(*words, "--resume")
    assert done.returncode == 0, done.stderr
    after = record.read_bytes()
    assert after.startswith(kept)
    assert after.count(b"\n") == 61
    assert json.loads((out / "report.json").read_text())["photos"] == 60


def test_without_jinja2_the_way_on_is_told(brightness: Path, pairs: Path, tmp_path: Path) -> None:
    hidden = trees.put(tmp_path / "hidden/jinja2.py", "raise ImportError").parent
    words = ["evaluate", brightness, "--dataset", f"pairs:{pairs}", "-o", tmp_path / "out"]
    line = failed(1, *words, PYTHONPATH=str(hidden))
    assert "portrait-sdk[evaluate]" in line
    assert not (tmp_path / "out").exists()
    assert run(*words, "--no-html", PYTHONPATH=str(hidden)).returncode == 0


def test_calibrate_copies_pictures_that_differ(tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "calibration"
    for i in range(40):  # 36 that are nearly the same, 4 of other colours
        image = np.full((24, 24, 3), 100 + i % 3 if i % 10 else 25 * (i // 10), np.uint8)
        trees.write(root / f"im/p{i:02d}.png", image)
        trees.write(root / f"gt/p{i:02d}.png", np.full((24, 24), 128, np.uint8))
    (root / "im/p11.png").write_bytes(b"no picture")
    words = ["dataset", "calibrate", f"pairs:{root}", "-o", out, "--count", "8"]
    done = run(*words, "--json")
    assert done.returncode == 0, done.stderr
    chosen = json.loads(done.stdout)["samples"]
    assert len(chosen) == len(set(chosen)) == 8
    # Drawn plainly, all four are among 8 of 40 once in 1300 times.
    assert {"p00", "p10", "p20", "p30"} <= set(chosen)
    for name, path in zip(chosen, sorted(out.iterdir()), strict=True):
        assert path.read_bytes() == (root / f"im/{name}.png").read_bytes()
    assert "new or empty" in failed(1, *words)
    again = run(*words[:4], tmp_path / "again", *words[5:], "--json")
    assert json.loads(again.stdout)["samples"] == chosen
    more = run(*words[:4], tmp_path / "more", "--count", "99")
    assert b"39 of 99" in more.stderr


def test_what_calibrate_writes_is_what_converting_takes(tmp_path: Path) -> None:
    from portrait_sdk.converters.precision import calibration

    image = load_image(ASTRONAUT).image
    alpha = np.zeros(image.shape[:2], np.uint8)
    for i in range(3):
        trees.write(tmp_path / f"set/im/{i}.png", np.roll(image, 40 * i, axis=2 - i % 2))
        trees.write(tmp_path / f"set/gt/{i}.png", alpha)
    out = tmp_path / "out"
    done = run("dataset", "calibrate", f"pairs:{tmp_path / 'set'}", "-o", out, "--count", "2")
    assert done.returncode == 0, done.stderr
    feeds = calibration.load(out, native_spec())
    assert [feed.shape for feed in feeds] == [(1, 3, 512, 512)] * 2


@pytest.mark.skipif("PORTRAIT_SHARED" not in os.environ, reason="PORTRAIT_SHARED names no folder")
def test_published_models_rank_as_they_are_known_to(tmp_path: Path) -> None:
    shared = Path(os.environ["PORTRAIT_SHARED"])
    models = []
    for name, profile in (("sinet_320", "sinet"), ("mediapipe_selfie_256", "mediapipe-selfie")):
        model = tmp_path / f"{name}.onnx"
        words = ["adopt", shared / f"models/{name}.onnx", "-o", model, "--profile", profile]
        assert run(*words).returncode == 0
        models.append(model)
    data = f"pairs:{shared / 'data/ccp'}?truth=mask"
    words = ["--split", "validation", "--refine", "none", "--provider", "cpu", "--json"]
    done = run("evaluate", *models, "--dataset", data, *words)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["photos"] == 101
    assert table["ranking"] == ["mediapipe_selfie_256", "sinet_320"]
    selfie = table["total"]["mediapipe_selfie_256"]
    # Measured by another program, with another resize back: 0.0247 and 0.922.
    assert selfie["mad"]["mean"] == pytest.approx(0.0247, abs=1e-3)
    assert selfie["iou"]["mean"] == pytest.approx(0.922, abs=5e-3)
