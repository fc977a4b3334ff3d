"""``process_folder`` on real folders with a real, tiny model."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from conftest import build_model, native_spec
from folders import fill, job, photo, results, statuses
from PIL import Image

import portrait_sdk
from portrait_sdk.errors import ImageError, OptionError, OutputError
from portrait_sdk.pipeline.listing import Task, tasks
from portrait_sdk.pipeline.task import prepare, run_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portrait_sdk.pipeline.record import Entry


@pytest.fixture
def matting(brightness: Path) -> Iterator[portrait_sdk.Matting]:
    with portrait_sdk.load(brightness, provider="cpu") as opened:
        yield opened


def test_results_are_what_the_api_gives(tmp_path: Path, matting: portrait_sdk.Matting) -> None:
    source = fill(tmp_path / "in", "a.png", "sub/b.jpg")
    kinds = ("cutout", "alpha:webp", "foreground:tiff", "composite:jpeg")
    report = portrait_sdk.process_folder(
        job(source, tmp_path / "out", *kinds, background="#1e90ff"), matting=matting
    )
    assert (report.done, report.skipped, report.failed, report.stopped) == (2, 0, 0, None)
    found = results(tmp_path / "out")
    assert sorted(found) == sorted(
        f"{stem}-{end}"
        for stem in ("a", "sub/b")
        for end in ("alpha.webp", "composite.jpg", "cutout.png", "foreground.tiff")
    )
    for name in ("a.png", "sub/b.jpg"):
        matte = matting.matte(source / name)
        stem = str(tmp_path / "out" / name.partition(".")[0])
        got = np.asarray(Image.open(f"{stem}-cutout.png"))
        np.testing.assert_array_equal(got, matte.cutout())
        got = np.asarray(Image.open(f"{stem}-alpha.webp").convert("L"))
        np.testing.assert_array_equal(got, np.rint(matte.alpha * 255))
        got = np.asarray(Image.open(f"{stem}-foreground.tiff"))
        np.testing.assert_array_equal(got, matte.foreground())
        portrait_sdk.save_image(matte.composite("#1e90ff"), tmp_path / "want.jpg")
        assert (
            found[f"{name.partition('.')[0]}-composite.jpg"] == (tmp_path / "want.jpg").read_bytes()
        )


def test_one_task_gives_what_the_folder_run_gives(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    """What another engine would do: list, run tasks in any order, add up their entries."""
    source = fill(tmp_path / "in", "a.png", "b.jpg")
    (source / "c.png").write_bytes(b"none")
    whole = job(source, tmp_path / "whole", "cutout", "alpha")
    parts = dataclasses.replace(whole, target=str(tmp_path / "parts"))
    report = portrait_sdk.process_folder(whole, matting=matting)
    prepared = prepare(portrait_sdk.FolderJob.from_json(parts.to_json()), matting)
    listed = [task for task in tasks(parts) if isinstance(task, Task)]
    entries = {task.name: run_task(prepared, task, matting) for task in reversed(listed)}
    for want in report.entries():
        got = entries[want.name]
        assert set(got.seconds) == set(want.seconds)
        assert dataclasses.replace(got, seconds={}) == dataclasses.replace(want, seconds={})
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


def test_the_same_bytes_with_one_and_with_many_workers(tmp_path: Path, astronaut: Path) -> None:
    source = fill(tmp_path / "in", *(f"{n % 3}/{n}.jpg" for n in range(9)))
    shutil.copy(astronaut, source)
    with portrait_sdk.load(provider="cpu") as model:
        for workers in (1, 5):
            portrait_sdk.process_folder(
                job(source, tmp_path / str(workers), "cutout", "alpha"),
                matting=model,
                workers=workers,
            )
    assert results(tmp_path / "1") == results(tmp_path / "5")
    order = [list(statuses_of(tmp_path / str(workers))) for workers in (1, 5)]
    assert order[0] == order[1]


def statuses_of(target: Path) -> dict[str, str]:
    return {row["name"]: row["status"] for row in rows(target)}


def rows(target: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((target / "report.json").read_bytes())["photos"]
    return found


def test_bad_files_are_reported_and_the_run_goes_on(
    tmp_path: Path, matting: portrait_sdk.Matting, astronaut: Path
) -> None:
    source = fill(tmp_path / "in", "good.png", "zz/good.jpg")
    (source / "empty.jpg").touch()
    (source / "text.png").write_text("hello")
    (source / "truncated.jpg").write_bytes(astronaut.read_bytes()[:20_000])
    (source / "lost.jpg").symlink_to("nothing")
    (source / "dark.png").write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
    seen: list[Entry] = []
    report = portrait_sdk.process_folder(
        job(source, tmp_path / "out"), matting=matting, on_entry=seen.append
    )
    assert (report.done, report.failed, report.without_subject) == (3, 4, 1)
    assert list(report.entries()) == sorted(seen, key=lambda e: (e.name.count("/"), e.name))
    found = {row["name"]: row for row in rows(tmp_path / "out")}
    assert found["empty.jpg"]["reason"] == "is empty"
    assert found["lost.jpg"]["reason"] == "no such file"
    assert found["dark.png"]["has_subject"] is False
    assert found["good.png"]["coverage"] == pytest.approx(
        matting.matte(source / "good.png").coverage, abs=1e-6
    )
    assert all(row["reason"] for row in found.values() if row["status"] == "failed")
    assert sorted(results(tmp_path / "out")) == ["dark.png", "good.png", "zz/good.png"]
    with (tmp_path / "out/report.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == list(found)
    assert {row["name"]: row["status"] for row in table} == statuses(report)
    assert all(float(row["seconds"]) >= 0 for row in table)


def test_odd_names_come_back_in_the_report(tmp_path: Path, matting: portrait_sdk.Matting) -> None:
    odd = [
        "new\nline.png",
        " sp ace .png",
        'quo"te,.png',
        "\udcff\udcfe.png",
        "\u00e9\U0001f600.png",
    ]
    source = fill(tmp_path / "in", *odd, "fo\nlder/\udcff.png")
    report = portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting)
    assert set(statuses(report)) == {*odd, "fo\nlder/\udcff.png"}
    assert report.done == 6
    assert set(results(tmp_path / "out")) == set(statuses(report))
    with (tmp_path / "out/report.csv").open(newline="", encoding="utf-8") as file:
        assert "\\udcff\\udcfe.png" in [row["name"] for row in csv.DictReader(file)]
    again = portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting)
    assert again.skipped == 6


def test_names_that_meet_all_get_a_result(tmp_path: Path, matting: portrait_sdk.Matting) -> None:
    names = ["a.jpg", "a.png", "A.png", "B/x.png", "b/x.png", "c.png", "C.jpg"]
    source = fill(tmp_path / "in", *names)
    report = portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting)
    assert report.done == len(names)
    found = results(tmp_path / "out")
    assert len({name.casefold() for name in found}) == len(names)
    alphas = {task.name: found[f"{task.stem}.png"] for task in tasks(job(source, tmp_path / "out"))}
    for name, data in alphas.items():
        want = np.rint(matting.matte(source / name).alpha * 255)
        got = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(got, want)


def test_a_newcomer_of_the_same_stem_moves_the_earlier_result(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = fill(tmp_path / "in", "a.jpg")
    portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting)
    assert list(results(tmp_path / "out")) == ["a.png"]
    fill(source, "b.jpg", "a.png")
    portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting)
    assert sorted(results(tmp_path / "out")) == ["a.jpg.png", "a.png.png", "b.png"]


def redone(whole: portrait_sdk.FolderJob, matting: portrait_sdk.Matting) -> list[str]:
    report = portrait_sdk.process_folder(whole, matting=matting)
    assert report.failed == 0
    return [name for name, status in statuses(report).items() if status == "done"]


def test_what_is_finished_is_skipped_and_what_changed_is_redone(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source, out = fill(tmp_path / "in", "a.png", "b.png", "c.png"), tmp_path / "out"
    whole = job(source, out)
    assert redone(whole, matting) == ["a.png", "b.png", "c.png"]
    assert redone(whole, matting) == []
    (source / "b.png").write_bytes(photo(77))
    assert redone(whole, matting) == ["b.png"]
    os.utime(source / "c.png", ns=(5, 5))
    assert redone(whole, matting) == ["c.png"]
    (out / "a.png").unlink()
    (out / "b.png").write_bytes((out / "b.png").read_bytes()[:-1])
    assert redone(whole, matting) == ["a.png", "b.png"]
    assert redone(dataclasses.replace(whole, refine="none"), matting) == ["a.png", "b.png", "c.png"]
    assert redone(dataclasses.replace(whole, include=("a*",)), matting) == ["a.png"]  # as before
    fill(source, "d.png")
    assert len(redone(whole, matting)) == 3
    several = job(source, out, "alpha", "cutout")
    assert len(redone(several, matting)) == 4
    assert redone(job(source, out, "cutout", "alpha"), matting) == []


def test_a_changed_model_or_background_is_seen(tmp_path: Path, brightness: Path) -> None:
    source, out = fill(tmp_path / "in", "a.png"), tmp_path / "out"
    behind = tmp_path / "behind.png"
    behind.write_bytes(photo(1))
    whole = job(source, out, "composite", background=str(behind), model=str(brightness))
    assert portrait_sdk.process_folder(whole).done == 1
    assert portrait_sdk.process_folder(whole).skipped == 1
    behind.write_bytes(photo(2))
    assert portrait_sdk.process_folder(whole).done == 1
    build_model(brightness, native_spec(license="MIT"))
    assert portrait_sdk.process_folder(whole).done == 1
    assert portrait_sdk.process_folder(whole).skipped == 1


def test_content_hashes_tell_photos_apart_on_request(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source, out = fill(tmp_path / "in", "a.png"), tmp_path / "out"
    plain = job(source, out)
    hashed = dataclasses.replace(plain, content_hash=True)
    assert redone(plain, matting) == ["a.png"]
    assert redone(hashed, matting) == ["a.png"]  # the record knew no hash
    os.utime(source / "a.png", ns=(5, 5))
    assert redone(hashed, matting) == []
    before = (source / "a.png").stat()
    changed = bytearray((source / "a.png").read_bytes())
    changed[:] = photo(9)[: len(changed)].ljust(len(changed), b"\0")
    (source / "a.png").write_bytes(changed)
    os.utime(source / "a.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    report = portrait_sdk.process_folder(hashed, matting=matting)
    assert report.skipped == 0


def test_times_are_kept_on_request(tmp_path: Path, matting: portrait_sdk.Matting) -> None:
    source = fill(tmp_path / "in", "a.png")
    os.utime(source / "a.png", ns=(10**18, 10**18))
    portrait_sdk.process_folder(job(source, tmp_path / "plain"), matting=matting)
    assert (tmp_path / "plain/a.png").stat().st_mtime_ns != 10**18
    portrait_sdk.process_folder(job(source, tmp_path / "kept", keep_times=True), matting=matting)
    assert (tmp_path / "kept/a.png").stat().st_mtime_ns == 10**18


def test_partials_of_a_killed_run_go_and_others_files_stay(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source, out = fill(tmp_path / "in", "a.png", "sub/b.png"), tmp_path / "out"
    redone(job(source, out), matting)
    part = out / "sub/.portrait-0123456789abcdef.part"
    others = [out / "sub/.portrait-1.part", out / ".portrait-0123456789abcdef.part.txt", out / "n"]
    for path in (part, *others):
        path.touch()
    redone(job(source, out), matting)
    assert part.exists()  # somebody's who is writing now, as the last run was not killed
    (out / ".portrait/unfinished").touch()
    redone(job(source, out), matting)
    assert not part.exists()
    assert all(path.exists() for path in others)
    assert not (out / ".portrait/unfinished").exists()


def test_a_photo_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    big = np.random.default_rng(1).integers(0, 256, (3000, 3000), np.uint8)  # 0.1 s to decode
    path = source / "a.png"
    cv2.imwrite(str(path), big)
    stop = threading.Event()

    def replace_it() -> None:
        for number in itertools.count():
            if stop.wait(0.01):
                return
            (tmp_path / "new").write_bytes(photo(number))
            (tmp_path / "new").replace(path)

    other = threading.Thread(target=replace_it)
    other.start()
    whole = job(source, tmp_path / "out")
    report = portrait_sdk.process_folder(whole, matting=matting)
    stop.set()
    other.join()
    (entry,) = report.entries()
    if entry.status == "done":  # what was recorded is what was read: never the first, large one
        assert entry.photo is not None
        assert entry.photo.size < 10_000
        assert cv2.imread(str(tmp_path / "out/a.png"), 0).shape == (24, 24)
    else:
        assert "was changed while it was being read" in (entry.reason or "")
    portrait_sdk.process_folder(whole, matting=matting)
    got = cv2.imread(str(tmp_path / "out/a.png"), 0)
    np.testing.assert_array_equal(got, np.rint(matting.matte(path).alpha * 255))


def test_results_inside_the_photos_folder_are_not_fed_back(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = fill(tmp_path / "in", "a.png", "b.jpg")
    for _ in range(3):
        report = portrait_sdk.process_folder(job(source, source / "out"), matting=matting)
        assert report.done + report.skipped == 2
    assert sorted(results(source / "out")) == ["a.png", "b.png"]


def test_impossible_folders_are_refused_and_nothing_is_made(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = fill(tmp_path / "in", "a.png")
    (tmp_path / "link").symlink_to(source)
    for bad, target, says in [
        (source, source, "around it"),
        (source, tmp_path, "around it"),
        (source, tmp_path / "link", "around it"),
        (tmp_path / "none", tmp_path / "out", "no such folder"),
        (source / "a.png", tmp_path / "out", "is a file"),
    ]:
        with pytest.raises(OptionError, match=says):
            portrait_sdk.process_folder(job(bad, target), matting=matting)
    with pytest.raises(OutputError, match="cannot be written to"):
        portrait_sdk.process_folder(job(source, source / "a.png"), matting=matting)
    whole = job(source, tmp_path / "out", "composite", background="none.png")
    with pytest.raises(ImageError, match="no such file"):
        portrait_sdk.process_folder(whole, matting=matting)
    whole = job(source, tmp_path / "out", "composite", background="blur:-3")
    with pytest.raises(OptionError, match="blur radius"):
        portrait_sdk.process_folder(whole, matting=matting)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["brightness.onnx", "in", "link"]


def test_a_second_run_on_a_target_says_so(tmp_path: Path, matting: portrait_sdk.Matting) -> None:
    source = fill(tmp_path / "in", "a.png")
    errors: list[str] = []

    def meanwhile(_entry: Entry) -> None:
        with pytest.raises(OutputError) as caught:
            portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting)
        errors.append(str(caught.value))

    report = portrait_sdk.process_folder(
        job(source, tmp_path / "out"), matting=matting, on_entry=meanwhile
    )
    assert report.done == 1
    assert "another run is working in this folder" in errors[0]


def test_cancelling_ends_with_a_report_and_a_rerun_completes(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = fill(tmp_path / "in", *(f"{n:03}.png" for n in range(60)))
    cancel = threading.Event()
    seen = []

    def stop(entry: Entry) -> None:
        seen.append(entry)
        cancel.set()

    whole = job(source, tmp_path / "out")
    report = portrait_sdk.process_folder(whole, matting=matting, cancel=cancel, on_entry=stop)
    assert report.stopped == "interrupted"
    assert 1 <= report.done == len(list(report.entries())) < 60
    again = portrait_sdk.process_folder(whole, matting=matting)
    assert again.skipped >= report.done
    assert again.skipped + again.done == 60
    assert again.stopped is None


def test_an_error_of_the_caller_ends_the_run_with_a_report(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = fill(tmp_path / "in", *(f"{n}.png" for n in range(20)))

    def fail(_entry: Entry) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting, on_entry=fail)
    assert json.loads((tmp_path / "out/report.json").read_bytes())["stopped"] == "interrupted"
    assert not (tmp_path / "out/.portrait/unfinished").exists()
    assert portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=matting).failed == 0


def test_what_is_written_when_the_run_is_interrupted_is_in_its_report(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    """Ctrl-C while the first photo is reported and others, just written, are not yet."""
    source = fill(tmp_path / "in", *(f"{n}.png" for n in range(12)))

    def interrupt(_entry: Entry) -> None:
        while len(list((tmp_path / "out").glob("*.png"))) < 3:
            time.sleep(0.01)
        raise KeyboardInterrupt

    whole = job(source, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        portrait_sdk.process_folder(whole, matting=matting, workers=2, on_entry=interrupt)
    written = len(list((tmp_path / "out").glob("*.png")))
    report = json.loads((tmp_path / "out/report.json").read_bytes())
    assert (report["done"], report["stopped"]) == (written, "interrupted")
    assert 3 <= written < 12
    assert portrait_sdk.process_folder(whole, matting=matting).skipped == written


def test_a_worker_that_dies_is_an_error_and_a_rerun_completes(
    tmp_path: Path, brightness: Path
) -> None:
    """A closed model is each photo's own failure; ``SystemExit`` in a worker is none's."""
    source = fill(tmp_path / "in", *(f"{n}.png" for n in range(5)))
    closed = portrait_sdk.load(brightness, provider="cpu")
    closed.close()
    report = portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=closed)
    assert report.failed == 5
    assert all("closed" in (entry.reason or "") for entry in report.entries())

    class Deadly(portrait_sdk.Matting):
        def matte_many(self, *_args: object, **_options: object) -> list[portrait_sdk.Matte]:
            raise SystemExit(7)

    with portrait_sdk.load(brightness, provider="cpu") as opened:
        deadly = Deadly(opened._session)
        with pytest.raises(portrait_sdk.PortraitError, match="a worker thread died"):
            portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=deadly)
        assert "died" in json.loads((tmp_path / "out/report.json").read_bytes())["stopped"]
        assert portrait_sdk.process_folder(job(source, tmp_path / "out"), matting=opened).done == 5


def test_a_photo_of_100_megapixels_among_small_ones(
    tmp_path: Path, small_input: portrait_sdk.Matting
) -> None:
    names = [f"{n}.png" for n in range(6)]
    source = fill(tmp_path / "in", *names)
    Image.new("RGB", (12_500, 8_000), (250, 240, 230)).save(source / "3.jpg", quality=50)
    report = portrait_sdk.process_folder(
        job(source, tmp_path / "out", refine="none"), matting=small_input
    )
    assert report.done == 7
    header = (tmp_path / "out/3.jpg.png").read_bytes()[16:24]
    assert struct.unpack(">II", header) == (12_500, 8_000)


@pytest.fixture
def small_input(tmp_path: Path) -> Iterator[portrait_sdk.Matting]:
    """A model that sees each photo at 64 x 64."""
    from portrait_sdk.spec import InputSpec, SizePolicy

    size = SizePolicy(rule="fixed", height=64, width=64)
    spec = native_spec(input=InputSpec(name="image", size=size))
    with portrait_sdk.load(build_model(tmp_path / "small.onnx", spec), provider="cpu") as opened:
        yield opened


PROCESS = """
import os, sys, portrait_sdk
source, target, model = sys.argv[1:4]
def run(source, target):
    job = portrait_sdk.FolderJob(source=source, target=target, model=model)
    try:
        report = portrait_sdk.process_folder(job, provider="cpu")
        print(report.done, report.failed, [e.reason for e in report.entries() if e.reason])
    except portrait_sdk.PortraitError as error:
        print(type(error).__name__, error)
