"""Downloads against a real server that does everything wrong, and the folder they end in."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from model import http_server as http
from model.http_server import Server, serve

from portrait_sdk.errors import DownloadError, ModelError, OptionError, OutputError
from portrait_sdk.model import cache, download
from portrait_sdk.model.registry import Entry

CONTENT = np.random.default_rng(1).bytes(300_001)  # longer than one block, and no round number
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, and a network without proxies."""
    for name in ("PORTRAIT_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORTRAIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server():
    with serve(CONTENT) as running:
        yield running


def entry_of(server: Server, **changes) -> Entry:
    values = {"url": server.url, "sha256": HASH, "size_bytes": len(CONTENT)} | changes
    return Entry(
        name="tiny", format="onnx", architecture="portrait", license="Apache-2.0", **values
    )


def fetch(entry: Entry, **changes) -> Path:
    """Fetch with the patience of a test."""
    return download.fetch(entry, **({"timeout_s": 5.0, "retries": 3, "pause_s": 0.0} | changes))


def left_in(folder: Path) -> list[str]:
    """What a failed download left behind, but for the lock."""
    return sorted(p.suffix for p in folder.iterdir() if p.suffix != ".lock")


# The download itself


def test_fetch_stores_the_verified_file_under_its_name(server, folder):
    path = fetch(entry_of(server))
    assert path == folder / f"tiny.{HASH[:12]}.onnx"
    assert path.read_bytes() == CONTENT
    assert left_in(folder) == [".onnx"]


def test_fetch_says_who_asks(server):
    fetch(entry_of(server))
    assert re.fullmatch(r"portrait_sdk/\S+", server.requests[0].headers["User-Agent"])


def test_fetch_asks_nobody_for_a_file_that_is_here(server):
    assert fetch(entry_of(server)) == fetch(entry_of(server))
    assert len(server.requests) == 1


def test_fetch_reports_progress_up_to_the_end(server):
    seen = []
    fetch(entry_of(server), progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_fetch_works_without_a_registered_size(server):
    assert fetch(entry_of(server, size_bytes=None)).read_bytes() == CONTENT


@pytest.mark.parametrize("size_bytes", [None, len(CONTENT)])
def test_fetch_works_when_the_server_declares_no_length(server, size_bytes):
    server.script = [http.without_length()]
    assert fetch(entry_of(server, size_bytes=size_bytes)).read_bytes() == CONTENT


def test_fetch_goes_through_the_proxy_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    path = fetch(entry_of(server, url="http://models.invalid/model.onnx"))
    assert path.read_bytes() == CONTENT
    assert server.requests[0].path == "http://models.invalid/model.onnx"


# Truncation, stalls, resuming


def test_truncated_download_is_resumed_where_it_ended(server):
    server.script = [http.truncated(1000), http.truncated(500)]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-"]
    assert [r.headers.get("If-Range") for r in server.requests] == [None, http.ETAG, http.ETAG]


def test_truncated_chunks_are_resumed(server):
    server.script = [http.chunked(1000)]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_stalled_download_times_out_and_is_resumed(server):
    server.script = [http.stalled(1000)]
    began = time.monotonic()
    assert fetch(entry_of(server), timeout_s=0.4).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]
    assert time.monotonic() - began < 10  # the stalled server itself would wait 20 s


def test_server_that_never_answers_is_given_up(server, folder):
    server.script = [http.silent] * 2
    with pytest.raises(DownloadError, match=r"after 2 attempts: no byte for 0.1 s"):
        fetch(entry_of(server), timeout_s=0.1, retries=1)
    assert left_in(folder) == []


def test_slow_download_does_not_time_out(server):
    server.script = [http.dripping(8, pause_s=0.15)]  # 1.2 s, never 1 s without a byte
    fetch(entry_of(server), timeout_s=1.0, retries=0)
    assert len(server.requests) == 1


def test_attempts_are_bounded_and_the_next_fetch_resumes(server, folder):
    server.script = [http.truncated(1000)] * 3
    with pytest.raises(DownloadError, match=r"after 3 attempts: ended after 3000 .* resumes"):
        fetch(entry_of(server), retries=2)
    assert len(server.requests) == 3
    assert left_in(folder) == [".part"]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=3000-"


def test_download_of_a_killed_process_is_resumed(server, folder):
    server.script = [http.dripping(100, pause_s=0.1)]
    with start_fetching(server) as process:
        wait_for(lambda: any(p.stat().st_size for p in folder.glob("*.part")))
        process.kill()
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert re.fullmatch(r"bytes=[1-9]\d*-", server.ranges[1])


def test_server_that_ignores_range_starts_over(server):
    server.script = [http.truncated(1000), http.ignoring_range]
    assert fetch(entry_of(server)).read_bytes() == CONTENT


def test_file_that_changed_between_attempts_starts_over(server):
    """The first attempt got another version of the file, under another ETag."""

    def older(handler):
        headers = {"Content-Length": len(CONTENT)}
        handler.reply(200, headers, bytes(1000), etag='"0"')

    server.script = [older]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.requests[1].headers["If-Range"] == '"0"'


def test_date_stands_in_for_a_weak_etag(server):
    date = "Sat, 01 Jan 2022 00:00:00 GMT"

    def weak(handler):
        headers = {"Content-Length": len(CONTENT), "Last-Modified": date}
        handler.reply(200, headers, CONTENT[:1000], etag='W/"0"')

    server.script = [weak]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.requests[1].headers["If-Range"] == date


def test_answer_for_another_range_starts_over(server):
    server.script = [http.truncated(1000), http.another_range]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", None]


@pytest.mark.parametrize("size_bytes", [None, len(CONTENT)])
def test_complete_part_of_an_earlier_process_is_verified_and_used(server, folder, size_bytes):
    folder.mkdir()
    (folder / f"tiny.{HASH[:12]}.part").write_bytes(CONTENT)
    assert fetch(entry_of(server, size_bytes=size_bytes)).read_bytes() == CONTENT
    assert len(server.requests) == (size_bytes is None)  # a 416 where the size is not registered


@pytest.mark.parametrize("size", [10, len(CONTENT), len(CONTENT) + 10])
@pytest.mark.parametrize("size_bytes", [None, len(CONTENT)])
def test_wrong_part_of_an_earlier_process_is_replaced(server, folder, size, size_bytes):
    folder.mkdir()
    (folder / f"tiny.{HASH[:12]}.part").write_bytes(bytes(size))
    assert fetch(entry_of(server, size_bytes=size_bytes)).read_bytes() == CONTENT


# Wrong files


def test_corrupted_download_is_deleted_and_reported_with_both_hashes(server, folder):
    server.script = [http.corrupted]
    found = hashlib.sha256(bytes(len(CONTENT))).hexdigest()
    with pytest.raises(DownloadError, match=f"expected SHA-256 {HASH}, found {found}; deleted"):
        fetch(entry_of(server))
    assert left_in(folder) == []
    assert len(server.requests) == 1


def test_download_corrupted_after_resuming_is_tried_once_more_from_the_start(server):
    server.script = [http.truncated(1000), http.corrupted]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", None]


def test_file_of_another_size_is_refused_before_it_is_read(server, folder):
    with pytest.raises(DownloadError, match=r"expected 10 bytes, the server has 300001"):
        fetch(entry_of(server, size_bytes=10))
    assert left_in(folder) == []


def test_nothing_beyond_the_registered_size_is_written(server, folder):
    server.script = [http.without_length(b"more")]
    with pytest.raises(DownloadError, match=r"more than the expected 300001 bytes; deleted"):
        fetch(entry_of(server))
    assert left_in(folder) == []


def test_file_beyond_the_ceiling_is_refused(server):
    server.script = [http.declaring(download.CEILING_BYTES + 1)]
    with pytest.raises(DownloadError, match=r"expected at most 4294967296 bytes"):
        fetch(entry_of(server, size_bytes=None))


def test_damaged_file_in_the_cache_is_noticed_and_fetched_again(server):
    path = fetch(entry_of(server))
    path.write_bytes(CONTENT[:-1])
    assert cache.cached(entry_of(server)) is None
    assert fetch(entry_of(server)).read_bytes() == CONTENT


def test_unreadable_file_in_the_cache_is_an_error(server, folder):
    (folder / f"tiny.{HASH[:12]}.onnx").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"tiny\..*\.onnx: cannot be read: Is a directory"):
        cache.cached(entry_of(server))


