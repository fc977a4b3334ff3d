"""Folders: what overlapping decode, infer and encode reaches, beside each stage alone and rembg.

``python benchmarks/bench_folder.py [--photos DIR] [--u2netp FILE [--rembg BIN]] [--count N]``.
Photos are made from those of DIR, seeded: mosaics at native resolution (2 and 12 megapixels), where
networks find few people, and single ones enlarged to 12 with a sensor's grain. JPEG on disk to PNG
cutouts on disk.

*Stages*: with the default model, in one process, twenty photos at a time: each stage alone on all
threads, then the whole on the same files. Its rate is given as a share of the slowest stage's, and
of what all cores allow given the stages' processor seconds: where stages share the cores, only the
latter can come near 1. *Processes*: `rembg p` and ours with the same u2netp weights, whole
folders; time, peak memory, and our resident memory at the 50th photo and the last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import numpy as np

import portrait_sdk
from portrait_sdk import bench
from portrait_sdk.media import count_pixels, encode_image, load_image, save_image, write_atomic
from portrait_sdk.ops import threads
from portrait_sdk.pipeline import stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portrait_sdk import Matte, Matting
    from portrait_sdk.types import Image

SETS = {
    "2 MP mosaics": (1224, 1632),
    "12 MP mosaics": (3000, 4000),
    "12 MP portraits": (4000, 3000),
}
_QUALITY = 92
_AT_ONCE = 20  # photos a round
_KEPT = 6  # pictures held in memory for stages alone
_EARLY = 50  # the photo after which resident memory should no longer grow
_PORTRAIT = Path(sysconfig.get_path("scripts")) / "portrait"


def make(folder: Path, photos: list[Image], size: tuple[int, int], count: int, kind: str) -> None:
    """Write ``count`` different photos."""
    folder.mkdir()
    for number in range(count):
        order = np.random.default_rng(number).permutation(len(photos))
        chosen = [photos[i] for i in order]
        image = (
            bench.mosaic(chosen, size, seed=number)
            if kind == "mosaics"
            else bench.upscaled(chosen[0], size, seed=number)
        )
        save_image(image, folder / f"{number:04}.jpg", quality=_QUALITY)


def write_cutout(source: Path, matte: Matte, out: Path) -> float:
    """The last stage: foreground colours, cutout, PNG, file; returns the share that was kept."""
    write_atomic(out / f"{source.stem}.png", encode_image(matte.cutout(), "png"))
    return matte.coverage


def pipeline(files: list[Path], out: Path, matting: Matting) -> Iterator[float]:
    """The three stages at once; yields each photo's coverage."""
    for outcome in stages.run(
        files,
        matting,
        decode=load_image,
        encode=lambda source, matte: write_cutout(source, matte, out),
        pixels=count_pixels,
    ):
        if outcome.error is not None:
            raise outcome.error
        yield outcome.result or 0.0


def all_threads(work: Callable[[Any], object], items: Iterable[Any]) -> None:
    """One stage alone: every thread of the budget takes items."""
    count = threads.budget()

    def one(item: object) -> None:
        with threads.share_of_budget(count):
            work(item)

    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(one, items):
            pass


def variants(
    files: list[Path], out: Path, matting: Matting, alone: Matting, kept: list[float]
) -> dict[str, Callable[[], object]]:
    """What takes turns on the same files; infer and encode alone go round a few in memory."""
    held = [load_image(path) for path in files[:_KEPT]]
    mattes = [matting.matte(photo) for photo in held]
    numbers = range(len(files))

    def encode(number: int) -> None:
        matte = mattes[number % len(mattes)]
        anew = replace(matte, _foregrounds={})  # colours are estimated as for a new photo
        write_cutout(files[number], anew, out)

    return {
        "decode": lambda: all_threads(load_image, files),
        "infer": lambda: all_threads(lambda n: matting.matte(held[n % len(held)]), numbers),
        "encode": lambda: all_threads(encode, numbers),
        "pipeline": lambda: kept.extend(pipeline(files, out, matting)),
        "one after another": lambda: [write_cutout(path, alone.matte(path), out) for path in files],
    }


