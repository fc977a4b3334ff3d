"""What every dataset gives: samples in a stable order, splits by group, and its known defects."""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from portrait_sdk.errors import DatasetError, ImageError, OptionError
from portrait_sdk.evaluation.datasets import _files
from portrait_sdk.evaluation.datasets._files import Problem
from portrait_sdk.media import load_image, load_stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from portrait_sdk.media import Stored
    from portrait_sdk.types import AlphaF32, Image, Trimap

    Levels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8] | np.dtype[np.uint16]]

Channel: TypeAlias = Literal["auto", "alpha", "grey", "class"]
PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""The splits of a set that has none of its own, and their shares of the samples."""

_SURE = 250  # of 255: from here on a trimap's level is foreground
_PEEK = 3  # truths looked at to tell masks from soft alphas


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a truth file becomes alpha."""

    channel: Channel = "auto"
    """``alpha``: the file's alpha channel, refused without one. ``grey``: its grey level. ``auto``:
    the alpha channel where it is not opaque throughout, else the grey level. ``class``: 1 where the
    stored number is one of ``classes``, else 0."""
    classes: frozenset[int] | None = None
    """Numbers that mean person; None: every number but 0."""
    strict: bool = False
    """Refuse numbers that are neither 0 nor in ``classes``."""

    def alpha(self, stored: Stored, name: str) -> AlphaF32:
        """Alpha, float32 (H, W) in [0, 1], from what a file stores.

        Raises:
            ImageError: There is no such channel, or the levels are colours.
        """
        if self.channel == "class":
            return self._person(_grey(stored.levels, name), name)
        if self.channel == "alpha" and stored.alpha is None:
            channels = 1 if stored.levels.ndim == 2 else 3  # noqa: PLR2004 - rank
            raise ImageError(
                f"{name}: expected a matte in its alpha channel, got {channels} "
                f"{'channel' if channels == 1 else 'channels'} and no alpha"
            )
        full = np.iinfo(stored.levels.dtype).max
        taken = {"alpha": True, "auto": stored.alpha is not None and stored.alpha.min() < full}
        if stored.alpha is not None and taken.get(self.channel, False):
            return stored.alpha.astype(np.float32) / np.float32(full)
        return _grey(stored.levels, name).astype(np.float32) / np.float32(full)

    def _person(self, numbers: Levels, name: str) -> AlphaF32:
        if self.classes is None:
            return np.asarray(numbers != 0, np.float32)
        person: Any = np.isin(numbers, sorted(self.classes))
        if self.strict and (numbers[~person] != 0).any():
            other = int(numbers[~person].max())
            raise ImageError(
                f"{name}: expected 0 and {', '.join(map(str, sorted(self.classes)))}, as in this "
                f"set's first masks, got {other}; say which are the person: ?class=NUMBER"
            )
        return np.asarray(person, np.float32)