"""
AS_NOBODY = """
run(source, target + ".first")  # imports what is needed, which nobody may not read
if os.getuid() == 0:  # whom permissions do not bind
    os.setgid(65534); os.setuid(65534)
run(source, target)
"""
SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
run(source, target)
"""


def apart(code: str, *arguments: str | Path) -> list[str]:
    """Run code in a process of its own; returns the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROCESS + code, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(portrait_sdk.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def open_to_all(tmp_path: Path) -> Path:
    for parent in [tmp_path, *tmp_path.parents[:2]] if os.getuid() == 0 else []:
        parent.chmod(parent.stat().st_mode | 0o055)
    return tmp_path


def test_read_only_targets_and_unreadable_folders(open_to_all: Path, brightness: Path) -> None:
    source = fill(open_to_all / "in", "a.png", "locked/b.png", "z/c.png", "z/secret.png")
    target, closed = open_to_all / "out", open_to_all / "closed"
    target.mkdir()
    target.chmod(0o777)
    closed.mkdir(0o555)
    (source / "locked").chmod(0)
    (source / "z/secret.png").chmod(0)
    line = apart(AS_NOBODY, source, closed, brightness)[-1]
    assert line.startswith("OutputError")
    assert "cannot be written to: Permission denied" in line
    assert list(closed.iterdir()) == []
    assert apart(AS_NOBODY, source, target, brightness)[-1] == (
        "2 2 ['folder cannot be read: Permission denied', 'cannot be read: Permission denied']"
    )
    (source / "locked").chmod(0o755)


def test_files_beyond_the_systems_limit_fail_alone(tmp_path: Path, brightness: Path) -> None:
    source = fill(tmp_path / "in", "a.png", "c.png")
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    cv2.imwrite(str(source / "b.png"), noise)
    (line,) = apart(SMALL_FILES, source, tmp_path / "out", brightness)
    assert line.startswith("2 1 [")
    assert "File too large" in line
    assert sorted(results(tmp_path / "out")) == ["a.png", "c.png"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system takes root's rights")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_run_and_a_rerun_completes(
    tmp_path: Path, tiny_disk: Path, matting: portrait_sdk.Matting
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for n in range(8):
        noise = np.random.default_rng(n).integers(0, 256, (100, 150, 3), np.uint8)
        cv2.imwrite(str(source / f"{n}.png"), noise)
    whole = job(source, tiny_disk / "out", "cutout")
    report = portrait_sdk.process_folder(whole, matting=matting)
    assert "No space left on device" in (report.stopped or "")
    assert 1 <= report.done < 8
    assert not list(tiny_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=4m", str(tiny_disk)], check=True)
    again = portrait_sdk.process_folder(whole, matting=matting)
    assert (again.done, again.skipped) == (8 - report.done, report.done)
    assert len(results(tiny_disk / "out")) == 8


def test_watching_takes_photos_when_they_are_complete(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = fill(tmp_path / "in", "early.png")
    cancel = threading.Event()
    seen: list[Entry] = []
    watch = portrait_sdk.Watch(settle_s=0.4, poll_s=0.05)
    result: list[portrait_sdk.FolderReport] = []
    whole = job(source, tmp_path / "out")
    run = threading.Thread(
        target=lambda: result.append(
            portrait_sdk.process_folder(
                whole, matting=matting, watch=watch, cancel=cancel, on_entry=seen.append
            )
        )
    )
    run.start()
    data = photo(3, side=300)
    with (source / "slow.png").open("wb") as file:  # copied for longer than it takes to settle
        for start in range(0, len(data), len(data) // 10):
            file.write(data[start : start + len(data) // 10])
            file.flush()
            time.sleep(0.1)
    (source / "renamed.png.tmp").write_bytes(photo(4))
    (source / "renamed.png.tmp").rename(source / "renamed.png")
    wait_for(lambda: len(seen) == 3)
    (source / "early.png").write_bytes(photo(5))
    (source / "bad.png").write_bytes(b"bad")
    wait_for(lambda: len(seen) == 5)
    time.sleep(0.6)  # nothing is done twice
    cancel.set()
    run.join(10)
    assert not run.is_alive()
    assert len(seen) == 5
    report = result[0]
    assert report.stopped == "interrupted"
    assert (report.done, report.failed) == (4, 1)
    assert statuses(report) == {
        "early.png": "done", "slow.png": "done", "renamed.png": "done", "bad.png": "failed"
    }  # fmt: skip


def wait_for(condition: object) -> None:
    assert callable(condition)
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("nothing came in 20 seconds")


def test_a_name_too_long_for_its_results_fails_alone(
    tmp_path: Path, matting: portrait_sdk.Matting
) -> None:
    source = fill(tmp_path / "in", "a.png", "n" * 248 + ".png")
    report = portrait_sdk.process_folder(
        job(source, tmp_path / "out", "cutout", "alpha"), matting=matting
    )
    assert (report.done, report.failed) == (1, 1)
    assert sorted(results(tmp_path / "out")) == ["a-alpha.png", "a-cutout.png"]


def test_an_empty_folder_is_no_failure(tmp_path: Path, matting: portrait_sdk.Matting) -> None:
    (tmp_path / "in").mkdir()
    report = portrait_sdk.process_folder(job(tmp_path / "in", tmp_path / "out"), matting=matting)
    assert (report.done, report.failed, list(report.entries())) == (0, 0, [])
