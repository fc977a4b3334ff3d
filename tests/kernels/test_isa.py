"""Instruction sets: which there are, and how one is chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from kernels.battery import ISAS, _kernels, needs_extension

pytestmark = needs_extension

ASK = (
    "import numpy as np; from portrait_sdk.ops import _kernels as k;"
    "a, b = np.ones((1, 1), np.float32), np.zeros((1, 1), np.uint8); k.quantize(a, b);"
    "print(b[0, 0], *k.isas())"
)


def ask(name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", ASK],
        env={**os.environ, "PS_FORCE_ISA": name},
        capture_output=True,
        text=True,
        check=False,
    )


def test_scalar_is_always_there_and_last() -> None:
    assert ISAS[-1] == "scalar"
    assert len(set(ISAS)) == len(ISAS)
    assert set(ISAS) <= {"avx512", "avx2", "neon", "scalar"}


@pytest.mark.parametrize("name", ["", "AVX2", "sse9", "scalar "])
def test_an_unknown_isa_is_refused_with_the_usable_names(name: str) -> None:
    alpha, out = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match=f"isa: expected one of {', '.join(ISAS)}"):
        _kernels.quantize(alpha, out, isa=name)


def test_isa_none_is_the_default() -> None:
    alpha, out = np.ones((2, 2), np.float32), np.zeros((2, 2), np.uint8)
    _kernels.quantize(alpha, out, isa=None)
    assert out.min() == 255


@pytest.mark.parametrize("isa", [*ISAS, ""])
def test_the_environment_forces_an_isa(isa: str) -> None:
    done = ask(isa)
    assert done.stdout.split() == ["255", *ISAS]
    assert done.stderr == ""


def test_the_environment_with_an_unknown_isa_is_an_error_in_one_line() -> None:
    done = ask("sse9")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "ValueError: environment variable PS_FORCE_ISA: expected one of "
        f"{', '.join(ISAS)} on this processor, got 'sse9'"
    )
