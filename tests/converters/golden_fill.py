"""The rule that fills a network's parameters for golden vectors: no weights, only seeds.

Every parameter is drawn by its own seed, which stands in a key list (``data/keys/*.json``) beside
its shape and kind, so that a file of numbers computed elsewhere can be checked without a
checkpoint. A key list maps ``keys`` to ``{shape, dtype, kind, golden_seed}`` per state-dict key.
Tests here take it in by ``from .golden_fill import fill``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

DATA = Path(__file__).resolve().parents[1] / "data"

_SCALED = {"convo.4.weight": 0.05, "m_net.conv.weight": 0.5, "t_net.last_conv.weight": 0.05}
_SHIFTED = {"convo.4.bias": 1.5, "convtri.7.bias": (0.0, 0.6, 0.0)}


def key_list(name: str) -> dict[str, dict[str, Any]]:
    """``data/keys/<name>.json``: what each published key holds."""
    table = json.loads((DATA / f"keys/{name}.json").read_text())
    keys: dict[str, dict[str, Any]] = table["keys"]
    return keys


def fill(keys: str | dict[str, dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The state dict of a key list (or of its name), in the list's order.

    Counters are 0. Relative position indices, which follow from the window alone, are left out.
    """
    entries = key_list(keys) if isinstance(keys, str) else keys
    state = {}
    for key, entry in entries.items():
        if entry["kind"] == "counter":
            state[key] = torch.zeros(entry["shape"], dtype=torch.int64)
        elif entry["kind"] != "rel_pos_index":
            value = _override(key, _draw(entry))
            state[key] = torch.from_numpy(value.astype(np.float32).reshape(entry["shape"]))
    return state


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of ``data/golden/<name>.npz``."""
    with np.load(DATA / f"golden/{name}.npz") as arrays:
        return dict(arrays)


def golden_input(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The network input (N, 3, H, W) that golden arrays were computed from, by its seed."""
    x = np.random.default_rng(int(arrays["input_seed"])).random(tuple(arrays["input_shape"]))
    x = x.astype(np.float32) + np.float32(arrays.get("input_offset", 0))
    # The generator's own check: a sum in float64 has about 13 digits to agree on here.
    np.testing.assert_allclose(x.sum(dtype=np.float64), arrays["input_sum"], rtol=1e-9)
    return x


def _draw(entry: dict[str, Any]) -> np.ndarray:
    shape, kind = entry["shape"], entry["kind"]
    z = np.random.default_rng(entry["golden_seed"]).standard_normal(shape)
    if kind == "weight":
        return z * np.sqrt(2 / np.prod(shape[1:]))
    of_kind = {
        "norm_scale": 1 + 0.1 * z,
        "prelu": 0.25 + 0.05 * z,
        "bias": 0.1 * z,
        "running_mean": 0.1 * z,
        "running_var": 1 + 0.1 * np.abs(z),
        "rel_pos_table": 0.5 * z,
    }
    return of_kind[kind]


def _override(key: str, value: np.ndarray) -> np.ndarray:
    """Keeps outputs in a useful range: some alphas beyond [0, 1], all three classes taken."""
    if key.startswith("side") and key.endswith(".weight"):
        return value * 0.1
    return value * _SCALED.get(key, 1.0) + np.array(_SHIFTED.get(key, 0.0))
