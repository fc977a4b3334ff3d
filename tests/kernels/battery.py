"""The implementations under test, and one case per kernel: arrays in, arrays out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from portrait_sdk.ops import _kernels_numpy, resample
from portrait_sdk.spec import Filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WITHOUT = os.environ.get("PORTRAIT_NO_EXTENSION", "") not in ("", "0")

if WITHOUT:
    _kernels: Any = None
    ISAS: tuple[str, ...] = ()
else:
    from portrait_sdk.ops import _kernels  # a build without it fails here, and should

    ISAS = _kernels.isas()

IMPLEMENTATIONS = (*ISAS, "numpy")

NOTHING: Any = type("Nothing", (), {})()
"""An output that is not wanted: None among the kernel's arguments."""

needs_extension = pytest.mark.skipif(WITHOUT, reason="PORTRAIT_NO_EXTENSION is set")


def run(implementation: str, kernel: str, *args: Any) -> None:
    """Call a kernel of ``numpy`` or of the compiled module's instruction set."""
    if implementation == "numpy":
        with np.errstate(all="ignore"):  # NaN in alpha is part of the battery
            getattr(_kernels_numpy, kernel)(*args)
    else:
        getattr(_kernels, kernel)(*args, isa=implementation)


def fill(args: Iterable[Any], outputs: Iterable[Any]) -> list[Any]:
    """Arguments with an output for each None, and None for each NOTHING."""
    waiting = iter(outputs)
    return [next(waiting) if a is None else None if a is NOTHING else a for a in args]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A kernel's arguments, with None in place of each output, NOTHING for None."""

    kernel: str
    args: tuple[Any, ...]
    outputs: tuple[tuple[tuple[int, ...], type[Any]], ...]

    def __call__(self, implementation: str) -> tuple[Any, ...]:
        """Run on fresh outputs filled with a value that no kernel leaves by chance."""
        made = tuple(np.full(shape, 77, dtype) for shape, dtype in self.outputs)
        run(implementation, self.kernel, *fill(self.args, made))
        return made