def measure_stages(
    files: list[Path], out: Path, matting: Matting, alone: Matting
) -> dict[str, Any]:
    """Each stage alone and the whole, twenty photos at a time, taking turns.

    ``alone`` is the model as ``load`` opens it for one photo at a time.
    """
    taken: dict[str, list[tuple[float, float]]] = {}
    kept: list[float] = []
    list(pipeline(files[:3], out, matting))  # warm-up
    for first in range(0, len(files), _AT_ONCE):
        some = files[first : first + _AT_ONCE]
        for name, run in variants(some, out, matting, alone, kept).items():
            clock, cpu = time.perf_counter(), time.process_time()
            run()
            seconds = time.perf_counter() - clock, time.process_time() - cpu
            taken.setdefault(name, []).append((seconds[0] / len(some), seconds[1] / len(some)))
    walls, cpus = zip(*(np.transpose(rounds) for rounds in taken.values()), strict=True)
    wall, cpu_s = dict(zip(taken, walls, strict=True)), dict(zip(taken, cpus, strict=True))
    stage = ("decode", "infer", "encode")
    slowest = np.max([wall[name] for name in stage], axis=0)
    work = np.sum([cpu_s[name] for name in stage], axis=0) / threads.budget()
    found = {
        "photos": len(files),
        "coverage": round(statistics.fmean(kept), 4),
        "seconds": {name: asdict(harness.Timing.of(values)) for name, values in wall.items()},
        "cpu_seconds": {name: asdict(harness.Timing.of(values)) for name, values in cpu_s.items()},
        "share_of_slowest_stage": round(float(np.median(slowest / wall["pipeline"])), 3),
        "share_of_all_cores": round(float(np.median(work / wall["pipeline"])), 3),
        "faster_than_one_after_another": round(
            float(np.median(wall["one after another"] / wall["pipeline"])), 2
        ),
    }
    for name in taken:
        print(
            f"  {name:<18}{1000 * np.median(wall[name]):8.1f} ms a photo, "
            f"{1000 * np.median(cpu_s[name]):8.1f} ms of processor"
        )
    print(
        f"  {found['share_of_slowest_stage']:.0%} of the slowest stage's rate, "
        f"{found['share_of_all_cores']:.0%} of what all cores allow",
        flush=True,
    )
    return found


def drive(source: Path, out: Path, model: Path, told: Path) -> None:
    """A process of its own: the three stages at once over a folder, and resident memory."""
    out.mkdir()
    with portrait_sdk.load(model, provider="cpu", threads=stages.session_threads(None)) as matting:
        done = pipeline(sorted(source.iterdir()), out, matting)
        resident = [resident_bytes() for _ in done]
    early = resident[min(_EARLY, len(resident)) - 1]
    table = {"at_photo": min(_EARLY, len(resident)), "early_mib": early / 2**20}
    told.write_text(json.dumps({**table, "last_mib": resident[-1] / 2**20}), "utf-8")


