"""From a job to its tasks, one after another: a folder is read when its turn comes."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.pipeline import naming

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from portrait_sdk.pipeline.job import FolderJob

OWN_FOLDER = ".portrait"
"""In the target: record and lock."""
REPORTS = ("report.json", "report.csv")
_FOLDERS_KEPT = 256  # of those that a list of files leads to, with their names


@dataclass(frozen=True, slots=True)
class Task:
    """One photo of a job."""

    name: str
    """Its path relative to the source, with ``/``."""
    stem: str
    """Its results' path relative to the target, with ``/``, without ending."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was to be listed and could not be."""

    name: str
    """Relative to the source, with ``/``."""
    reason: str


@dataclass(frozen=True, slots=True)
class _Folder:
    files: tuple[str, ...]
    """Names, sorted; the photos asked for are among them."""
    stems: dict[str, str]
    folders: dict[str, str]
    """Subfolders that may be visited: name to name among the results."""


def tasks(job: FolderJob) -> Iterator[Task | Problem]:
    """List a job's photos, always in the same order.

    Hidden files and folders are left out, and the target where it lies inside. Links to files are
    followed; links to folders are, where they lead out of the source, and neither into the target
    nor back to a folder that they lie in.
    """
    listing = _Listing(job)
    return listing.everything() if job.files is None else listing.named(job.files)


class _Listing:
    def __init__(self, job: FolderJob) -> None:
        self._source = Path(job.source)
        self._own = (os.path.realpath(job.source), os.path.realpath(job.target))
        self._target = _place(Path(job.target))
        self._endings = job.outputs.endings
        self._include = _Globs(job.include) if job.include else None
        self._exclude = _Globs(job.exclude)
        self._any_extension = job.files is not None
        self._kept = lru_cache(_FOLDERS_KEPT)(self._kept_folder)

    def everything(self) -> Iterator[Task | Problem]:
        waiting: list[tuple[str, str, frozenset[tuple[int, int] | None]]] = [("", "", frozenset())]
        while waiting:
            name, out, above = waiting.pop()
            own = _place(self._source / name)
            if own in above or (own is not None and own == self._target):
                continue
            try:
                folder = self._read(name)
            except OSError as error:
                yield Problem(name or ".", f"folder cannot be read: {error.strerror or error}")
                continue
            for file in folder.files:
                if not file.startswith(".") and self._wanted(name + file):
                    yield Task(name + file, out + folder.stems[file])
            waiting += [
                (f"{name}{below}/", f"{out}{folder.folders[below]}/", above | {own})
                for below in sorted(folder.folders, key=os.fsencode, reverse=True)
                if not below.startswith(".") and not self._exclude.match(name + below)
            ]

    def named(self, files: Iterable[str]) -> Iterator[Task | Problem]:
        """The photos of a list, in its order, each once."""
        seen = set()
        for given in files:
            if "\0" in given:
                yield Problem(given, "a NUL cannot be in the name of a file")
                continue
            name = self._relative(given)
            if name is None:
                yield Problem(given, f"lies outside {self._source}")
                continue
            above, _, file = name.rpartition("/")
            if name in seen or not self._wanted(name) or self._within_excluded(above):
                continue
            seen.add(name)
            try:
                out, folder = self._kept(above)
            except OSError as error:
                yield Problem(name, f"folder cannot be read: {error.strerror or error}")
                continue
            yield Task(name, out + folder.stems.get(file, file))  # which may not be there

    def _within_excluded(self, folder: str) -> bool:
        parts = folder.split("/")
        return any(self._exclude.match("/".join(parts[:n])) for n in range(1, len(parts) + 1))

    def _relative(self, given: str) -> str | None:
        """A listed name relative to the source; None outside of it."""
        path = os.path.abspath(os.path.join(self._source, given))  # noqa: PTH100, PTH118 - ".." goes
        try:
            name = Path(path).relative_to(self._source.absolute()).as_posix()
        except ValueError:
            return None
        return None if name == "." else name

    def _kept_folder(self, name: str) -> tuple[str, _Folder]:
        """A folder's name among the results, with a slash, and what is in it."""
        if not name:
            return "", self._read("")
        above, _, own = name.rpartition("/")
        out, parent = self._kept(above)
        return f"{out}{parent.folders.get(own, own)}/", self._read(name + "/")

    def _read(self, name: str) -> _Folder:
        """Read one folder; ``name`` ends with a slash, but for the source's own, which is empty."""
        files, folders = [], []
        with os.scandir(self._source / name) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if not entry.is_symlink() or self._leads_out(entry.path):
                        folders.append(entry.name)
                elif entry.is_symlink() or entry.is_file():  # one that leads nowhere fails by name
                    files.append(entry.name)
        out = naming.output_folders(folders, () if name else (OWN_FOLDER, *REPORTS))
        return _Folder(
            files=tuple(sorted(files, key=os.fsencode)),
            stems=naming.output_stems(files, out.values(), self._endings),
            folders=out,
        )

    def _leads_out(self, link: str) -> bool:
        real = Path(os.path.realpath(link))
        return not any(real.is_relative_to(own) for own in self._own)

    def _wanted(self, name: str) -> bool:
        if self._exclude.match(name):
            return False
        if self._include is not None:
            return self._include.match(name)
        return self._any_extension or naming.is_picture(name)


class _Globs:
    """Patterns, case ignored: with a slash for a whole relative path, without for a last name."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._paths = _expression([p.strip("/") for p in patterns if "/" in p.rstrip("/")])
        self._names = _expression([p.rstrip("/") for p in patterns if "/" not in p.rstrip("/")])

    def match(self, name: str) -> bool:
        return bool(self._paths.match(name) or self._names.match(name.rpartition("/")[2]))


def _expression(patterns: list[str]) -> re.Pattern[str]:
    nothing = "(?!)"
    return re.compile("|".join(map(fnmatch.translate, patterns)) or nothing, re.IGNORECASE)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _place(path: Path) -> tuple[int, int] | None:
    """What tells a folder from all others; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
