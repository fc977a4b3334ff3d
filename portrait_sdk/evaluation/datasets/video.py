"""``video``: clips as folders of frames with alpha sequences (VideoMatte-like).

``<clip>/{com,pha}/<frame>`` or ``{com,pha}/<clip>/<frame>``, at any depth.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from portrait_sdk.evaluation.datasets import _files
from portrait_sdk.evaluation.datasets._base import Dataset, Reading, Sample
from portrait_sdk.evaluation.datasets._files import Match, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_USUAL = {
    "image": ("com", "image", "images", "im", "frames", "rgb", "fgr"),
    "truth": ("pha", "alpha", "gt", "matte", "mask"),
}
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class Video(Dataset):
    """Frames in the order of their numbers; a clip's folder above is its scene."""

    kind = "video"
    options = {  # noqa: RUF012 - of the class, not changed
        "image": "the name of the folders of frames",
        "truth": "the name of the folders of alphas",
    }
    layout = "<clip>/{com,pha}/<frame> or {com,pha}/<clip>/<frame>, or ?image=NAME&truth=NAME"
    truth_is_mask = False

    def _open(self) -> None:
        self._parts: dict[str, dict[str, Path]] = {}
        for name, folder in _files.folders(self.root):
            roles = {
                role: folder / usual
                for role, names in _USUAL.items()
                for usual in reversed([self.settings[role]] if role in self.settings else names)
                if (folder / usual).is_dir()
            }
            if len(roles) == len(_USUAL):
                self._parts[name] = roles
        if not self._parts:
            raise self._layout_error()

    @property
    def scenes(self) -> tuple[str, ...]:
        """The folders above clips."""
        clips = [
            "/".join(p for p in (part, folder) if p)
            for part, roles in self._parts.items()
            for folder, path in _files.folders(roles["image"])
            if any(p.suffix.lower() in _files.SUFFIXES for p in path.iterdir())
        ]
        return tuple(sorted({clip.rpartition("/")[0] for clip in clips} - {""}))

    def scan(self) -> Iterator[Sample | Problem]:
        """Every frame, clip by clip; orphans, gaps and strays."""
        for part, roles in self._parts.items():
            pairs: list[Match] = []
            for found in _files.matches(roles):
                if isinstance(found, Match):
                    pairs.append(found)
                else:
                    yield found
            for folder, frames in groupby(pairs, lambda m: m.key.rpartition("/")[0]):
                clip = "/".join(p for p in (part, folder) if p) or "."
                yield from _clip(clip, list(frames))


def _clip(clip: str, frames: Sequence[Match]) -> Iterator[Sample | Problem]:
    numbers = _numbers([m.key.rpartition("/")[2] for m in frames])
    scene = clip.rpartition("/")[0]
    before = None
    for number, match in sorted(zip(numbers, frames, strict=True), key=lambda pair: pair[0]):
        path = match.files["image"]
        if before is not None and number != before + 1:
            text = f"frame {number} follows frame {before}: temporal metrics begin anew"
            yield Problem(kind="gap", path=path, text=text)
        before = number
        yield Sample(
            name=f"{clip}/{path.stem}",
            image=path,
            truth=match.files["truth"],
            reading=Reading(),
            scenes=(scene,) if scene else (),
            group=clip,
            sequence=clip,
            frame=number,
        )


def _numbers(stems: Sequence[str]) -> list[int]:
    """The last number in each stem; positions where some have none or two the same."""
    found = [_LAST_NUMBER.search(stem) for stem in stems]
    numbers = [int(m[1]) for m in found if m is not None]
    if len(set(numbers)) == len(stems):
        return numbers
    return list(range(len(stems)))
