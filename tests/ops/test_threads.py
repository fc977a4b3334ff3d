"""One thread budget: affinity, quotas, variables; and bands over it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from portrait_sdk.errors import OptionError
from portrait_sdk.ops import threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def quota(root: Path, cgroup: str, files: dict[str, str]) -> float | None:
    tree(root, {"proc/cgroup": cgroup, **{f"cg/{n}": t for n, t in files.items()}})
    return threads._cgroup_quota(root / "proc", root / "cg")


def test_cgroup_v2(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}) == 1.5


def test_cgroup_v2_takes_the_tightest_ancestor(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "cpu.max": "400000 100000"}
    assert quota(tmp_path, "0::/a/b", files) == 0.5


def test_cgroup_v2_in_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/docker/123abc", {"cpu.max": "200000 100000"}) == 2.0


def test_cgroup_v1(tmp_path: Path) -> None:
    lines = "5:memory:/x\n4:cpu,cpuacct:/x\n"
    files = {
        "cpu,cpuacct/x/cpu.cfs_quota_us": "250000",
        "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    assert quota(tmp_path, lines, files) == 2.5


@pytest.mark.parametrize("text", ["max 100000", "", "garbage", "-1"])
def test_no_quota(tmp_path: Path, text: str) -> None:
    assert quota(tmp_path, "0::/", {"cpu.max": text}) is None


def test_no_procfs(tmp_path: Path) -> None:
    assert threads.available(proc=tmp_path / "none", cgroup=tmp_path) == CPUS


def test_quota_rounds_up_and_never_passes_the_cpus(tmp_path: Path) -> None:
    tree(tmp_path, {"proc/cgroup": "0::/", "cg/cpu.max": "20000 100000"})
    assert threads.available(proc=tmp_path / "proc", cgroup=tmp_path / "cg") == 1
    tree(tmp_path, {"cg/cpu.max": "99900000 100000"})
    assert threads.available(proc=tmp_path / "proc", cgroup=tmp_path / "cg") == CPUS


def in_new_process(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    return result.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_honoured() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from portrait_sdk.ops import threads; print(threads.budget())"
    )
    assert in_new_process(code) == "1"


def test_the_variable_sets_everything(brightness: Path) -> None:
    code = (
        "import portrait_sdk, cv2; from portrait_sdk.ops import threads;"
        f"m = portrait_sdk.load({str(brightness)!r}, provider='cpu');"
        "import numpy as np; m.matte(np.zeros((9, 9, 3), 'u1')).composite('blur');"
        "print(threads.budget(), m.threads, cv2.getNumThreads())"
    )
    assert in_new_process(code, PORTRAIT_THREADS="1") == "1 1 1"


def test_set_threads_wins_and_can_be_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "7")
    assert threads.budget() == 7
    threads.set_threads(3)
    try:
        import cv2

        assert threads.budget() == 3
        assert cv2.getNumThreads() == 3
    finally:
        threads.set_threads(None)
    assert threads.budget() == 7


def test_undoing_gives_opencv_its_default_back() -> None:
    code = (
        "import cv2; from portrait_sdk.ops import threads; before = cv2.getNumThreads();"
        "threads.set_threads(1); one = cv2.getNumThreads(); threads.set_threads(None);"
        "print(one, cv2.getNumThreads() == before)"
    )
    assert in_new_process(code, PORTRAIT_THREADS="") == "1 True"


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", "\u00b2"])
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(threads.VARIABLE, wrong)
    with pytest.raises(OptionError, match=r"environment variable PORTRAIT_THREADS: expected"):
        threads.budget()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_is_refused(wrong: object) -> None:
    with pytest.raises(OptionError, match="threads: expected a whole number from 1"):
        threads.set_threads(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_bands_cover_every_row_once(monkeypatch: pytest.MonkeyPatch, count: int, rows: int) -> None:
    monkeypatch.setenv(threads.VARIABLE, str(count))
    seen: list[tuple[int, int]] = []
    threads.over_rows(rows, 1 << 20, lambda a, b: seen.append((a, b)))
    assert min(seen)[0] == 0
    assert sum(b - a for a, b in seen) == rows
    assert len(seen) == min(count, rows)


@pytest.mark.parametrize(("busy", "bands"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_a_thread_among_others_keeps_to_its_share(
    monkeypatch: pytest.MonkeyPatch, busy: int, bands: int
) -> None:
    monkeypatch.setenv(threads.VARIABLE, "4")

    def count() -> int:
        seen: list[int] = []
        threads.over_rows(100, 1 << 20, lambda first, _last: seen.append(first))
        return len(seen)

    with threads.share_of_budget(busy):
        assert count() == bands
        with ThreadPoolExecutor(1) as another:
            assert another.submit(count).result() == 4
    assert count() == 4


def test_an_error_in_any_band_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "4")

    def work(_first: int, last: int) -> None:
        if last == 40:
            raise ValueError("last band")

    with pytest.raises(ValueError, match="last band"):
        threads.over_rows(40, 1 << 20, work)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_pieces_are_each_met_once(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setenv(threads.VARIABLE, str(count))
    met: list[list[int]] = []
    threads.over_pieces(50, 1 << 20, lambda numbers: met.append(list(numbers)))
    assert len(met) == count
    assert sorted(number for own in met for number in own) == list(range(50))
    assert all(own == sorted(own) for own in met)


def test_an_error_in_any_piece_is_raised_and_stops_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(threads.VARIABLE, "1")
    met = []

    def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            met.append(number)
            if number == 3:
                raise ValueError("piece 3")

    with pytest.raises(ValueError, match="piece 3"):
        threads.over_pieces(40, 1 << 20, work)
    assert met == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_bands_work_after_a_fork() -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of forking with threads: that is the point here
from portrait_sdk.ops import threads
done = []
threads.over_rows(64, 1 << 20, lambda a, b: done.append(b - a))
pid = os.fork()
done.clear()
threads.over_rows(64, 1 << 20, lambda a, b: done.append(b - a))
assert sum(done) == 64
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    in_new_process(code, PORTRAIT_THREADS="3")