# Statuses and redirects


def test_not_found_is_reported_at_once(server):
    server.script = [http.status(404)]
    with pytest.raises(DownloadError, match=r"/model\.onnx: HTTP status 404 Not Found$"):
        fetch(entry_of(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_passing_failure_is_tried_again(server, code):
    server.script = [http.status(code)] * 2
    assert fetch(entry_of(server)).read_bytes() == CONTENT


def test_lasting_failure_is_given_up(server):
    server.script = [http.status(500)] * 4
    with pytest.raises(DownloadError, match=r"after 4 attempts: HTTP status 500 .*nothing is kept"):
        fetch(entry_of(server))


def test_unexpected_success_is_refused(server):
    server.script = [http.status(204)]
    with pytest.raises(DownloadError, match=r"unexpected HTTP status 204"):
        fetch(entry_of(server))


def test_nobody_listening_is_one_line(server):
    with serve(b"") as gone:
        pass
    with pytest.raises(DownloadError, match=r"Connection refused") as caught:
        fetch(entry_of(server, url=gone.url))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_followed(server, code):
    server.script = [http.redirect("/elsewhere/m%20odel?x=1", code)]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.requests[1].path == "/elsewhere/m%20odel?x=1"


def test_redirect_keeps_the_range(server):
    server.script = [http.truncated(1000), http.redirect("/elsewhere")]
    assert fetch(entry_of(server)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-"]


def test_redirects_in_a_loop_end(server):
    server.script = [http.redirect("/again")] * 50
    with pytest.raises(DownloadError, match=r"redirected more than 5 times"):
        fetch(entry_of(server))
    assert len(server.requests) == download.MAX_REDIRECTS + 1


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_redirect_out_of_http_is_refused(server, target):
    server.script = [http.redirect(target)]
    with pytest.raises(DownloadError, match=r"refused its redirect to .*: expected https"):
        fetch(entry_of(server))


@pytest.mark.parametrize("target", ["http://[", "http://" + 300 * "x"])
def test_redirect_to_no_address_is_one_line(server, target):
    server.script = [http.redirect(target)] * 2
    with pytest.raises(DownloadError) as caught:
        fetch(entry_of(server), retries=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("https://a/x", "https://b/y", True),
        ("https://a/x", "HTTPS://b/y", True),
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "file:///x", False),
        ("http://a/x", "http://b/y", True),
        ("http://a/x", "https://b/y", True),
        ("http://a/x", "ftp://b/y", False),
    ],
)
def test_redirects_never_leave_https(source, target, allowed):
    assert download.may_redirect(source, target) is allowed


# The folder


def test_cache_dir_is_the_variable_and_is_not_created(folder):
    assert cache.cache_dir() == folder
    assert not folder.exists()


def test_looking_creates_nothing(server, folder):
    assert cache.cached(entry_of(server)) is None
    assert not folder.exists()


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, "/home/u/.cache"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/u/.cache"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "/home/u/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
        ("win32", {}, "/home/u/AppData/Local"),
    ],
)
def test_platforms_keep_caches_where_they_do(platform, environ, expected):
    assert cache._platform_cache_dir(platform, environ, Path("/home/u")) == Path(expected)


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="XDG_CACHE_HOME is Linux's")
def test_cache_dir_without_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("PORTRAIT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / "portrait_sdk"


def test_cache_dir_that_cannot_be_made_is_one_line(server, folder):
    folder.write_text("a file, not a folder")
    with pytest.raises(OutputError, match=r"cannot be written: .*; PORTRAIT_CACHE_DIR names") as e:
        fetch(entry_of(server))
    assert "\n" not in str(e.value)
    assert server.requests == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write to read-only folders"
)
def test_read_only_cache_serves_what_it_has(server, folder):
    path = fetch(entry_of(server))
    folder.chmod(0o500)
    try:
        assert fetch(entry_of(server)) == path
        with pytest.raises(OutputError, match=r"cannot be written: Permission denied"):
            fetch(entry_of(server, sha256=64 * "0"))
    finally:
        folder.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_full_disk_is_one_line_and_leaves_nothing(server, folder):
    """A limit on the size of files fails writes as a full disk does, in the middle of the file."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    with start_fetching(server, first=limit) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert re.search(r"OutputError: .*\.part: cannot be written: File too large; ", said)
    assert left_in(folder) == []


# The offline switch


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_refuses_and_says_where_to_put_the_file(server, folder, monkeypatch, value):
    monkeypatch.setenv("PORTRAIT_OFFLINE", value)
    with pytest.raises(DownloadError) as caught:
        fetch(entry_of(server))
    assert server.requests == []
    assert not folder.exists()
    for part in ("PORTRAIT_OFFLINE", server.url, f"tiny.{HASH[:12]}.onnx", str(folder)):
        assert part in str(caught.value)


def test_offline_uses_a_file_put_there_by_hand(server, folder, monkeypatch):
    monkeypatch.setenv("PORTRAIT_OFFLINE", "1")
    folder.mkdir()
    (folder / f"tiny.{HASH[:12]}.onnx").write_bytes(CONTENT)
    assert fetch(entry_of(server)).read_bytes() == CONTENT


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_online_by_any_name(monkeypatch, value):
    monkeypatch.setenv("PORTRAIT_OFFLINE", value)
    assert cache.offline() is False


def test_offline_of_unknown_value_is_refused(monkeypatch):
    monkeypatch.setenv("PORTRAIT_OFFLINE", "maybe")
    with pytest.raises(OptionError, match=r"PORTRAIT_OFFLINE: expected 1, .* got 'maybe'"):
        cache.offline()


# Several at once

FETCH = """
import sys
{first}
from portrait_sdk.model import cache, download
from portrait_sdk.model.registry import Entry
entry = Entry(name="tiny", format="onnx", architecture="portrait", license="Apache-2.0",
              url=sys.argv[1], sha256=sys.argv[2])
