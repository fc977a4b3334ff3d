"""IO binding: what it changes is where tensors live, never what comes out.

The device is the CPU's memory here, so that every line runs without a GPU.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import summing_model

from portrait_sdk.errors import ClosedError, ModelError, OptionError
from portrait_sdk.model import device_runs, providers
from portrait_sdk.model.session import Session

if TYPE_CHECKING:
    from pathlib import Path


def photo(seed: int, height: int = 6, width: int = 8, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, 3, height, width), np.float32)


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    return summing_model(tmp_path / "recurrent.onnx")


def test_bound_runs_give_the_same_bits_at_ever_new_sizes(brightness: Path) -> None:
    plain, bound = Session(brightness, "cpu", bound=False), Session(brightness, "cpu", bound=True)
    sizes = [(4, 5), (6, 8), (4, 5), *((3, width) for width in range(1, 9)), (4, 5)]
    for seed, (height, width) in enumerate(sizes):
        batch = photo(seed, height, width, batch=1 + seed % 2)
        np.testing.assert_array_equal(bound.run(batch), plain.run(batch))


def test_a_result_is_not_changed_by_the_next_run(brightness: Path) -> None:
    session = Session(brightness, "cpu", bound=True)
    first = session.run(photo(1))
    kept = first.copy()
    session.run(photo(2))
    np.testing.assert_array_equal(first, kept)


def test_buffers_are_kept_for_the_last_few_sizes_only(brightness: Path) -> None:
    session = Session(brightness, "cpu", bound=True)
    for width in range(1, 20):
        session.run(photo(0, 4, width))
    assert session._device_runs is not None
    kept = [shape[3] for shape in session._device_runs._kept]
    assert kept == list(range(20 - device_runs._SHAPES, 20))


def test_states_stay_on_the_device_from_frame_to_frame(recurrent: Path) -> None:
    plain, bound = Session(recurrent, "cpu", bound=False), Session(recurrent, "cpu", bound=True)
    before: dict[bool, Any] = {True: {}, False: {}}
    for seed in range(5):
        want, before[False] = plain.step(photo(seed), before[False])
        got, before[True] = bound.step(photo(seed), before[True])
        np.testing.assert_array_equal(got, want)
    assert not isinstance(before[True]["sum_in"], np.ndarray)
    # A single photo in between starts from zero, and two sequences know nothing of each other.
    np.testing.assert_array_equal(bound.run(photo(9)), plain.run(photo(9)))
    other, _ = bound.step(photo(7), {})
    np.testing.assert_array_equal(other, plain.run(photo(7)))


def test_an_earlier_state_can_be_gone_back_to(recurrent: Path) -> None:
    session = Session(recurrent, "cpu", bound=True)
    _, after_one = session.step(photo(1), {})
    want, _ = session.step(photo(2), after_one)
    session.step(photo(3), after_one)
    again, _ = session.step(photo(2), after_one)
    np.testing.assert_array_equal(again, want)


def test_threads_take_turns(brightness: Path) -> None:
    plain, bound = Session(brightness, "cpu", bound=False), Session(brightness, "cpu", bound=True)
    batches = [photo(seed, 16, 16 + seed % 6) for seed in range(60)]
    with ThreadPoolExecutor(6) as pool:
        for got, batch in zip(pool.map(bound.run, batches), batches, strict=True):
            np.testing.assert_array_equal(got, plain.run(batch))


def test_a_run_that_fails_leaves_the_next_one_well(recurrent: Path) -> None:
    session = Session(recurrent, "cpu", bound=True)
    _, states = session.step(photo(1), {})
    with pytest.raises(ModelError, match="cannot run it on cpu"):
        session.step(photo(1, 9, 11), states)  # the state has the first frame's size
    want, _ = Session(recurrent, "cpu", bound=False).step(photo(2), {})
    np.testing.assert_array_equal(session.run(photo(2)), want)


def test_closed_is_closed(brightness: Path) -> None:
    session = Session(brightness, "cpu", bound=True)
    session.close()
    with pytest.raises(ClosedError):
        session.run(photo(1))


def test_cuda_graphs_need_cuda(brightness: Path) -> None:
    with pytest.raises(OptionError, match="cuda_graphs: expected the provider cuda, this runs on"):
        Session(brightness, "cpu", cuda_graphs=True)


def test_cuda_graphs_are_asked_for_in_the_providers_own_words() -> None:
    (name, plain), _ = providers.options("cuda", 1)
    (_, recorded), _ = providers.options("cuda", 1, cuda_graphs=True)
    assert name == "CUDAExecutionProvider"
    assert recorded == {**plain, "enable_cuda_graph": "1"}
    assert providers.options("cpu", 0, cuda_graphs=True) == providers.options("cpu", 0)


def test_recording_keeps_the_first_sizes_and_runs_the_others_plainly(brightness: Path) -> None:
    """ONNX Runtime takes a graph's number on the CPU too, and ignores it."""
    plain = Session(brightness, "cpu", bound=False)
    runs = device_runs.DeviceRuns(
        plain._session, ("cpu", 0), plain.spec.input.name, plain._fixed, graphs=True
    )
    for width in (*range(3, 10), 4, 9):
        got, _ = runs.run("alpha", photo(width, 5, width), {}, [])
        np.testing.assert_array_equal(got, plain.run(photo(width, 5, width)))
    assert {shape[3]: buffers.graph for shape, buffers in runs._kept.items()} == {
        3: "1", 5: "3", 6: "4", 4: "2",
    }  # fmt: skip
