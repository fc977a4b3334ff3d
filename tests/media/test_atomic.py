"""A file is there whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from portrait_sdk.errors import OutputError
from portrait_sdk.media import write_atomic

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions, links, signals")


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def run(code, *arguments, stdout=subprocess.PIPE):
    """Run code in a new interpreter that sees the same package."""
    root = str(Path(sys.modules["portrait_sdk"].__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_writes_and_replaces(tmp_path, kind):
    path = tmp_path / "a.png"
    for data in (b"first", b"", b"second" * 100_000):
        write_atomic(path, kind(data))
        assert path.read_bytes() == data
        assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_an_existing_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "a"
    path.touch(0o600)
    path.chmod(0o640)
    write_atomic(path, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path, exists):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a"
    if exists:
        target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(Path("real") / "a")
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["link", "real"]
    assert names(tmp_path / "real") == ["a"]


def test_a_name_that_is_not_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.png"
    write_atomic(path, b"x")
    write_atomic(os.fsdecode(path), b"y")
    assert Path(os.fsdecode(path)).read_bytes() == b"y"


def test_a_name_as_long_as_names_may_be(tmp_path):
    write_atomic(tmp_path / ("n" * 255), b"x")
    assert names(tmp_path) == ["n" * 255]


def refused(path, match):
    with pytest.raises(OutputError, match=match) as caught:
        write_atomic(path, b"x")
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_place_for_a_file_is_refused_in_one_line(tmp_path):
    refused(tmp_path, "is a folder")
    refused(tmp_path / "no\n" / "a", r"the folder '.*/no\\n' does not exist; create it first")
    refused(str(tmp_path / "none") + "/", "expected the name of a file")
    refused("", "expected the name of a file")
    refused("a\0b", "cannot be written: ")
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "a", "cannot be written: Not a directory")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", "cannot be written: Too many levels")
    assert names(tmp_path) == ["file", "loop"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_an_output_error():
    refused("/dev/full", r"^'/dev/full': cannot be written: No space left on device$")


def test_a_pipe_is_written_straight(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, b"x" * 200_000)
    reader.join(20)
    assert got == [b"x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_is_written_straight(tmp_path):
    code = "from portrait_sdk.media import write_atomic; write_atomic('/dev/stdout', b'picture')"
    assert run(code).stdout == "picture"
    with (tmp_path / "out").open("wb") as file:
        inode = os.fstat(file.fileno()).st_ino
        run(code, stdout=file)
    assert (tmp_path / "out").read_bytes() == b"picture"
    assert (tmp_path / "out").stat().st_ino == inode


FULL_DISK = """
import resource, sys
from portrait_sdk.errors import OutputError
from portrait_sdk.media import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomic(sys.argv[1], bytes(300_000))
except OutputError as error:
    print(error)
"""


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    done = run(FULL_DISK, str(path))
    assert done.stdout == f"{str(path)!r}: cannot be written: File too large\n", done.stderr
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_ctrl_c_leaves_the_old_file_and_no_other(tmp_path, step, monkeypatch):
    def interrupt(*_):
        assert any(n.startswith(".") and n.endswith(".part") for n in names(tmp_path))
        raise KeyboardInterrupt

    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, interrupt)  # the moment at which the signal arrives
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


UNPRIVILEGED = """
import os, sys
from portrait_sdk.errors import OutputError
from portrait_sdk.media import write_atomic
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    try:
        write_atomic(path, b"new")
    except OutputError as error:
        print(str(error).partition(": ")[2])
"""


def test_permissions_are_respected(tmp_path):
    # Root may do anything, so the child becomes nobody, who must be let in as far as here.
    for parent in [tmp_path, *tmp_path.parents[:2]] if os.getuid() == 0 else []:
        if not parent.stat().st_mode & stat.S_ISVTX:  # not the shared temporary folder
            parent.chmod(parent.stat().st_mode | 0o055)
    locked, open_folder = tmp_path / "locked", tmp_path / "open"
    locked.mkdir()
    open_folder.mkdir()
    kept = open_folder / "kept"
    kept.write_bytes(b"old")
    kept.chmod(0o444)
    open_folder.chmod(0o777)
    locked.chmod(0o555)
    done = run(UNPRIVILEGED, str(locked / "a"), str(kept))
    assert done.stdout.splitlines() == [
        "cannot be written: Permission denied",
        "cannot be written: its permissions forbid it",
    ], done.stderr
    assert kept.read_bytes() == b"old"
    assert names(locked) == []
    locked.chmod(0o755)
