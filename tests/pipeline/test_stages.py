"""Many photos at once: order, bounds, failures, and an end that leaves nothing behind."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from conftest import build_model, native_spec

import portrait_sdk
from portrait_sdk.errors import ImageError, ModelError, OptionError, PortraitError
from portrait_sdk.media import Loaded, load_image
from portrait_sdk.pipeline import stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portrait_sdk import Matte, Matting
    from portrait_sdk.types import Image

GREYS = list(range(0, 250, 10))
LARGE = 255


@pytest.fixture
def matting(brightness: Path) -> Iterator[Matting]:
    with portrait_sdk.load(brightness, provider="cpu", threads=1) as opened:
        yield opened


def decode(grey: int) -> Loaded:
    """A photo of one grey; 255 stands for a large one."""
    side = 200 if grey == LARGE else 20
    return load_image(np.full((side, side, 3), grey, np.uint8))


def level(_item: object, matte: Matte) -> int:
    return round(float(matte.alpha.mean()) * 255)


def run(items: Any, matting: Matting, **options: Any) -> Any:
    return stages.run(items, matting, **{"decode": decode, "encode": level, **options})


def ours() -> list[str]:
    """The run's threads that live."""
    return [
        t.name for t in threading.enumerate() if t.name.startswith(("portrait-i", "portrait-w"))
    ]


class Crowd:
    """Counts what is inside at the same time."""

    def __init__(self) -> None:
        self.inside: list[Any] = []
        self.seen: list[list[Any]] = []
        self.lock = threading.Lock()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(item: Any, *arguments: Any) -> Any:
            with self.lock:
                self.inside.append(item)
                self.seen.append(list(self.inside))
            try:
                time.sleep(0.002)  # so that others get their chance to come in
                return function(item, *arguments)
            finally:
                with self.lock:
                    self.inside.remove(item)

        return call


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_outcomes_come_in_the_order_of_the_items(
    matting: Matting, workers: int, batch_size: int
) -> None:
    found = list(run(GREYS, matting, workers=workers, batch_size=batch_size))
    assert [outcome.item for outcome in found] == GREYS
    assert [outcome.result for outcome in found] == GREYS
    assert {outcome.error for outcome in found} == {None}
    stages_timed = {"decode", "preprocess", "inference", "postprocess", "encode"}
    assert all(set(outcome.seconds) == stages_timed for outcome in found)
    assert not ours()


def test_results_are_those_of_matte_whatever_the_workers(astronaut: Path) -> None:
    with portrait_sdk.load(provider="cpu") as matting:
        want = matting.matte(astronaut).cutout().tobytes()
        for workers in (1, 4):
            found = stages.run(
                [astronaut] * 4,
                matting,
                decode=load_image,
                encode=lambda _, matte: matte.cutout().tobytes(),
                workers=workers,
            )
            assert all(outcome.result == want for outcome in found)


def test_no_items_are_no_outcomes(matting: Matting) -> None:
    assert list(run([], matting)) == []


@pytest.mark.parametrize("stage", ["decode", "encode"])
def test_a_photo_that_fails_is_an_outcome_and_the_run_goes_on(matting: Matting, stage: str) -> None:
    works = {"decode": decode, "encode": level}[stage]

    def fails(item: int, *rest: Any) -> Any:
        if item == 20:
            raise ImageError("damaged")
        return works(item, *rest)

    found = list(run(GREYS, matting, **{stage: fails}))
    assert [o.result for o in found] == [None if grey == 20 else grey for grey in GREYS]
    assert str(found[2].error) == "damaged"
    assert stage in found[2].seconds


def test_a_photo_that_fails_in_a_batch_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    def extra(helper: Any, nodes: list[Any], *_: Any) -> None:  # 1 / 0 where the photo is black
        nodes.insert(1, helper.make_node("Div", ["mean", "mean"], ["ratio"]))
        nodes[2].input[0] = "ratio"

    path = build_model(tmp_path / "m.onnx", native_spec(), extra=extra)
    with portrait_sdk.load(path, provider="cpu") as matting:
        found = list(run([10, 0, 20, 30], matting, workers=1, batch_size=4))
    assert [o.result for o in found] == [255, None, 255, 255]
    assert isinstance(found[1].error, ModelError)


