"""``portrait dataset``, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli.test_cli import PORTRAIT, failed, read, run
from evaluation import trees

SHARED = Path(os.environ.get("PORTRAIT_SHARED", "/nowhere")) / "data"


def lines(*arguments: str | Path) -> list[str]:
    done = run("dataset", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def test_check_lists_problems_and_fails_where_samples_are_unusable(tmp_path: Path) -> None:
    root = trees.aisegment(tmp_path / "a")
    found = lines("check", f"aisegment:{root}")
    assert found[-1] == "19 samples; orphan-truth: 1, skipped: 3"
    assert any(line.startswith("orphan-truth") and "00000001.png" in line for line in found)
    root = trees.pairs(tmp_path / "p")
    done = run("dataset", "check", f"pairs:{root}", "--json")
    assert done.returncode == 1
    assert b"samples that cannot be used: 1" in done.stderr
    row = json.loads(done.stdout)
    assert row["counts"] == {"stray": 1, "orphan-image": 1, "orphan-truth": 1, "size": 1}
    assert row["samples"] == 6
    assert row["problems"][-1]["text"] == "sizes differ: image 48 x 64; truth 24 x 32"


def test_check_decodes_the_backgrounds_of_cutouts(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path)
    (root / "backgrounds/b3.jpg").write_bytes(b"broken")
    done = run("dataset", "check", f"cutouts:{root}")
    assert done.returncode == 1
    assert b"backgrounds/b3.jpg: is not a picture of a known kind" in done.stdout


def test_check_of_a_set_without_any_pair_says_why(tmp_path: Path) -> None:
    trees.write(tmp_path / "im/a.png", np.zeros((2, 2, 3), np.uint8))
    trees.write(tmp_path / "gt/b.png", np.zeros((2, 2), np.uint8))
    done = run("dataset", "check", f"pairs:{tmp_path}")
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[-1] == "0 samples; orphan-image: 1, orphan-truth: 1"
    assert b"no sample with image and truth found" in done.stderr


def test_check_shows_some_of_many_problems(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path)
    for i in range(40):
        trees.write(root / f"im/x{i}.png", np.zeros((2, 2, 3), np.uint8))
    (root / "im/p1.jpg").unlink()
    short = run("dataset", "check", f"pairs:{root}").stdout.decode()
    assert short.count("orphan-image  ") == 21  # twenty and an ellipsis
    assert run("dataset", "check", f"pairs:{root}", "--all").stdout.count(b"orphan-image  ") == 41


def test_stats_print_means_and_a_table_of_scenes(tmp_path: Path) -> None:
    root = trees.mmseg(tmp_path)
    found = lines("stats", f"mmseg:{root}")
    row = json.loads("".join(lines("stats", f"mmseg:{root}", "--json")))
    text = "/".join(f"{value:.3f}" for value in row["mean"])
    assert any(line.startswith(f"R/G/B     mean {text}  std ") for line in found)
    assert [line.split() for line in found[-4:]] == [
        ["scene", "samples", "train", "val"],
        ["city_single", "2", "2", "0"],
        ["night", "2", "2", "0"],
        ["ski", "4", "3", "1"],
    ]
    assert row["scenes"]["ski"] == {"samples": 4, "splits": {"train": 3, "val": 1}}


def test_sample_writes_a_sheet_of_what_it_names(tmp_path: Path) -> None:
    root = trees.video(tmp_path / "v")
    out = tmp_path / "sheet.png"
    row = json.loads("".join(lines("sample", f"video:{root}", "-o", out, "--json", "--count", "4")))
    assert read(out).shape == (row["height"], row["width"], 3)
    assert len(row["samples"]) == 4


def test_convert_then_read_again(tmp_path: Path) -> None:
    root = trees.mmseg(tmp_path / "m")
    out = tmp_path / "out"
    found = lines("convert", f"mmseg:{root}", "--split", "val", "-o", out, "--to", "mask")
    assert found == [f"2 samples in {out}"]
    assert lines("check", f"pairs:{out}") == ["2 samples; nothing is wrong"]
    root = trees.pairs(tmp_path / "p")
    done = run("dataset", "convert", f"pairs:{root}", "-o", tmp_path / "o2", "--to", "alpha")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "p1: sizes differ: image 48 x 64, truth 24 x 32", "Error: samples left out: 1",
    ]  # fmt: skip


def test_compose_says_what_it_made_and_goes_on(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "c")
    options = ("--train", "5", "--validation", "2", "--size", "40x56", "--bits", "16")
    options += ("--format", "png", "--seed", "3", "--workers", "2")
    first = lines("compose", f"cutouts:{root}", "-o", tmp_path / "out", *options)
    (line,) = first
    assert line.startswith(f"7 samples in {tmp_path / 'out'} (7 new): train of 5 people, 5 back")
    row = json.loads(
        "".join(lines("compose", f"cutouts:{root}", "-o", tmp_path / "out", *options, "--json"))
    )
    assert row["new"] == 0
    assert read(tmp_path / "out/train/image/000004.png").shape == (56, 40, 3)
    assert read(tmp_path / "out/validation/alpha/000001.png").dtype == np.uint16
    line = failed(1, "dataset", "compose", f"cutouts:{root}", "-o", tmp_path / "out")
    assert "was made otherwise" in line


def test_photos_with_mattes_are_people_too(tmp_path: Path) -> None:
    people, behind = trees.pairs(tmp_path / "p"), trees.cutouts(tmp_path / "c") / "backgrounds"
    (people / "gt/p1.png").unlink()
    out = tmp_path / "out"
    source = f"pairs:{people}"
    options = ("--train", "3", "--validation", "1", "--size", "32", "--augment", "geometry,noise")
    lines("compose", source, "--backgrounds", behind, "-o", out, *options)
    assert lines("check", f"pairs:{out}") == ["4 samples; nothing is wrong"]


@pytest.mark.parametrize(
    ("status", "arguments", "says"),
    [
        (1, ["check", "{root}"], "expected KIND:PATH"),
        (1, ["check", "aisegment:{root}"], "expected clip_img/<group>"),
        (1, ["stats", "pairs:{root}", "--split", "dev"], "no split 'dev'; this set's"),
        (1, ["stats", "pairs:{root}", "--scene", "sea"], "this set's scenes: none"),
        (1, ["stats", "pairs:{root}", "--ids", "none.txt"], "none.txt': cannot be read"),
        (1, ["sample", "pairs:{root}", "-o", "x.gif"], "expected a name that ends in"),
        (1, ["convert", "pairs:{root}", "-o", "{root}", "--to", "mask"], "has files in it"),
        (1, ["convert", "pairs:{root}", "-o", "o", "--to", "mask", "--bits", "16"], "16 for mask"),
        (2, ["convert", "pairs:{root}", "-o", "o", "--to", "coco"], "is not one of"),
        (2, ["compose", "pairs:{root}", "-o", "o"], "add --backgrounds"),
        (1, ["compose", "pairs:{root}", "-o", "o", "--backgrounds", "none"], "expected a folder"),
        (2, ["compose", "pairs:{root}", "-o", "o", "--size", "big"], "not WIDTHxHEIGHT"),
        (2, ["compose", "pairs:{root}", "-o", "o", "--augment", "rain"], "some of geometry"),
        (1, ["compose", "pairs:{root}", "-o", "o", "--size", "4x4"], "16 to 8192 pixels"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(
    tmp_path: Path, status: int, arguments: list[str], says: str
) -> None:
    root = trees.pairs(tmp_path)
    assert says in failed(status, "dataset", *(a.format(root=root) for a in arguments))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_leaves_what_the_next_run_goes_on_with(tmp_path: Path) -> None:
    root = trees.cutouts(tmp_path / "c")
    options = ["compose", f"cutouts:{root}", "-o", str(tmp_path / "out"), "--size", "64"]
    process = subprocess.Popen(
        [PORTRAIT, "dataset", *options, "--train", "100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out/train").glob("manifest/*.json")):
            assert time.monotonic() < deadline, "nothing was written within a minute"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()  # where the signal did not end it; harmless where it did
        process.communicate()
    assert process.returncode == 130, errors
    assert errors.decode().strip() == "interrupted"
    assert not list(tmp_path.rglob("*.part"))
    for manifest in (tmp_path / "out/train/manifest").iterdir():
        facts = json.loads(manifest.read_text())
        assert cv2.imread(str(tmp_path / "out/train" / facts["image"]["file"])) is not None


@pytest.mark.skipif(not SHARED.is_dir(), reason="PORTRAIT_SHARED names no folder")
def test_real_sets_pass_their_check() -> None:
    assert lines("check", f"aisegment:{SHARED}/samples/aisegment") == [
        "1 samples; nothing is wrong"
    ]
    row = json.loads(
        "".join(lines("stats", f"pairs:{SHARED}/ccp?truth=mask", "--split", "validation", "--json"))
    )
    assert (row["samples"], row["binary"], row["unreadable"]) == (101, 101, 0)
