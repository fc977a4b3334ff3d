"""Averages the weights of runs that have a start in common into one network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from converters import checkpoints
from training import growth, loop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.recipe import Recipe


def _grown(path: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    torch.manual_seed(recipe.seed)
    net = loop.build(recipe)
    given = checkpoints.read(path).tensors
    try:
        growth.grow(net, {n: value for n, value in given.items() if value.is_floating_point()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return {
        name: value
        for name, value in net.state_dict().items()
        if value.is_floating_point() and not name.startswith("scene.")
    }


def average(
    parts: Mapping[Path, float], recipe: Recipe, taken: Mapping[str, Path] | None = None
) -> dict[str, torch.Tensor]:
    """The network whose weights are the weighted mean of others'.

    Of two networks that were trained from the same one, what lies between them errs less on
    pictures that neither was trained on than either does.

    Args:
        parts: Files of weights, and how much each counts.
        recipe: Says the architecture; a smaller network is grown to its size first, all by the
            same chance.
        taken: Parts of the network, as ``fuse2``, that come out of one file instead.

    Returns:
        Matrices in float16, the rest in float32, as a start is kept; without a scene encoder: where
        a start has none, a run takes ImageNet's.

    Raises:
        CheckpointError: A file is missing or damaged, or holds no weights.
        ValueError: A file is of another architecture, a part is unknown, or nothing counts.

    Source:
        Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
        accuracy without increasing inference time", ICML 2022.
    """
    whole = sum(parts.values())
    if not 0 < whole < math.inf or min(parts.values()) < 0:  # NaN is refused, too
        raise ValueError(f"weights of an average must be positive, got {list(parts.values())}")
    total: dict[str, torch.Tensor] = {}
    for path, weight in parts.items():
        for name, value in _grown(path, recipe).items():
            total[name] = total.get(name, 0) + value * (weight / whole)
    for part, path in (taken or {}).items():
        own = {n: v for n, v in _grown(path, recipe).items() if n.startswith(f"{part}.")}
        if not own:
            raise ValueError(f"{part}: the network has no such part")
        total.update(own)
    return {
        name: (value.half() if value.ndim > 1 else value).contiguous()
        for name, value in total.items()
    }
