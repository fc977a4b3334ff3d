"""Optimised graphs kept between processes: only when asked, and never one that is not trusted."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import build_model, native_spec

import portrait_sdk
from portrait_sdk.errors import OptionError
from portrait_sdk.model import graph_cache
from portrait_sdk.model.session import Session

BATCH = np.random.default_rng(5).random((1, 3, 8, 6), np.float32)


@pytest.fixture(autouse=True)
def graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where graphs are kept: a cache of the test's own."""
    monkeypatch.delenv(graph_cache.VARIABLE, raising=False)
    monkeypatch.setenv("PORTRAIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


def kept(graphs: Path) -> Path:
    (graph,) = graphs.glob("*.onnx")
    assert {p.name for p in graphs.iterdir()} == {graph.name, f"{graph.stem}.sha256"}
    return graph


def reads_kept(model: Path) -> bool:
    """Whether a session opened now comes from the kept graph: only then is it not written again."""
    folder = Path(os.environ["PORTRAIT_CACHE_DIR"]) / "graphs"
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    Session(model, "cpu", graph_cache=True)
    return before == {p: p.stat().st_mtime_ns for p in folder.iterdir()}


def test_nothing_is_written_unasked(brightness: Path, graphs: Path) -> None:
    Session(brightness, "cpu")
    assert not graphs.parent.exists()


def test_the_kept_graph_gives_the_same_bits(graphs: Path) -> None:
    from portrait_sdk.model import registry

    model = registry.resolve(None, download=False)
    batch = np.random.default_rng(3).random((1, 3, 64, 96), np.float32)
    want = Session(model, "cpu").run(batch)
    for _ in ("written", "read"):
        np.testing.assert_array_equal(Session(model, "cpu", graph_cache=True).run(batch), want)
    assert kept(graphs)
    assert reads_kept(model)


def test_load_and_the_variable_ask_for_it(
    brightness: Path, graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(graph_cache.VARIABLE, "1")
    portrait_sdk.load(brightness, provider="cpu", graph_cache=False).close()
    assert not graphs.exists()
    portrait_sdk.load(brightness, provider="cpu").close()
    assert kept(graphs)


def test_another_value_of_the_variable_is_refused(
    brightness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(graph_cache.VARIABLE, "maybe")
    with pytest.raises(OptionError, match="PORTRAIT_GRAPH_CACHE: expected 1, true"):
        portrait_sdk.load(brightness)


@pytest.mark.parametrize("damage", ["cut", "flipped", "no hash", "empty hash", "binary hash"])
def test_a_damaged_graph_is_made_anew(brightness: Path, graphs: Path, damage: str) -> None:
    Session(brightness, "cpu", graph_cache=True)
    graph = kept(graphs)
    good, sidecar = graph.read_bytes(), graph.with_suffix(".sha256")
    if damage == "cut":
        graph.write_bytes(good[:-1])
    elif damage == "flipped":
        graph.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    elif damage == "no hash":
        sidecar.unlink()
    else:
        sidecar.write_bytes(b"" if damage == "empty hash" else b"\xff\xfe")
    got = Session(brightness, "cpu", graph_cache=True).run(BATCH)
    np.testing.assert_array_equal(got, Session(brightness, "cpu").run(BATCH))
    assert kept(graphs) == graph
    assert reads_kept(brightness)


def test_a_graph_that_does_not_open_is_made_anew(brightness: Path, graphs: Path) -> None:
    import hashlib

    Session(brightness, "cpu", graph_cache=True)
    graph = kept(graphs)
    graph.write_bytes(b"no graph")
    graph.with_suffix(".sha256").write_text(hashlib.sha256(b"no graph").hexdigest())
    assert Session(brightness, "cpu", graph_cache=True).run(BATCH).shape == (1, 1, 8, 6)
    assert reads_kept(brightness)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and modes are POSIX's")
def test_a_graph_that_others_may_write_is_not_trusted(
    brightness: Path, graphs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Session(brightness, "cpu", graph_cache=True)
    graph = kept(graphs)
    assert graph.stat().st_mode & 0o777 == 0o600
    assert graph.parent.stat().st_mode & 0o777 == 0o700
    graph.chmod(0o666)
    with caplog.at_level(logging.WARNING, "portrait_sdk"):
        assert not reads_kept(brightness)
    assert "others may write it" in caplog.text
    assert graph.stat().st_mode & 0o777 == 0o600


def test_another_model_is_another_graph(tmp_path: Path, brightness: Path, graphs: Path) -> None:
    Session(brightness, "cpu", graph_cache=True)
    same = Path(shutil.copy(brightness, tmp_path / "copy.onnx"))
    Session(same, "cpu", graph_cache=True)
    assert kept(graphs)  # by content, not by name
    other = build_model(tmp_path / "other.onnx", native_spec(name="other"))
    Session(other, "cpu", graph_cache=True)
    assert len(list(graphs.glob("*.onnx"))) == 2


@pytest.mark.parametrize("change", ["runtime", "settings"])
def test_what_the_graph_depends_on_is_in_its_name(brightness: Path, change: str) -> None:
    facts = {"runtime": "1.23.0", "settings": "cpu"}
    names = {
        graph_cache.entry(brightness, known["runtime"], {"provider": known["settings"]})
        for known in (facts, {**facts, change: "another"})
    }
    assert len(names) == 2


def test_a_folder_that_cannot_be_made_costs_only_the_cache(
    brightness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PORTRAIT_CACHE_DIR", str(tmp_path / "file"))
    assert Session(brightness, "cpu", graph_cache=True).run(BATCH).shape == (1, 1, 8, 6)


def test_a_model_that_does_not_open_leaves_nothing(tmp_path: Path, graphs: Path) -> None:
    from portrait_sdk.errors import ModelError

    def extra(_helper: object, nodes: list[object], _inputs: object, _outputs: object) -> None:
        nodes[0].op_type = "NoSuchOperator"  # type: ignore[attr-defined]

    path = build_model(tmp_path / "m.onnx", native_spec(), extra=extra)
    with pytest.raises(ModelError):
        Session(path, "cpu", graph_cache=True)
    assert list(graphs.iterdir()) == []
