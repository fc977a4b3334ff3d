"""What a job's photos are: real folders, listed."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
from folders import fill, job

from portrait_sdk.pipeline import listing
from portrait_sdk.pipeline.listing import Problem, Task


def names(source: Path, target: Path | None = None, **options: object) -> list[str]:
    found = listing.tasks(job(source, target or source / "../out", **options))
    return [one.name for one in found if isinstance(one, Task)]


def touch(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_the_tree_is_mirrored_in_one_order(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "b.jpg", "a.PNG", "z/c.tif", "m/n/d.webp", "text.txt")
    found = list(listing.tasks(job(source, tmp_path / "out")))
    assert found == [
        Task("a.PNG", "a"),
        Task("b.jpg", "b"),
        Task("m/n/d.webp", "m/n/d"),
        Task("z/c.tif", "z/c"),
    ]


def test_include_and_exclude(tmp_path: Path) -> None:
    source = touch(
        tmp_path / "in", "a.jpg", "A2.JPG", "b.png", "raw/a.jpg", "raw/x/c.jpg", "d.jfif"
    )
    assert names(source, include=("*.jpg",)) == ["A2.JPG", "a.jpg", "raw/a.jpg", "raw/x/c.jpg"]
    assert names(source, include=("*.jfif", "b*")) == ["b.png", "d.jfif"]
    assert names(source, exclude=("raw",)) == ["A2.JPG", "a.jpg", "b.png"]
    assert names(source, exclude=("raw/x/", "a*")) == ["b.png"]
    assert names(source, include=("raw/*",)) == ["raw/a.jpg", "raw/x/c.jpg"]
    assert names(source, include=("raw/*",), exclude=("raw/a.*",)) == ["raw/x/c.jpg"]


def test_hidden_ones_and_what_is_no_file_are_left_out(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", ".a.jpg", "._b.jpg", ".trash/c.jpg", "d.jpg")
    os.mkfifo(source / "pipe.jpg")
    assert names(source) == ["d.jpg"]


def test_results_inside_the_photos_folder_are_not_photos(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg", "out/a.png", "other/b.png")
    assert names(source, source / "out") == ["a.jpg", "other/b.png"]


def test_links_to_files_and_to_outside_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg", "sub/b.jpg")
    touch(tmp_path / "elsewhere", "c.jpg")
    (source / "link.jpg").symlink_to(source / "a.jpg")
    (source / "outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
    (source / "loop").symlink_to(source)
    (source / "sub/up").symlink_to(source / "sub")
    (source / "self").symlink_to("self")
    touch(tmp_path / "out", "earlier/result.png")
    (source / "results").symlink_to(tmp_path / "out/earlier")
    (source / "nowhere.jpg").symlink_to("none.jpg")
    want = ["a.jpg", "link.jpg", "nowhere.jpg", "outside/c.jpg", "sub/b.jpg"]
    assert names(source) == want


def test_a_folder_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg", "gone/b.jpg", "z/c.jpg")
    found = listing.tasks(job(source, tmp_path / "out"))
    assert next(found) == Task("a.jpg", "a")
    (source / "gone/b.jpg").unlink()  # between listing one folder and the next
    (source / "gone").rmdir()
    assert list(found) == [
        Problem("gone/", "folder cannot be read: No such file or directory"),
        Task("z/c.jpg", "z/c"),
    ]


def test_a_list_of_files(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg", "a.png", "sub/b.jfif", ".h/c.jpg", "sub/d.jpg")
    files = ("sub/b.jfif", "a.jpg", "./a.jpg", str(source / "a.png"), ".h/c.jpg", "../x.jpg",
             "no.jpg", "sub/../sub/d.jpg", "a\0b", "..c.jpg")  # fmt: skip
    found = list(listing.tasks(job(source, tmp_path / "out", files=files)))
    assert found == [
        Task("sub/b.jfif", "sub/b.jfif"),
        Task("a.jpg", "a.jpg"),
        Task("a.png", "a.png"),
        Task(".h/c.jpg", ".h/c"),
        Problem("../x.jpg", f"lies outside {source}"),
        Task("no.jpg", "no.jpg"),
        Task("sub/d.jpg", "sub/d"),
        Problem("a\0b", "a NUL cannot be in the name of a file"),
        Task("..c.jpg", "..c.jpg"),
    ]


def test_a_list_is_of_names_within_a_relative_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in", "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path / "in")
    files = ("./a.jpg", str(tmp_path / "in/b.jpg"))
    assert names(Path(), tmp_path / "out", files=files) == ["a.jpg", "b.jpg"]
    monkeypatch.chdir(tmp_path)
    assert names(Path("in"), files=files) == ["a.jpg", "b.jpg"]


def test_a_list_names_results_as_the_whole_folder_does(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg", "a.png", "X/a.jpg", "x/a.jpg", "x/y/b.jpg", "c.jpg")
    whole = list(listing.tasks(job(source, tmp_path / "out")))
    files = tuple(task.name for task in reversed(whole))
    listed = list(listing.tasks(job(source, tmp_path / "out", files=files)))
    assert listed[::-1] == whole
    assert len({task.stem.casefold() for task in whole}) == len(whole)


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", " a b .jpg", "tab\t.jpg", "\udcff.jpg", "-x.jpg"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    source = fill(tmp_path / "in", f"sub/{name}")
    (task,) = listing.tasks(job(source, tmp_path / "out"))
    assert task == Task(f"sub/{name}", f"sub/{name.removesuffix('.jpg')}")


def test_many_photos_are_listed_folder_by_folder(tmp_path: Path) -> None:
    """Later folders are not read before their turn: here they come to be after the first photo."""
    source = touch(tmp_path / "in", *(f"a/{n:04}.jpg" for n in range(1000)))
    for n in range(19):
        (source / f"b{n:02}").mkdir()
    found = listing.tasks(job(source, tmp_path / "out"))
    assert next(found) == Task("a/0000.jpg", "a/0000")
    for n in range(19):
        for m in range(1000):
            os.link(source / f"a/{n:04}.jpg", source / f"b{n:02}/{m:04}.jpg")
    assert sum(1 for _ in itertools.islice(found, 5000)) == 5000
    assert sum(1 for _ in found) == 20_000 - 5001
    shutil.rmtree(source)
