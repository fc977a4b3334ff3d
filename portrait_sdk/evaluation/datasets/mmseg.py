"""``mmseg``: MMSegmentation's custom layout, as Insta360's person sets use it.

``<set>/{img_dir,ann_dir}/{train,val}/<stem>``, several sets under one root or the root itself one,
and ``split_dir/<scene>.txt`` beside them: lists of stems, a picture in as many as fit.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import DatasetError, OptionError
from portrait_sdk.evaluation.datasets import _files
from portrait_sdk.evaluation.datasets._base import Dataset, Reading, Sample
from portrait_sdk.evaluation.datasets._files import Match, Problem
from portrait_sdk.media import load_stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SPLITS = ("train", "val", "test")
_PEEK = 8  # masks read to find the person's number, more while all of them are empty
_PEEK_EMPTY = 64
_SHOWN = 6


class MMSeg(Dataset):
    """Masks of class numbers: ``class`` says which are the person, else they are found.

    Found means: the masks of a set (its first eight) hold one number beside 0, such as 1 or 255. A
    mask with a third number is then refused.
    """

    kind = "mmseg"
    options = {  # noqa: RUF012 - of the class, not changed
        "class": "the number of the person in masks, several with commas, or any (all but 0)",
    }
    layout = "{img_dir,ann_dir}/{train,val} right below it or below its subfolders"
    truth_is_mask = True

    def _open(self) -> None:
        self._sets = {
            "" if folder == self.root else folder.name: folder
            for folder in (self.root, *_files.subfolders(self.root))
            if (folder / "img_dir").is_dir() and (folder / "ann_dir").is_dir()
        }
        if not self._sets:
            raise self._layout_error()
        self._readings: dict[str, Reading] = {}
        if "class" in self.settings:
            self._readings = dict.fromkeys(self._sets, _given(self.settings["class"]))
        self._lists = [
            (name, path)
            for name, folder in {"": self.root, **self._sets}.items()
            for path in sorted((folder / "split_dir").glob("*.txt"))
            if not _files.is_litter(path.name)
        ]

    @property
    def scenes(self) -> tuple[str, ...]:
        """The names of the lists in ``split_dir``, but for ``train``, ``val`` and ``test``."""
        return tuple(sorted({path.stem for _, path in self._lists} - set(_SPLITS)))

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The folders of pictures, or the lists of those names."""
        folders = {f.name for s in self._sets.values() for f in _files.subfolders(s / "img_dir")}
        lists = {path.stem for _, path in self._lists} & set(_SPLITS)
        return tuple(sorted(folders or lists, key=lambda n: (n not in _SPLITS, n)))

    def scan(self) -> Iterator[Sample | Problem]:
        """Every picture with a mask, its scenes and split; orphans, and lists' unknown entries."""
        lists = _Lists()
        for name, path in self._lists:
            lists.read(name, path)
        scenes = bool(self.scenes)
        for name, folder in self._sets.items():
            for found in self._matches(folder):
                if not isinstance(found, Match):
                    yield found
                    continue
                sample = self._sample(name, found, lists.of(name, found.key))
                if scenes and not sample.scenes:
                    yield Problem(kind="no-scene", path=sample.image, text="in no list of a scene")
                yield sample
        yield from lists.unmet()

    @staticmethod
    def _matches(folder: Path) -> Iterator[Match | Problem]:
        return _files.matches({"image": folder / "img_dir", "truth": folder / "ann_dir"})

    def _sample(self, name: str, match: Match, listed: set[str]) -> Sample:
        split = match.key.partition("/")[0] if "/" in match.key else None
        if split is None:
            split = next((s for s in _SPLITS if s in listed), None)
        return Sample(
            name=f"{name}/{match.key}" if name else match.key,
            image=match.files["image"],
            truth=match.files["truth"],
            reading=self._reading(name),
            scenes=tuple(sorted(listed - set(_SPLITS))),
            split=split,
        )

    def _reading(self, name: str) -> Reading:
        """How this set's masks become alpha; found by reading some the first time."""
        if name not in self._readings:
            pairs = (m for m in self._matches(self._sets[name]) if isinstance(m, Match))
            numbers: set[int] = set()
            for read, match in enumerate(islice(pairs, _PEEK_EMPTY)):
                if read >= _PEEK and numbers:
                    break
                stored = load_stored(match.files["truth"])
                numbers |= set(np.unique(stored.levels).tolist()) - {0}
            if len(numbers) > 1:
                shown = ", ".join(map(str, sorted(numbers)[:_SHOWN]))
                more = ", …" if len(numbers) > _SHOWN else ""
                folder = str(self._sets[name] / "ann_dir")
                raise DatasetError(
                    f"{folder!r}: masks hold the numbers 0, {shown}{more}; "
                    "say which are the person: ?class=NUMBER, or ?class=any for all but 0"
                )
            classes = frozenset(numbers) or None
            self._readings[name] = Reading(channel="class", classes=classes, strict=bool(classes))
        return self._readings[name]


def _given(text: str) -> Reading:
    if text == "any":
        return Reading(channel="class")
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdecimal() for part in parts):
        raise OptionError(f"mmseg: class: expected numbers with commas, or any; got {text!r}")
    return Reading(channel="class", classes=frozenset(int(part) for part in parts))


class _Lists:
    """Which lists name which picture, and which of their entries no picture has met."""

    def __init__(self) -> None:
        self._listed: dict[tuple[str, str], list[Path]] = {}
        self._met: set[tuple[str, str]] = set()

    def read(self, name: str, path: Path) -> None:
        """Take in one list of the set ``name``, or of the root (``""``)."""
        for entry in _files.read_list(path):
            tail = entry.rpartition("img_dir/")[2].rpartition("ann_dir/")[2]
            self._listed.setdefault((name, tail), []).append(path)

    def of(self, name: str, key: str) -> set[str]:
        """The lists with the picture ``key`` of the set ``name``, however they spell it."""
        stem = key.rpartition("/")[2]
        entries = {(name, key), (name, stem), ("", key), ("", stem)}
        entries |= {("", f"{name}/{key}"), ("", f"{name}/{stem}")}
        met = entries & self._listed.keys()
        self._met |= met
        return {path.stem for entry in met for path in self._listed[entry]}

    def unmet(self) -> Iterator[Problem]:
        """One problem for each list and entry without a picture."""
        for key in sorted(self._listed.keys() - self._met):
            for path in self._listed[key]:
                text = f"lists {key[1]!r}, which has no image and mask"
                yield Problem(kind="unknown-entry", path=path, text=text)