def resident_bytes() -> int:
    """What this process holds now (Linux)."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def measure_processes(
    source: Path, work: Path, model: Path, adopted: Path, rembg: str, rounds: int
) -> dict[str, Any]:
    """Whole folders by whole processes, taking turns; each writes into an empty folder."""
    out, told = work / "out", work / "told.json"
    custom = json.dumps({"model_path": str(model)})
    commands: dict[str, list[str | Path]] = {
        "stages.run": [sys.executable, __file__, "--drive", source, out, adopted, told],
        "rembg p": [rembg, "p", "-m", "u2net_custom", "-x", custom, source, out],
    }
    if subprocess.run([_PORTRAIT, "folder", "--help"], capture_output=True, check=False).returncode:
        print("  no `portrait folder` here")
    else:
        commands["portrait folder"] = [
            _PORTRAIT, "folder", source, out, "--model", adopted, "--provider", "cpu", "--quiet",
        ]  # fmt: skip
    environment = {**os.environ, "U2NET_HOME": str(model.parent)}
    count = len(list(source.iterdir()))
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            shutil.rmtree(out, ignore_errors=True)
            taken, peak = harness.process(command, environment)
            if len(list(out.glob("*.png"))) != count:
                sys.exit(f"{name}: wrote {len(list(out.glob('*.png')))} of {count} files")
            seconds[name].append(taken)
            peaks[name].append(peak / 2**20)
    rows = {}
    rival, memory = harness.Timing.of(seconds["rembg p"]), harness.Timing.of(peaks["rembg p"])
    for name in commands:
        taken, peak = harness.Timing.of(seconds[name]), harness.Timing.of(peaks[name])
        rows[name] = {
            "seconds": asdict(taken),
            "peak_mib": round(peak.median, 1),
            "time_ratio": round(rival.median / taken.median, 2),
            "memory_ratio": round(peak.median / memory.median, 2),
        }
        print(
            f"  {name:<18}{taken.median:8.1f} s for {count}"
            f" ({rival.median / taken.median:4.1f}x as fast as rembg p)"
            f"{peak.median:8.0f} MiB ({peak.median / memory.median:.2f} of it)",
            flush=True,
        )
    resident = json.loads(told.read_text("utf-8"))
    print(f"  resident: {resident}")
    return {"photos": count, "model": "u2netp", "rounds": rounds, "rows": rows,
            "resident": resident}  # fmt: skip


def main() -> None:
    """Make the photos, then time."""
    if sys.argv[1:2] == ["--drive"]:
        drive(*map(Path, sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photos", type=Path, help="To make pictures of. Default: the bundled one."
    )
    parser.add_argument("--count", type=int, default=200, help="Photos a set.")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET")
    parser.add_argument(
        "--u2netp", type=Path, help="u2netp.onnx as rembg has it; without, no rembg."
    )
    parser.add_argument("--rembg", default=shutil.which("rembg"), help="Its command.")
    parser.add_argument("--rounds", type=int, default=1, help="Of whole processes.")
    parser.add_argument(
        "--work", type=Path, help="Where the photos are made.  [default: temporary]"
    )
    arguments = parser.parse_args()
    if arguments.u2netp and not arguments.rembg:
        parser.error("no rembg found: give its command, --rembg BIN")
    photos = harness.portraits(arguments.photos)

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = Path(folder)
        (work / "alone").mkdir()
        if arguments.u2netp:
            from portrait_sdk.converters.adopt import adopt

            model, adopted = work / "u2netp.onnx", work / "adopted.onnx"
            shutil.copy(arguments.u2netp, model)
            adopt(model, adopted, "u2netp")
        for name in arguments.sets:
            print(name, flush=True)
            source = work / "in"
            make(source, photos, SETS[name], arguments.count, name.rpartition(" ")[2])
            shared = stages.session_threads(None)
            with (
                portrait_sdk.load(provider="cpu", threads=shared) as matting,
                portrait_sdk.load(provider="cpu") as alone,
            ):
                files = sorted(source.iterdir())
                found[name] = {
                    "bundled_photos": arguments.photos is None,
                    "stages": measure_stages(files, work / "alone", matting, alone),
                }
            if arguments.u2netp:
                found[name]["processes"] = measure_processes(
                    source, work, model, adopted, arguments.rembg, arguments.rounds
                )
            shutil.rmtree(source)
    earlier = harness.RESULTS / "folder.json"
    if earlier.is_file():  # sets that were not asked for stay
        found = {**json.loads(earlier.read_text("utf-8"))["sets"], **found}
    print(harness.save("folder", {"sets": found}))


if __name__ == "__main__":
    main()
