"""Every instruction set writes the same bits, and they are what NumPy means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.battery import (
    CASES,
    ISAS,
    NOTHING,
    TOLERANCE,
    Call,
    a_photo,
    fill,
    needs_extension,
    run,
)

pytestmark = needs_extension

SIDES = st.integers(1, 150)  # past every vector's width, its tail included
SEEDS = st.integers(0, 2**32 - 1)
SIZES = [  # one pixel, lines, primes, and more than 16 bits count
    (1, 1),
    (1, 2),
    (2, 1),
    (1, 257),
    (257, 1),
    (3, 31),
    (67, 131),
    (1, 65_537),
    (70_001, 1),
    (2, 66_000),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_every_isa_writes_the_same_bits(
    case: str, isa: str, height: int, width: int, seed: int
) -> None:
    call = CASES[case](np.random.default_rng(seed), height, width)
    for got, want in zip(call(isa), call("scalar"), strict=True):
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_scalar_means_what_numpy_says(case: str, height: int, width: int, seed: int) -> None:
    call = CASES[case](np.random.default_rng(seed), height, width)
    for got, want in zip(call("scalar"), call("numpy"), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[case])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_odd_sizes_mean_what_numpy_says(case: str, isa: str, height: int, width: int) -> None:
    call = CASES[case](np.random.default_rng(height + width), height, width)
    # NumPy sweeps diagonal by diagonal in Python, minutes here; the scalar stands for it.
    slow = case.startswith("multilevel") and max(height, width) > 60_000
    reference = "scalar" if slow else "numpy"
    for got, want in zip(call(isa), call(reference), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[case])


@pytest.mark.parametrize("isa", ISAS)
def test_every_pair_of_bytes_multiplies_and_divides_exactly(isa: str) -> None:
    colour, alpha = np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2)
    pixels = np.stack([colour, colour[::-1], 255 - colour, alpha], axis=-1)
    wide = pixels.astype(np.int64)
    c, a = wide[..., :3], wide[..., 3:]
    times, divided = np.empty_like(pixels), np.empty_like(pixels)

    run(isa, "premultiply", pixels, times)
    run(isa, "unpremultiply", pixels, divided)
    np.testing.assert_array_equal(times[..., :3], (2 * c * a + 255) // 510)
    exact = np.where(a > 0, np.minimum(255, (2 * 255 * c + a) // np.maximum(2 * a, 1)), 0)
    np.testing.assert_array_equal(divided[..., :3], exact)
    np.testing.assert_array_equal(times[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(divided[..., 3], pixels[..., 3])


@pytest.mark.parametrize("isa", ISAS)
def test_boxes_larger_than_the_image_are_mirrored_again_and_again(isa: str) -> None:
    rng = np.random.default_rng(3)

    for height, width, size in [(1, 1, 90), (2, 5, 90), (5, 2, 7), (3, 1, 1000), (17, 13, 500)]:
        image = rng.random((height, width, 3), dtype=np.float32)
        alpha = rng.uniform(0.1, 0.9, (height, width)).astype(np.float32)
        call = Call(
            kernel="blur_fusion",
            args=(image, alpha, image, image, None, None, size, 0, height),
            outputs=((image.shape, np.float32),) * 2,
        )
        for got, want in zip(call(isa), call("numpy"), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)  # an ulp or few, weights > 0.1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kernel", ["multilevel", "blur_fusion"])
def test_nan_in_alpha_harms_nothing_but_colours(kernel: str, isa: str) -> None:
    rng = np.random.default_rng(5)
    call = CASES[kernel](rng, 37, 53)
    alpha = call.args[1]
    alpha[11, 17] = np.nan
    for got, want in zip(call(isa), call("scalar"), strict=True):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        assert got[~np.isnan(got)].min() >= -1e-6


@pytest.mark.parametrize("isa", ISAS)
def test_huge_counts_end(isa: str) -> None:
    image = np.full((4, 3, 3), 0.25, np.float32)
    alpha = np.full((4, 3), 0.5, np.float32)
    front, back = np.empty_like(image), np.empty_like(image)

    run(isa, "blur_fusion", image, alpha, image, image, front, back, 2**30, 0, 4)
    np.testing.assert_allclose(front, image, rtol=0, atol=1e-5)  # the 1e-5 in the divisor
    run(isa, "multilevel", image, alpha, front, back, 1e-5, 1.0, 2**30, 2000, 2**30, 0)
    assert np.isfinite(front).all()
    assert np.isfinite(back).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("tiled_levels", [0, 1, 2, 3])
def test_pictures_of_many_tiles_mean_what_numpy_says(
    isa: str, dtype: type[Any], tiled_levels: int
) -> None:
    rng = np.random.default_rng(7)
    height, width = 300, 411  # 5 x 7 tiles, most of them without an unknown pixel
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    alpha = np.clip((90 - np.hypot(y - 160, x - 190)) / 9, 0, 1).astype(np.float32)
    image = rng.random((height, width, 3), dtype=np.float32)
    if dtype is np.uint8:
        image = a_photo(rng, height, width, 3)
    call = Call(
        kernel="multilevel",
        args=(image, alpha, None, NOTHING, 1e-5, 1.0, 32, 10, 2, tiled_levels),
        outputs=((image.shape, dtype),),
    )
    bound = TOLERANCE["multilevel of bytes" if dtype is np.uint8 else "multilevel"]
    np.testing.assert_allclose(
        call(isa)[0].astype(np.float64), call("numpy")[0], rtol=0, atol=bound
    )


@pytest.mark.parametrize("isa", ISAS)
def test_rows_of_blur_fusion_are_those_of_the_whole(isa: str) -> None:
    call = CASES["blur_fusion"](np.random.default_rng(8), 90, 40)
    whole = call(isa)
    parts = [np.zeros_like(array) for array in whole]
    for first, last in [(0, 1), (1, 50), (50, 90)]:
        run(isa, "blur_fusion", *fill(call.args[:-2], parts), first, last)
    for got, want in zip(parts, whole, strict=True):
        # Sums of doubles that begin elsewhere: an ulp of float32, divided by weights above 1e-3.
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
