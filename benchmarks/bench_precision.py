"""One model as exported, simplified, in fp16 and in int8: time, size and alpha's error, in one run.

``python benchmarks/bench_precision.py NAME=RAW.onnx,SIMPLIFIED.onnx,FP16.onnx,INT8.onnx`` compares
files, the first being the reference; they are named after what their metadata says.
``python benchmarks/bench_precision.py MODEL.onnx … --calibration DIR --portraits DIR`` makes the
variants of a self-describing float32 model, or of a checkpoint (its export and all), first.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import onnx

import portrait_sdk
from portrait_sdk.converters import checkpoints, convert, export, metadata
from portrait_sdk.converters.precision import calibration, fp16, int8, measure, prepare
from portrait_sdk.model.session import read_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portrait_sdk.spec import ModelSpec

_OPTIONAL = ("raw", "simplified", "fp16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One model in several variants; the first is what the others are compared with."""

    name: str
    spec: ModelSpec
    variants: Mapping[str, bytes]
    reports: Mapping[str, Any]


def from_files(name: str, paths: Sequence[Path]) -> Subject:
    """Variants that exist already, in the order raw, simplified, fp16, int8."""
    spec = next((read_spec(p) for p in reversed(paths) if _describes_itself(p)), None)
    if spec is None:
        raise SystemExit(f"{name}: none of its files describes itself; `portrait adopt` makes one")
    names = _OPTIONAL[: len(paths)]
    variants = {n: p.read_bytes() for n, p in zip(names, paths, strict=True)}
    return Subject(name=name, spec=spec, variants=variants, reports={})


def _describes_itself(path: Path) -> bool:
    return any(e.key == "portrait_sdk" for e in onnx.load(path).metadata_props)


def built(path: Path, calibrate: Path, people: list[Any], count: int) -> Subject:
    """Make every variant of a float32 model with the package."""
    spec, model = read_spec(path), onnx.load(path)
    half, half_report = fp16.convert(model, spec, people)
    small, small_report = int8.convert(
        model, spec, calibration.load(calibrate, spec, count), people
    )
    return Subject(
        name=spec.name,
        spec=spec,
        variants={
            "raw": path.read_bytes(),
            "simplified": prepare.simplified(model, spec).SerializeToString(),
            "fp16": half.SerializeToString(),
            "int8": small.SerializeToString(),
        },
        reports={
            "fp16": {"kept_in_float": half_report["kept_in_float"]},
            "int8": {
                key: small_report[key] for key in ("rewritten", "calibration", "kept_in_float")
            },
        },
    )


def exported(path: Path, calibrate: Path, people_folder: Path, count: int) -> Subject:
    """Convert a checkpoint, its architecture told by its keys; raw is what torch exports."""
    source = checkpoints.read(path)
    architecture = checkpoints.recognise(source)
    profile = architecture.profile()
    network = architecture.build().eval()
    checkpoints.fit(network, source, architecture)
    raw = export.to_onnx(network, architecture, input_name=profile.input.name, axes=export.Axes())
    metadata.strip(raw)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{path.stem}.onnx"
        convert.convert(path, out, convert.Options(half_storage=False), progress=print)
        people = calibration.load(people_folder, read_spec(out), count)
        subject = built(out, calibrate, people, count)
    variants = {**subject.variants, "raw": raw.SerializeToString()}
    return replace(subject, variants=variants)


def rows(subject: Subject, people: list[Any], rounds: int) -> list[dict[str, Any]]:
    """Time, size and error of each variant."""
    sessions = {name: measure.session(data) for name, data in subject.variants.items()}
    alphas = {name: measure.alphas(s, subject.spec, people) for name, s in sessions.items()}
    reference = next(iter(sessions))
    feed = measure.inputs(subject.spec, people[0])
    timings = harness.take_turns(
        {
            name: functools.partial(opened.run, [subject.spec.alpha.name], feed)
            for name, opened in sessions.items()
        },
        rounds,
    )
    found = []
    for name, data in subject.variants.items():
        difference = measure.Difference.between(alphas[reference], alphas[name])
        found.append(
            {
                "model": subject.name,
                "variant": name,
                "bytes": len(data),
                "nodes": len(onnx.load_from_string(data).graph.node),
                "seconds": asdict(timings[name]),
                "speed_ratio": round(timings[reference].median / timings[name].median, 3),
                "alpha": {key: round(value, 6) for key, value in asdict(difference).items()},
                **subject.reports.get(name, {}),
            }
        )
    return found


def main() -> None:
    """Compare every subject's variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="+", metavar="NAME=FILE,FILE… | MODEL.onnx | CHECKPOINT")
    parser.add_argument("--portraits", type=Path, required=True, help="Pictures to compare on.")
    parser.add_argument("--calibration", type=Path, help="Other pictures, for int8's ranges.")
    parser.add_argument("--count", type=int, default=16, help="Pictures taken from each folder.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=harness.ROUNDS)
    parser.add_argument("--name", default="precision")
    arguments = parser.parse_args()
    portrait_sdk.set_threads(arguments.threads)

    table: list[dict[str, Any]] = []
    for text in arguments.subjects:
        name, equals, files = text.partition("=")
        if equals:
            subject = from_files(name, [Path(part) for part in files.split(",")])
            people = calibration.load(arguments.portraits, subject.spec, arguments.count)
        elif arguments.calibration is not None and not text.endswith(".onnx"):
            path = Path(text)
            subject = exported(path, arguments.calibration, arguments.portraits, arguments.count)
            people = calibration.load(arguments.portraits, subject.spec, arguments.count)
        else:
            if arguments.calibration is None:
                parser.error(f"{text}: --calibration DIR is needed to make its variants")
            spec = read_spec(Path(text))
            people = calibration.load(arguments.portraits, spec, arguments.count)
            subject = built(Path(text), arguments.calibration, people, arguments.count)
        for row in rows(subject, people, arguments.rounds):
            table.append({**row, "size": list(people[0].shape)})
            print(
                f"{row['model']:<22} {row['variant']:<11} {row['bytes'] / 1e6:6.1f} MB "
                f"{1000 * row['seconds']['median']:7.1f} ms  {row['speed_ratio']:.2f} x  "
                f"mean {row['alpha']['mean']:.5f}  99.9 % {row['alpha']['high']:.4f}"
            )
    facts = {"threads": arguments.threads, "pictures": arguments.count, "rounds": arguments.rounds}
    print(harness.save(arguments.name, {**facts, "rows": table}))


if __name__ == "__main__":
    main()
