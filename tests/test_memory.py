"""Hundreds of calls leave no memory behind, whatever sizes the photos have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import build_model, native_spec

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="resident memory is read from procfs"
)

_SLACK_MB = 8
"""The heap's own ups and downs; one photo kept per call would be 60 MB, one matte 100."""

CODE = """
import os, sys
from pathlib import Path
import numpy as np
import portrait_sdk

def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

rng = np.random.default_rng(1)
photo = rng.integers(0, 256, (300, 300, 3), np.uint8)
sizes = rng.integers(100, 301, (400, 2))
sizes[:20] = 300  # the largest first: what is taken for it is kept and used again
seen = []
with portrait_sdk.load(sys.argv[1], provider="cpu", threads=1) as matting:
    for height, width in sizes:
        matting.matte(photo[:height, :width]).cutout(None)
        seen.append(resident_mb())
print(np.median(seen[100:150]), np.median(seen[-50:]))
"""


def test_calls_of_varying_sizes_do_not_grow(tmp_path: Path) -> None:
    model = build_model(tmp_path / "m.onnx", native_spec())
    out = subprocess.run(
        [sys.executable, "-c", CODE, str(model)], check=True, capture_output=True, text=True
    ).stdout
    early, late = map(float, out.split())
    assert late - early < _SLACK_MB
