"""Whole processes, JPEG on disk to PNG on disk: ``portrait matte`` beside ``rembg i``.

``python benchmarks/bench_process.py U2NETP.onnx [--photos FOLDER]``. Both run the same weights:
ours a copy adopted with the profile ``u2netp``, rembg's session ``u2net_custom`` the file itself.
Ours writes clean foreground colours; rembg does so only with ``-a``, and is measured without it
and, on the portrait, with it. The pictures: one portrait enlarged to 12 megapixels with a sensor's
grain, and a mosaic of photos at their own resolution. Peak memory is the kernel's figure for the
process (``wait4``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import harness

from portrait_sdk import bench
from portrait_sdk.media import load_image, save_image

SIZE = (3000, 4000)
_QUALITY = 92
_SCRIPTS = Path(sysconfig.get_path("scripts"))


@dataclass(slots=True)
class Runs:
    """Processes of one kind."""

    command: list[str]
    out: Path
    seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)

    def once(self, environment: dict[str, str], *, keep: bool) -> None:
        """Run to its end; refuse a failure."""
        self.out.unlink(missing_ok=True)
        seconds, peak = harness.process(self.command, environment)
        if not self.out.is_file():
            sys.exit(f"{' '.join(self.command)}: wrote nothing")
        if keep:
            self.seconds.append(seconds)
            self.peak_bytes.append(peak)


def measure(
    photo: Path, work: Path, adopted: Path, home: Path, rounds: int, slow_rounds: int
) -> dict[str, object]:
    """Time the three commands on one photo, taking turns."""
    custom = json.dumps({"model_path": str(home / "u2netp.onnx")})
    rembg = [str(_SCRIPTS / "rembg"), "i", "-m", "u2net_custom", "-x", custom]
    outs = {name: work / f"{name}.png" for name in ("portrait", "rembg", "rembg -a")}
    variants = {
        "portrait": Runs(
            [str(_SCRIPTS / "portrait"), "matte", str(photo), "-o", str(outs["portrait"]),
             "--model", str(adopted), "--provider", "cpu"], outs["portrait"]),
        "rembg": Runs([*rembg, str(photo), str(outs["rembg"])], outs["rembg"]),
        "rembg -a": Runs([*rembg, "-a", str(photo), str(outs["rembg -a"])], outs["rembg -a"]),
    }  # fmt: skip
    environment = {**os.environ, "U2NET_HOME": str(home)}
    for turn in range(-1, rounds):  # the first reads files from disk and is dropped
        for name, runs in variants.items():
            # PyMatting has compiled by then: main saw to that.
            if name != "rembg -a" or 0 <= turn < slow_rounds:
                runs.once(environment, keep=turn >= 0)
    rows: dict[str, dict[str, object]] = {}
    ours = variants["portrait"]
    our_s, our_bytes = harness.Timing.of(ours.seconds), harness.Timing.of(ours.peak_bytes)
    for name, runs in variants.items():
        if not runs.seconds:
            continue
        taken, peak = harness.Timing.of(runs.seconds), harness.Timing.of(runs.peak_bytes)
        rows[name] = {
            "seconds": asdict(taken),
            "peak_mib": round(peak.median / 2**20, 1),
            "rounds": len(runs.seconds),
            "output_bytes": runs.out.stat().st_size,
            "time_ratio": round(taken.median / our_s.median, 2),
            "memory_ratio": round(peak.median / our_bytes.median, 2),
        }
        print(
            f"{photo.stem:<8} {name:<9} {taken.median:7.2f} s ({taken.median / our_s.median:5.1f}x)"
            f"  {peak.median / 2**20:7.0f} MiB ({peak.median / our_bytes.median:5.2f}x)",
            flush=True,
        )
    return {"coverage": coverage(outs["portrait"]), "rows": rows}


def coverage(png: Path) -> float:
    """The share of the picture that was kept: a picture without people would flatter an encoder."""
    alpha = load_image(png).source_alpha
    return 1.0 if alpha is None else round(float(alpha.mean()) / 255, 4)


def compile_pymatting(environment: dict[str, str], rembg: list[str], work: Path) -> None:
    """Let PyMatting's 40 s of compiling pass before anything is timed."""
    photo = work / "small.jpg"
    save_image(load_image(bench.bundled()).image, photo)
    subprocess.run(
        [*rembg, "-a", str(photo), str(work / "small.png")],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip


def main() -> None:
    """Make the pictures, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="u2netp.onnx, as rembg fetches it.")
    parser.add_argument("--photos", type=Path, help="Of the mosaic. Default: the bundled one.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--slow-rounds", type=int, default=3, help="Of rembg -a.")
    arguments = parser.parse_args()

    from portrait_sdk.converters.adopt import adopt

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        home = work / "u2net"
        home.mkdir()
        shutil.copy(arguments.model, home / "u2netp.onnx")
        adopted = work / "adopted.onnx"
        adopt(arguments.model, adopted, "u2netp")
        portrait = load_image(bench.bundled()).over_white()
        pictures = {
            "portrait": bench.upscaled(portrait, (SIZE[1], SIZE[0])),
            "mosaic": bench.mosaic(harness.portraits(arguments.photos), SIZE),
        }
        custom = json.dumps({"model_path": str(home / "u2netp.onnx")})
        compile_pymatting(
            {**os.environ, "U2NET_HOME": str(home)},
            [str(_SCRIPTS / "rembg"), "i", "-m", "u2net_custom", "-x", custom],
            work,
        )
        found = {}
        for name, picture in pictures.items():
            photo = work / f"{name}.jpg"
            save_image(picture, photo, quality=_QUALITY)
            found[name] = measure(
                photo, work, adopted, home, arguments.rounds,
                # There is nearly nobody in the mosaic: `rembg -a` was still solving after four
                # minutes of processor time when it was stopped.
                arguments.slow_rounds if name == "portrait" else 0,
            )  # fmt: skip
    own = arguments.photos is None
    result = {"height": SIZE[0], "width": SIZE[1], "model": "u2netp", "bundled_photos": own}
    print(harness.save("process", {**result, "pictures": found}))


if __name__ == "__main__":
    main()
