"""``matte``, ``Matting`` and ``Matte`` on real models and real arrays."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from conftest import build_model, native_spec
from PIL import Image

import portrait_sdk
from portrait_sdk.spec import InputSpec, SizePolicy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def matting(brightness: Path) -> portrait_sdk.Matting:
    return portrait_sdk.load(brightness, provider="cpu")


@pytest.fixture
def photo(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (21, 33, 3), dtype=np.uint8)


def expected(photo: np.ndarray) -> np.ndarray:
    return photo.astype(np.float64).mean(axis=2) / 255


def test_every_kind_of_input_gives_the_same_alpha(
    matting: portrait_sdk.Matting, photo: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "photo.png"
    Image.fromarray(photo).save(file)
    wide = photo.astype(np.uint16) * 257
    kinds: dict[str, Any] = {
        "path": file,
        "text": str(file),
        "bytes": file.read_bytes(),
        "file": io.BytesIO(file.read_bytes()),
        "PIL": Image.fromarray(photo),
        "uint8": photo,
        "uint16": wide,
        "float32": (photo / 255).astype(np.float32),
        "float64": photo / 255,
        "rgba": np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)]),
    }
    for name, image in kinds.items():
        matte = matting.matte(image)
        assert matte.alpha.dtype == np.float32, name
        np.testing.assert_allclose(matte.alpha, expected(photo), atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(matte.image, photo, err_msg=name)


def test_bgr_is_declared_by_the_caller(photo: np.ndarray, tmp_path: Path) -> None:
    """A model that reads red alone tells the orders apart."""
    spec = native_spec(
        input=InputSpec(name="image", std=(1.0, 1e9, 1e9), size=SizePolicy(rule="native"))
    )
    matting = portrait_sdk.load(build_model(tmp_path / "red.onnx", spec), provider="cpu")
    rgb = matting.matte(photo).alpha
    np.testing.assert_array_equal(matting.matte(photo[..., ::-1], color="BGR").alpha, rgb)
    assert np.abs(matting.matte(photo[..., ::-1]).alpha - rgb).max() > 0.1


def test_own_alpha_is_multiplied_in_and_the_network_sees_white(
    matting: portrait_sdk.Matting,
) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., :3], rgba[:, 4:, 3], rgba[:, :4, 3] = 100, 255, 128
    alpha = matting.matte(rgba).alpha
    np.testing.assert_allclose(alpha[:, 4:], 100 / 255, atol=1e-6)
    shown = round(100 * 128 / 255 + 127)  # over white
    np.testing.assert_allclose(alpha[:, :4], shown / 255 * 128 / 255, atol=3e-3)
    rgba[..., 3] = 0
    assert matting.matte(rgba).alpha.max() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3)])
def test_tiny_photos(size: tuple[int, int]) -> None:
    with portrait_sdk.load(provider="cpu") as matting:
        matte = matting.matte(np.full((*size, 3), 127, np.uint8))
        assert matte.alpha.shape == size
        assert matte.cutout().shape == (*size, 4)
        assert matte.composite("blur").shape == (*size, 3)
        assert matte.trimap().shape == size


def test_coverage_and_subject(matting: portrait_sdk.Matting) -> None:
    half = np.zeros((10, 10, 3), np.uint8)
    half[:5] = 255
    matte = matting.matte(half)
    assert matte.coverage == pytest.approx(0.5)
    assert matte.has_subject
    empty = matting.matte(np.full((10, 10, 3), 3, np.uint8))
    assert not empty.has_subject
    assert empty.alpha.max() == pytest.approx(3 / 255)  # never stretched


def test_composite_over_everything(
    matting: portrait_sdk.Matting, photo: np.ndarray, tmp_path: Path
) -> None:
    matte = matting.matte(photo)
    behind = np.full((5, 9, 3), (10, 200, 30), np.uint8)
    cv2.imwrite(str(tmp_path / "behind.png"), behind[..., ::-1])
    want = matte.composite((10, 200, 30))
    for background in ("#0ac81e", "10,200,30", [10, 200, 30], behind, tmp_path / "behind.png",
                       str(tmp_path / "behind.png"), Image.fromarray(behind)):  # fmt: skip
        np.testing.assert_array_equal(matte.composite(background), want)
    assert matte.composite("blur").shape == photo.shape
    assert matte.composite("blur:3").shape == photo.shape


@pytest.mark.parametrize(
    ("background", "says"),
    [
        ("no-such-file.jpg", "no such file"),
        ("blur:x", "expected blur:RADIUS"),
        ("blur:-1", "blur radius"),
        ((1, 2, 300), "0 to 255"),
        ("#12", "#rgb or #rrggbb"),
    ],
)
def test_impossible_backgrounds_are_named(
    matting: portrait_sdk.Matting, photo: np.ndarray, background: Any, says: str
) -> None:
    with pytest.raises(portrait_sdk.PortraitError, match=says):
        matting.matte(photo).composite(background)


def test_cutout_without_estimation_keeps_the_photos_colours(
    matting: portrait_sdk.Matting, photo: np.ndarray
) -> None:
    np.testing.assert_array_equal(matting.matte(photo).cutout(None)[..., :3], photo)


def test_many_keeps_order_and_batches_give_the_same(brightness: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    sizes = [(8, 9)] * 5 + [(9, 8)] * 2 + [(8, 9)]
    photos = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    fixed = build_model(tmp_path / "one.onnx", native_spec(), batch=1)
    for model in (brightness, fixed):
        with portrait_sdk.load(model, provider="cpu") as matting:
            for batch_size in (1, 3, 100):
                mattes = matting.matte_many(iter(photos), batch_size=batch_size)
                for photo, matte in zip(photos, mattes, strict=True):
                    np.testing.assert_allclose(matte.alpha, expected(photo), atol=1e-6)
    with pytest.raises(portrait_sdk.OptionError, match="batch_size"):
        portrait_sdk.load(brightness, provider="cpu").matte_many(photos, batch_size=0)
    assert portrait_sdk.load(brightness, provider="cpu").matte_many([]) == []


def test_the_default_model_runs_in_batches(astronaut: Path) -> None:
    with portrait_sdk.load(provider="cpu") as matting:
        alone = matting.matte(astronaut).alpha
        for matte in matting.matte_many([astronaut] * 3):
            # Other kernels for other batch sizes: float32 sums in another order.
            np.testing.assert_allclose(matte.alpha, alone, atol=1e-4)


def test_several_threads_share_a_matting(matting: portrait_sdk.Matting) -> None:
    photos = [np.full((40 + i, 50, 3), i * 4, np.uint8) for i in range(48)]
    with ThreadPoolExecutor(8) as pool:
        for i, matte in enumerate(pool.map(matting.matte, photos)):
            np.testing.assert_allclose(matte.alpha, i * 4 / 255, atol=1e-6)
            assert matte.alpha.shape == (40 + i, 50)


def test_context_manager_and_close(brightness: Path, photo: np.ndarray) -> None:
    with portrait_sdk.load(brightness, provider="cpu") as matting:
        matting.matte(photo)
    matting.close()
    assert "closed" in repr(matting)
    with pytest.raises(portrait_sdk.ClosedError):
        matting.matte(photo)


def test_precision_is_checked_against_the_file(brightness: Path) -> None:
    assert portrait_sdk.load(brightness, provider="cpu", precision="fp32").spec.precision == "fp32"
    with pytest.raises(portrait_sdk.OptionError, match="holds fp32, int8 was asked for"):
        portrait_sdk.load(brightness, provider="cpu", precision="int8")
    with pytest.raises(portrait_sdk.OptionError, match="expected fp32, fp16 or int8"):
        portrait_sdk.load(brightness, provider="cpu", precision="half")  # type: ignore[arg-type]


def test_wrong_images_are_refused_with_one_line(
    matting: portrait_sdk.Matting, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    for wrong in (tmp_path / "none.jpg", tmp_path / "a.jpg", b"", 7, np.zeros((3, 3, 7), "u1"),
                  np.zeros((0, 3, 3), "u1"), np.full((3, 3, 3), 200.0)):  # fmt: skip
        with pytest.raises(portrait_sdk.ImageError) as caught:
            matting.matte(wrong)
        assert "\n" not in str(caught.value)


def test_default_matte_is_kept_between_calls_and_new_after_a_fork(astronaut: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    code = f"""
import os, time, warnings
warnings.simplefilter("ignore")
import portrait_sdk
from portrait_sdk import api
portrait_sdk.matte({str(astronaut)!r})
first = api._default[1]
portrait_sdk.matte({str(astronaut)!r})
assert api._default[1] is first
time.sleep(1)
pid = os.fork()
if pid == 0:
    code = 1
    try:
        code = 0 if portrait_sdk.matte({str(astronaut)!r}).has_subject else 2
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=120)


