"""Arrays that are not plain: the right result, or an error that says why."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from kernels.battery import (
    CASES,
    ISAS,
    Call,
    _kernels,
    a_clean_alpha,
    a_photo,
    fill,
    needs_extension,
    run,
    taps,
)

pytestmark = needs_extension

H, W = 21, 35
RGB = False  # the order of planes is not reversed


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(17)


def padded_rows(array: Any) -> Any:
    """The same values as a window of a wider array, so that rows are not adjacent."""
    big = np.zeros((array.shape[0] + 2, array.shape[1] + 5, *array.shape[2:]), array.dtype)
    window = big[1:-1, 3:-2]
    window[...] = array
    return window


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES)
def test_windows_and_flipped_rows_give_the_same(
    rng: np.random.Generator, case: str, isa: str
) -> None:
    call = CASES[case](rng, H, W)
    want = call("scalar")
    image_like = {i for i, a in enumerate(call.args) if getattr(a, "ndim", 0) >= 2}
    if case.startswith("resize"):
        image_like = {0}  # taps' weights are whole arrays
    elif case == "guided_detail":
        image_like = {0, 1, 2}
    for view in (padded_rows, lambda a: np.ascontiguousarray(a[::-1])[::-1]):
        args = [view(a) if i in image_like else a for i, a in enumerate(call.args)]
        outputs = [padded_rows(np.full(shape, 77, dtype)) for shape, dtype in call.outputs]
        waiting = list(outputs)
        run(isa, call.kernel, *fill(args, waiting))
        for got, expected in zip(outputs, want, strict=True):
            np.testing.assert_array_equal(got, expected)
            frame = got.base.copy()
            frame[1:-1, 3:-2] = 0
            assert not frame.any()  # nothing written beside the window


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES)
def test_read_only_inputs_are_fine(rng: np.random.Generator, case: str, isa: str) -> None:
    call = CASES[case](rng, H, W)
    want = call(isa)
    for argument in call.args:
        if isinstance(argument, np.ndarray):
            argument.flags.writeable = False
    for got, expected in zip(call(isa), want, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", ["NHWC", "letterbox", "every second", "backwards"])
def test_planes_go_to_any_strides(rng: np.random.Generator, isa: str, layout: str) -> None:
    h, w = 13, 18
    image = a_photo(rng, H, W, 3)
    rest = (*taps((H, W), (h, w), "area"), *rng.normal(size=(2, 3)).astype(np.float32), False)
    want = np.empty((3, h, w), np.float32)
    run("numpy", "resize_to_planes", image, want, *rest)
    tensor = np.zeros((3, 2 * h, 2 * w), np.float32)
    out = {
        "NHWC": np.zeros((h, w, 3), np.float32).transpose(2, 0, 1),
        "letterbox": tensor[:, 4 : 4 + h, 7 : 7 + w],
        "every second": tensor[:, ::2, ::2],
        "backwards": tensor[::-1, h - 1 :: -1, w - 1 :: -1],
    }[layout]
    run(isa, "resize_to_planes", image, out, *rest)
    np.testing.assert_array_equal(out, want)
    if layout != "NHWC":
        assert np.count_nonzero(tensor) == np.count_nonzero(want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kernel", ["premultiply", "unpremultiply"])
def test_rgba_kernels_work_in_place(rng: np.random.Generator, kernel: str, isa: str) -> None:
    call = CASES[kernel](rng, H, W)
    (want,) = call("numpy")
    image = call.args[0]
    run(isa, kernel, image, image)
    np.testing.assert_array_equal(image, want)


def refused(error: type[Exception], message: str, kernel: str, *args: Any) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        getattr(_kernels, kernel)(*args)


def test_another_dtype_is_a_type_error_that_names_the_argument(rng: np.random.Generator) -> None:
    alpha, out = a_clean_alpha(rng, 4, 6), np.zeros((4, 6), np.uint8)
    wrong = "alpha: expected float32 (any, any), got"
    refused(TypeError, f"{wrong} float64 (4, 6)", "quantize", alpha.astype(np.float64), out)
    refused(TypeError, f"{wrong} uint8 (4, 6)", "quantize", out, out.copy())
    refused(TypeError, f"{wrong} format '>f' (4, 6)", "quantize", alpha.astype(">f4"), out)
    refused(TypeError, f"{wrong} float16 (4, 6)", "quantize", alpha.astype(np.float16), out)
    refused(
        TypeError,
        "out: expected uint8 (4, 6), got bool (4, 6)",
        "quantize",
        alpha,
        out.astype(bool),
    )
    refused(TypeError, "alpha: expected a float32 array, got list", "quantize", [[0.0]], out)
    refused(TypeError, "alpha: expected a float32 array, got NoneType", "quantize", None, out)
    when = np.zeros((4, 6), "datetime64[s]")
    refused(TypeError, "alpha: expected a float32 array, got one", "quantize", when, out)


def test_another_shape_is_a_value_error_that_names_the_argument(rng: np.random.Generator) -> None:
    photo, alpha = a_photo(rng, 4, 6, 3), a_clean_alpha(rng, 4, 6)
    rgba = np.zeros((4, 6, 4), np.uint8)
    refused(
        ValueError,
        "alpha: expected float32 (4, 6), got float32 (6, 4)",
        "cutout",
        photo,
        alpha.T.copy(),
        rgba,
    )
    refused(
        ValueError,
        "foreground: expected uint8 (any, any, 3), got uint8 (4, 6, 4)",
        "cutout",
        rgba.copy(),
        alpha,
        rgba,
    )
    refused(
        ValueError,
        "out: expected uint8 (4, 6, 4), got uint8 (4, 6, 3)",
        "cutout",
        photo,
        alpha,
        photo.copy(),
    )
    refused(
        ValueError,
        "background: expected uint8 (4, 6, 3) or (1, 1, 3), got uint8 (1, 6, 3)",
        "composite",
        photo,
        alpha,
        photo[:1].copy(),
        photo.copy(),
    )
    refused(
        ValueError,
        "alpha: expected float32 (any, any), got float32 (0, 6)",
        "quantize",
        alpha[:0],
        np.zeros((0, 6), np.uint8),
    )
    deep = np.zeros((1,) * 30, np.float32)
    refused(ValueError, "alpha: expected float32 (any, any)", "quantize", deep, rgba[..., 0])


def test_a_read_only_output_is_refused(rng: np.random.Generator) -> None:
    alpha, out = a_clean_alpha(rng, 4, 6), np.zeros((4, 6), np.uint8)
    out.flags.writeable = False
    message = "out: expected a writable array, got a read-only one"
    refused(ValueError, message, "quantize", alpha, out)
    refused(ValueError, message, "quantize", alpha, bytes_as_array(out))


def bytes_as_array(array: Any) -> Any:
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def test_rows_whose_values_are_apart_are_refused(rng: np.random.Generator) -> None:
    alpha, out = a_clean_alpha(rng, 6, 6), np.zeros((6, 6), np.uint8)
    message = "alpha: values of a row must lie side by side"
    refused(ValueError, message, "quantize", alpha.T, out)
    refused(ValueError, message, "quantize", alpha[:, ::2], out[:, :3])
    refused(ValueError, message, "quantize", alpha[:, ::-1], out)
    channel = np.zeros((6, 6, 3), np.uint8)[..., 1]
    refused(ValueError, "out: values of a row must", "quantize", alpha, channel)


def test_unaligned_memory_is_refused() -> None:
    raw = np.zeros(4 * 12 + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(3, 4)
    out = np.zeros((3, 4), np.uint8)
    refused(ValueError, "alpha: its memory is not aligned", "quantize", shifted, out)
    record = np.zeros((3, 1), np.dtype([("v", "<f4"), ("tag", "u1")]))["v"]
    refused(ValueError, "alpha: ", "quantize", record, out[:, :1])


def test_memory_shared_between_input_and_output_is_refused(rng: np.random.Generator) -> None:
    pixels = a_photo(rng, 8, 6, 4)
    message = "out: shares memory with straight"
    refused(ValueError, message, "premultiply", pixels[:-1], pixels[1:])
    refused(ValueError, message, "premultiply", pixels, pixels[::-1])
    alpha = a_clean_alpha(rng, 8, 6)
    same = alpha.view(np.uint8)[:, :6]
    refused(ValueError, "out: shares memory with alpha", "quantize", alpha, same)
    photo = a_photo(rng, 8, 6, 3)
    refused(
        ValueError, "out: shares memory with foreground", "composite", photo, alpha, photo, photo
    )
    colour = a_photo(rng, 1, 1, 3)
    inside = np.empty((8, 6, 3), np.uint8)
    refused(
        ValueError,
        "out: shares memory with background",
        "composite",
        photo,
        alpha,
        inside[3:4, 2:3],
        inside,
    )
    _kernels.composite(photo, alpha, colour, inside)
    values = rng.random((8, 6, 3), dtype=np.float32)
    front = np.empty_like(values)
    six = (1e-5, 1.0, 32, 10, 2, 0)
    refused(
        ValueError,
        "foreground: shares memory with background",
        "multilevel",
        values,
        alpha,
        front,
        front,
        *six,
    )
    refused(
        ValueError,
        "background_out: shares memory with image",
        "blur_fusion",
        values,
        alpha,
        values,
        values,
        front,
        values,
        3,
        0,
        8,
    )


def test_outputs_whose_elements_overlap_each_other_are_refused(rng: np.random.Generator) -> None:
    row = np.zeros(6, np.uint8)
    out = np.lib.stride_tricks.as_strided(row, (4, 6), (0, 1), writeable=True)
    message = "out: its elements overlap each other in memory"
    refused(ValueError, message, "quantize", a_clean_alpha(rng, 4, 6), out)
    photo = a_photo(rng, 4, 6, 3)
    plane = np.zeros((4, 6), np.float32)
    planes = np.lib.stride_tricks.as_strided(plane, (3, 4, 6), (0, 24, 4), writeable=True)
    one = np.ones(3, np.float32)
    four = taps((4, 6), (4, 6), "nearest")
    refused(ValueError, message, "resize_to_planes", photo, planes, *four, one, one, RGB)


def test_halves_of_one_array_are_apart(rng: np.random.Generator) -> None:
    both = a_photo(rng, 8, 12, 4)
    left, right = both[:, :6], both[:, 6:]
    want = np.empty((8, 6, 4), np.uint8)
    _kernels.premultiply(left.copy(), want)
    _kernels.premultiply(left, right)
    np.testing.assert_array_equal(right, want)
    message = "out: shares memory with straight"
    refused(ValueError, message, "premultiply", both[:, :7], both[:, 5:])


def test_a_repeated_row_may_be_an_input(rng: np.random.Generator) -> None:
    row = a_clean_alpha(rng, 1, W)
    out = np.empty((H, W), np.uint8)
    _kernels.quantize(np.broadcast_to(row, (H, W)), out)
    assert (out == out[0]).all()


def planes_call(rng: np.random.Generator, **changes: Any) -> Call:
    names = ("y_start", "y_weights", "x_start", "x_weights")
    four = dict(zip(names, taps((H, W), (9, 8), "bilinear"), strict=True))
    four.update(changes)
    one = np.ones(3, np.float32)
    return Call(
        kernel="resize_to_planes",
        args=(a_photo(rng, H, W, 3), None, *four.values(), one, one, False),
        outputs=(((3, 9, 8), np.float32),),
    )


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("value", [-1, 10_000, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("place", [0, 3, -1])
def test_taps_that_leave_the_source_are_refused(
    rng: np.random.Generator, axis: str, value: int, place: int
) -> None:
    start = taps((H, W), (9, 8), "bilinear")[0 if axis == "y" else 2].copy()
    start[place] = value
    with pytest.raises(ValueError, match=rf"^{axis}_start: expected values in \[0, \d+\], got"):
        planes_call(rng, **{f"{axis}_start": start})("scalar")
    alpha, out = a_clean_alpha(rng, H, W), np.empty((9, 8), np.float32)
    four = taps((H, W), (9, 8), "bilinear")
    four[0 if axis == "y" else 2] = start
    with pytest.raises(ValueError, match=rf"^{axis}_start: expected values in"):
        _kernels.resize_alpha(alpha, out, *four)


def test_the_last_allowed_start_is_right_and_the_next_refused(rng: np.random.Generator) -> None:
    weights = np.full((9, 5), 0.2, np.float32)
    for isa in ISAS:
        call = planes_call(rng, y_start=np.full(9, H - 5, np.int32), y_weights=weights)
        np.testing.assert_array_equal(call(isa)[0], call("numpy")[0])
    with pytest.raises(ValueError, match=r"^y_start: expected values in \[0, 16\], got 17 at 0"):
        planes_call(rng, y_start=np.full(9, H - 4, np.int32), y_weights=weights)("scalar")


def test_taps_in_any_order_are_right(rng: np.random.Generator) -> None:
    alpha = a_clean_alpha(rng, H, W)
    start = rng.integers(0, H - 3, 40).astype(np.int32)
    weights = rng.random((40, 4), dtype=np.float32) / 4
    x = taps((H, W), (H, 50), "bicubic")[2:]
    want = np.empty((40, 50), np.float32)
    run("numpy", "resize_alpha", alpha, want, start, weights, *x)
    for isa in ISAS:
        got = np.empty_like(want)
        run(isa, "resize_alpha", alpha, got, start, weights, *x)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"y_start": np.zeros(9, np.int64)}, TypeError, "y_start: expected int32 (9,), got int64"),
        ({"y_start": np.zeros(8, np.int32)}, ValueError, "y_start: expected int32 (9,), got int32"),
        (
            {"x_weights": np.zeros((8, 0), np.float32)},
            ValueError,
            "x_weights: expected float32 (8, any), got float32 (8, 0)",
        ),
        (
            {"x_weights": np.zeros((8, W + 1), np.float32)},
            ValueError,
            f"x_weights: expected at most {W} weights for {W} samples, got {W + 1}",
        ),
        (
            {"x_weights": np.zeros((16, 2), np.float32)[::2]},
            ValueError,
            "x_weights: expected a contiguous array",
        ),
        (
            {"y_weights": np.zeros((9, 2))},
            TypeError,
            "y_weights: expected float32 (9, any), got float64 (9, 2)",
        ),
    ],
)
def test_taps_that_do_not_fit_are_refused(
    rng: np.random.Generator, changes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        planes_call(rng, **changes)("scalar")


def test_weights_that_are_the_output_are_refused(rng: np.random.Generator) -> None:
    alpha = a_clean_alpha(rng, 4, 4)
    weights = np.zeros((4, 4), np.float32)
    start = np.zeros(4, np.int32)
    refused(
        ValueError,
        "out: shares memory with y_weights",
        "resize_alpha",
        alpha,
        weights,
        start,
        weights,
        start,
        weights.copy(),
    )


@pytest.mark.parametrize("size", [0, -1, 2**30 + 1, 2**62])
def test_boxes_out_of_range_are_refused(rng: np.random.Generator, size: int) -> None:
    image, alpha = rng.random((2, 2, 3), dtype=np.float32), a_clean_alpha(rng, 2, 2)
    out = np.empty((2, *image.shape), np.float32)
    refused(
        ValueError,
        "size: expected 1 to 1073741824, got",
        "blur_fusion",
        image,
        alpha,
        image,
        image,
        *out,
        size,
        0,
        2,
    )


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (0, 3), (1, 1), (2, 1)])
def test_rows_outside_the_image_are_refused(
    rng: np.random.Generator, first: int, last: int
) -> None:
    image, alpha = rng.random((2, 2, 3), dtype=np.float32), a_clean_alpha(rng, 2, 2)
    out = np.empty((2, *image.shape), np.float32)
    message = f"first, last: expected rows of 0 to 2, got {first} to {last}"
    rest = (image, image, *out, 3, first, last)
    refused(ValueError, message, "blur_fusion", image, alpha, *rest)


def test_a_background_of_bytes_is_refused(rng: np.random.Generator) -> None:
    image, alpha = a_photo(rng, 2, 2, 3), a_clean_alpha(rng, 2, 2)
    out = np.empty((2, *image.shape), np.uint8)
    message = "background: expected None beside a uint8 image"
    refused(TypeError, message, "multilevel", image, alpha, *out, 1e-5, 1.0, 32, 10, 2, 0)
    wide = np.empty(image.shape, np.float32)
    message = "foreground: expected uint8 (2, 2, 3), got float32 (2, 2, 3)"
    refused(TypeError, message, "multilevel", image, alpha, wide, None, 1e-5, 1.0, 32, 10, 2, 0)


def test_only_a_job_can_be_joined(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="PyCapsule"):
        _kernels.multilevel_join(rng)


def test_a_job_keeps_its_arrays_until_it_is_gone(rng: np.random.Generator) -> None:
    held = bytearray(2 * 2 * 3)
    image = memoryview(held).cast("B", (2, 2, 3))
    out = np.zeros((2, 2, 3), np.uint8)
    five = (1e-5, 1.0, 32, 10, 2)
    job = _kernels.multilevel_job(image, a_clean_alpha(rng, 2, 2), out, None, *five, 0)
    with pytest.raises(BufferError):
        held.append(0)
    _kernels.multilevel_join(job)
    _kernels.multilevel_join(job)  # nothing is left of it, and that is fine
    del job
    image.release()
    held.append(0)


def test_negative_iterations_are_refused(rng: np.random.Generator) -> None:
    image, alpha = rng.random((2, 2, 3), dtype=np.float32), a_clean_alpha(rng, 2, 2)
    out = np.empty((2, *image.shape), np.float32)
    message = "big_iterations: expected 0 to 1073741824, got -1"
    refused(ValueError, message, "multilevel", image, alpha, *out, 1e-5, 1.0, 32, 10, -1, 0)


def test_arguments_have_the_names_of_the_meaning() -> None:
    alpha, out = np.ones((1, 1), np.float32), np.zeros((1, 1), np.uint8)
    _kernels.quantize(alpha=alpha, out=out, isa="scalar")
    assert out[0, 0] == 255
    with pytest.raises(TypeError):
        _kernels.quantize(alpha, out, "scalar")
    with pytest.raises(TypeError):
        _kernels.quantize(alpha)


def test_buffers_are_released_after_success_and_error() -> None:
    held = bytearray(16)
    alpha = memoryview(held).cast("f", (2, 2))
    _kernels.quantize(alpha, np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"^out:"):
        _kernels.quantize(alpha, np.zeros((3, 2), np.uint8))
    alpha.release()
    held.append(0)  # a BufferError while a buffer is held


def test_rows_of_slopes_outside_the_photo_are_refused(rng: np.random.Generator) -> None:
    guide, alpha = rng.random((3, H, W), dtype=np.float32), a_clean_alpha(rng, H, W)
    out = np.empty((5, W, 4), np.float32)
    for first in (-1, H - 4, 2**40):
        refused(
            ValueError,
            f"first: expected 0 to {H - 5} for 5 rows of {H}, got {first}",
            "guided_slopes",
            guide,
            alpha,
            out,
            first,
            1e-3,
        )
    for epsilon in (0, -1, 1e-6, np.inf, np.nan):
        message = "epsilon: expected 1e-5 to 1e5"
        refused(ValueError, message, "guided_slopes", guide, alpha, out, 0, epsilon)


@pytest.mark.parametrize("isa", ISAS)
def test_slopes_of_bands_are_those_of_the_whole(rng: np.random.Generator, isa: str) -> None:
    guide, alpha = rng.random((3, H, W), dtype=np.float32), a_clean_alpha(rng, H, W)
    whole = np.empty((H, W, 4), np.float32)
    run(isa, "guided_slopes", guide, alpha, whole, 0, 1e-3)
    for first, last in ((0, 1), (1, 2), (7, 20), (20, H)):
        band = np.empty((last - first, W, 4), np.float32)
        run(isa, "guided_slopes", guide, alpha, band, first, 1e-3)
        np.testing.assert_array_equal(band, whole[first:last])


@pytest.mark.parametrize("isa", ISAS)
def test_detail_is_added_in_place_too(rng: np.random.Generator, isa: str) -> None:
    call = CASES["guided_detail"](rng, H, W)
    (want,) = call(isa)
    alpha = call.args[2]
    args = [alpha if argument is None else argument for argument in call.args]
    run(isa, "guided_detail", *args)
    np.testing.assert_array_equal(alpha, want)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (np.arange(256, dtype=np.float32), "thresholds: expected at most 255, got 256"),
        (np.float32([0.5, 0.5]), "thresholds: expected them ascending"),
        (np.float32([0.5, 0.25]), "thresholds: expected them ascending"),
        (np.float32([np.nan]), "thresholds: expected them ascending"),
        (np.float32([0.5, np.nan]), "thresholds: expected them ascending"),
        (np.float32([]), "thresholds: expected float32 (any,), got float32 (0,)"),
    ],
)
def test_thresholds_that_do_not_rise_are_refused(thresholds: Any, message: str) -> None:
    alpha, held = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8)
    background = False
    refused(ValueError, message, "connectivity", alpha, alpha, thresholds, held, background)


def test_thresholds_may_have_any_stride(rng: np.random.Generator) -> None:
    alpha, truth = (a_clean_alpha(rng, H, W) for _ in range(2))
    thresholds = np.linspace(0, 1, 21, dtype=np.float32)
    want, got = np.empty((H, W), np.uint8), np.empty((H, W), np.uint8)
    _kernels.connectivity(alpha, truth, thresholds[::2].copy(), want, background=False)
    _kernels.connectivity(alpha, truth, thresholds[::2], got, background=False)
    np.testing.assert_array_equal(got, want)
