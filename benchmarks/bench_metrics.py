"""The metrics beside the NumPy, scikit-image, SciPy and OpenCV usually written for them, at 10 MP.

``python benchmarks/bench_metrics.py``. The truth is a mosaic of portraits' alphas, or one enlarged;
the estimate is what is left of it at a quarter of the size, a pixel aside, too faint and with a
little noise. Results are compared before they are timed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import cv2
import harness
import numpy as np
from scipy import ndimage
from skimage import measure

from portrait_sdk.evaluation import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from portrait_sdk.types import AlphaF32

SIZE = (2592, 3872)
FEWER_ROUNDS = 15  # of what takes seconds
LABELLINGS: dict[str, Callable[[Any], Any]] = {
    "scikit-image": lambda reached: measure.label(reached, connectivity=1),
    "SciPy": lambda reached: ndimage.label(reached)[0],
    "OpenCV": lambda reached: cv2.connectedComponents(reached.view(np.uint8), connectivity=4)[1],
}


def estimate(truth: AlphaF32) -> AlphaF32:
    """Something like a model's alpha."""
    small = cv2.resize(truth, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    noise = np.random.default_rng(1).normal(0, 0.03, truth.shape)
    noise[(soft == 0) | (soft == 1)] = 0
    faint = 0.97 * np.roll(soft, 1, axis=1) + noise
    levels = np.rint(255 * np.clip(faint, 0, 1)) / 255  # as files hold it
    return np.asarray(levels, np.float32)


def usual_connectivity(
    alpha: AlphaF32, truth: AlphaF32, label: Callable[[Any], Any], step: float = 0.1
) -> float:
    """A labelling of the whole picture per threshold."""
    connected = np.full(alpha.shape, -1, np.float32)
    for k in range(1, round(1 / step) + 1):
        threshold = np.float32(k * step)
        labels = label((alpha >= threshold) & (truth >= threshold))
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        largest = labels == sizes.argmax() if sizes.any() else np.zeros(alpha.shape, bool)
        connected[(connected < 0) & ~largest] = (k - 1) * step
    connected[connected < 0] = 1
    far, near = alpha - connected, truth - connected
    phi = [1 - d * (d >= 0.15) for d in (far, near)]  # noqa: PLR2004 - theta
    return float(np.abs(phi[0] - phi[1]).sum(dtype=np.float64))


def usual_gradient(alpha: AlphaF32, truth: AlphaF32) -> float:
    """Kernels in two dimensions."""
    y, x = np.mgrid[-4:5, -4:5]
    kernel = -x * np.exp(-(x**2 + y**2) / (2 * 1.4**2))
    kernel /= np.linalg.norm(kernel)
    slopes = []
    for array in (alpha, truth):
        across = cv2.filter2D(array, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        down = cv2.filter2D(array, -1, kernel.T.copy(), borderType=cv2.BORDER_REPLICATE)
        slopes.append(np.sqrt(across**2 + down**2))
    return float(((slopes[0] - slopes[1]) ** 2).sum(dtype=np.float64))


def usual_boundary_iou(alpha: AlphaF32, truth: AlphaF32) -> float:
    """Erosion by a 3 x 3 square, as often as the edge is wide."""
    width = round(0.02 * float(np.hypot(*alpha.shape)))
    edges = []
    for array in (alpha, truth):
        mask = (array > 0.5).astype(np.uint8)  # noqa: PLR2004 - the half
        framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        inner = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)
        edges.append((mask - inner[1:-1, 1:-1]) > 0)
    return float((edges[0] & edges[1]).sum() / (edges[0] | edges[1]).sum())


USUAL: dict[str, dict[str, Callable[[AlphaF32, AlphaF32], float]]] = {
    "sad": {"NumPy": lambda a, t: float(np.abs(a - t).sum(dtype=np.float64))},
    "mse": {"NumPy": lambda a, t: float(((a - t) ** 2).mean(dtype=np.float64))},
    "gradient": {"OpenCV": usual_gradient},
    "connectivity": {
        name: lambda a, t, label=label: usual_connectivity(a, t, label)  # type: ignore[misc]
        for name, label in LABELLINGS.items()
    },
    "boundary_iou": {"OpenCV": usual_boundary_iou},
}


def main() -> None:
    """Compare, then time, every metric on every picture."""
    photos = harness.pairs(None)
    pictures = {
        "mosaic": harness.mosaic(photos, SIZE)[1],
        "one portrait enlarged": harness.enlarged(photos[0], SIZE)[1],
    }
    rows: dict[str, dict[str, object]] = {}
    for picture, truth in pictures.items():
        alpha = estimate(truth)
        for name, usual in USUAL.items():
            ours = getattr(metrics, name)
            for theirs in usual.values():
                # Sums in float32 and float64; and filters that add up in another order.
                np.testing.assert_allclose(ours(alpha, truth), theirs(alpha, truth), rtol=1e-4)
            variants = {"ours": ours, **usual}
            rounds = FEWER_ROUNDS if name == "connectivity" else harness.ROUNDS
            timing = harness.take_turns(
                {key: lambda f=f, a=alpha, t=truth: f(a, t) for key, f in variants.items()}, rounds
            )
            row: dict[str, object] = {key: asdict(value) for key, value in timing.items()}
            ratios = {key: timing[key].median / timing["ours"].median for key in usual}
            rows[f"{name}, {picture}"] = {
                **row, "ratio": {key: round(ratio, 2) for key, ratio in ratios.items()}
            }  # fmt: skip
            print(f"{name:<13} {picture:<22} {1000 * timing['ours'].median:8.1f} ms  ", *(
                f"{key} {1000 * timing[key].median:8.1f} ms {ratio:5.1f}x"
                for key, ratio in ratios.items()), flush=True)  # fmt: skip
    print(harness.save("metrics", {"size": list(SIZE), "metrics": rows}))


if __name__ == "__main__":
    main()
