"""Folders of pictures: what is there, what is skipped, which files belong together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
_LITTER = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini"))
_SHOWN = 8  # names in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with a dataset."""

    kind: str
    """One word or two, such as ``orphan-image``; ``skipped`` is harmless."""
    path: Path
    text: str
    """What was found and what was expected, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Files of one key: the path below their roots without extension."""

    key: str
    files: Mapping[str, Path]
    """By role; ``image`` is always there."""


def is_litter(name: str) -> bool:
    """Whether a system left this name behind: ``._*`` forks, ``.DS_Store`` and all dot names."""
    return name.startswith(".") or name in _LITTER


def without_suffix(text: str) -> str:
    """A list's entry without a picture's extension, ``/`` between parts; other dots stay."""
    name = text.strip().replace("\\", "/").removeprefix("./")
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - text, not a path of this system
    return stem if suffix.lower() in SUFFIXES else name


def read_list(path: Path) -> tuple[str, ...]:
    """The entries of a list file, one a line; CRLF, blank lines and a byte order mark are fine.

    Raises:
        DatasetError: It cannot be read as text.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DatasetError(f"{str(path)!r}: cannot be read: {reason}") from error
    return tuple(without_suffix(line) for line in lines if line.strip())


def contents(folder: Path) -> str:
    """What a folder holds, for a message: ``im/, readme.txt`` or ``nothing``."""
    names = sorted(
        p.name + ("/" if p.is_dir() else "") for p in folder.iterdir() if not is_litter(p.name)
    )
    if not names:
        return "nothing"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def folders(root: Path) -> Iterator[tuple[str, Path]]:
    """``root`` and every folder below it, with its path from there (``""``, ``a``, ``a/b``)."""
    for here, below, _ in os.walk(root):
        below[:] = sorted(name for name in below if not is_litter(name))
        relative = Path(here).relative_to(root).as_posix()
        yield ("" if relative == "." else relative), Path(here)


def subfolders(root: Path) -> list[Path]:
    """The folders right below ``root``, sorted."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not is_litter(p.name))


def pictures(folder: Path, problems: list[Problem]) -> dict[str, Path]:
    """The pictures right below ``folder`` by stem, sorted; what else lies there goes to problems.

    Args:
        folder: Not searched deeper.
        problems: Appended to: skipped forks, strays, and second pictures of one stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_litter(path.name):
            problems.append(
                Problem(kind="skipped", path=path, text="left behind by a system; not a picture")
            )
        elif path.suffix.lower() not in SUFFIXES:
            if not path.is_dir():
                problems.append(Problem(kind="stray", path=path, text="expected a picture"))
        elif path.stem in found:
            text = f"same stem as {found[path.stem].name}, which is taken"
            problems.append(Problem(kind="duplicate", path=path, text=text))
        else:
            found[path.stem] = path
    return found


def matches(
    roots: Mapping[str, Path],
    same: Callable[[str], str] = lambda folder: folder,
    *,
    needed: tuple[str, ...] = ("image", "truth"),
) -> Iterator[Match | Problem]:
    """Bring together files of equal stems in equal folders below several roots, one folder a time.

    Args:
        roots: By role, ``image`` among them.
        same: Gives folders that belong together, as paths from their roots, the same name.
        needed: Roles without which there is no match; the files there are reported as orphans.

    Yields:
        Matches sorted by folder and stem, and each folder's problems after them.
    """
    by_role = {
        role: {same(key): path for key, path in folders(root)} for role, root in roots.items()
    }
    for folder in sorted(set().union(*by_role.values())):
        problems: list[Problem] = []
        listed = {
            role: pictures(paths[folder], problems) if folder in paths else {}
            for role, paths in by_role.items()
        }
        for stem in sorted(set().union(*listed.values())):
            files = {role: stems[stem] for role, stems in listed.items() if stem in stems}
            missing = [role for role in needed if role not in files]
            if not missing:
                yield Match(key=f"{folder}/{stem}" if folder else stem, files=files)
                continue
            for role, path in files.items():
                text = f"no {' and no '.join(missing)} of the same name"
                problems.append(Problem(kind=f"orphan-{role}", path=path, text=text))
        yield from problems


def named(root: Path) -> Iterator[tuple[str, Path]]:
    """Every picture below ``root`` with its path from there without extension, sorted."""
    for found in matches({"image": root}, needed=("image",)):
        if isinstance(found, Match):
            yield found.key, found.files["image"]