def _grey(levels: Levels, name: str) -> Levels:
    if levels.ndim == 2:  # noqa: PLR2004 - rank
        return levels
    first = levels[..., 0]
    if not ((levels[..., 1] == first) & (levels[..., 2] == first)).all():
        raise ImageError(f"{name}: expected a grey matte or mask, got colours")
    return first


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One picture and its truth, as files: nothing is decoded until it is asked for."""

    name: str
    """Unique within the dataset, parts separated by "/", the same on every machine."""
    image: Path
    truth: Path | None
    """The matte or mask; None where the dataset has none for this picture."""
    reading: Reading = Reading()
    """How ``truth`` becomes alpha."""
    trimap: Path | None = None
    scenes: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    """Pictures of one group look alike (one shooting, one person, one clip); splits keep them
    together. None: the picture stands alone."""
    sequence: str | None = None
    """The clip a frame belongs to."""
    frame: int = 0
    """Its number within ``sequence``; neighbours differ by 1."""

    def load_image(self) -> Image:
        """The picture, uint8 (H, W, 3) RGB, upright, in sRGB; transparent parts over white.

        Raises:
            ImageError: It cannot be read.
        """
        return load_image(self.image).over_white()

    def load_alpha(self) -> AlphaF32:
        """The truth, float32 (H, W) in [0, 1]; 16-bit files keep their precision.

        Raises:
            ImageError: There is none, or it cannot be read as ``reading`` says.
        """
        if self.truth is None:
            raise ImageError(f"{self.name}: this sample has no truth")
        return load_alpha(self.truth, self.reading)

    def load_trimap(self) -> Trimap | None:
        """The trimap, uint8 (H, W): 0 at level 0, 255 from level 250, else 128; None without one.

        Raises:
            ImageError: It cannot be read, or is not grey.
        """
        if self.trimap is None:
            return None
        levels = np.rint(load_alpha(self.trimap, Reading(channel="grey")) * np.float32(255))
        trimap = np.full(levels.shape, 128, np.uint8)
        trimap[levels == 0] = 0
        trimap[levels >= _SURE] = 255
        return trimap


def load_alpha(path: Path, reading: Reading) -> AlphaF32:
    """Alpha from a truth file: float32 (H, W) in [0, 1].

    Raises:
        ImageError: It cannot be read as ``reading`` says.
    """
    stored = load_stored(path)
    if stored.indexed and reading.channel != "class":
        # A palette's numbers are no levels: its colours are.
        stored = replace(stored, levels=load_image(path).image)
    return reading.alpha(stored, repr(str(path)))


class Dataset(ABC):
    """Pictures with truths under one folder.

    Iterating reads folders and lists; pictures stay closed, but for a few masks where the number of
    the person has to be found.
    """

    kind: ClassVar[str]
    """What stands before the colon of ``KIND:PATH``."""
    options: ClassVar[Mapping[str, str]] = {}
    """What may stand after a ``?``, with what it means."""
    layout: ClassVar[str]
    """The folders expected, in one line."""
    truth_is_mask: ClassVar[bool | None] = None
    """True where truths are masks by definition, False for mattes; None: the files tell."""

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        scene: str | None = None,
        ids: tuple[str, ...] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Check the layout; use :func:`open_dataset` to make one.

        Args:
            root: The dataset's folder.
            split: Only samples of this split: one of ``splits``.
            scene: Only samples of this scene: one of ``scenes``.
            ids: Only these samples: names, or their last parts, with or without extension.
            options: Of this kind, see ``options``; ``group`` is a regular expression whose first
                group (or whole match) in a sample's name is the sample's group.

        Raises:
            DatasetError: The folder is not laid out as this kind is, or has no such split, scene.
            OptionError: An option is unknown or not possible.
        """
        self.root = root
        self.split, self.scene = split, scene
        self.ids = None if ids is None else frozenset(_files.without_suffix(i) for i in ids)
        self.settings = dict(options or {})
        known = {**self.options, "group": "a regular expression"}
        for name in self.settings:
            if name not in known:
                raise OptionError(
                    f"{self.kind}: unknown option {name!r}; expected {', '.join(sorted(known))}"
                )
        try:
            self._group_of = re.compile(self.settings.get("group", "^.*$"))
        except re.error as error:
            raise OptionError(f"{self.kind}: group: not a regular expression: {error}") from error
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise DatasetError(f"{str(root)!r} {what}; expected a folder with {self.layout}")
        self._open()
        if scene is not None and scene not in self.scenes:
            raise self._unknown("scene", scene, self.scenes)
        if split is not None and split not in self.splits:
            raise self._unknown("split", split, self.splits)

    def _unknown(self, what: str, given: str, known: tuple[str, ...]) -> DatasetError:
        listed = ", ".join(known) or "none"
        return DatasetError(
            f"{self.kind}:{self.root}: no {what} {given!r}; this set's {what}s: {listed}"
        )

    def _layout_error(self) -> DatasetError:
        return DatasetError(
            f"{str(self.root)!r}: expected {self.layout}; found {_files.contents(self.root)}"
        )

    @abstractmethod
    def _open(self) -> None:
        """Look at the folders; raise DatasetError where they are not this kind's."""

    @abstractmethod
    def scan(self) -> Iterator[Sample | Problem]:
        """Every sample, whatever the selection, and what is wrong with the files' layout."""

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that the files themselves name."""
        return ()

    @property
    def splits(self) -> tuple[str, ...]:
        """What ``split`` may be: the set's own, else ``train``, ``validation``, ``test``.

        The latter hold 80, 10 and 10 % of the samples as nearly as whole groups allow, see
        :func:`split_groups`.
        """
        return self.own_splits or tuple(PARTS)

    @property
    def scenes(self) -> tuple[str, ...]:
        """The names of scenes, sorted; empty where the set has none."""
        return ()

    def __iter__(self) -> Iterator[Sample]:
        """The chosen samples, in a stable order.

        Raises:
            DatasetError: There is none.
        """
        found = False
        for sample in self._split_samples():
            if self._wants(sample):
                found = True
                yield sample
        if not found:
            chosen = [
                f"{name} {value!r}"
                for name, value in (("split", self.split), ("scene", self.scene))
                if value is not None
            ]
            if self.ids is not None:
                chosen.append(f"one of {len(self.ids)} ids")
            of = f" of {' and '.join(chosen)}" if chosen else ""
            raise DatasetError(f"{self.kind}:{self.root}: no sample{of} with image and truth found")

    def _samples(self) -> Iterator[Sample]:
        for found in self.scan():
            if isinstance(found, Sample):
                if "group" in self.settings:
                    match = self._group_of.search(found.name)
                    named = None if match is None else match[match.re.groups and 1]
                    found = replace(found, group=named or found.group)  # noqa: PLW2901
                yield found

    def _split_samples(self) -> Iterator[Sample]:
        """Every sample with its split."""
        if self.split is None or self.own_splits:
            yield from self._samples()
            return
        sizes: dict[str, int] = {}
        for sample in self._samples():
            group = sample.group or sample.name
            sizes[group] = sizes.get(group, 0) + 1
        parts = split_groups(sizes, PARTS)
        for sample in self._samples():
            yield replace(sample, split=parts[sample.group or sample.name])

    def _in_split(self, sample: Sample, split: str) -> bool:
        return sample.split == split

    def _wants(self, sample: Sample) -> bool:
        return (
            (self.split is None or self._in_split(sample, self.split))
            and (self.scene is None or self.scene in sample.scenes)
            and (
                self.ids is None
                or sample.name in self.ids
                or sample.name.rpartition("/")[2] in self.ids
            )
        )

    def problems(self) -> Iterator[Problem]:
        """What the files' layout has of orphans, duplicates and strays; no picture is decoded."""
        wanted = set(self.ids or ())
        for found in self.scan():
            if isinstance(found, Problem):
                yield found
            else:
                wanted -= {found.name, found.name.rpartition("/")[2]}
        for name in sorted(wanted):
            yield Problem(kind="unknown-id", path=self.root, text=f"no sample is called {name!r}")

    @cached_property
    def truth_is_binary(self) -> bool:
        """Whether truths are masks of 0 and 1: by definition, or as the first few files have it.

        Raises:
            DatasetError: No sample is chosen.
        """
        if self.truth_is_mask is not None:
            return self.truth_is_mask
        truths = []
        for sample in islice(self, _PEEK):
            with suppress(ImageError):  # a broken one tells nothing
                truths.append(sample.load_alpha())
        return bool(truths) and all(((t == 0) | (t == 1)).all() for t in truths)


