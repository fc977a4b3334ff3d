"""``cutouts``: people as RGBA pictures beside backgrounds (the Human Segmentation Dataset)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portrait_sdk.evaluation.datasets import _files
from portrait_sdk.evaluation.datasets._base import Dataset, Reading, Sample
from portrait_sdk.evaluation.datasets._files import Match, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Cutouts(Dataset):
    """``humans/`` holds RGBA pictures, each its own truth; ``backgrounds/`` holds no people.

    What ``portrait dataset compose`` puts together.
    """

    kind = "cutouts"
    options = {  # noqa: RUF012 - of the class, not changed
        "people": "the folder of RGBA pictures",
        "backgrounds": "the folder of backgrounds",
    }
    layout = "humans/ (RGBA) and backgrounds/, or ?people=FOLDER&backgrounds=FOLDER"
    truth_is_mask = False

    def _open(self) -> None:
        self._people = self.root / self.settings.get("people", "humans")
        self._backgrounds = self.root / self.settings.get("backgrounds", "backgrounds")
        if not (self._people.is_dir() and self._backgrounds.is_dir()):
            raise self._layout_error()

    def scan(self) -> Iterator[Sample | Problem]:
        """Every person, then the backgrounds' strays."""
        for found in _files.matches({"image": self._people}, needed=("image",)):
            if not isinstance(found, Match):
                yield found
                continue
            path = found.files["image"]
            reading = Reading(channel="alpha")
            yield Sample(name=found.key, image=path, truth=path, reading=reading)
        for found in _files.matches({"image": self._backgrounds}, needed=("image",)):
            if isinstance(found, Problem):
                yield found

    def background_samples(self) -> Iterator[Sample]:
        """The backgrounds as samples without truth, for the check."""
        for name, path in self.backgrounds():
            yield Sample(name=f"{self._backgrounds.name}/{name}", image=path, truth=None)

    def backgrounds(self) -> Iterator[tuple[str, Path]]:
        """Every background's name and file, in a stable order."""
        return _files.named(self._backgrounds)
