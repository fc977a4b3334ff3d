"""``pairs``: pictures and mattes of equal stems in two folders (ormbg, DIS, PPM-100, AIM-500, P3M).

One pair of folders right below the root, or one in each of several folders, which are the splits:
``train/{im,gt}``, ``validation/P3M-500-P/{blurred_image,mask,trimap}``. Lists of stems beside a
single pair, ``validation.txt``, are its splits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portrait_sdk.errors import DatasetError, OptionError
from portrait_sdk.evaluation.datasets import _files
from portrait_sdk.evaluation.datasets._base import Dataset, Reading, Sample
from portrait_sdk.evaluation.datasets._files import Match, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_USUAL = {
    "image": (
        "im",
        "image",
        "images",
        "img",
        "imgs",
        "blurred_image",
        "original_image",
        "original",
    ),
    "truth": ("gt", "alpha", "alphas", "matte", "mattes", "mask", "masks"),
    "trimap": ("trimap", "trimaps"),
}
_TRIED = 8  # entries of a text file: where none of them is a picture, it is no list
_READINGS = {
    "auto": Reading(),
    "alpha": Reading(channel="alpha"),
    "grey": Reading(channel="grey"),
}


class Pairs(Dataset):
    """Any two folders with equal stems, and trimaps where there are some."""

    kind = "pairs"
    options = {  # noqa: RUF012 - of the class, not changed
        "image": "the folder of pictures",
        "truth": "the folder of mattes or masks",
        "trimap": "the folder of trimaps",
        "channel": "where a truth file keeps alpha: auto, alpha, grey",
    }
    layout = (
        "a folder of pictures (im, image, …) and one of mattes (gt, alpha, mask, …), "
        "or ?image=FOLDER&truth=FOLDER"
    )

    def _open(self) -> None:
        channel = self.settings.get("channel", "auto")
        if channel not in _READINGS:
            raise OptionError(f"pairs: channel: expected {', '.join(_READINGS)}; got {channel!r}")
        self._reading = _READINGS[channel]
        here = self._roles(self.root)
        self._parts: dict[str, dict[str, Path]] = {}
        self._lists: dict[str, frozenset[str]] = {}
        if here is not None:
            self._parts[""] = here
            for path in sorted(self.root.glob("*.txt")):
                listed = _files.read_list(path)
                if any(self._is_picture(here["image"], entry) for entry in listed[:_TRIED]):
                    self._lists[path.stem] = frozenset(listed)
            return
        for name, folder in _files.folders(self.root):
            roles = self._roles(folder) if name else None
            if roles is not None and not any(name.startswith(f"{p}/") for p in self._parts):
                self._parts[name] = roles
        if not self._parts:
            raise self._layout_error()

    @staticmethod
    def _is_picture(folder: Path, entry: str) -> bool:
        return any((folder / f"{entry}{suffix}").is_file() for suffix in _files.SUFFIXES)

    def _roles(self, folder: Path) -> dict[str, Path] | None:
        """Its folders by role; None where pictures or mattes are missing."""
        found = {}
        for role, usual in _USUAL.items():
            given = self.settings.get(role)
            names = [given] if given else [n for n in usual if (folder / n).is_dir()]
            if role == "truth" and len(names) > 1 and "image" in found:
                raise DatasetError(
                    f"{str(folder)!r} holds {', '.join(names)}: choose with ?truth={names[0]}"
                )
            if names and (folder / names[0]).is_dir():
                found[role] = folder / names[0]
            elif given:
                return None
        return found if {"image", "truth"} <= set(found) else None

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The lists beside the folders; or the folders that hold pairs, and those above them."""
        if self._lists:
            return tuple(self._lists)
        parts = [name for name in self._parts if name]
        return tuple(dict.fromkeys([*(p.partition("/")[0] for p in parts), *parts]))

    def scan(self) -> Iterator[Sample | Problem]:
        """Every pair, with its split; orphans and strays."""
        seen: set[str] = set()
        for part, roles in self._parts.items():
            for found in _files.matches(roles):
                if isinstance(found, Match):
                    seen.add(found.key)
                    yield self._sample(part, found)
                else:
                    yield found
        for name, listed in self._lists.items():
            for entry in sorted(listed - seen):
                text = f"lists {entry!r}, which has no image and truth"
                yield Problem(kind="unknown-entry", path=self.root / f"{name}.txt", text=text)

    def _sample(self, part: str, match: Match) -> Sample:
        lists = [name for name, listed in self._lists.items() if match.key in listed]
        return Sample(
            name=f"{part}/{match.key}" if part else match.key,
            image=match.files["image"],
            truth=match.files["truth"],
            reading=self._reading,
            trimap=match.files.get("trimap"),
            split=lists[0] if lists else part or None,
        )

    def _in_split(self, sample: Sample, split: str) -> bool:
        """A list's entries, though another list may have them too; a folder's and those below."""
        listed = self._lists.get(split)
        if listed is not None:
            return sample.name in listed
        return f"{sample.split}/".startswith(f"{split}/")
