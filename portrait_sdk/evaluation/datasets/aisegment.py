"""``aisegment``: the half-body portraits of AISegment's matting_human_datasets.

``clip_img/<group>/clip_<sub>/<group>-<id>.jpg`` beside
``matting/<group>/matting_<sub>/<group>-<id>.png``, alpha in the fourth channel.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from portrait_sdk.evaluation.datasets import _files
from portrait_sdk.evaluation.datasets._base import Dataset, Reading, Sample
from portrait_sdk.evaluation.datasets._files import Match, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEVEL = re.compile(r"^(?:clip|matting)_(?=[^/]*$)|(?<=/)(?:clip|matting)_(?=[^/]*$)")
_MINDSPORE = ("mindspore:train", "mindspore:eval", "mindspore:test")


class AISegment(Dataset):
    """Paired by (group, sub, id), never by position: one matte has no picture in every copy.

    Splits: ``train``, ``validation``, ``test`` keep whole groups together; ``mindspore:train``,
    ``mindspore:eval``, ``mindspore:test`` cut the sorted pairs at floor(0.6 n) and floor(0.2 n)
    more, as MindSpore's SHM does, through the middle of two groups.
    """

    kind = "aisegment"
    layout = "clip_img/<group>/clip_<sub>/*.jpg and matting/<group>/matting_<sub>/*.png"
    truth_is_mask = False

    def _open(self) -> None:
        if not all((self.root / name).is_dir() for name in ("clip_img", "matting")):
            raise self._layout_error()

    @property
    def splits(self) -> tuple[str, ...]:
        """Group-wise parts, and MindSpore's."""
        return (*super().splits, *_MINDSPORE)

    def scan(self) -> Iterator[Sample | Problem]:
        """Every pair, sorted by group, sub and id; orphans and strays."""
        roots = {"image": self.root / "clip_img", "truth": self.root / "matting"}
        for found in _files.matches(roots, lambda folder: _LEVEL.sub("", folder)):
            if not isinstance(found, Match):
                yield found
                continue
            yield Sample(
                name=found.key,
                image=found.files["image"],
                truth=found.files["truth"],
                reading=Reading(channel="alpha"),
                group=found.key.partition("/")[0],
            )

    def _split_samples(self) -> Iterator[Sample]:
        if self.split not in _MINDSPORE:
            yield from super()._split_samples()
            return
        count = sum(1 for _ in self._samples())
        train, evaluation = count * 6 // 10, count * 2 // 10
        for number, sample in enumerate(self._samples()):
            part = (number >= train) + (number >= train + evaluation)
            yield replace(sample, split=_MINDSPORE[part])