def test_items_are_taken_as_there_is_room(matting: Matting) -> None:
    taken = []

    def endless() -> Iterator[int]:
        for grey in itertools.cycle(GREYS):
            taken.append(grey)
            yield grey

    found = run(endless(), matting, look_ahead=3)
    for yielded in range(1, 20):
        next(found)
        time.sleep(0.002)
        assert len(taken) <= yielded + 3
    found.close()
    assert not ours()


def test_what_is_done_comes_out_while_items_block(matting: Matting) -> None:
    seen = threading.Event()

    def items() -> Iterator[int]:
        yield 10
        assert seen.wait(30)
        yield 20

    found = run(items(), matting)
    assert next(found).result == 10
    seen.set()
    assert [outcome.result for outcome in found] == [20]


def test_unordered_outcomes_do_not_wait_for_a_slow_one(matting: Matting) -> None:
    others_done = threading.Event()

    def slow(grey: int) -> Loaded:
        if grey == 0:
            assert others_done.wait(30)
        return decode(grey)

    found = run(GREYS[:5], matting, decode=slow, workers=2, ordered=False)
    first = [next(found).item for _ in range(4)]
    others_done.set()
    assert set(first) == set(GREYS[1:5])
    assert [outcome.item for outcome in found] == [0]


def test_a_photo_larger_than_the_memory_goes_alone(matting: Matting) -> None:
    crowd = Crowd()
    items = [10, 20, 30, LARGE, 40, 50, 60]
    found = run(
        items,
        matting,
        decode=crowd.around(decode),
        encode=crowd.around(level),
        pixels=lambda grey: 40_000 if grey == LARGE else 400,
        workers=4,
        memory_bytes=100_000,
    )
    assert [outcome.result for outcome in found] == items
    assert all(inside == [LARGE] for inside in crowd.seen if LARGE in inside)
    assert any(len(inside) > 1 for inside in crowd.seen)


def test_a_photo_that_turns_out_large_keeps_others_from_beginning(matting: Matting) -> None:
    begun, large_decoded = [], threading.Event()

    def decoded(grey: int) -> Loaded:
        begun.append(grey)
        return decode(grey)

    def encode(grey: int, matte: Matte) -> int:
        if grey == LARGE:
            before = list(begun)
            time.sleep(0.05)
            assert begun == before
            large_decoded.set()
        return level(grey, matte)

    items = [LARGE, *GREYS]
    found = run(items, matting, decode=decoded, encode=encode, workers=2, memory_bytes=100_000)
    assert [outcome.result for outcome in found] == items
    assert large_decoded.is_set()


def test_mattes_that_wait_count_as_memory(matting: Matting) -> None:
    decoded: list[int] = []

    def counted(grey: int) -> Loaded:
        decoded.append(grey)
        return decode(grey)

    found = run(
        GREYS, matting, decode=counted, encode=lambda _, matte: matte, look_ahead=20,
        memory_bytes=3 * 7 * 400, workers=1, pixels=lambda _: 400,
    )  # fmt: skip
    next(found)
    time.sleep(0.1)
    assert len(decoded) <= 4  # three wait, at seven bytes a pixel, and one went out
    assert len(list(found)) == len(GREYS) - 1


def test_memory_that_runs_out_is_tried_again_alone(matting: Matting) -> None:
    crowd, failed = Crowd(), []

    def short(grey: int, matte: Matte) -> int:
        if grey in (50, 60) and failed.count(grey) < {50: 1, 60: 2}[grey]:
            failed.append(grey)
            raise MemoryError
        if grey == 50:
            assert crowd.inside == [50]
        return level(grey, matte)

    found = list(run(GREYS, matting, encode=crowd.around(short), workers=4))
    assert [o.result for o in found] == [None if grey == 60 else grey for grey in GREYS]
    assert isinstance(found[6].error, MemoryError)


class ShortOfMemory(Loaded):
    """A photo for which memory runs out the first time it is shown to the network."""

    times: ClassVar[list[int]] = []

    def over_white(self) -> Image:
        grey = int(self.image[0, 0, 0])
        self.times.append(grey)
        if self.times.count(grey) == 1:
            raise MemoryError
        return super().over_white()


def test_memory_that_runs_out_in_the_network_is_tried_again(matting: Matting) -> None:
    def short(grey: int) -> Loaded:
        kind = ShortOfMemory if grey in (30, 40, 50) else Loaded
        photo = decode(grey)
        return kind(image=photo.image, source_alpha=None, format=None)

    found = list(run(GREYS, matting, decode=short, workers=4))
    assert [outcome.result for outcome in found] == GREYS
    assert sorted(ShortOfMemory.times) == [30, 30, 40, 40, 50, 50]


def test_closing_leaves_no_thread(matting: Matting) -> None:
    found = run(itertools.cycle(GREYS), matting, workers=3)
    next(found)
    assert len(ours()) == 4
    found.close()
    assert not ours()


def test_an_iterator_let_go_leaves_no_thread(matting: Matting) -> None:
    found = run(itertools.cycle(GREYS), matting)
    next(found)
    del found
    gc.collect()
    assert not ours()


def test_nothing_starts_before_the_first_is_asked_for(matting: Matting) -> None:
    found = run(GREYS, matting)
    assert not ours()
    found.close()


def test_cancelling_lets_out_what_is_done_and_ends(matting: Matting) -> None:
    cancel = threading.Event()
    encoded = []

    def encode(grey: int, matte: Matte) -> int:
        encoded.append(grey)
        if len(encoded) == 5:
            cancel.set()
        return level(grey, matte)

    found = run(itertools.cycle(GREYS), matting, encode=encode, cancel=cancel, workers=2)
    assert sorted(outcome.result for outcome in found) == sorted(encoded)
    assert not ours()


def test_cancelling_ends_a_run_that_waits_for_items(matting: Matting) -> None:
    cancel = threading.Event()

    def items() -> Iterator[int]:
        yield 10
        cancel.wait(30)

    found = run(items(), matting, cancel=cancel)
    assert next(found).result == 10
    threading.Timer(0.05, cancel.set).start()
    assert list(found) == []


def test_an_error_of_the_items_comes_after_the_photos_before_it(matting: Matting) -> None:
    def items() -> Iterator[int]:
        yield from GREYS[:3]
        raise FileNotFoundError("gone")

    found = run(items(), matting)
    assert [next(found).result for _ in range(3)] == GREYS[:3]
    with pytest.raises(FileNotFoundError, match="gone"):
        next(found)
    assert not ours()


@pytest.mark.parametrize("death", [SystemExit(3), KeyboardInterrupt()])
def test_a_worker_that_dies_is_an_error_and_no_hang(matting: Matting, death: BaseException) -> None:
    def deadly(grey: int, matte: Matte) -> int:
        if grey == 30:
            raise death
        return level(grey, matte)

    with pytest.raises(PortraitError, match=f"worker thread died: {type(death).__name__}"):
        list(run(GREYS, matting, encode=deadly))
    assert not ours()


def test_a_kept_error_holds_no_picture(matting: Matting) -> None:
    pictures = []

    def fails(_grey: int) -> Loaded:
        picture = np.zeros((10, 10, 3), np.uint8)
        pictures.append(weakref.ref(picture))
        try:
            picture.reshape(7)
        except ValueError as error:
            raise ImageError("damaged") from error
        raise AssertionError

    (outcome,) = run([1], matting, decode=fails)
    assert outcome.error is not None
    gc.collect()
    assert pictures[0]() is None


@pytest.mark.parametrize(
    "option", [{"workers": 0}, {"batch_size": 0}, {"look_ahead": 0}, {"memory_bytes": 0},
               {"refine": "sharp"}, {"workers": 1.5}],
)  # fmt: skip
def test_impossible_options_are_refused_at_once(matting: Matting, option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        run(GREYS, matting, **option)


_ENDLESS = """
import itertools, sys, portrait_sdk
from portrait_sdk.media import load_image
from portrait_sdk.pipeline import stages
matting = portrait_sdk.load(provider="cpu")
found = stages.run(itertools.repeat(sys.argv[1]), matting, decode=load_image, encode=lambda i, m: 0)
next(found)
print("ready", flush=True)
"""


def test_ctrl_c_ends_it_at_once(astronaut: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS + "for _ in found: pass", astronaut],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT
    assert told.decode().splitlines()[-1] == "KeyboardInterrupt"


def test_a_process_ends_though_a_run_is_still_held(astronaut: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", _ENDLESS + "import threading; print(threading.active_count())",
         astronaut], check=True, timeout=60, env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )  # fmt: skip
