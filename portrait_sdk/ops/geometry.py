"""Where a photo lies in a network's input: sizes, multiples, letterbox; forward and undo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portrait_sdk.spec import SizePolicy

PANORAMA = 4
"""By default no side becomes longer than this many times the policy's side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """A photo's place in the input; cutting it out again undoes the padding."""

    input: tuple[int, int]
    """Height and width of the network's input."""
    top: int
    left: int
    height: int
    """Of the resized photo inside the input."""
    width: int

    @property
    def rows(self) -> slice:
        """The photo's rows in the input."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """The photo's columns in the input."""
        return slice(self.left, self.left + self.width)

    @property
    def padded(self) -> bool:
        """Whether anything lies around the photo."""
        return (self.height, self.width) != self.input


def place(size: tuple[int, int], policy: SizePolicy) -> Letterbox:
    """The input's size for a photo of ``size``, and where the photo lies in it.

    Args:
        size: Height and width of the photo, at least 1.
        policy: From the model's spec.
    """
    height, width = size
    if policy.rule == "fixed":
        assert policy.height is not None
        assert policy.width is not None
        goal = (policy.height, policy.width)
        scale = min(goal[0] / height, goal[1] / width)
    else:
        scale = _scale(height, width, policy)
        goal = _to_multiple(height * scale, policy), _to_multiple(width * scale, policy)
    if policy.fit == "stretch":
        return Letterbox(input=goal, top=0, left=0, height=goal[0], width=goal[1])

    inner = max(1, round(height * scale)), max(1, round(width * scale))
    if policy.rule != "fixed":  # the photo is not shrunk to a multiple, the frame grows to one
        goal = (
            math.ceil(inner[0] / policy.multiple) * policy.multiple,
            math.ceil(inner[1] / policy.multiple) * policy.multiple,
        )
    inner = min(inner[0], goal[0]), min(inner[1], goal[1])
    top, left = (goal[0] - inner[0]) // 2, (goal[1] - inner[1]) // 2
    return Letterbox(input=goal, top=top, left=left, height=inner[0], width=inner[1])


def _scale(height: int, width: int, policy: SizePolicy) -> float:
    if policy.rule == "native":
        return 1.0 if policy.max_side is None else min(1.0, policy.max_side / max(height, width))
    assert policy.side is not None
    if policy.rule == "long-side":
        return policy.side / max(height, width)
    longest = policy.max_side or PANORAMA * policy.side
    if policy.rule == "area":
        scale = policy.side / math.sqrt(height * width)
    elif policy.leave_straddling and min(height, width) <= policy.side <= max(height, width):
        scale = 1.0
    else:
        scale = policy.side / min(height, width)
    return min(scale, longest / max(height, width))


def _to_multiple(length: float, policy: SizePolicy) -> int:
    # Whole pixels first, as published pipelines do: 768.8 up to a multiple of 32 is 768.
    pixels = math.floor(length + 1e-6)
    count, rest = divmod(pixels, policy.multiple)
    if policy.rounding == "up":
        count += rest > 0
    elif policy.rounding == "nearest":
        count += 2 * rest >= policy.multiple
    return max(1, count) * policy.multiple
