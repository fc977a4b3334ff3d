"""``stream``: mattes in order, from plain code and from asyncio."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import CHECKOUT

import portrait_sdk
from portrait_sdk.errors import ImageError, ModelError, OptionError
from portrait_sdk.media import count_pixels, encode_image, load_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portrait_sdk import Matting


@pytest.fixture
def matting(brightness: Path) -> Iterator[Matting]:
    with portrait_sdk.load(brightness, provider="cpu", threads=1) as opened:
        yield opened


def photo(grey: int, side: int = 20) -> np.ndarray:
    return np.full((side, side, 3), grey, np.uint8)


def level(matte: portrait_sdk.Matte) -> int:
    return round(float(matte.alpha.mean()) * 255)


def ours() -> list[str]:
    return [
        t.name for t in threading.enumerate() if t.name.startswith(("portrait-i", "portrait-w"))
    ]


def test_mattes_are_those_of_matte_in_order(astronaut: Path) -> None:
    photos = [astronaut, astronaut.read_bytes(), load_image(astronaut).image[::-1]]
    with portrait_sdk.load(provider="cpu") as matting:
        found = list(portrait_sdk.stream(photos, matting=matting))
        for got, image in zip(found, photos, strict=True):
            want = matting.matte(image)
            np.testing.assert_array_equal(got.alpha, want.alpha)
            np.testing.assert_array_equal(got.image, want.image)
            assert got.seconds["decode"] > 0
        matting.matte(astronaut)  # a model of the caller's stays open
    assert not ours()


def test_a_model_it_opened_is_closed_with_it(brightness: Path) -> None:
    found = portrait_sdk.stream([photo(10), photo(20)], model=brightness, provider="cpu")
    assert [level(matte) for matte in found] == [10, 20]
    own = found._closes
    assert own is not None
    assert "closed" in repr(own)


def test_colour_order_and_limits_are_heeded(matting: Matting, tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 200
    (matte,) = portrait_sdk.stream([image], matting=matting, color="BGR")
    assert matte.image[0, 0].tolist() == [0, 0, 200]
    path = tmp_path / "photo.png"
    portrait_sdk.save_image(image, path)
    small = portrait_sdk.Limits(max_pixels=15)
    with pytest.raises(portrait_sdk.ImageTooLargeError):
        list(portrait_sdk.stream([path], matting=matting, limits=small))


def test_an_error_is_raised_at_its_place_and_closes_the_stream(matting: Matting) -> None:
    photos: list[Any] = [photo(10), photo(20), "nowhere.jpg", photo(30)]
    with portrait_sdk.stream(photos, matting=matting) as found:
        assert [level(next(found)) for _ in range(2)] == [10, 20]
        with pytest.raises(ImageError, match="no such file"):
            next(found)
        assert next(found, None) is None
    assert not ours()


def test_errors_may_take_their_place_among_the_mattes(matting: Matting) -> None:
    photos: list[Any] = [photo(10), "nowhere.jpg", photo(30)]
    first, error, last = portrait_sdk.stream(photos, matting=matting, errors="yield")
    assert isinstance(error, ImageError)
    assert isinstance(first, portrait_sdk.Matte)
    assert isinstance(last, portrait_sdk.Matte)
    assert (level(first), level(last)) == (10, 30)


def test_photos_are_taken_no_further_than_the_look_ahead(matting: Matting) -> None:
    taken = []

    def endless() -> Iterator[np.ndarray]:
        for grey in itertools.cycle(range(100)):
            taken.append(grey)
            yield photo(grey)

    with portrait_sdk.stream(endless(), matting=matting, look_ahead=2) as found:
        for count in range(1, 10):
            assert level(next(found)) == count - 1
            assert len(taken) <= count + 2
    assert not ours()


def test_next_may_be_called_from_different_threads(matting: Matting) -> None:
    with (
        ThreadPoolExecutor(3) as pool,
        portrait_sdk.stream(map(photo, range(60)), matting=matting) as found,
    ):
        mattes = [pool.submit(next, found) for _ in range(60)]
        assert sorted(level(future.result()) for future in mattes) == list(range(60))


def test_closing_ends_a_next_that_waits_elsewhere(matting: Matting) -> None:
    release = threading.Event()

    def blocked() -> Iterator[np.ndarray]:
        yield photo(10)
        release.wait(30)

    with ThreadPoolExecutor(1) as pool:
        found = portrait_sdk.stream(blocked(), matting=matting)
        next(found)
        waiting = pool.submit(next, found, None)
        time.sleep(0.05)
        found.close()
        assert waiting.result(timeout=10) is None
        found.close()
    release.set()
    with pytest.raises(StopIteration):
        next(found)


def test_asyncio_can_cancel_it(matting: Matting) -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        enough = asyncio.Event()

        async def endlessly() -> None:
            with found:
                while (matte := await asyncio.to_thread(next, found, None)) is not None:
                    seen.append(level(matte))
                    if len(seen) == 5:
                        enough.set()

        found = portrait_sdk.stream(map(photo, itertools.cycle(range(50))), matting=matting)
        task = asyncio.create_task(endlessly())
        await enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    seen = asyncio.run(main())
    assert seen[:5] == [0, 1, 2, 3, 4]
    assert not ours()


def test_options_that_contradict_or_are_unknown_are_refused(matting: Matting) -> None:
    with pytest.raises(OptionError, match="not both"):
        portrait_sdk.stream([], matting=matting, model="portrait-s")
    with pytest.raises(OptionError, match="errors"):
        portrait_sdk.stream([], matting=matting, errors="ignore")  # type: ignore[call-overload]
    with pytest.raises(ModelError, match="portrait-s"):
        portrait_sdk.stream([], model="portrat-s")
    with pytest.raises(OptionError, match="look_ahead"):
        portrait_sdk.stream([], look_ahead=0)


@pytest.mark.parametrize("number", [0, 1])
def test_the_recipes_of_the_docs_run(tmp_path: Path, astronaut: Path, number: int) -> None:
    text = (CHECKOUT / "docs/usage.md").read_text("utf-8")
    section = text.partition("## Many photos\n")[2].partition("\n## ")[0]
    recipe = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[number]
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(astronaut.read_bytes())
    subprocess.run([sys.executable, "-W", "error", "-c", recipe], check=True, cwd=tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 2


@pytest.mark.parametrize("form", ["png", "webp", "tiff", "jpeg"])
def test_pixels_are_counted_from_a_files_head(tmp_path: Path, form: str) -> None:
    image = np.random.default_rng(1).integers(0, 255, (500, 700, 3), np.uint8)
    data = encode_image(image, form)
    path = tmp_path / "photo"
    path.write_bytes(data)
    # Where a TIFF's directory stands behind its pixels, the head does not tell.
    assert count_pixels(path) == count_pixels(data) == (None if form == "tiff" else 350_000)


def test_pixels_are_counted_from_what_is_in_memory(tmp_path: Path) -> None:
    from PIL import Image

    image = np.zeros((50, 70, 3), np.uint8)
    assert count_pixels(image) == count_pixels(Image.fromarray(image)) == 3500
    assert count_pixels(encode_image(image, "tiff")) == 3500
    empty = tmp_path / "empty"
    empty.touch()
    for nothing in (empty, tmp_path, tmp_path / "none", "a\0b", b"", b"\xff\xd8\xff", 7, None):
        assert count_pixels(nothing) is None
