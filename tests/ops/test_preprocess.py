"""Photo to network input: against OpenCV and NumPy, for every layout and order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from portrait_sdk.ops import preprocess
from portrait_sdk.spec import Filter, InputSpec, SizePolicy

KERNELS = {  # smaller, larger
    "area": (cv2.INTER_AREA, cv2.INTER_AREA),
    "area-bicubic": (cv2.INTER_AREA, cv2.INTER_CUBIC),
    "bilinear": (cv2.INTER_LINEAR, cv2.INTER_LINEAR),
    "bicubic": (cv2.INTER_CUBIC, cv2.INTER_CUBIC),
}


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("size", [(64, 96), (300, 200), (33, 47)])
def test_equals_opencv_and_numpy(
    rng: np.random.Generator, kernel: str, layout: str, color: str, size: tuple[int, int]
) -> None:
    image = rng.integers(0, 256, (131, 173, 3), dtype=np.uint8)
    spec = InputSpec(
        name="x",
        layout=layout,  # type: ignore[arg-type]
        color=color,  # type: ignore[arg-type]
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        size=SizePolicy(
            rule="fixed",
            height=size[0],
            width=size[1],
            filter=Filter(kernel=kernel, antialias=False),  # type: ignore[arg-type]
        ),
    )
    batch, places = preprocess.prepare([image], spec)
    how = KERNELS[kernel][size[0] > image.shape[0]]
    want = cv2.resize(image.astype(np.float32), size[::-1], interpolation=how) / 255
    want = (want[..., ::-1] if color == "BGR" else want) - np.float32(spec.mean)
    want = want / np.float32(spec.std)
    got = batch[0] if layout == "NHWC" else batch[0].transpose(1, 2, 0)
    assert batch.flags.c_contiguous
    assert places[0].input == size
    # float32 sums of up to 4 x 4 taps over [0, 255], divided by a std of 0.22.
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_letterbox_pads_in_the_models_order_before_normalising() -> None:
    image = np.full((10, 20, 3), (10, 20, 30), np.uint8)
    spec = InputSpec(
        name="x",
        color="BGR",
        range=255.0,
        mean=(1.0, 2.0, 3.0),
        std=(2.0, 2.0, 2.0),
        size=SizePolicy(rule="fixed", height=40, width=40, fit="letterbox", pad=(50, 60, 70)),
    )
    batch, (place,) = preprocess.prepare([image], spec)
    assert (place.top, place.height) == (10, 20)
    np.testing.assert_allclose(batch[0, :, 0, 0], [(70 - 1) / 2, (60 - 2) / 2, (50 - 3) / 2])
    np.testing.assert_allclose(
        batch[0, :, 20, 20], [(30 - 1) / 2, (20 - 2) / 2, (10 - 3) / 2], atol=1e-5
    )


def test_a_dark_photo_stays_dark() -> None:
    """Dividing by the photo's own maximum, as peers do, would brighten it."""
    image = np.full((32, 32, 3), 10, np.uint8)
    spec = InputSpec(name="x", size=SizePolicy(rule="native"))
    batch, _ = preprocess.prepare([image], spec)
    np.testing.assert_allclose(batch, 10 / 255, rtol=1e-6)


@pytest.mark.parametrize("view", ["flipped", "strided", "read-only", "fortran"])
def test_any_memory_layout_gives_the_same(rng: np.random.Generator, view: str) -> None:
    image = rng.integers(0, 256, (61, 47, 3), dtype=np.uint8)
    other = {
        "flipped": image[::-1].copy()[::-1],
        "strided": np.repeat(image, 2, axis=1)[:, ::2],
        "read-only": image.copy(),
        "fortran": np.asfortranarray(image),
    }[view]
    other.setflags(write=False)
    spec = InputSpec(name="x", size=SizePolicy(rule="long-side", side=64, multiple=32))
    np.testing.assert_array_equal(
        preprocess.prepare([image], spec)[0], preprocess.prepare([other], spec)[0]
    )


def test_photos_of_one_batch_do_not_touch_each_other(rng: np.random.Generator) -> None:
    images = [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(3)]
    spec = InputSpec(name="x", size=SizePolicy(rule="long-side", side=64, multiple=32))
    batch, _ = preprocess.prepare(images, spec)
    for one, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(one, preprocess.prepare([image], spec)[0][0])
