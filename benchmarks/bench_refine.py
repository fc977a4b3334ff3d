"""What ``refine`` is worth, and what it costs, on composites whose alpha is known.

``python benchmarks/bench_refine.py DATA [MODEL…]``. DATA holds ``image/`` and ``alpha/``, portraits
and their alpha of the same name and size. Each twentieth, in the order of names, is laid over
another background at its own size, with estimated foreground colours; half get a sensor's noise.
The network's input is reduced, down to an eighth of what its model wants, so that the photo is that
much larger than what the network sees. Two questions are asked apart:

- *network*: the network's alpha of the reduced input, refined, against the truth. Most of what is
  wrong here is the network's, which never learnt photos that small.
- *resampling*: the truth itself, reduced to the input's size and refined, against the truth.

SAD is the sum of absolute differences, and grad that of squared differences of Gaussian gradients
(sigma 1.4), both in the unknown band of the truth's trimap, over 1000. Costs are of a 12-megapixel
photo, one enlarged portrait with noise. Only means go to the results.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import cv2
import harness
import numpy as np

import portrait_sdk
from portrait_sdk.api import Matting
from portrait_sdk.evaluation import metrics
from portrait_sdk.model import registry
from portrait_sdk.model.session import Session, read_spec
from portrait_sdk.ops import geometry, kernels, postprocess, refine, resample
from portrait_sdk.spec import Filter

if TYPE_CHECKING:
    from portrait_sdk.spec import SizePolicy

HERE = Path(__file__).parent
PICTURES = sorted((HERE.parent / "tests/data/pictures").glob("*.jpg"))
PORTRAIT = HERE.parent / "samples/portraits/astronaut.jpg"
MODES = ("none", "guided", "patches")
TWELVE = (4000, 3000)
EVERY, MOST = 20, 30
NOISE = 3.0  # standard deviation, of 255
assert set(MODES) < set(get_args(refine.Refine))


def behind(rng: np.random.Generator, size: tuple[int, int], kind: int) -> np.ndarray:
    """A background: a picture, a drawn one (smooth colours, then grain), or a picture's details."""
    height, width = size
    if kind == 1:
        colours = rng.normal(128, 50, (6, 6, 3)).astype(np.float32)
        drawn = cv2.resize(colours, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.clip(drawn + rng.normal(0, 4, drawn.shape), 0, 255).astype(np.uint8)
    picture = portrait_sdk.load_image(PICTURES[rng.integers(len(PICTURES))]).over_white()
    if kind == 2:  # noqa: PLR2004 - half of it, mirrored
        picture = np.ascontiguousarray(picture[: picture.shape[0] // 2, ::-1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)


def composites(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Photos with their true alpha."""
    rng = np.random.default_rng(1)
    made = []
    for i, path in enumerate(sorted((data / "image").iterdir())[::EVERY][:MOST]):
        image = portrait_sdk.load_image(path).over_white()
        alpha = cv2.imread(str(next((data / "alpha").glob(f"{path.stem}.*"))), 0)
        alpha = alpha.astype(np.float32) / 255
        front = portrait_sdk.estimate_foreground(image, alpha)
        photo = portrait_sdk.composite(front, alpha, behind(rng, alpha.shape, i % 3))
        if i % 2:
            noisy = photo + rng.normal(0, NOISE, photo.shape)
            photo = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        made.append((photo, alpha))
    return made


def reduced(policy: SizePolicy, by: float) -> SizePolicy:
    """The same, its sides divided; to multiples."""
    if policy.rule == "fixed":
        raise SystemExit("a model of a fixed size cannot be fed less")
    assert policy.side is not None
    return dataclasses.replace(policy, side=round(policy.side / by))


def errors(alpha: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """SAD and gradient error in the unknown band, over 1000."""
    band = portrait_sdk.trimap_from_alpha(truth)
    sad = metrics.sad(alpha, truth, region=band)
    return sad / 1000, metrics.gradient(alpha, truth, region=band) / 1000


def quality(path: Path, data: list[tuple[np.ndarray, np.ndarray]], by: float) -> dict[str, Any]:
    """Mean errors of each mode."""
    spec = read_spec(path)
    policy = reduced(spec.input.size, by)
    spec = dataclasses.replace(spec, input=dataclasses.replace(spec.input, size=policy))
    found: dict[str, list[tuple[float, float]]] = {}
    with Matting(Session(path, "cpu", spec=spec)) as matting:
        for photo, truth in data:
            place = geometry.place(truth.shape, policy)
            taps = resample.taps_for(truth.shape, (place.height, place.width), Filter())
            small = np.empty((place.height, place.width), np.float32)
            kernels.resize_alpha(truth, small, taps)
            for mode in MODES:
                full = matting.matte(photo, refine=mode).alpha
                found.setdefault(f"network {mode}", []).append(errors(full, truth))
            for mode, full in (
                ("none", postprocess.resized(small, truth.shape)),
                ("guided", refine.guided(small, photo)),
            ):
                found.setdefault(f"resampling {mode}", []).append(errors(full, truth))
    growth = truth.shape[0] / place.height
    rows: dict[str, Any] = {"input": list(place.input), "growth": round(growth, 2)}
    for name, values in found.items():
        sad, grad = np.mean(values, axis=0)
        plain = np.mean(found[f"{name.split()[0]} none"], axis=0)
        rows[name] = {
            "SAD": round(sad, 4),
            "grad": round(grad, 4),
            "SAD of none": round(sad / plain[0], 3),
            "grad of none": round(grad / plain[1], 3),
        }
        print(f"  1/{by:<4} {name:<20} SAD {sad:7.3f} ({sad / plain[0]:.2f})  "
              f"grad {grad:7.3f} ({grad / plain[1]:.2f})", flush=True)  # fmt: skip
    return rows


def cost(path: Path) -> dict[str, Any]:
    """Milliseconds of a 12-megapixel photo."""
    portrait = portrait_sdk.load_image(PORTRAIT).over_white()
    photo = cv2.resize(portrait, TWELVE[::-1], interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).normal(0, NOISE, photo.shape)
    photo = np.clip(np.rint(photo + noise), 0, 255).astype(np.uint8)
    with portrait_sdk.load(path, provider="cpu") as matting:
        timing = harness.take_turns(
            {mode: lambda mode=mode: matting.matte(photo, refine=mode) for mode in MODES}, 15
        )
    rows = {mode: {k: round(1000 * v, 1) for k, v in dataclasses.asdict(t).items()}
            for mode, t in timing.items()}  # fmt: skip
    for mode in MODES:
        more = rows[mode]["median"] - rows["none"]["median"]
        rows[mode]["more than none"] = round(more, 1)
        print(f"  12 MP {mode:<10} {rows[mode]['median']:8.1f} ms  (+{more:.1f})", flush=True)
    return rows


def main() -> None:
    """Measure each model."""
    data = composites(Path(sys.argv[1]))
    models: dict[str, Any] = {}
    for given in [None, *sys.argv[2:]]:
        path = Path(registry.resolve(given))
        name = read_spec(path).name
        print(name)
        rows = {f"1/{by}": quality(path, data, by) for by in (1.3, 2, 4, 8)}
        models[name] = {"ms of 12 MP": cost(path), "reduced": rows}
    result = {"photos": len(data), "size": list(data[0][1].shape), "models": models}
    print(harness.save("refine", result))


if __name__ == "__main__":
    main()
