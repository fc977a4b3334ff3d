"""A checkpoint's keys beside a network's: what is missing, unexpected, of another shape."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from .architectures._base import Architecture

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How keys and shapes compare, in the network's spelling."""

    architecture: str
    matched: int
    missing: dict[str, Shape]
    """Of the network, not in the file."""
    unexpected: dict[str, Shape]
    """In the file, not of the network."""
    misshapen: dict[str, tuple[Shape, Shape]]
    """In both: expected, got."""

    @property
    def faults(self) -> int:
        """Of all three kinds."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    @property
    def covers(self) -> bool:
        """The file has everything the network needs."""
        return self.matched > 0 and not self.missing and not self.misshapen

    def line(self) -> str:
        """The counts and the first of each kind."""
        words = []
        if self.missing:
            words.append(f"{len(self.missing)} missing (first {next(iter(self.missing))})")
        if self.unexpected:
            words.append(f"{len(self.unexpected)} unexpected (first {next(iter(self.unexpected))})")
        if self.misshapen:
            key, (expected, got) = next(iter(self.misshapen.items()))
            words.append(
                f"{len(self.misshapen)} of another shape "
                f"(first {key}: expected {list(expected)}, got {list(got)})"
            )
        return ", ".join(words) or "every key fits"

    def table(self) -> str:
        """Every difference in a line of its own, columns aligned."""
        rows = [(k, f"expected {list(s)}") for k, s in self.missing.items()]
        blocks = [("missing", rows)]
        blocks.append(("unexpected", [(k, f"got {list(s)}") for k, s in self.unexpected.items()]))
        rows = [
            (k, f"expected {list(want)}, got {list(got)}")
            for k, (want, got) in self.misshapen.items()
        ]
        blocks.append(("another shape", rows))
        width = max((len(key) for _, rows in blocks for key, _ in rows), default=0)
        lines = []
        for title, rows in blocks:
            if rows:
                lines.append(f"{title} ({len(rows)})")
                lines += [f"  {key:<{width}}  {words}" for key, words in rows]
        return "\n".join(lines)


def translated(tensors: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """The file's tensors under the network's keys, without those it has no use for."""
    unused = re.compile("|".join(architecture.unused) or r"(?!)")
    named = architecture.translate(tensors)
    return {key: value for key, value in named.items() if not unused.fullmatch(key)}


def compare(
    shapes: Mapping[str, Shape], own: Mapping[str, Shape], architecture: Architecture
) -> Fit:
    """Keys and shapes of a file beside those of a network.

    Args:
        shapes: Of the file, translated.
        own: Of the network.
        architecture: Says what may be absent.
    """
    optional = re.compile("|".join(architecture.optional) or r"(?!)")
    missing = {k: s for k, s in own.items() if k not in shapes and not optional.fullmatch(k)}
    misshapen = {
        k: (own[k], s)
        for k, s in shapes.items()
        if k in own and s != own[k] and not (optional.fullmatch(k) and s == (1,) and own[k] == ())
    }
    unexpected = {k: s for k, s in shapes.items() if k not in own}
    return Fit(
        architecture=architecture.name,
        matched=len(shapes) - len(unexpected) - len(misshapen),
        missing=missing,
        unexpected=unexpected,
        misshapen=misshapen,
    )


def against(tensors: Mapping[str, Tensor], architecture: Architecture) -> Fit:
    """A file's tensors beside an architecture that need not be built yet."""
    named = translated(tensors, architecture)
    shapes = {key: tuple(value.shape) for key, value in named.items()}
    return compare(shapes, _shapes(architecture.build), architecture)


@functools.cache
def _shapes(build: Callable[[], nn.Module]) -> dict[str, Shape]:
    try:
        with torch.device("meta"):
            module = build()
    except (NotImplementedError, RuntimeError):  # it computes with its own numbers while built
        module = build()
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}