print(download.fetch(entry, timeout_s=5, retries=1, pause_s=0))
"""


def start_fetching(server: Server, first: str = "") -> subprocess.Popen[str]:
    """Fetch in another process."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", FETCH.format(first=first), server.url, HASH],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(happened, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_share_one_download(server, folder):
    server.script = [http.dripping(10, pause_s=0.1)]
    with start_fetching(server) as one, start_fetching(server) as other:
        results = [process.communicate(timeout=20) for process in (one, other)]
    assert results[0] == results[1] == (f"{folder / f'tiny.{HASH[:12]}.onnx'}\n", "")
    assert len(server.requests) == 1


def test_process_that_hangs_is_not_waited_for_without_end(server, folder):
    folder.mkdir()
    lock, part = (folder / f"tiny.{HASH[:12]}{suffix}" for suffix in (".lock", ".part"))
    with (
        download._locked(lock, part, 1),
        pytest.raises(DownloadError, match=r"held for 0.2 s by another process"),
    ):
        fetch(entry_of(server), lock_wait_s=0.2)
    assert fetch(entry_of(server)).read_bytes() == CONTENT


# Arguments


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"retries": -1}])
def test_impossible_patience_is_refused(server, wrong):
    with pytest.raises(OptionError, match=r"timeout_s, retries: expected"):
        fetch(entry_of(server), **wrong)


def test_embedded_model_is_not_fetched(server):
    entry = entry_of(server, url=None, sha256=None, size_bytes=None, embedded="tiny.onnx")
    with pytest.raises(OptionError, match=r"part of the package"):
        fetch(entry)


def test_error_of_the_progress_callback_is_not_taken_for_the_network(server):
    def broken(*_):
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError, match=r"nobody reads"):
        fetch(entry_of(server), progress=broken)
    assert len(server.requests) == 1
