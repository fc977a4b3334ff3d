"""Killed at random moments, again and again: a rerun completes with every result whole."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT, CHECKOUT
from folders import results
from PIL import Image

PORTRAIT = str(Path(sysconfig.get_path("scripts")) / "portrait")
KILLS = 10
BAD = ("empty.jpg", "text.png", "cut.jpg", "cut.png", "cut.webp", "header.tif", "nowhere.jpg")
PLACES = ("", "sub/", "sub/deep er/", "\u00fcml\u00e4ut/", "new\nline/")


def odd_files(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Fill a folder with good photos of many kinds, and the ``BAD`` ones here and there."""
    photos = [ASTRONAUT, *sorted((CHECKOUT / "tests/data/pictures").glob("*.jpg"))]
    shared = os.environ.get("PORTRAIT_SHARED")
    if shared and count > 100:
        photos += sorted(Path(shared, "data").rglob("*.jpg"))[:50]
    kinds = ("RGB", "L", "CMYK", "RGBA", "P", "I;16", "turned")
    for number in range(count - len(BAD)):
        kind = kinds[number % len(kinds)]
        name = f"{PLACES[number % len(PLACES)]}{number} {kind.replace(';', '')}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photos[rng.integers(len(photos))]) as opened:
            picture = opened.convert("RGB").reduce(int(rng.integers(1, 4)))
        save(picture, kind, path)
    whole = {"jpg": ASTRONAUT.read_bytes()}
    for form in ("png", "webp", "tif"):
        data = io.BytesIO()
        Image.open(ASTRONAUT).reduce(4).save(data, {"tif": "TIFF"}.get(form, form))
        whole[form] = data.getvalue()
    for place, name in zip(PLACES * len(BAD), BAD, strict=False):
        path = folder / place / f"bad {name}"
        form = path.suffix[1:]
        match name.partition(".")[0]:
            case "empty":
                path.touch()
            case "text":
                path.write_text("no picture")
            case "nowhere":
                path.symlink_to("nothing")
            case "header":
                path.write_bytes(whole[form][:10])
            case _:
                path.write_bytes(whole[form][: len(whole[form]) * 2 // 3])


def save(picture: Image.Image, kind: str, path: Path) -> None:
    """Write a photo as one of the ``kinds``."""
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(f"{path}.jpg", exif=exif)
    elif kind == "I;16":
        grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(f"{path}.png")
    elif kind == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(f"{path}.webp")
    elif kind == "P":
        picture.quantize(64).save(f"{path}.bmp")
    else:
        picture.convert(kind).save(f"{path}.{'tif' if kind == 'CMYK' else 'jpg'}")


def command(source: Path, target: Path, *options: str) -> list[str]:
    return [PORTRAIT, "folder", str(source), str(target), "--output", "cutout,alpha",
            "--provider", "cpu", "--json", *options]  # fmt: skip


def killed(arguments: list[str], photos: int, delay_s: float) -> bool:
    """Run, and kill it a moment after it has finished so many photos; whether it still ran."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        done = 0
        while done < photos and (line := process.stdout.readline()):
            done += json.loads(line).get("status") == "done"
        time.sleep(delay_s)
        alive = process.poll() is None
        process.kill()
    return alive


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_ten_times_a_rerun_completes(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    count = pytestconfig.getoption("--kill-photos")
    rng = np.random.default_rng(5)
    source, target, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
    odd_files(source, count, rng)
    caught = 0
    for number in range(KILLS):
        # At first before any photo is done: while it starts, and locks, and lists.
        photos = int(rng.integers(0, max(2, count // 20))) if number > 1 else 0
        caught += killed(
            command(source, target), photos, float(rng.uniform(0, 0.05 + (photos == 0)))
        )
    assert caught == KILLS
    *lines, _torn = (target / ".portrait/record.jsonl").read_bytes().split(b"\n")
    finished = [json.loads(line)["name"] for line in lines]
    assert 0 < len(finished) < count - len(BAD)
    assert len(set(finished)) == len(finished)  # none was done twice

    last = subprocess.run(command(source, target), capture_output=True, check=False, timeout=250)
    assert last.returncode == 3, last.stderr
    once = subprocess.run(
        command(source, whole, "--workers", "1"), capture_output=True, check=False, timeout=250
    )
    assert once.returncode == 3, once.stderr
    assert results(target) == results(whole)  # whole, and the same with one worker and several
    assert len(results(target)) == 2 * (count - len(BAD))
    assert not list(target.rglob("*.part"))
    own = {path.name for path in (target / ".portrait").iterdir()}
    assert own <= {"record.jsonl", "run.jsonl", "lock"}
    report = json.loads((target / "report.json").read_bytes())
    assert report["skipped"] == len(finished)
    assert report["failed"] == len(BAD)
    failed = [row for row in report["photos"] if row["status"] == "failed"]
    assert sorted(row["name"].rpartition("bad ")[2] for row in failed) == sorted(BAD)
    assert all(row["reason"] for row in failed)
    assert len(report["photos"]) == count
