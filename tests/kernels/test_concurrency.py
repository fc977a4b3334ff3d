"""Kernels release the GIL, start no threads, and share inputs."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernels.battery import CASES, ISAS, Call, needs_extension

pytestmark = needs_extension


@pytest.mark.parametrize("case", CASES)
def test_many_threads_read_the_same_input(case: str) -> None:
    call = CASES[case](np.random.default_rng(11), 97, 131)
    want = [array.tobytes() for array in call("scalar")]
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(call, ISAS * 24):
            assert [array.tobytes() for array in got] == want


def test_other_threads_run_meanwhile() -> None:
    rng = np.random.default_rng(2)
    image = rng.random((700, 700, 3), dtype=np.float32)
    alpha = rng.random((700, 700), dtype=np.float32)
    call = Call(
        kernel="multilevel",
        args=(image, alpha, None, None, 1e-5, 1.0, 32, 10, 30),
        outputs=((image.shape, np.float32),) * 2,
    )
    thread = threading.Thread(target=call, args=("scalar",))
    before = sys.getswitchinterval()
    turns = 0
    thread.start()
    while thread.is_alive():
        turns += 1
    assert turns > 1000  # a held GIL leaves a handful
    assert sys.getswitchinterval() == before
