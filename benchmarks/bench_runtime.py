"""What the runtime adds around ``session.run``: the default model, a photo already in memory.

``python benchmarks/bench_runtime.py [--photo FILE] [--rounds N]``. The photo is enlarged or
reduced to 2 megapixels with a sensor's grain. ``session.run`` is ONNX Runtime's own call on the
very session that ``Matting.matte`` uses, with the input prepared beforehand. The two take turns;
the ratio is the median of each pair's, so that a busy second counts for both or not at all.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import numpy as np

import portrait_sdk
from portrait_sdk import bench
from portrait_sdk.media import load_image
from portrait_sdk.ops import postprocess, preprocess
from portrait_sdk.ops import refine as refining

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (1224, 1632)
_WARM_UP = 5


def main() -> None:
    """Time the pair, then the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    photo = load_image(arguments.photo or bench.bundled()).over_white()
    image = bench.upscaled(photo, SIZE)

    with portrait_sdk.load(arguments.model, provider="cpu") as matting:
        spec = matting.spec
        session = matting._session._session  # noqa: SLF001 - ONNX Runtime's own
        batch, (place,) = preprocess.prepare([image], spec.input)
        feed, wanted = {spec.input.name: batch}, [spec.alpha.name]
        (output,) = session.run(wanted, feed)
        small = postprocess.network_alpha(output, spec, place.input)

        def guided() -> np.ndarray:
            return refining.refine("auto", small[0], place, image, spec, matting._again)  # noqa: SLF001

        if not np.array_equal(guided(), matting.matte(image).alpha):
            raise SystemExit("the parts do not make the whole")

        variants: dict[str, Callable[[], object]] = {
            "session.run": lambda: session.run(wanted, feed),
            "matte": lambda: matting.matte(image),
            "matte, refine none": lambda: matting.matte(image, refine="none"),
            "copy and check the photo": lambda: load_image(image),
            "photo to network input": lambda: preprocess.prepare([image], spec.input),
            "check the output": lambda: postprocess.network_alpha(output, spec, place.input),
            "alpha to photo size, guided": guided,
        }
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        for turn in range(_WARM_UP + arguments.rounds):
            for name, call in variants.items():
                started = time.perf_counter()
                call()
                if turn >= _WARM_UP:
                    seconds[name].append(time.perf_counter() - started)
    added = {
        name: round(float(np.median(np.divide(seconds[name], seconds["session.run"]))) - 1, 4)
        for name in seconds
        if name.startswith("matte")
    }
    timing = {name: harness.Timing.of(values) for name, values in seconds.items()}
    for name, value in timing.items():
        print(f"{name:<28} {1000 * value.median:8.2f} ms")
    for name, share in added.items():
        print(f"{name}: {share:+.1%} around session.run")
    rows = {name: asdict(value) for name, value in timing.items()}
    size = {"height": SIZE[0], "width": SIZE[1], "model": spec.name, "rounds": arguments.rounds}
    print(harness.save("runtime", {**size, "added": added, "rows": rows}))


if __name__ == "__main__":
    main()
