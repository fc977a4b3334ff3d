"""Writing a cutout as PNG, beside OpenCV and Pillow: time and size.

``python benchmarks/bench_png.py [DATA]``. DATA holds ``image/`` and ``alpha/`` of equal names;
without it, the sample portrait and the tests' pictures stand in, under the sample's alpha. All
encode the same RGBA values, and what they wrote is decoded and compared before it is timed.
"""

from __future__ import annotations

import io
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import harness
import numpy as np
from PIL import Image

from portrait_sdk.media import encode_image
from portrait_sdk.ops import compositing, foreground

OURS = "portrait_sdk"
_SLOW = {"Pillow"}


def pillow(rgba: np.ndarray) -> bytes:
    """Pillow's file at its defaults."""
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    return out.getvalue()


def opencv(bgra: np.ndarray, *options: int) -> bytes:
    """OpenCV's file; it takes its own order of channels, so nothing is converted for it."""
    return cv2.imencode(".png", bgra, options)[1].tobytes()


def compare(rgba: np.ndarray) -> dict[str, object]:
    """Time and size of everybody on one picture."""
    bgra = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
    writers = {
        OURS: lambda: encode_image(rgba, "png"),
        "OpenCV, default level": lambda: opencv(bgra),
        "OpenCV, level 1": lambda: opencv(bgra, cv2.IMWRITE_PNG_COMPRESSION, 1),
        "Pillow": lambda: pillow(rgba),
    }
    sizes = {}
    for name, write in writers.items():
        data = write()
        sizes[name] = len(data)
        if not np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), -1), bgra):
            raise SystemExit(f"{name}: decodes to something else")
        with Image.open(io.BytesIO(data)) as picture:
            if not np.array_equal(np.asarray(picture), rgba):
                raise SystemExit(f"{name}: Pillow decodes to something else")
    fast = {name: write for name, write in writers.items() if name not in _SLOW}
    timing = harness.take_turns(fast)
    slow = {name: writers[name] for name in (OURS, *_SLOW)}
    beside = harness.take_turns(slow, 5)
    rows: dict[str, object] = {}
    for name, size in sizes.items():
        time, ours = (beside if name in _SLOW else timing), (OURS if name != OURS else name)
        rows[name] = {
            **asdict(time[name]),
            "bytes": size,
            "ratio": round(time[name].median / time[ours].median, 2),
            "our_size": round(sizes[OURS] / size, 3),
        }
        print(f"  {name:<24} {1000 * time[name].median:8.1f} ms  {size / 1e6:6.2f} MB  "
              f"{time[name].median / time[ours].median:5.1f}x, ours is {sizes[OURS] / size:.3f} "
              "of its size", flush=True)  # fmt: skip
    return rows


def main() -> None:
    """Time every picture."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    photos = harness.pairs(data)
    pictures: dict[str, object] = {}
    for name, (image, alpha) in harness.inputs(photos):
        colours = {"clean foreground": foreground.estimate_foreground(image, alpha)}
        if "12 MP" in name:
            colours["photo's own colours"] = image
        for kind, front in colours.items():
            print(f"{name}, {kind}:", flush=True)
            pictures[f"{name}, {kind}"] = compare(compositing.cutout(front, alpha))
    result = {"photos": len(photos), "pictures": pictures}
    print(harness.save("png", result))


if __name__ == "__main__":
    main()
