"""Network output to alpha at the photo's size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import native_spec
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from portrait_sdk.errors import ModelError
from portrait_sdk.ops import postprocess
from portrait_sdk.ops.geometry import Letterbox
from portrait_sdk.spec import OutputSpec


def spec_with(**output: Any) -> Any:
    return native_spec(outputs=(OutputSpec(name="alpha", meaning="alpha", **output),))


def test_activations(rng: np.random.Generator) -> None:
    logits = rng.normal(0, 3, (2, 2, 4, 5)).astype(np.float32)
    sigmoid = postprocess.network_alpha(logits, spec_with(activation="sigmoid"), (4, 5))
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-logits[:, 0])), rtol=1e-6)
    soft = postprocess.network_alpha(logits, spec_with(activation="softmax", channel=1), (4, 5))
    want = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(soft, want, rtol=1e-5)
    plain = postprocess.network_alpha(logits, spec_with(channel=1), (4, 5))
    np.testing.assert_array_equal(plain, logits[:, 1])


def test_extreme_logits_do_not_overflow() -> None:
    logits = np.array([[[[-1e4, 1e4]]]], np.float32)
    alpha = postprocess.network_alpha(logits, spec_with(activation="sigmoid"), (1, 2))
    np.testing.assert_array_equal(alpha, [[[0, 1]]])


def test_nhwc_and_three_axes_and_float16(rng: np.random.Generator) -> None:
    values = rng.random((1, 4, 5, 2)).astype(np.float16)
    spec = spec_with(channel=1)
    nhwc = replace(spec, input=replace(spec.input, layout="NHWC"))
    np.testing.assert_array_equal(
        postprocess.network_alpha(values, nhwc, (4, 5)), values[..., 1].astype(np.float32)
    )
    np.testing.assert_array_equal(
        postprocess.network_alpha(values[..., 0], spec_with(), (4, 5)),
        values[..., 0].astype(np.float32),
    )


@pytest.mark.parametrize("shape", [(1, 1, 4, 6), (1, 4), (1, 1, 1, 4, 5)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="expected 4 x 5 values of channel 0"):
        postprocess.network_alpha(np.zeros(shape, np.float32), spec_with(), (4, 5))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers_are_refused(value: float) -> None:
    with pytest.raises(ModelError, match="NaN or infinite"):
        postprocess.network_alpha(np.full((1, 1, 4, 5), value, np.float32), spec_with(), (4, 5))


@pytest.mark.parametrize(
    ("size", "how"),
    [
        ((200, 311), Pillow.Resampling.BICUBIC),
        ((31, 90), Pillow.Resampling.BICUBIC),
        ((50, 30), Pillow.Resampling.BICUBIC),  # one side grows
        ((31, 41), Pillow.Resampling.BILINEAR),
        ((20, 17), Pillow.Resampling.BILINEAR),
    ],
)
def test_resizing_back_is_pillows_bicubic_larger_and_bilinear_smaller(
    rng: np.random.Generator, size: tuple[int, int], how: Pillow.Resampling
) -> None:
    alpha = rng.uniform(-0.2, 1.2, (31, 41)).astype(np.float32)
    place = Letterbox(input=(31, 41), top=0, left=0, height=31, width=41)
    got = postprocess.to_photo(alpha, place, size)
    want = np.asarray(Pillow.fromarray(alpha).resize((size[1], size[0]), how))
    rim = 2 + 2 * max(size[0] // 31, size[1] // 41)  # Pillow replicates no edge
    inner = (slice(rim, -rim), slice(rim, -rim))
    want = np.clip(want, 0, 1)
    np.testing.assert_allclose(got[inner], want[inner], atol=1e-5)  # its taps are float32


def test_an_edge_stays_steep_when_it_is_enlarged() -> None:
    alpha = np.repeat(np.float32([[0, 0, 0, 1, 1, 1]]), 3, axis=0)
    got = postprocess.resized(alpha, (12, 24))
    bilinear = cv2.resize(alpha, (24, 12), interpolation=cv2.INTER_LINEAR)
    assert np.minimum(got, 1 - got).sum() < 0.9 * np.minimum(bilinear, 1 - bilinear).sum()
    assert got.min() == 0
    assert got.max() == 1


@given(
    small=st.tuples(st.integers(1, 32), st.integers(1, 32)),
    large=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_what_is_solid_stays_solid(small: tuple[int, int], large: tuple[int, int]) -> None:
    """Weights that sum to 1 - 2**-24 would turn a solid person into a soft one."""
    assert (postprocess.resized(np.ones(small, np.float32), large) == 1).all()


def test_letterbox_is_undone() -> None:
    alpha = np.zeros((40, 40), np.float32)
    alpha[10:30] = 0.5
    place = Letterbox(input=(40, 40), top=10, left=0, height=20, width=40)
    np.testing.assert_array_equal(postprocess.to_photo(alpha, place, (100, 200)), np.float32(0.5))


def test_an_empty_alpha_is_not_stretched() -> None:
    """Min-max stretching, as peers do, would turn faint noise into a person."""
    alpha = np.full((1, 1, 8, 8), 0.01, np.float32)
    alpha[0, 0, 0, 0] = 0.03
    found = postprocess.network_alpha(alpha, spec_with(), (8, 8))
    np.testing.assert_array_equal(found, alpha[:, 0])