def split_groups(
    sizes: Mapping[str, int], shares: Mapping[str, float], *, salt: str = ""
) -> dict[str, str]:
    """Give every group to one split, so that samples of one group never part.

    Groups are shuffled by the SHA-256 of their names, then filled in one after another, each split
    up to its share of the samples; with as many groups as splits, none stays empty.

    Args:
        sizes: Samples of each group.
        shares: Of each split, in order; they add up to 1.
        salt: Another one shuffles otherwise.

    Returns:
        The split of each group, the same on every machine and for any order of ``sizes``.
    """
    order = sorted(sizes, key=lambda g: hashlib.sha256(os.fsencode(f"{salt}/{g}")).digest())
    names, total, done = list(shares), sum(sizes.values()), 0
    parts: dict[str, str] = {}
    at, edge = 0, shares[names[0]]
    for number, group in enumerate(order):
        left = len(order) - number
        behind = len(names) - 1 - at
        first = number == 0 or parts[order[number - 1]] != names[at]
        # The next split begins where this group lies mostly beyond the edge, or where there are
        # only as many groups left as splits behind this one.
        if behind and not first and (done + sizes[group] / 2 > edge * total or left <= behind):
            at += 1
            edge += shares[names[at]]
        parts[group] = names[at]
        done += sizes[group]
    return parts
