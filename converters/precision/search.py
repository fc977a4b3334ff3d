"""Which parts of a network must stay in float: found by leaving each in float once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A run of nodes left in float."""

    nodes: tuple[str, ...]
    gain: float
    """By how much the mean difference of alpha fell when it alone was left in float."""

    def as_json(self) -> dict[str, Any]:
        """An entry of a report."""
        return {
            "from": self.nodes[0],
            "to": self.nodes[-1],
            "nodes": len(self.nodes),
            "why": f"in float alone it takes {self.gain:.5f} off alpha's mean difference",
        }


def runs(names: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Cut ``names``, in graph order, into ``count`` runs of about the same length."""
    count = max(1, min(count, len(names)))
    edges = [round(i * len(names) / count) for i in range(count + 1)]
    return [tuple(names[a:b]) for a, b in pairwise(edges) if b > a]


def keep(
    groups: Sequence[tuple[str, ...]], error: Callable[[frozenset[str]], float], goal: float
) -> tuple[list[Kept], float]:
    """Leave the worst groups in float until the error meets the goal, but never all of them.

    Then give back what the goal does not need: halves of each group, halves of those, and so on.

    Args:
        groups: Of nodes.
        error: Mean difference of alpha with these nodes in float.
        goal: Stop here.

    Returns:
        What stays in float, worst first, and the error reached.
    """
    reached = error(frozenset())
    if reached <= goal:
        return [], reached
    start = reached
    ranked = sorted(
        (Kept(nodes=group, gain=start - error(frozenset(group))) for group in groups),
        key=lambda one: (-one.gain, one.nodes),
    )
    kept: list[Kept] = []
    for one in ranked[: max(1, len(ranked) // 2)]:
        if one.gain <= 0 or reached <= goal:
            break
        tried = [*kept, one]
        now = error(frozenset(name for k in tried for name in k.nodes))
        if now < reached:
            kept, reached = tried, now
    if reached > goal:
        return kept, reached
    for index, one in enumerate(kept):
        others = frozenset(n for i, k in enumerate(kept) if i != index for n in k.nodes)
        needed, reached = _needed(one.nodes, others, error, goal, reached)
        kept[index] = replace(one, nodes=needed)
    return [one for one in kept if one.nodes], reached


def _needed(
    nodes: tuple[str, ...],
    others: frozenset[str],
    error: Callable[[frozenset[str]], float],
    goal: float,
    reached: float,
) -> tuple[tuple[str, ...], float]:
    """The nodes of a run that the goal needs in float, and the error with them."""
    pieces = runs(nodes, 2) if len(nodes) > 1 else []
    left = list(nodes)
    while pieces:
        piece = pieces.pop(0)
        tried = [name for name in left if name not in piece]
        now = error(others | frozenset(tried))
        if now <= goal:
            left, reached = tried, now
        elif len(piece) > 1:
            pieces += runs(piece, 2)
    return tuple(left), reached
