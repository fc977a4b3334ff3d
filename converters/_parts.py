"""State dicts in what a training script saved: which entries they are, which one to take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from portrait_sdk.errors import CheckpointError, OptionError

_DEEPEST = 4
"""Dicts within dicts; a state dict itself is flat."""
_EMA = re.compile(r"(^|[._-])(ema|averaged?|swa|shadow)([._-]|$)|ema$|^ema", re.IGNORECASE)
_NOT_THE_NETWORK = re.compile(
    r"optim|sched|scaler|^amp$|hyper|callback|loop|rng|loss|config|args|grad|teacher", re.IGNORECASE
)
_RIVAL = re.compile(r"disc|critic|net_?d$|^d$", re.IGNORECASE)
_USUAL = (
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "network",
    "net",
    "generator",
    "net_g",
    "netG",
    "g",
    "module",
    "weights",
)
_OF_A_TRAINER, _UNUSUAL = len(_USUAL), len(_USUAL) + 1
_PREFIXES = ("module.", "model.", "network.", "_backbone.", "net.", "_orig_mod.")
_COUNTERS = re.compile(r"n_averaged|(.*\.)?total_(ops|params)")
"""What torch's averaging and a popular operation counter leave between the weights."""
_MINDSPORE_TRAINING = re.compile(
    r"(moment1|moment2|moments|moment|accum|accumulation|mean_square|mean_gradient|velocity)\..+"
)
_MINDSPORE_COUNTERS = {
    "learning_rate",
    "global_step",
    "beta1_power",
    "beta2_power",
    "epoch_num",
    "step_num",
    "momentum",
    "scale_sense",
    "loss_scale",
    "current_iterator_step",
    "last_overflow_iterator_step",
}


def state_dicts(saved: object) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Every flat dict of tensors in ``saved`` by its path, and the rest with the reason.

    Args:
        saved: What the file held. The path of a bare state dict is empty; of nested ones the
            names with dots between.
    """
    parts: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    _collect(saved, "", parts, left_out, _DEEPEST)
    if "" in parts:
        nested = {path.partition(".")[0] for path in parts if path}
        own = {key: value for key, value in parts[""].items() if key not in nested | set(left_out)}
        parts[""] = own
    return parts, left_out


def _collect(
    value: object, path: str, parts: dict[str, dict[str, Any]], left_out: dict[str, str], depth: int
) -> None:
    name = path.rpartition(".")[2]
    if path and _NOT_THE_NETWORK.search(name) and not _EMA.search(name):
        left_out[path] = "of the training, not of the network"
        return
    if not isinstance(value, Mapping) or not depth:
        if path:
            left_out[path] = f"no state dict ({type(value).__name__})"
        return
    if any(isinstance(item, Tensor) and item.ndim for item in value.values()) and all(
        isinstance(key, str) for key in value
    ):
        parts[path] = dict(value)
    for key, item in value.items():
        inner = isinstance(item, Mapping)
        if isinstance(key, str) and (inner or path not in parts):
            _collect(item, f"{path}.{key}" if path else key, parts, left_out, depth - 1)


def choose(parts: dict[str, dict[str, Any]], part: str | None, where: str) -> str:
    """The path of the state dict to take: the one named, else averaged weights, else the usual.

    Raises:
        OptionError: No part of this name.
        CheckpointError: None, or several and no way to tell.
    """
    names = ", ".join(path or "(the file itself)" for path in parts)
    if part is not None:
        if part not in parts:
            raise OptionError(f"part: expected one of {names} in {where}, got {part!r}")
        return part
    if not parts:
        raise CheckpointError(
            f"{where}: holds no state dict; expected tensors by name, as in "
            "torch.save(model.state_dict(), PATH)"
        )
    ranked = sorted(parts, key=_rank)
    if len(ranked) > 1 and _rank(ranked[0]) == _rank(ranked[1]):
        raise CheckpointError(
            f"{where}: holds several state dicts ({names}) and none is the usual one; "
            f"name one: --part {ranked[0]}"
        )
    return ranked[0]


def _rank(path: str) -> tuple[bool, bool, int]:
    """Lower is better: a rival network last, averaged weights first, then the usual names."""
    components = path.split(".")
    usual = [_USUAL.index(name) for name in components if name in _USUAL]
    rival = any(_RIVAL.search(name) for name in components)
    averaged = any(_EMA.search(name) for name in components)
    return rival, not averaged, min(usual, default=_UNUSUAL if path else _OF_A_TRAINER)


def weights(part: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of one state dict with common prefixes gone, and the rest with the reason."""
    tensors: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for key, value in part.items():
        if not isinstance(value, Tensor):
            left_out[key] = f"no tensor ({type(value).__name__})"
        elif _COUNTERS.fullmatch(key):
            left_out[key] = "a counter"
        else:
            tensors[key] = value
    return without_prefixes(tensors), left_out


def mindspore_weights(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A MindSpore file's tags without the optimiser's, and those with the reason."""
    kept: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for tag, value in tensors.items():
        if _MINDSPORE_TRAINING.fullmatch(tag):
            left_out[tag] = "optimiser state"
        elif value.ndim == 0 or tag in _MINDSPORE_COUNTERS:
            left_out[tag] = "a counter or setting of the training"
        else:
            kept[tag] = value
    return without_prefixes(kept), left_out


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Wrappers' prefixes taken off, again and again, each only where every key has it."""
    tensors = dict(tensors)
    while tensors:
        prefix = next(
            (p for p in _PREFIXES if all(k.startswith(p) and k != p for k in tensors)), None
        )
        if prefix is None:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors
