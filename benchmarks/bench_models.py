"""Models side by side on one list of photos: quality and time, in one run.

``python benchmarks/bench_models.py DATA MODEL.onnx [MODEL.onnx …]`` with self-describing files;
DATA holds ``ccp/``. Truth is ``ccp/mask`` (binary, made by people), alpha at the photo's own size.
`portrait evaluate` does the work; here its means become README's table.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import harness

import portrait_sdk
from portrait_sdk.evaluation import evaluate, report
from portrait_sdk.model.session import read_spec

_MEANS = ("mad", "mad_outside_band", "mad_thresholded", "iou")


def main() -> None:
    """Run every model on every photo, taking turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--split", default="validation", help="A list of ids beside the folders.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="models")
    arguments = parser.parse_args()
    portrait_sdk.set_threads(arguments.threads)

    found = evaluate(
        arguments.models,
        f"pairs:{arguments.data / 'ccp'}?truth=mask",
        split=arguments.split,
        refine="none",
        provider="cpu",
    )
    if found.failures:
        raise SystemExit(f"{found.failures[0].name}: {found.failures[0].error}")
    table = report.summary(found)
    print(report.as_text(table))
    reference = table["seconds"][found.models[0]]["median"]
    rows = []
    for model, path in zip(found.models, arguments.models, strict=True):
        facts, seconds = table["facts"]["models"][model], table["seconds"][model]
        rows.append(
            {
                "model": model,
                "license": facts["license"],
                "bytes": facts["bytes"],
                "size_policy": asdict(read_spec(path).input.size),
                **{name: round(table["total"][model][name]["mean"], 5) for name in _MEANS},
                "seconds": seconds,
                "time_ratio_to_first": round(seconds["median"] / reference, 3),
            }
        )
    result = {
        "list": f"ccp/{arguments.split}.txt",
        "photos": len(found.photos),
        "threads": arguments.threads,
    }
    print(harness.save(arguments.name, {**result, "rows": rows}))


if __name__ == "__main__":
    main()
