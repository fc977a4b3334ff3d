"""Kernels release the GIL, start no threads, and share inputs."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernels.battery import (
    CASES,
    ISAS,
    Call,
    _kernels,
    a_photo,
    an_alpha_with_a_band,
    needs_extension,
)

pytestmark = needs_extension


@pytest.mark.parametrize("case", CASES)
def test_many_threads_read_the_same_input(case: str) -> None:
    call = CASES[case](np.random.default_rng(11), 97, 131)
    want = [array.tobytes() for array in call("scalar")]
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(call, ISAS * 24):
            assert [array.tobytes() for array in got] == want


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tiled_levels", [0, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_a_job_has_the_same_bits_on_any_number_of_threads(
    isa: str, tiled_levels: int, count: int
) -> None:
    rng = np.random.default_rng(12)
    image, alpha = a_photo(rng, 301, 403, 3), an_alpha_with_a_band(rng, 301, 403)
    rest = (1e-5, 1.0, 32, 10, 2, tiled_levels)
    want, got = np.empty_like(image), np.empty_like(image)
    _kernels.multilevel(image, alpha, want, None, *rest, isa=isa)
    for _ in range(5):
        got[...] = 77
        job = _kernels.multilevel_job(image, alpha, got, None, *rest, isa=isa)
        with ThreadPoolExecutor(count) as pool:
            for future in [pool.submit(_kernels.multilevel_join, job) for _ in range(count)]:
                future.result()
        np.testing.assert_array_equal(got, want)


def test_other_threads_run_meanwhile() -> None:
    rng = np.random.default_rng(2)
    image = rng.random((700, 700, 3), dtype=np.float32)
    alpha = rng.random((700, 700), dtype=np.float32)
    call = Call(
        kernel="multilevel",
        args=(image, alpha, None, None, 1e-5, 1.0, 32, 10, 30, 0),
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
