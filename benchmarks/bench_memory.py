"""Peak memory of ``portrait matte`` by stage, and thousands of calls in one process.

``python benchmarks/bench_memory.py [--model FILE] [--photos FOLDER] [--calls N]``. Each stage's
peak is read in a process of its own (Linux: ``VmHWM``, set back between stages), for mosaics of 12
and 48 megapixels; the last row is the command itself. The calls are on photos of random sizes;
growth is what is resident after the last tenth of them less what was after the second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np

import portrait_sdk
from portrait_sdk import bench
from portrait_sdk.cli.heap import give_back_large_blocks
from portrait_sdk.media import encode_image, load_image, save_image

SIZES = {"12 MP": (3000, 4000), "48 MP": (6000, 8000)}
_QUALITY = 92
_SMALL = (64, 513)  # px: sides of the photos of the long run


def status_mib(key: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("resident memory is read from procfs, which is not here")


def stages(photo: Path, model: str | None) -> dict[str, dict[str, float]]:
    """What ``portrait matte`` does, stage after stage; peak and what is left after each."""
    rows: dict[str, dict[str, float]] = {}

    def note(name: str) -> None:
        rows[name] = {
            "peak_mib": round(status_mib("VmHWM"), 1),
            "after_mib": round(status_mib("VmRSS"), 1),
        }
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew

    give_back_large_blocks()  # as the command does
    note("imports")
    matting = portrait_sdk.load(model, provider="cpu", keep_memory=False)
    note("load")
    loaded = load_image(photo)
    note("decode")
    with matting:
        matte = matting.matte(loaded)
    del loaded, matting
    note("matte")
    cutout = matte.cutout()
    del matte
    note("foreground and cutout")
    data = encode_image(cutout, "png")
    note("encode")
    del cutout, data
    return rows


def command(photo: Path, out: Path, model: str | None) -> float:
    """Peak of the whole command, in MiB."""
    portrait = Path(sysconfig.get_path("scripts")) / "portrait"
    chosen = [] if model is None else ["--model", model]
    _, peak = harness.process([portrait, "matte", photo, "-o", out, "--provider", "cpu", *chosen])
    return peak / 2**20


def many(model: str | None, calls: int, photos: Path | None) -> dict[str, Any]:
    """Resident memory over calls with photos of random sizes."""
    rng = np.random.default_rng(1)
    picture = bench.mosaic(harness.portraits(photos), (_SMALL[1], _SMALL[1]))
    resident = []
    with portrait_sdk.load(model, provider="cpu") as matting:
        name = matting.spec.name
        for _ in range(calls):
            height, width = rng.integers(*_SMALL, 2)
            matting.matte(picture[:height, :width]).cutout()
            resident.append(status_mib("VmRSS"))
    tenth = calls // 10
    early = float(np.median(resident[tenth : 2 * tenth]))
    late = float(np.median(resident[-tenth:]))
    return {
        "model": name,
        "calls": calls,
        "first_mib": round(resident[0], 1),
        "second_tenth_mib": round(early, 1),
        "last_tenth_mib": round(late, 1),
        "largest_mib": round(max(resident), 1),
        "growth_mib": round(late - early, 1),
    }


def main() -> None:
    """Make the pictures, measure each in new processes, then the long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="A name or an .onnx file. Default: portrait-s.")
    parser.add_argument("--photos", type=Path, help="Of the mosaics. Default: the bundled one.")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--calls-model", help="Of the long run. Default: as --model.")
    parser.add_argument("--stages", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stages is not None:
        print(json.dumps(stages(arguments.stages, arguments.model)))
        return
    chosen = [] if arguments.model is None else ["--model", arguments.model]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for label, size in SIZES.items():
            photo = Path(folder) / "photo.jpg"
            save_image(
                bench.mosaic(harness.portraits(arguments.photos), size), photo, quality=_QUALITY
            )
            own = [sys.executable, __file__, "--stages", str(photo), *chosen]
            rows = json.loads(subprocess.run(own, check=True, capture_output=True).stdout)
            rows["portrait matte"] = {
                "peak_mib": round(command(photo, Path(folder) / "out.png", arguments.model), 1)
            }
            found[label] = rows
            for name, row in rows.items():
                print(f"{label}  {name:<24} peak {row['peak_mib']:8.1f} MiB", flush=True)
    run = many(arguments.calls_model or arguments.model, arguments.calls, arguments.photos)
    print(f"{run['calls']} calls: {run['second_tenth_mib']} MiB to {run['last_tenth_mib']} MiB")
    print(harness.save("memory", {"sizes": found, "calls": run}))


if __name__ == "__main__":
    main()
