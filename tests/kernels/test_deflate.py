"""What deflate writes: any inflater reads it back, it fits, and it is the same everywhere."""

from __future__ import annotations

import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.battery import IMPLEMENTATIONS, ISAS, _kernels, needs_extension

from portrait_sdk.ops import _kernels_numpy, kernels

GUARD = 16


def deflated(implementation: str, data: Any, *, last: bool = True) -> bytes:
    """What it writes, having checked that the bytes past the bound stay as they are."""
    bound = kernels.deflate_bound(data.size)
    out = np.full(bound + GUARD, 77, np.uint8)
    if implementation == "numpy":
        used = _kernels_numpy.deflate(data, last, out[:bound])
    else:
        used = _kernels.deflate(data, last, out[:bound], isa=implementation)
    assert (out[bound:] == 77).all()
    return out[:used].tobytes()


def inflated(packed: bytes, *, last: bool = True) -> bytes:
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    data = reader.decompress(packed)
    assert reader.eof == last
    assert reader.unused_data == b""
    return data


def noise(rng: np.random.Generator, n: int) -> Any:
    return rng.integers(0, 256, n, dtype=np.uint8)


def residuals(rng: np.random.Generator, n: int) -> Any:
    return np.rint(rng.normal(0, 4, n)).astype(np.int8).view(np.uint8)


def runs(rng: np.random.Generator, n: int) -> Any:
    """Lengths around the shortest run, around the longest match, and beyond a block."""
    lengths = rng.choice([1, 2, 8, 9, 10, 11, 257, 258, 259, 260, 268, 269, 600, 70_000], n)
    return np.repeat(rng.integers(0, 3, n).astype(np.uint8), lengths)[:n]


def skewed(rng: np.random.Generator, n: int) -> Any:
    """Frequencies that halve: codes would grow past the longest allowed."""
    return rng.permutation(np.minimum(rng.geometric(0.5, n), 255).astype(np.uint8))


def fibonacci(_rng: np.random.Generator, n: int) -> Any:
    """The frequencies that make codes longest; neighbours always differ."""
    counts = [1, 1]
    while sum(counts) < n:
        counts.append(counts[-1] + counts[-2])
    values = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)[:n]
    return np.ascontiguousarray(values.reshape(-1, 1)[np.argsort(np.arange(n) * 7919 % n)].ravel())


def every_value_once_in_a_while(rng: np.random.Generator, n: int) -> Any:
    return np.where(rng.random(n) < 0.01, noise(rng, n), 0).astype(np.uint8)


KINDS = (noise, residuals, runs, skewed, fibonacci, every_value_once_in_a_while)
SIZES = (1, 2, 9, 10, 11, 12, 63, 64, 65, 259, 65_534, 65_535, 65_536, 131_070, 131_071, 300_000)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("last", [False, True])
def test_zlib_reads_it_back(implementation: str, kind: Any, n: int, *, last: bool) -> None:
    data = kind(np.random.default_rng(n), n)
    assert inflated(deflated(implementation, data, last=last), last=last) == data.tobytes()


@needs_extension
@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 255), st.integers(1, 700)), min_size=1, max_size=200),
    noisy=st.integers(0, 255),
    last=st.booleans(),
)
def test_every_isa_writes_the_same_bytes(
    *, isa: str, pieces: list[tuple[int, int]], noisy: int, last: bool
) -> None:
    values, lengths = zip(*pieces, strict=True)
    data = np.repeat(np.array(values, np.uint8), lengths)
    data[noisy :: noisy + 7] ^= noisy
    packed = deflated(isa, data, last=last)
    assert packed == deflated("scalar", data, last=last)
    assert inflated(packed, last=last) == data.tobytes()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_pieces_make_one_stream(implementation: str) -> None:
    rng = np.random.default_rng(4)
    pieces = [kind(rng, n) for kind in KINDS for n in (1, 100, 70_000)]
    packed = [deflated(implementation, data, last=False) for data in pieces]
    packed.append(deflated(implementation, pieces[0], last=True))
    whole = b"".join(data.tobytes() for data in [*pieces, pieces[0]])
    assert inflated(b"".join(packed)) == whole


@needs_extension
@pytest.mark.parametrize("isa", ISAS)
def test_noise_grows_by_block_headers_alone(isa: str) -> None:
    data = noise(np.random.default_rng(5), 1_000_000)
    assert len(deflated(isa, data)) <= data.size + 6 * 16  # 16 blocks


@needs_extension
@pytest.mark.parametrize("isa", ISAS)
def test_a_single_value_takes_next_to_nothing(isa: str) -> None:
    data = np.zeros(1_000_000, np.uint8)
    # Two bits for each match of 258, and for each of 16 blocks some 20 bytes of codes.
    assert len(deflated(isa, data)) < data.size / 258 / 4 + 16 * 24


@needs_extension
def test_residuals_come_near_their_entropy() -> None:
    data = residuals(np.random.default_rng(6), 1_000_000)
    share = np.bincount(data, minlength=256) / data.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    # Huffman's codes are whole bits, which costs 1.1 % here; the rest is for blocks' headers.
    assert 8 * len(deflated("scalar", data)) < 1.012 * entropy * data.size


@needs_extension
def test_threads_share_data() -> None:
    data = every_value_once_in_a_while(np.random.default_rng(8), 200_000)
    data.flags.writeable = False
    want = deflated("scalar", data)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda isa: deflated(isa, data), ISAS * 24)) == {want}


@needs_extension
@pytest.mark.parametrize(
    ("data", "out", "message"),
    [
        (np.zeros(9, np.uint8), np.zeros(20, np.uint8), "out: expected at least 35 bytes for 9"),
        (np.zeros(18, np.uint8)[::2], np.zeros(99, np.uint8), "data: expected a contiguous array"),
        (np.zeros(9, np.uint8), np.zeros(198, np.uint8)[::2], "out: expected a contiguous array"),
        (np.zeros(0, np.uint8), np.zeros(99, np.uint8), "data: expected uint8 (any,), got uint8"),
        (np.zeros((3, 3), np.uint8), np.zeros(99, np.uint8), "data: expected uint8 (any,), got"),
    ],
)
def test_what_does_not_fit_is_refused(data: Any, out: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        _kernels.deflate(data, last=True, out=out)


@needs_extension
def test_data_within_the_output_is_refused() -> None:
    both = np.zeros(200, np.uint8)
    with pytest.raises(ValueError, match=r"^out: shares memory with data"):
        _kernels.deflate(both[100:110], last=True, out=both)


@needs_extension
@pytest.mark.parametrize(
    ("first", "pixel", "message"),
    [
        (0, 0, "pixel: expected bytes that divide the row's 6, got 0"),
        (0, 4, "pixel: expected bytes that divide the row's 6, got 4"),
        (-1, 3, "first: expected 0 or more, and 2 rows from there within the image's 4, got -1"),
        (3, 3, "first: expected 0 or more, and 2 rows from there within the image's 4, got 3"),
        (2**62, 3, "first: expected 0 or more, and 2 rows from there within the image's 4, got"),
    ],
)
def test_filtering_what_is_not_there_is_refused(first: int, pixel: int, message: str) -> None:
    image, out = np.zeros((4, 6), np.uint8), np.zeros((2, 7), np.uint8)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        _kernels.png_filter(image, first, pixel, out)
