"""``portrait folder``, run as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pytest
from conftest import ASTRONAUT
from folders import fill, results

from .test_cli import PORTRAIT, failed, read, run

if TYPE_CHECKING:
    from pathlib import Path


def folder(
    *arguments: str | Path, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    return run("folder", *arguments, "--provider", "cpu", stdin=stdin)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return fill(tmp_path / "in", "a.png", "b.jpg", "sub/c.png")


def test_every_output_of_matte_at_once(tmp_path: Path, brightness: Path) -> None:
    source = fill(tmp_path / "in", "a.png")
    out, model = tmp_path / "out", ("--model", brightness, "--provider", "cpu")
    looks = ("--background", "blur:3", "--foreground", "multilevel", "--refine", "none",
             "--quality", "80")  # fmt: skip
    done = folder(source, out, "--output", "cutout,alpha:webp,foreground:tiff,composite:jpeg",
                  *looks, "--model", brightness)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert done.stderr.decode().splitlines()[-1] == "1 done, 0 failed"
    for name, options in {
        "cutout.png": looks[2:6],
        "alpha.webp": looks[4:],
        "foreground.tiff": looks[2:6],
        "composite.jpg": looks,
    }.items():
        kind = name.partition(".")[0]
        want = tmp_path / name
        single = run("matte", source / "a.png", "-o", want, "--output", kind, *options, *model)
        assert single.returncode == 0, single.stderr
        assert (out / f"a-{name}").read_bytes() == want.read_bytes(), name


def test_one_output_and_a_background_alone(tmp_path: Path, photos: Path, brightness: Path) -> None:
    out = tmp_path / "out"
    done = folder(photos, out, "--background", "white", "--format", "jpeg", "--model", brightness)
    assert done.returncode == 0, done.stderr
    assert sorted(results(out)) == ["a.jpg", "b.jpg", "sub/c.jpg"]
    assert read(out / "a.jpg").shape == (24, 24, 3)


def test_failures_are_named_and_exit_3_and_a_rerun_skips(tmp_path: Path, photos: Path) -> None:
    (photos / "bad\n.jpg").write_bytes(b"bad")
    out = tmp_path / "out"
    done = folder(photos, out, "--output", "alpha")
    assert done.returncode == 3
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert sum(line.startswith("bad\\n.jpg: ") for line in lines) == 1
    assert lines[-1].startswith("3 done, 1 failed")
    again = folder(photos, out, "--output", "alpha", "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (3, b"", b"")
    (photos / "bad\n.jpg").unlink()
    last = folder(photos, out, "--output", "alpha")
    assert last.returncode == 0
    assert last.stderr.decode().splitlines()[-1].startswith("0 done, 3 already done, 0 failed")


def test_all_failed_is_exit_1_and_nothing_to_do_is_0(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = folder(tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0
    assert b"no photos found" in done.stderr
    (tmp_path / "in/bad.jpg").write_bytes(b"bad")
    assert folder(tmp_path / "in", tmp_path / "out").returncode == 1


def test_json_is_one_event_a_line(tmp_path: Path, photos: Path, brightness: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"bad")
    done = folder(photos, tmp_path / "out", "--json", "--model", brightness)
    assert done.returncode == 3
    assert done.stderr == b""
    events = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [event["event"] for event in events] == ["photo"] * 4 + ["end"]
    assert {event["name"] for event in events[:-1]} == {"a.png", "b.jpg", "bad.jpg", "sub/c.png"}
    assert (events[-1]["done"], events[-1]["failed"]) == (3, 1)
    assert {"name", "status", "reason", "seconds", "coverage", "has_subject", "outputs"} <= set(
        events[0]
    )


def test_lists_of_files(tmp_path: Path, photos: Path, brightness: Path) -> None:
    odd = fill(photos, "new\nline.png", "\udcff.png")
    model = ("--model", brightness)
    (tmp_path / "list").write_bytes(b"sub/c.png\r\n\n" + os.fsencode("\udcff.png\n"))
    done = folder(odd, tmp_path / "1", "--files-from", tmp_path / "list", *model)
    assert done.returncode == 0, done.stderr
    assert sorted(results(tmp_path / "1")) == ["sub/c.png", "\udcff.png"]
    done = folder(odd, tmp_path / "2", "--files-from", "-", "-0", *model,
                  stdin=b"new\nline.png\0a.png\0")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(results(tmp_path / "2")) == ["a.png", "new\nline.png"]
    done = folder(odd, tmp_path / "3", "--files-from", "-", *model, stdin=b"../x.png\nb.jpg\n")
    assert done.returncode == 3
    assert sorted(results(tmp_path / "3")) == ["b.png"]


def test_include_exclude_and_times(tmp_path: Path, photos: Path, brightness: Path) -> None:
    os.utime(photos / "sub/c.png", (10**9, 10**9))
    done = folder(photos, tmp_path / "out", "--include", "*.PNG", "--exclude", "a*",
                  "--keep-times", "--hash", "--workers", "2", "--threads", "1",
                  "--model", brightness)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(results(tmp_path / "out")) == ["sub/c.png"]
    assert (tmp_path / "out/sub/c.png").stat().st_mtime == 10**9


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--output", "mask"], "output kind: expected one of cutout"),
        (["--output", "alpha:gif"], "output format: expected one of png"),
        (["--output", "alpha,alpha"], "expected each kind once"),
        (["--output", "cutout:jpeg"], "JPEG has none"),
        (["--output", "composite"], "needs --background"),
        (["--output", "alpha", "--background", "red"], "--background goes with"),
        (["--quality", "9"], "--quality goes with a JPEG or WebP"),
        (["--format", "bmp"], "is not one of"),
        (["--workers", "0"], "is not in the range"),
        (["--settle", "0"], "is not in the range"),
        (["-0"], "--null goes with --files-from"),
        (["--files-from", "/proc/self/cmdline"], "add --null"),
        (["--bogus"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_2(
    tmp_path: Path, photos: Path, arguments: list[str], says: str
) -> None:
    assert says in failed(2, "folder", photos, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_target_around_the_photos_is_exit_2(tmp_path: Path, photos: Path) -> None:
    assert "around it" in failed(2, "folder", photos, photos)
    assert "around it" in failed(2, "folder", photos, tmp_path)


def test_what_cannot_run_at_all_is_one_line_and_exit_1(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    for arguments, says in [
        ([tmp_path / "none", out], "no such folder"),
        ([photos / "a.png", out], "is a file"),
        ([photos, out, "--model", "portrat-s"], "did you mean 'portrait-s'"),
        ([photos, out, "--background", "none.png"], "no such file"),
        ([photos, out, "--files-from", tmp_path / "none.txt"], "none.txt"),
        ([photos, photos / "a.png"], "cannot be written to"),
    ]:
        assert says in failed(1, "folder", *arguments)
        assert not out.exists()


def large(folder: Path, count: int) -> Path:
    """Photos that take a while."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02}.jpg").symlink_to(ASTRONAUT)
    return folder


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_prompt_and_tidy_and_130(tmp_path: Path, number: signal.Signals) -> None:
    source, out = large(tmp_path / "in", 60), tmp_path / "out"
    with subprocess.Popen(
        [PORTRAIT, "folder", str(source), str(out), "--json", "--provider", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        started = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - started < 20  # 60 photos take longer; busy machines are slow
    assert process.returncode == 130, errors
    assert errors.decode().strip() == "interrupted"
    assert not list(out.rglob("*.part"))
    report = json.loads((out / "report.json").read_bytes())
    assert report["stopped"] == "interrupted"
    assert 1 <= report["done"] < 60
    assert len((out / "report.csv").read_text().splitlines()) == 1 + len(report["photos"])
    done = folder(source, out, "--json", "--include", "0*.jpg")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["skipped"] >= 1


def test_the_second_run_on_a_target_says_so_and_stops(tmp_path: Path) -> None:
    source, out = large(tmp_path / "in", 60), tmp_path / "out"
    with subprocess.Popen(
        [PORTRAIT, "folder", str(source), str(out), "--json"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "another run is working in this folder" in failed(1, "folder", source, out)
        process.kill()
    assert folder(source, out, "--include", "00.jpg").returncode == 0  # a kill leaves no lock


def test_watching_ends_on_ctrl_c_with_the_report(tmp_path: Path, brightness: Path) -> None:
    source = fill(tmp_path / "in", "a.png")
    with subprocess.Popen(
        [PORTRAIT, "folder", str(source), str(tmp_path / "out"), "--watch", "--settle", "0.3",
         "--json", "--model", str(brightness)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["name"] == "a.png"
            fill(source, "sub/b.png")
            assert json.loads(process.stdout.readline())["name"] == "sub/b.png"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()  # one that does not end
    assert sorted(results(tmp_path / "out")) == ["a.png", "sub/b.png"]
    assert json.loads((tmp_path / "out/report.json").read_bytes())["done"] == 2


def test_a_reader_that_goes_away_ends_the_run(tmp_path: Path) -> None:
    source = large(tmp_path / "in", 30)
    with subprocess.Popen(
        [PORTRAIT, "folder", str(source), str(tmp_path / "out"), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert b"Traceback" not in process.stderr.read()


def test_a_terminal_gets_a_bar_with_rate_and_time_left(tmp_path: Path) -> None:
    source = large(tmp_path / "in", 12)
    (source / "bad.jpg").write_bytes(b"bad")
    mine, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen(
        [PORTRAIT, "folder", str(source), str(tmp_path / "out"), "--output", "alpha"],
        stderr=theirs, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(mine, 4096)
            except OSError:  # the terminal's other end is closed
                break
    os.close(mine)
    text = shown.decode()
    assert process.returncode == 3, text
    assert re.search(r"\d+/13 \[\d\d:\d\d<", text), text
    assert "photos/s" in text
    assert "failed=1" in text
    assert text.splitlines()[-1].strip() == "12 done, 1 failed"
