"""The kernels beside OpenCV, NumPy and PyMatting on a 12-megapixel mosaic of a photo.

``python benchmarks/bench_kernels.py [PHOTO]``. Results are asserted equal, or close within a stated
bound, before they are timed.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import harness
import numpy as np
from bench_foreground import opencv_blur_fusion

import portrait_sdk
from portrait_sdk.ops import compositing, foreground, kernels, resample
from portrait_sdk.ops import preprocess as prep
from portrait_sdk.spec import Filter, InputSpec, SizePolicy

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
HEIGHT, WIDTH = 3000, 4000
FILTER_BACK = Filter(kernel="bilinear")


def close(ours: np.ndarray, theirs: np.ndarray, bound: float) -> None:
    """Refuse to time what is not the same: all but one value in 100,000 within ``bound``.

    The rest is for the foreground where alpha is all but flat at 0: its 2 x 2 systems are all but
    singular there and turn float32's last bit into visible digits of a colour nobody sees.
    """
    difference = np.abs(ours.astype(np.float64) - theirs)
    beyond = np.count_nonzero(difference > bound) / difference.size
    if beyond > 1e-5:  # noqa: PLR2004 - as the docstring says
        raise SystemExit(
            f"results differ by up to {difference.max()}, {beyond:.2%} of them by over {bound}"
        )


def main() -> None:  # noqa: C901 - one block a comparison
    """Time every pair."""
    path = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "samples/portraits/astronaut.jpg"
    )
    matte = portrait_sdk.matte(path)
    image, alpha = harness.mosaic([(matte.image, matte.alpha)], (HEIGHT, WIDTH))
    small = np.ascontiguousarray(alpha[::8, ::8])
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    spec = InputSpec(
        name="x",
        mean=tuple(map(float, mean)),  # type: ignore[arg-type]
        std=tuple(map(float, std)),  # type: ignore[arg-type]
        size=SizePolicy(rule="fixed", height=512, width=672),
    )
    rows: dict[str, dict[str, object]] = {}

    def compare(
        name: str, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray], bound: float,
        rounds: int = harness.ROUNDS,
    ) -> None:  # fmt: skip
        close(ours(), theirs(), bound)
        record(name, harness.take_turns({"ours": ours, "theirs": theirs}, rounds))

    def record(name: str, timing: dict[str, harness.Timing]) -> None:
        ratio = timing["theirs"].median / timing["ours"].median
        rows[name] = {**{k: asdict(v) for k, v in timing.items()}, "ratio": round(ratio, 2)}
        print(f"{name:<48} {1000 * timing['ours'].median:8.1f} ms  "
              f"{1000 * timing['theirs'].median:8.1f} ms  {ratio:5.1f}x", flush=True)  # fmt: skip

    def cv_input() -> np.ndarray:
        x = cv2.resize(image, (672, 512), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        return np.ascontiguousarray(((x - mean) / std).transpose(2, 0, 1))[None]

    # OpenCV rounds to 8 bits in between: half a level over the smallest std.
    compare("photo to 512-side input, area: OpenCV + NumPy",
            lambda: prep.prepare([image], spec)[0], cv_input, 0.51 / 255 / 0.224)  # fmt: skip

    full = np.empty((HEIGHT, WIDTH), np.uint8)
    taps = resample.taps_for(small.shape, full.shape, FILTER_BACK)

    def ours_back() -> np.ndarray:
        kernels.resize_alpha(small, full, taps)
        return full

    def cv_back() -> np.ndarray:
        wide = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        return (np.clip(wide, 0, 1) * 255 + 0.5).astype(np.uint8)

    compare("alpha to 12 MP uint8: OpenCV + NumPy", ours_back, cv_back, 1)

    def np_cutout() -> np.ndarray:
        return np.dstack([image, np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)])

    compare("cutout: NumPy", lambda: compositing.cutout(image, alpha), np_cutout, 0)
    behind = np.ascontiguousarray(image[::-1, ::-1])

    def np_composite() -> np.ndarray:
        weight = alpha[..., None]
        return np.rint(weight * image + (1 - weight) * behind).astype(np.uint8)

    compare("composite: NumPy in float32",
            lambda: compositing.composite(image, alpha, behind), np_composite, 1)  # fmt: skip

    photo = image.astype(np.float32) / 255

    # Where nearly all of a box is background, 1e-5 beside a float32 sum of 8,100 values decides.
    compare("blur fusion, two passes: OpenCV",
            lambda: foreground.estimate_foreground(photo, alpha, "blur-fusion"),
            lambda: opencv_blur_fusion(photo, alpha), 2e-2, 5)  # fmt: skip

    try:
        from pymatting import estimate_foreground_ml
    except ImportError:
        print("multilevel foreground: PyMatting is not installed, not compared")
    else:
        doubles, alphas = photo.astype(np.float64), alpha.astype(np.float64)
        theirs = estimate_foreground_ml(doubles, alphas)
        exact = foreground.estimate_foreground(photo, alpha, "multilevel")
        close(exact, theirs, 1e-4)
        soft = (alpha > 0.02) & (alpha < 0.98)  # noqa: PLR2004 - where the fast one is declared
        fast = foreground.estimate_foreground(photo, alpha, "multilevel-fast")
        close(fast[soft], exact[soft], 2 / 255)
        for method in ("multilevel", "multilevel-fast"):
            for kind, array in (("uint8", image), ("float32", photo)):
                timing = harness.take_turns(
                    {
                        "ours": lambda x=array, m=method: foreground.estimate_foreground(
                            x, alpha, m
                        ),
                        "theirs": lambda: estimate_foreground_ml(doubles, alphas),
                    },
                    5,
                )
                record(f"{method} foreground, {kind}: PyMatting", timing)
    print(harness.save("kernels", {"height": HEIGHT, "width": WIDTH, "rows": rows}))


if __name__ == "__main__":
    main()
