"""Photos in memory to alpha on one provider, beside ``session.run`` on inputs that lie there.

``python benchmarks/bench_provider.py [--provider cuda] [--model FILE] [--cuda-graphs]``. Bare is
ONNX Runtime's own run on the session that ``matte`` uses, its input and output bound to the
provider's memory; ours are 12-megapixel photos to alpha at their size, decoding excluded: one after
another, and through ``stream``. Rounds take turns; a rate is photos a second.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

import harness

import portrait_sdk
from portrait_sdk import bench
from portrait_sdk.media import load_image
from portrait_sdk.model import providers, runtime
from portrait_sdk.ops import preprocess

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (3000, 4000)
AT_ONCE = 16  # photos a round


def main() -> None:
    """Time the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", default="cuda")
    parser.add_argument("--model")
    parser.add_argument("--cuda-graphs", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    photo = load_image(bench.bundled()).over_white()
    images = [bench.upscaled(photo, SIZE, seed=number) for number in range(4)]
    images = [images[number % len(images)] for number in range(AT_ONCE)]
    with portrait_sdk.load(
        arguments.model, provider=arguments.provider, cuda_graphs=arguments.cuda_graphs
    ) as matting:
        variants: dict[str, Callable[[], object]] = {
            "session.run": bare(matting, images[0]),
            "matte": lambda: [matting.matte(image).alpha.shape for image in images],
            "stream": lambda: [m.alpha.shape for m in portrait_sdk.stream(images, matting=matting)],
        }
        timing = harness.take_turns(variants, arguments.rounds)
        rows = {}
        for name, time in timing.items():
            share = timing["session.run"].median / time.median
            rows[name] = {
                "seconds": asdict(time),
                "photos_per_second": round(AT_ONCE / time.median, 2),
                "share_of_bare": round(share, 3),
            }
            print(f"{name:<12} {AT_ONCE / time.median:8.1f} photos/s  {share:.1%} of bare")
        result = {
            "provider": matting.provider,
            "model": matting.spec.name,
            "precision": matting.spec.precision,
            "cuda_graphs": arguments.cuda_graphs,
            "height": SIZE[0],
            "width": SIZE[1],
            "rows": rows,
        }
    print(harness.save(f"provider-{arguments.provider.replace(':', '-')}", result))


def bare(matting: portrait_sdk.Matting, image: object) -> Callable[[], object]:
    """Runs of a round on one prepared photo, bound where the provider computes."""
    session = matting._session._session  # noqa: SLF001 - ONNX Runtime's own
    spec = matting.spec
    name, number = providers.parse(matting.provider)
    device = providers.MEMORY.get(name, "cpu"), number
    batch, _ = preprocess.prepare([load_image(image).image], spec.input)
    batch = batch.astype(matting._session._dtype)  # noqa: SLF001 - of a model in float16, say
    value = runtime.onnxruntime().OrtValue.ortvalue_from_numpy(batch, *device)
    binding = session.io_binding()
    binding.bind_ortvalue_input(spec.input.name, value)
    binding.bind_output(spec.alpha.name, *device)

    def run() -> None:
        for _ in range(AT_ONCE):
            session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


if __name__ == "__main__":
    main()
