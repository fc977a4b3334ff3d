"""Foreground estimation beside PyMatting and OpenCV: time, error against known colours, memory.

``python benchmarks/bench_foreground.py FOLDER``: FOLDER holds ``image/`` and ``alpha/`` with files
of the same stems. Inputs are mosaics of them at native resolution (an upscaled photo would be all
blur) of 2, 12 and 48 megapixels and of 1237 x 811, and one photo enlarged to 12 megapixels with
sensor grain. ``--method NAME --size SIZE`` runs one method once and prints its peak of memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import harness
import numpy as np

from portrait_sdk.ops import foreground

METHODS: tuple[foreground.Method, ...] = ("multilevel", "multilevel-fast", "blur-fusion")
BOXES = (90, 6)
Pairs: TypeAlias = Sequence[tuple[np.ndarray, np.ndarray]]
ROUNDS = 7
FEW = {"mosaic, 48 MP": 3}


def opencv_blur_fusion(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Forte 2021 in box filters."""
    front = back = photo
    a = alpha[..., None]
    for size in BOXES:
        soft = cv2.blur(alpha, (size, size))[..., None]
        blurred = cv2.blur(front * a, (size, size)) / (soft + 1e-5)
        back = cv2.blur(back * (1 - a), (size, size)) / ((1 - soft) + 1e-5)
        front = np.clip(blurred + a * (photo - a * blurred - (1 - a) * back), 0, 1)
    return front


def in_band(alpha: np.ndarray) -> np.ndarray:
    """Where differences count."""
    return (alpha > 0.02) & (alpha < 0.98)  # noqa: PLR2004 - the declared range


def times(name: str, image: np.ndarray, alpha: np.ndarray) -> dict[str, Any]:
    """Every method of ours and theirs, in turns."""
    from pymatting import estimate_foreground_ml

    photo = image.astype(np.float32) * np.float32(1 / 255)
    soft = in_band(alpha)
    exact = foreground.estimate_foreground(photo, alpha, "multilevel")
    fast = foreground.estimate_foreground(photo, alpha, "multilevel-fast")
    largest = float(np.abs(fast - exact)[soft].max()) * 255
    variants: dict[str, Any] = {
        f"{method}, {kind}": lambda m=method, x=array: foreground.estimate_foreground(x, alpha, m)
        for method in METHODS
        for kind, array in (("uint8", image), ("float32", photo))
    }
    doubles, alphas = image / 255, alpha.astype(np.float64)
    theirs = estimate_foreground_ml(doubles, alphas)
    beyond = float(np.mean(np.abs(theirs - exact) > 1e-4))  # noqa: PLR2004 - promised
    if beyond > 1e-5:  # noqa: PLR2004 - all but singular systems, where float32 decides
        raise SystemExit(f"{name}: {beyond:.2%} of multilevel are over 1e-4 off PyMatting's")
    variants["PyMatting"] = lambda: estimate_foreground_ml(doubles, alphas)
    variants["OpenCV blur fusion"] = lambda: opencv_blur_fusion(photo, alpha)
    timing = harness.take_turns(variants, FEW.get(name, ROUNDS))
    rows: dict[str, Any] = {}
    for variant, time in timing.items():
        peer = "OpenCV blur fusion" if "blur" in variant else "PyMatting"
        ratio = round(timing[peer].median / time.median, 2)
        rows[variant] = {**asdict(time), "ratio": ratio}
        print(f"{name:<22} {variant:<26} {1000 * time.median:8.1f} ms  {ratio}", flush=True)
    return {"largest difference of fast, of 255": round(largest, 3), "times": rows}


def errors(photos: Pairs, count: int = 12) -> dict[str, float]:
    """Mean colour error, of 255, in the band, on composites of known foregrounds.

    Known are the photos' colours under closed-form estimation, a method that none of those compared
    is close to, laid over other photos.
    """
    from pymatting import estimate_foreground_cf, estimate_foreground_ml

    sums: dict[str, list[float]] = {}
    for number in range(count):
        own, alpha = photos[number]
        truth = 255 * np.clip(estimate_foreground_cf(own / 255, alpha.astype(np.float64)), 0, 1)
        behind = cv2.resize(photos[number + count][0], truth.shape[1::-1])
        weight = alpha[..., None]
        mixed = np.rint(weight * truth + (1 - weight) * behind).astype(np.uint8)
        photo = mixed.astype(np.float32) * np.float32(1 / 255)
        estimates: dict[str, np.ndarray] = {
            method: foreground.estimate_foreground(photo, alpha, method) for method in METHODS
        }
        estimates["PyMatting"] = estimate_foreground_ml(mixed / 255, alpha.astype(np.float64))
        estimates["the photo's own"] = photo
        for name, front in estimates.items():
            off = np.abs(front * 255 - truth)[in_band(alpha)]
            sums.setdefault(name, []).append(float(off.mean()))
    return {name: round(float(np.mean(values)), 4) for name, values in sums.items()}


def peak_kib() -> int:
    """The most this process has held; getrusage would count its parent's before exec too."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def peak(method: foreground.Method, size: str, photos: Pairs) -> dict[str, float]:
    """Bytes a pixel beyond the inputs, and the process's peak in MiB."""
    image, alpha = harness.mosaic(photos, harness.SIZES[size])
    foreground.estimate_foreground(image[:64, :64].copy(), alpha[:64, :64].copy(), method)
    before = peak_kib()
    foreground.estimate_foreground(image, alpha, method)
    after = peak_kib()
    return {
        "bytes_per_pixel": round((after - before) * 1024 / alpha.size, 1),
        "peak_mib": round(after / 1024),
    }


def main() -> None:
    """Measure everything, or one method's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--size", choices=harness.SIZES, default="mosaic, 12 MP")
    options = parser.parse_args()
    photos = harness.pairs(options.folder)
    if options.method:
        print(peak(options.method, options.size, photos))
        return
    result: dict[str, Any] = {"inputs": {}, "memory": {}}
    for name, (image, alpha) in harness.inputs(photos):
        result["inputs"][name] = times(name, image, alpha)
    result["errors in the band, of 255"] = errors(photos)
    print(result["errors in the band, of 255"])
    for size in ("mosaic, 12 MP", "mosaic, 48 MP"):
        for method in METHODS:
            command = [sys.executable, __file__, str(options.folder)]
            command += ["--method", method, "--size", size]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result["memory"][f"{method}, {size}"] = text.strip()
            print(size, method, text.strip(), flush=True)
    print(harness.save("foreground", result))


if __name__ == "__main__":
    main()
