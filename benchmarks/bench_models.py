"""Models side by side on one list of photos: quality and time, in one run.

``python benchmarks/bench_models.py DATA MODEL.onnx [MODEL.onnx …]`` with self-describing files;
DATA holds ``ccp/``. Truth is ``ccp/mask`` (binary, made by people), alpha at the photo's own size.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import harness
import numpy as np

import portrait_sdk
from portrait_sdk.model.session import Session
from portrait_sdk.ops import postprocess, preprocess

_BAND_RADIUS_PX = 4


def read(path: Path, how: int) -> np.ndarray:
    """Decode, or say which file is missing."""
    picture = cv2.imread(str(path), how)
    if picture is None:
        raise SystemExit(f"{path}: not a readable picture")
    return np.asarray(picture)


def score(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """MAD, MAD outside the mask's edge band, MAD thresholded, IoU at 0.5; alpha in [0, 1]."""
    person = truth > 0.5  # noqa: PLR2004 - the mask's half
    side = 2 * _BAND_RADIUS_PX + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    mask = person.astype(np.uint8)
    certain = cv2.dilate(mask, disc) == cv2.erode(mask, disc)
    found = alpha > 0.5  # noqa: PLR2004
    union = np.count_nonzero(found | person)
    return {
        "mad": float(np.abs(alpha - truth).mean()),
        "mad_outside_band": float(np.abs(alpha - truth)[certain].mean()),
        "mad_thresholded": float(np.abs(found - truth).mean()),
        "iou": float(np.count_nonzero(found & person) / union) if union else 1.0,
    }


def main() -> None:
    """Run every model on every photo, taking turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--list", default="ccp/validation.txt", help="Ids, relative to DATA.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="models")
    arguments = parser.parse_args()
    portrait_sdk.set_threads(arguments.threads)

    sessions = [Session(path, "cpu") for path in arguments.models]
    ids = (arguments.data / arguments.list).read_text("ascii").split()
    scores: dict[str, list[dict[str, float]]] = {s.spec.name: [] for s in sessions}
    seconds: dict[str, list[float]] = {s.spec.name: [] for s in sessions}
    for identity in ids:
        photo = read(arguments.data / f"ccp/image/{identity}.jpg", cv2.IMREAD_COLOR)[..., ::-1]
        mask = read(arguments.data / f"ccp/mask/{identity}.png", cv2.IMREAD_GRAYSCALE)
        truth = (mask > 127).astype(np.float32)  # noqa: PLR2004
        for session in sessions:
            batch, (place,) = preprocess.prepare([photo], session.spec.input)
            started = time.perf_counter()
            output = session.run(batch)
            seconds[session.spec.name].append(time.perf_counter() - started)
            small = postprocess.network_alpha(output, session.spec, place.input)[0]
            alpha = postprocess.to_photo(small, place, truth.shape)
            scores[session.spec.name].append(score(alpha, truth))

    rows = []
    for session, path in zip(sessions, arguments.models, strict=True):
        name = session.spec.name
        means = {key: round(float(np.mean([s[key] for s in scores[name]])), 5)
                 for key in scores[name][0]}  # fmt: skip
        rows.append(
            {
                "model": name,
                "license": session.spec.license,
                "bytes": path.stat().st_size,
                "size_policy": asdict(session.spec.input.size),
                **means,
                # The first photo also pays for the session's first allocations.
                "seconds": asdict(harness.Timing.of(seconds[name][1:])),
            }
        )
    reference = rows[0]["seconds"]["median"]
    for row in rows:
        row["time_ratio_to_first"] = round(row["seconds"]["median"] / reference, 3)
        milliseconds = 1000 * row["seconds"]["median"]
        print(
            f"{row['model']:<24} MAD {row['mad']:.4f}  outside band {row['mad_outside_band']:.4f}  "
            f"thresholded {row['mad_thresholded']:.4f}  IoU {row['iou']:.4f}  "
            f"{milliseconds:6.1f} ms"
        )
    result = {"list": arguments.list, "photos": len(ids), "threads": arguments.threads}
    print(harness.save(arguments.name, {**result, "rows": rows}))


if __name__ == "__main__":
    main()
