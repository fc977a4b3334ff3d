"""Refining: what must not change does not, what should does, and patches leave no seams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from conftest import build_model, native_spec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import portrait_sdk
from portrait_sdk.ops import geometry, postprocess, preprocess, refine, threads
from portrait_sdk.spec import InputSpec, SizePolicy, StateSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIDES = st.integers(1, 40)


def photo(seed: int, height: int, width: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def bands() -> Iterator[None]:
    """Several bands of rows whatever the machine has."""
    threads.set_threads(3)
    yield
    threads.set_threads(None)


@given(
    small=st.tuples(SIDES, SIDES), large=st.tuples(SIDES, SIDES), seed=st.integers(0, 99),
    value=st.floats(0, 1, width=32),
)  # fmt: skip
def test_a_constant_alpha_stays_constant(
    small: tuple[int, int], large: tuple[int, int], seed: int, value: float
) -> None:
    alpha = np.full(small, value, np.float32)
    full = refine.guided(alpha, photo(seed, *large))
    np.testing.assert_array_equal(full, postprocess.resized(alpha, large))
    np.testing.assert_allclose(full, value, rtol=0, atol=5e-7)  # four taps' rounding, twice
    if value in (0, 1):
        assert (full == value).all()


@given(
    alpha=arrays(
        np.float32, st.tuples(SIDES, SIDES), elements=st.floats(-0.5, 1.5, width=32)
    ),
    large=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_guided_stays_in_range(alpha: Any, large: tuple[int, int], seed: int) -> None:
    full = refine.guided(alpha, photo(seed, *large))
    assert full.shape == large
    assert full.dtype == np.float32
    assert full.min() >= 0
    assert full.max() <= 1


@pytest.mark.parametrize(
    "size", [(30, 40), (29, 90), (90, 12), (1, 1), (30, 200)], ids=lambda s: f"{s[0]}x{s[1]}"
)
def test_a_photo_no_larger_than_alpha_is_resized_and_no_more(size: tuple[int, int]) -> None:
    alpha = np.random.default_rng(1).random((30, 40), dtype=np.float32)
    full = refine.guided(alpha, photo(2, *size))
    np.testing.assert_array_equal(full, postprocess.resized(alpha, size))


def test_a_photo_without_detail_is_resized_and_no_more() -> None:
    alpha = np.random.default_rng(1).random((30, 40), dtype=np.float32)
    flat = np.full((240, 320, 3), 91, np.uint8)
    # The same colour, resampled by two different filters: an ulp of 255, times a slope near 0.
    np.testing.assert_allclose(
        refine.guided(alpha, flat), postprocess.resized(alpha, (240, 320)), rtol=0, atol=1e-6
    )


def test_guided_brings_back_an_edge_that_the_small_alpha_lost() -> None:
    y, x = np.mgrid[:240, :320]
    truth = (np.hypot(y - 120, x - 160) < 80 + 9 * np.sin(np.arctan2(y - 120, x - 160) * 25)) * 1.0
    truth = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 0.7)
    front, back = np.array([200, 140, 90]), np.array([30, 60, 120])
    image = truth[..., None] * front + (1 - truth[..., None]) * back
    small = cv2.resize(truth, (40, 30), interpolation=cv2.INTER_AREA)
    plain = postprocess.resized(small, truth.shape)
    full = refine.guided(small, np.rint(image).astype(np.uint8))
    # Two flat colours, the method's own assumption: at most a quarter of the error is left.
    assert np.abs(full - truth).mean() < np.abs(plain - truth).mean() / 4


@pytest.mark.usefixtures("bands")
def test_threads_do_not_change_the_result() -> None:
    alpha = np.random.default_rng(1).random((61, 83), dtype=np.float32)
    image = photo(3, 907, 1213)
    several = refine.guided(alpha, image)
    threads.set_threads(1)
    np.testing.assert_array_equal(refine.guided(alpha, image), several)


def test_flipped_and_cropped_photos_are_fine() -> None:
    alpha = np.random.default_rng(1).random((9, 7), dtype=np.float32)
    image = photo(4, 80, 70)
    window = np.zeros((90, 90, 3), np.uint8)
    window[5:85, 5:75] = image
    want = refine.guided(alpha, image)
    np.testing.assert_array_equal(refine.guided(alpha, window[5:85, 5:75]), want)
    back = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    back.flags.writeable = False
    np.testing.assert_array_equal(refine.guided(alpha, back), want)


# Patches ------------------------------------------------------------------------------------------

POLICIES = {
    "long-side": SizePolicy(rule="long-side", side=64, multiple=8),
    "short-side": SizePolicy(rule="short-side", side=32, multiple=4),
    "area": SizePolicy(rule="area", side=48, multiple=8),
    "fixed": SizePolicy(rule="fixed", height=48, width=40),
    "fixed letterbox": SizePolicy(rule="fixed", height=48, width=64, fit="letterbox"),
    "native with a limit": SizePolicy(rule="native", max_side=50),
}


def mean_model(path: Path, policy: SizePolicy, *, batch: int | str = "batch") -> Path:
    """Alpha is brightness: the network knows no more on a window than on the whole."""
    spec = native_spec(input=InputSpec(name="image", size=policy))
    return build_model(path, spec, batch=batch)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [(301, 199), (97, 340), (130, 131), (60, 45), (1, 1), (2, 300)])
def test_patches_equal_guided_where_nothing_is_unsure(
    tmp_path: Path, policy: str, size: tuple[int, int]
) -> None:
    image = np.zeros((*size, 3), np.uint8)
    image[size[0] // 2 :] = 255
    image[: size[0] // 2] = 0
    flat = np.full_like(image, 255)
    with portrait_sdk.load(mean_model(tmp_path / "m.onnx", POLICIES[policy])) as matting:
        for one in (flat, flat * 0):
            guided = matting.matte(one, refine="guided").alpha
            np.testing.assert_array_equal(matting.matte(one, refine="patches").alpha, guided)
        assert matting.matte(image, refine="patches").alpha.shape == size


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("batch", ["batch", 1])
def test_patches_see_twice_the_resolution_and_show_no_seams(
    tmp_path: Path, policy: str, batch: str | int
) -> None:
    """For a network that is right on every window the result is the larger copy's, everywhere."""
    y, x = np.mgrid[:300, :400].astype(np.float32)
    truth = 0.5 + 0.3 * np.sin(x / 23 + y / 31) + 0.1 * np.sin(y / 9)
    image = np.rint(255 * truth).astype(np.uint8)[..., None].repeat(3, 2)
    model = mean_model(tmp_path / "m.onnx", POLICIES[policy], batch=batch)
    with portrait_sdk.load(model, provider="cpu") as matting:
        spec = matting.spec
        (batch_of_one, (place,)) = preprocess.prepare([image], spec.input)
        small = postprocess.network_alpha(matting._session.run(batch_of_one), spec, place.input)
        alpha = small[0][place.rows, place.columns]
        again = refine.patches(alpha, place, image, spec, matting._again)
        assert again.shape == (2 * place.height, 2 * place.width)
        want = cv2.resize(image[..., 0], again.shape[::-1], interpolation=cv2.INTER_AREA)
        off = np.abs(again - want / np.float32(255))
        # Unsure everywhere, and each window right: what is left is 8-bit rounding (0.002) and,
        # by the gate, a share of the plain alpha as large as its squared distance over 0.2.
        assert off.max() < 0.012


