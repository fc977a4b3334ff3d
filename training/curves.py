"""A run's log as a picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def draw(log: Path, out: Path) -> None:
    """Plot the loss terms and the held-out scores over the steps.

    Args:
        log: ``log.jsonl`` of a run.
        out: The PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    scored = [row for row in rows if "street" in row]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for term in ("l1", "bce", "laplacian", "gradient", "slope", "edge", "semantic"):
        left.semilogy([r["step"] for r in rows], [r[term] for r in rows], label=term)
    left.set(xlabel="step", title="training loss terms")
    left.legend()
    for subset in ("street", "officials"):
        steps, mads = [r["step"] for r in scored], [r[subset]["mad"] for r in scored]
        right.plot(steps, mads, marker="o", label=f"{subset}, held out")
    right.set(xlabel="step", title="mean absolute difference of alpha")
    right.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    plt.close(figure)