def test_a_reused_buffer_does_not_change_earlier_results(matting: portrait_sdk.Matting) -> None:
    buffer = np.zeros((8, 8, 3), np.uint8)

    def frames() -> Any:
        for value in (0, 255, 51):
            buffer[:] = value
            yield buffer

    mattes = matting.matte_many(frames())
    assert [round(m.coverage, 3) for m in mattes] == [0, 1, 0.2]
    assert [int(m.image.max()) for m in mattes] == [0, 255, 51]


def test_kept_foregrounds_cannot_be_changed(matting: portrait_sdk.Matting) -> None:
    matte = matting.matte(np.full((8, 8, 3), 99, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        matte.foreground()[:] = 0


def test_limits_hold_for_backgrounds_too(matting: portrait_sdk.Matting, tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "behind.png")
    matte = matting.matte(np.zeros((8, 8, 3), np.uint8))
    small = portrait_sdk.Limits(max_pixels=9999)
    with pytest.raises(portrait_sdk.ImageTooLargeError):
        matte.composite(tmp_path / "behind.png", limits=small)


def test_nothing_is_written_and_nothing_fetched(tmp_path: Path, astronaut: Path) -> None:
    """A home, a cache and a working folder that stay empty, and sockets that refuse to be made."""
    code = f"""
import socket
def refuse(*a, **k):
    raise AssertionError("a socket was opened")
socket.socket.connect = refuse
import portrait_sdk
assert portrait_sdk.matte({str(astronaut)!r}).has_subject
"""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "c")}
    for name in ("PORTRAIT_CACHE_DIR", "ORT_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=tmp_path, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_the_astronaut(astronaut: Path) -> None:
    """What anybody sees in the photo: solid face and suit, clear corners above the shoulders.

    The helmet in her hands is lost, and the suit's last rows beside it fade: see the model card.
    """
    matte = portrait_sdk.matte(astronaut)
    assert matte.has_subject
    assert 0.3 < matte.coverage < 0.7
    assert matte.alpha[100:160, 200:240].min() > 0.95  # face
    assert matte.alpha[300:470, 60:220].min() > 0.9  # suit
    assert (matte.alpha[470:500, 60:220] > 0.5).all()
    suit = matte.alpha[300:470, 200:275]  # to the helmet, with a strap's loop
    assert (suit > 0.9).mean() > 0.99
    assert matte.alpha[:40, :80].max() < 0.05  # flag
    assert matte.alpha[:120, 400:].max() < 0.1  # shuttle


def test_the_astronaut_by_the_larger_model(astronaut: Path) -> None:
    """The suit is whole, near the last row and the helmet nearly so; the helmet itself is lost."""
    with portrait_sdk.load("portrait-m") as larger:
        matte = larger.matte(astronaut)
    assert matte.has_subject
    assert matte.alpha[100:160, 200:240].min() > 0.95  # face
    suit = matte.alpha[300:500, 60:220]
    assert suit.min() > 0.6
    assert (suit > 0.9).mean() > 0.9
    assert matte.alpha[:40, :80].max() < 0.05  # flag
    assert matte.alpha[:120, 400:].max() < 0.1  # shuttle


def test_seconds_of_each_stage(matting: portrait_sdk.Matting, photo: np.ndarray) -> None:
    seconds = matting.matte(photo).seconds
    assert set(seconds) == {"decode", "preprocess", "inference", "postprocess"}
    assert all(value >= 0 for value in seconds.values())


def test_what_load_image_returned_can_be_matted(
    matting: portrait_sdk.Matting, astronaut: Path
) -> None:
    loaded = portrait_sdk.load_image(astronaut)
    np.testing.assert_array_equal(matting.matte(loaded).alpha, matting.matte(astronaut).alpha)
