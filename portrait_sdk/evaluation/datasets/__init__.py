"""Datasets of portraits with truths: one reader a layout, all giving the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.errors import OptionError
from portrait_sdk.evaluation.datasets._base import (
    PARTS,
    Channel,
    Dataset,
    Reading,
    Sample,
    load_alpha,
    split_groups,
)
from portrait_sdk.evaluation.datasets._files import Problem, read_list
from portrait_sdk.evaluation.datasets.aisegment import AISegment
from portrait_sdk.evaluation.datasets.cutouts import Cutouts
from portrait_sdk.evaluation.datasets.mmseg import MMSeg
from portrait_sdk.evaluation.datasets.pairs import Pairs
from portrait_sdk.evaluation.datasets.video import Video

if TYPE_CHECKING:
    import os

__all__ = [
    "KINDS",
    "PARTS",
    "Channel",
    "Dataset",
    "Problem",
    "Reading",
    "Sample",
    "load_alpha",
    "open_dataset",
    "split_groups",
]

KINDS: dict[str, type[Dataset]] = {
    kind.kind: kind for kind in (AISegment, MMSeg, Pairs, Cutouts, Video)
}
"""The readers, by what stands before the colon."""


def open_dataset(
    text: str,
    *,
    split: str | None = None,
    scene: str | None = None,
    ids_file: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Open the dataset ``KIND:PATH`` or ``KIND:PATH?option=value&option=value``.

    Args:
        text: A kind, a colon, a folder, and options of that kind: ``pairs:set?image=im&truth=gt``.
            ``group=REGEX``, known to all kinds, gives each sample the group that keeps it together
            with its like.
        split: Only samples of this split; see :attr:`Dataset.splits`.
        scene: Only samples of this scene.
        ids_file: A text file of names, one a line: only these samples.

    Raises:
        DatasetError: The folder is not laid out as this kind is, or has no such split or scene, or
            the list of names cannot be read.
        OptionError: The text is not ``KIND:PATH``, or an option is unknown.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS or not rest:
        raise OptionError(
            f"dataset {text!r}: expected KIND:PATH, where KIND is {', '.join(sorted(KINDS))}"
        )
    options = {}
    # A folder's name and a regular expression may hold question marks too: the longest folder wins.
    cuts = [len(rest), *(at for at in reversed(range(len(rest))) if rest[at] == "?")]
    at = next((at for at in cuts if Path(rest[:at]).expanduser().is_dir()), cuts[-1])
    folder, query = rest[:at], rest[at + 1 :]
    if at < len(rest):
        for part in query.split("&"):
            name, equals, value = part.partition("=")
            if not equals or not value:
                raise OptionError(f"dataset {text!r}: expected option=value after ?, got {part!r}")
            options[name] = value
    ids = None if ids_file is None else read_list(Path(ids_file))
    return KINDS[kind](
        Path(folder).expanduser(), split=split, scene=scene, ids=ids, options=options
    )