def test_windows_overlap_by_half_and_cover_the_photo() -> None:
    for length in range(1, 400):
        for window in (16, 32, 100):
            starts = refine._starts(length, window)
            assert len(starts) <= max(1, -(-2 * length // window))
            if length <= 2 * window:
                assert len(starts) <= 3
            covered = np.zeros(length, np.bool_)
            for start in starts:
                covered[max(0, start) : start + window] = True
                weights = refine._fade(start, window, length)
                assert weights.min() > 0
                assert weights.max() <= 1
            assert covered.all()


def test_padded_windows_lie_where_the_photo_is() -> None:
    image = photo(5, 33, 21)
    spec = InputSpec(
        name="x", color="BGR", layout="NHWC", mean=(0.1, 0.2, 0.3),
        size=SizePolicy(rule="fixed", height=64, width=64, pad=(255.0, 0.0, 51.0)),
    )  # fmt: skip
    batch = preprocess.prepare_windows(image, (33, 21), [(-10, -20)], (64, 64), spec)
    inside = batch[0, 10:43, 20:41]
    want = image[..., ::-1] / 255 - np.array(spec.mean)
    np.testing.assert_allclose(inside, want, rtol=0, atol=1e-6)  # float32 in [-1, 1]
    np.testing.assert_allclose(batch[0, 0, 0], np.array([0.2, 0, 1]) - spec.mean, atol=1e-6)


# The modes ----------------------------------------------------------------------------------------


def test_auto_refines_photos_much_larger_than_the_input_alone(tmp_path: Path) -> None:
    model = mean_model(tmp_path / "m.onnx", POLICIES["fixed"])
    with portrait_sdk.load(model, provider="cpu") as matting:
        for factor, same_as in ((1, "none"), (1.4, "none"), (1.6, "guided"), (5, "guided")):
            image = photo(6, round(48 * factor), round(40 * factor))
            np.testing.assert_array_equal(
                matting.matte(image).alpha, matting.matte(image, refine=same_as).alpha
            )
        large = photo(7, 300, 300)
        results = [matting.matte(large, refine=mode).alpha for mode in ("none", "guided")]
        assert np.abs(results[0] - results[1]).max() > 0.01


def test_a_sequence_and_a_batch_refine_as_one_photo_does(tmp_path: Path) -> None:
    model = mean_model(tmp_path / "m.onnx", POLICIES["long-side"])
    images = [photo(seed, 200, 300) for seed in range(3)]
    with portrait_sdk.load(model, provider="cpu") as matting, matting.sequence() as sequence:
        for mode in ("auto", "guided", "patches", "none"):
            many = matting.matte_many(images, refine=mode)
            for image, matte in zip(images, many, strict=True):
                np.testing.assert_array_equal(matting.matte(image, refine=mode).alpha, matte.alpha)
                np.testing.assert_array_equal(sequence.matte(image, refine=mode).alpha, matte.alpha)


def test_unknown_modes_and_impossible_ones_are_refused(tmp_path: Path) -> None:
    spec = native_spec()
    with pytest.raises(portrait_sdk.OptionError, match="refine: expected one of auto, guided"):
        refine.choose("sharp", spec)  # type: ignore[arg-type]
    recurrent = native_spec(states=(StateSpec(input="r", output="r2", shape=(1,)),))
    with pytest.raises(portrait_sdk.OptionError, match="is recurrent"):
        refine.choose("patches", recurrent)
    assert refine.choose("guided", recurrent) == "guided"
    with portrait_sdk.load(build_model(tmp_path / "m.onnx", spec)) as matting:
        for matte in (matting.matte, matting.sequence().matte):
            with pytest.raises(portrait_sdk.OptionError, match="refine"):
                matte(photo(1, 4, 4), refine="sharp")


def test_an_own_alpha_still_cuts_what_is_refined(tmp_path: Path) -> None:
    model = mean_model(tmp_path / "m.onnx", POLICIES["fixed"])
    rgba = np.dstack([photo(8, 200, 200), np.full((200, 200), 255, np.uint8)])
    rgba[:, :100, 3] = 0
    with portrait_sdk.load(model, provider="cpu") as matting:
        assert matting.matte(rgba, refine="patches").alpha[:, :100].max() == 0


@pytest.mark.parametrize("mode", ["guided", "patches"])
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (1400, 3), (1301, 977)])
def test_the_default_model_refines_odd_sizes(mode: Any, size: tuple[int, int]) -> None:
    with portrait_sdk.load(provider="cpu") as matting:
        alpha = matting.matte(photo(9, *size), refine=mode).alpha
        assert alpha.shape == size
        assert alpha.min() >= 0
        assert alpha.max() <= 1


def test_growth_is_of_the_lesser_axis() -> None:
    place = geometry.Letterbox(input=(64, 64), top=0, left=8, height=64, width=48)
    assert refine.growth(place, (128, 480)) == 2
