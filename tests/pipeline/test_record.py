"""The record: what counts of it after whatever happened to its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from folders import job

import portrait_sdk
from portrait_sdk.errors import OptionError
from portrait_sdk.pipeline.record import Entry, EntryFile, Identity

if TYPE_CHECKING:
    from pathlib import Path


def entry(name: str, size: int = 1) -> Entry:
    photo = Identity(size=size, mtime_ns=2**62)
    return Entry(name=name, status="done", outputs=((f"{name}.png", size),), photo=photo)


def test_entries_are_found_again_and_the_last_of_a_name_counts(tmp_path: Path) -> None:
    with EntryFile(tmp_path / "r") as record:
        for size in (1, 2):
            for name in ("a", "new\nline", "\udcff"):
                record.add(entry(name, size))
    with EntryFile(tmp_path / "r") as record:
        assert record.get("new\nline") == entry("new\nline", 2)
        assert record.get("b") is None
        assert list(record) == [entry("a", 2), entry("new\nline", 2), entry("\udcff", 2)]
    with EntryFile(tmp_path / "r", fresh=True) as record:
        assert list(record) == []


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with EntryFile(path) as record:
        record.add(entry("a"))
        kept = path.stat().st_size
        record.add(entry("b"))
    whole = path.read_bytes()
    for end in range(kept, len(whole)):
        path.write_bytes(whole[:end])
        with EntryFile(path) as record:
            assert list(record) == [entry("a")]
            record.add(entry("c"))
            assert record.get("c") == entry("c")
        assert path.read_bytes()[:kept] == whole[:kept]
        with EntryFile(path) as record:
            assert list(record) == [entry("a"), entry("c")]


@pytest.mark.parametrize("bad", [b"\0" * 99, b"[]", b"3", b"{}", b'{"name": "x"}', b"\xff\xfe"])
def test_a_line_that_is_no_entry_does_not_count(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "r"
    with EntryFile(path) as record:
        record.add(entry("a"))
    path.write_bytes(bad + b"\n" + path.read_bytes())
    with EntryFile(path) as record:
        assert list(record) == [entry("a")]


def test_entries_keep_the_order_in_which_they_were_expected(tmp_path: Path) -> None:
    with EntryFile(tmp_path / "r") as rows:
        for name in ("a", "b", "c"):
            rows.expect(name)
        rows.add(entry("c"))
        rows.add(entry("a"))
        assert [one.name for one in rows] == ["a", "c"]


def test_identity_is_size_and_time_or_the_content_where_that_is_known() -> None:
    one = Identity(size=1, mtime_ns=2)
    assert one.same(Identity(size=1, mtime_ns=2, sha256="x"))
    assert not one.same(Identity(size=1, mtime_ns=3))
    assert Identity(size=1, mtime_ns=9, sha256="x").same(Identity(size=1, mtime_ns=2, sha256="x"))
    assert not Identity(size=1, mtime_ns=2, sha256="x").same(one)


def test_a_job_goes_through_json(tmp_path: Path) -> None:
    whole = job(
        tmp_path, tmp_path / "\udcff\n", "cutout:webp", "composite:jpeg", background="blur:8",
        quality=80, refine="none", model="m.onnx", include=("*.jpg",), exclude=("x",),
        files=("a\n.jpg", "\udcff"), keep_times=True, content_hash=True,
    )  # fmt: skip
    for one in (whole, portrait_sdk.FolderJob(source="a", target="b")):
        assert portrait_sdk.FolderJob.from_json(one.to_json()) == one
    for bad in ("", "[]", "{}", '{"portrait_folder_job": 2}', whole.to_json().replace("m.on", '"')):
        with pytest.raises(OptionError, match="folder job"):
            portrait_sdk.FolderJob.from_json(bad)