def a_photo(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def an_alpha(rng: np.random.Generator, height: int, width: int) -> Any:
    """In [0, 1] with plateaus, exact 8-bit halves, values outside, infinities and NaN."""
    alpha = rng.random((height, width), dtype=np.float32)
    alpha[rng.random(alpha.shape) < 0.2] = 0
    alpha[rng.random(alpha.shape) < 0.2] = 1
    halves = (rng.integers(0, 255, alpha.shape) + np.float32(0.5)) / np.float32(255)
    odd = rng.random(alpha.shape) < 0.1
    alpha[odd] = halves[odd]
    for value in (-0.0, -1, 2, np.inf, -np.inf, np.nan):
        alpha[rng.random(alpha.shape) < 0.02] = value
    return alpha


def a_clean_alpha(rng: np.random.Generator, height: int, width: int) -> Any:
    """In [0, 1], half of it exactly 0 or 1."""
    return np.clip(2 * rng.random((height, width), dtype=np.float32) - 0.5, 0, 1)


def taps(source: tuple[int, int], target: tuple[int, int], kernel: str, **how: Any) -> list[Any]:
    vertical, horizontal = resample.taps_for(source, target, Filter(kernel=kernel, **how))
    return [vertical.start, vertical.weights, horizontal.start, horizontal.weights]


KERNELS = ("nearest", "area", "bilinear", "bicubic", "lanczos4")


def _planes(rng: np.random.Generator, height: int, width: int) -> Call:
    h, w = (int(n) for n in rng.integers(1, 40, 2))
    four = taps((height, width), (h, w), KERNELS[rng.integers(len(KERNELS))])
    scale, offset = rng.normal(size=(2, 3)).astype(np.float32)
    image, reverse = a_photo(rng, height, width, 3), bool(rng.integers(2))
    return Call(
        kernel="resize_to_planes",
        args=(image, None, *four, scale, offset, reverse),
        outputs=(((3, h, w), np.float32),),
    )


def _alpha_to(dtype: type[Any]) -> Callable[[np.random.Generator, int, int], Call]:
    def make(rng: np.random.Generator, height: int, width: int) -> Call:
        h, w = (int(n) for n in rng.integers(1, 40, 2))
        four = taps((h, w), (height, width), KERNELS[rng.integers(len(KERNELS))])
        return Call(
            kernel="resize_alpha",
            args=(an_alpha(rng, h, w), None, *four),
            outputs=(((height, width), dtype),),
        )

    return make


def _quantize(rng: np.random.Generator, height: int, width: int) -> Call:
    return Call(
        kernel="quantize",
        args=(an_alpha(rng, height, width), None),
        outputs=(((height, width), np.uint8),),
    )


def _cutout(rng: np.random.Generator, height: int, width: int) -> Call:
    return Call(
        kernel="cutout",
        args=(a_photo(rng, height, width, 3), an_alpha(rng, height, width), None),
        outputs=(((height, width, 4), np.uint8),),
    )


def _composite(rng: np.random.Generator, height: int, width: int) -> Call:
    size = (height, width) if rng.integers(2) else (1, 1)
    front, back = a_photo(rng, height, width, 3), a_photo(rng, *size, 3)
    return Call(
        kernel="composite",
        args=(front, an_alpha(rng, height, width), back, None),
        outputs=(((height, width, 3), np.uint8),),
    )


def _rgba(kernel: str) -> Callable[[np.random.Generator, int, int], Call]:
    def make(rng: np.random.Generator, height: int, width: int) -> Call:
        image = a_photo(rng, height, width, 4)
        image[rng.random((height, width)) < 0.1] = 0
        return Call(kernel=kernel, args=(image, None), outputs=((image.shape, np.uint8),))

    return make


def _colours(dtype: type[Any], rng: np.random.Generator, height: int, width: int) -> Any:
    if dtype is np.uint8:
        return a_photo(rng, height, width, 3)
    return rng.random((height, width, 3), dtype=np.float32)


def _blur_fusion(dtype: type[Any]) -> Callable[[np.random.Generator, int, int], Call]:
    def make(rng: np.random.Generator, height: int, width: int) -> Call:
        image, front, back = (_colours(dtype, rng, height, width) for _ in range(3))
        size = int(rng.choice([1, 2, 3, 6, 7, 90]))
        whole = ((image.shape, np.float32),) * 2
        only = ((image.shape, np.uint8),)
        alpha = a_clean_alpha(rng, height, width)
        rows = (0, height)
        if dtype is np.uint8:
            return Call(
                kernel="blur_fusion",
                args=(image, alpha, front, back, None, NOTHING, size, *rows),
                outputs=only,
            )
        return Call(
            kernel="blur_fusion",
            args=(image, alpha, front, back, None, None, size, *rows),
            outputs=whole,
        )

    return make


def an_alpha_with_a_band(rng: np.random.Generator, height: int, width: int) -> Any:
    """A soft edge through known regions, larger than a tile where the picture is."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, offset = rng.uniform(0, 6.3), rng.uniform(-20, 20)
    distance = np.cos(angle) * (x - width / 2) + np.sin(angle) * (y - height / 2) + offset
    return np.clip(0.5 + distance / rng.uniform(2, 30), 0, 1).astype(np.float32)


def _multilevel(
    dtype: type[Any], tiled_levels: int
) -> Callable[[np.random.Generator, int, int], Call]:
    def make(rng: np.random.Generator, height: int, width: int) -> Call:
        image = _colours(dtype, rng, height, width)
        small, many, few = int(rng.integers(40)), int(rng.integers(6)), int(rng.integers(4))
        make_alpha = an_alpha_with_a_band if tiled_levels else a_clean_alpha
        back = NOTHING if dtype is np.uint8 else None
        return Call(
            kernel="multilevel",
            args=(image, make_alpha(rng, height, width), None, back, 1e-3, 1.0, small, many, few,
                  tiled_levels),
            outputs=((image.shape, dtype),) * (1 if dtype is np.uint8 else 2),
        )  # fmt: skip

    return make


def _png_filter(rng: np.random.Generator, height: int, width: int) -> Call:
    """Slopes, noise and plateaus in turn, so that every filter wins somewhere."""
    pixel, first = int(rng.integers(1, 5)), int(rng.integers(height))
    slopes = np.add.outer(rng.integers(9) * np.arange(height), rng.integers(9) * np.arange(width))
    image = (slopes[..., None] + rng.integers(0, 40, pixel)).astype(np.uint8)
    noisy = rng.random(height) < 0.5
    image[noisy] += a_photo(rng, *image[noisy].shape) >> int(rng.integers(8))
    image[rng.random(height) < 0.2] = int(rng.choice([0, 128]))
    n = width * pixel
    return Call(
        kernel="png_filter",
        args=(image.reshape(height, n), first, pixel, None),
        outputs=(((int(rng.integers(1, height - first + 1)), 1 + n), np.uint8),),
    )


def _guided_slopes(rng: np.random.Generator, height: int, width: int) -> Call:
    guide = rng.random((3, height, width), dtype=np.float32)
    rows = int(rng.integers(1, height + 1))
    first = int(rng.integers(height - rows + 1))
    alpha = a_clean_alpha(rng, height, width)
    alpha[: height // 2, : width // 2] = 0  # where nothing is to be done
    return Call(
        kernel="guided_slopes",
        args=(guide, alpha, None, first, 1e-3),
        outputs=(((rows, width, 4), np.float32),),
    )


def _guided_detail(rng: np.random.Generator, height: int, width: int) -> Call:
    h, w = (int(n) for n in rng.integers(1, 40, 2))
    slopes = rng.normal(0, 1e-3, (h, w, 4)).astype(np.float32)
    slopes[rng.random((h, w)) < rng.choice([0.5, 1.0])] = 0
    return Call(
        kernel="guided_detail",
        args=(
            a_photo(rng, height, width, 3),
            slopes,
            a_clean_alpha(rng, height, width),
            None,
            *taps((h, w), (height, width), KERNELS[rng.integers(len(KERNELS))]),
        ),
        outputs=(((height, width), np.float32),),
    )


def _connectivity(*, background: bool) -> Callable[[np.random.Generator, int, int], Call]:
    """Blobs, plateaus and noise, so that components part, meet and tie; odd values too."""

    def make(rng: np.random.Generator, height: int, width: int) -> Call:
        steps = int(rng.choice([1, 2, 10, 255]))
        thresholds = (np.arange(1, steps + 1) / steps).astype(np.float32)
        alphas = []
        for _ in range(2):
            cell = int(rng.integers(1, 12))
            blobs = rng.random((height // cell + 1, width // cell + 1), dtype=np.float32)
            alpha = np.kron(blobs, np.ones((cell, cell), np.float32))[:height, :width]
            few = int(rng.integers(1, 6))
            alphas.append(np.rint(alpha * few) / np.float32(few))
        where = rng.random((height, width)) < rng.choice([0, 0.01, 0.5])
        alphas[1][where] = an_alpha(rng, height, width)[where]
        return Call(
            kernel="connectivity",
            args=(alphas[0], alphas[1], thresholds, None, background),
            outputs=(((height, width), np.uint8),),
        )

    return make


CASES: dict[str, Callable[[np.random.Generator, int, int], Call]] = {
    "resize_to_planes": _planes,
    "resize_alpha to float32": _alpha_to(np.float32),
    "resize_alpha to uint8": _alpha_to(np.uint8),
    "quantize": _quantize,
    "cutout": _cutout,
    "composite": _composite,
    "premultiply": _rgba("premultiply"),
    "unpremultiply": _rgba("unpremultiply"),
    "blur_fusion": _blur_fusion(np.float32),
    "blur_fusion of bytes": _blur_fusion(np.uint8),
    "multilevel": _multilevel(np.float32, 0),
    "multilevel of bytes": _multilevel(np.uint8, 0),
    "multilevel in tiles": _multilevel(np.float32, 2),
    "multilevel of bytes in tiles": _multilevel(np.uint8, 2),
    "png_filter": _png_filter,
    "guided_slopes": _guided_slopes,
    "guided_detail": _guided_detail,
    "connectivity": _connectivity(background=False),
    "connectivity with the background": _connectivity(background=True),
}

TOLERANCE = {
    # Float sums start at 0 and run in the order of the taps, in C as in NumPy, each operation
    # rounded to float32: no difference at all, and integers follow.
    "resize_to_planes": 0.0,
    "resize_alpha to float32": 0.0,
    "resize_alpha to uint8": 0.0,
    "quantize": 0.0,
    "cutout": 0.0,
    "composite": 0.0,
    "premultiply": 0.0,
    "unpremultiply": 0.0,
    "png_filter": 0.0,
    # Running sums against cumulative ones: at most an ulp of float32 in each mean, which a division
    # by a weight near 0 magnifies; weights of the alphas here are 0 or, nearly always, above 1e-3.
    "blur_fusion": 1e-4,
    "blur_fusion of bytes": 1.0,  # the same, rounded to bytes
    # The start colours' sums may round the other way, which is one step of the 16 bits that levels
    # are kept in; sweeps neither magnify nor forget it.
    "multilevel": 2e-5,
    "multilevel of bytes": 1.0,
    "multilevel in tiles": 2e-5,
    "multilevel of bytes in tiles": 1.0,
    # The same operations in the same order, each rounded to float32.
    "guided_slopes": 0.0,
    "guided_detail": 0.0,
    # Counts of comparisons.
    "connectivity": 0.0,
    "connectivity with the background": 0.0,
}
