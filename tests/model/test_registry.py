"""Models by name or path: what is published, what a name or path becomes, and `portrait models`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from model.http_server import serve

from portrait_sdk.cli import models as command
from portrait_sdk.errors import DownloadError, ModelError
from portrait_sdk.model import download, registry
from portrait_sdk.model.registry import Entry

SHM_HASH = "f7423467525c7b2114782e934117519b52af0923a9ac5cc3a8e31f2c8b8d21f9"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, a working folder of its own, and a network without proxies."""
    for name in ("PORTRAIT_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORTRAIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def entry(**changes) -> Entry:
    values = {"name": "tiny", "format": "onnx", "architecture": "portrait", "license": "MIT"}
    if not changes.get("embedded"):
        values |= {"url": "https://models.invalid/tiny", "sha256": 64 * "0"}
    return Entry(**(values | changes))


# What is published


def test_default_model_is_embedded_and_free_to_use():
    default = registry.find("portrait-s")
    assert default.default
    assert default.format == "onnx"
    assert default.license == "Apache-2.0"
    assert default.use_limits == ""
    assert registry.resolve(None) == registry.resolve("portrait-s") == registry.locate(default)
    assert registry.resolve(None).name == "portrait-s.onnx"


def test_portrait_m_is_in_the_package_and_the_file_that_the_registry_names():
    larger = registry.find("portrait-m")
    path = registry.resolve("portrait-m")
    assert path.name == larger.embedded == "portrait-m.onnx"
    assert (larger.license, larger.use_limits, larger.default) == ("Apache-2.0", "", False)
    assert larger.size_bytes == path.stat().st_size <= 25_000_000
    assert larger.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_mindspore_shm_is_published_with_its_limits():
    shm = registry.find("shm-mindspore")
    assert shm.sha256 == SHM_HASH
    assert shm.license == "Apache-2.0"
    assert "research and education" in shm.use_limits
    assert (shm.format, shm.architecture) == ("mindspore-ckpt", "shm")


def test_published_addresses_are_https_and_files_do_not_collide():
    published = registry.entries().values()
    assert all(e.url.startswith("https://") for e in published if e.url)
    assert len({e.filename for e in published}) == len(published)


def test_entries_are_read_once_and_not_changed():
    assert registry.entries() is registry.entries()
    with pytest.raises(TypeError):
        registry.entries()["x"] = entry()
    with pytest.raises(dataclasses.FrozenInstanceError):
        registry.find("portrait-s").license = "MIT"


# The registry's text

DEFAULT = """
[small]
embedded = "small.onnx"
license = "MIT"
format = "onnx"
architecture = "portrait"
default = true
"""


def test_parse_reads_what_is_written():
    (small,) = registry.parse(DEFAULT).values()
    assert small == entry(name="small", embedded="small.onnx", default=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", r"not TOML"),
        ("", r"expected one embedded default model, got 0"),
        (DEFAULT + DEFAULT.replace("small", "tiny"), r"default model, got small, tiny"),
        (DEFAULT + "colour = 1", r"small: expected a table of"),
        ("x = 1" + DEFAULT, r"x: expected a table of"),
        (DEFAULT.replace('license = "MIT"', ""), r"small: .* argument: 'license'"),
        (DEFAULT.replace('"onnx"', '"tflite"'), r"small: format: .* got 'tflite'"),
        (DEFAULT + "size_bytes = 'big'", r"model registry: small: "),
    ],
)
def test_parse_refuses_what_it_does_not_understand(text, message):
    with pytest.raises(ModelError, match=message):
        registry.parse(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../tiny"}, r"model name: expected .* got '../tiny'"),
        ({"url": None}, r"tiny: expected either embedded or url"),
        ({"url": "file:///tiny"}, r"tiny: url: expected https://, got 'file:///tiny'"),
        ({"sha256": None}, r"tiny: sha256: expected 64 .* got None"),
        (
            {"url": None, "embedded": "t.onnx", "sha256": "f"},
            r"tiny: sha256: expected 64 .* got 'f'",
        ),
        ({"sha256": 64 * "Z"}, r"tiny: sha256: expected 64 "),
        ({"size_bytes": 0}, r"tiny: size_bytes: expected at least 1, got 0"),
    ],
)
def test_entry_refuses_what_is_no_model(changes, message):
    with pytest.raises(ModelError, match=message):
        entry(**changes)


# From names and paths to files


def test_misspelt_name_gets_the_nearest_one():
    with pytest.raises(ModelError) as caught:
        registry.resolve("portrat-s")
    assert str(caught.value) == (
        "unknown model 'portrat-s'; did you mean 'portrait-s'? `portrait models list` lists them"
    )


def test_part_of_a_name_gets_the_whole_one():
    with pytest.raises(ModelError, match=r"unknown model 'shm'; did you mean 'shm-mindspore'\? "):
        registry.resolve("shm")


@pytest.mark.parametrize("name", ["zzz", ""])
def test_name_like_no_other_gets_the_list(name):
    with pytest.raises(ModelError) as caught:
        registry.resolve(name)
    assert str(caught.value) == f"unknown model {name!r}; `portrait models list` lists them"


@pytest.mark.parametrize("model", ["model.onnx", "./model", "plain", Path("plain")])
def test_file_here_is_itself(model):
    Path(model).write_bytes(b"onnx")
    assert registry.resolve(model) == Path(model)


@pytest.mark.parametrize("model", ["model.onnx", "./model", "model.CKPT", Path("portrait-s")])
def test_missing_file_is_named(model):
    with pytest.raises(ModelError) as caught:
        registry.resolve(model)
    assert str(caught.value) == f"{Path(model)}: no such model file"


def test_folder_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r": a folder, not a model file$"):
        registry.resolve(tmp_path)


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".pt", ".safetensors", ".PTH"])
def test_checkpoint_gets_the_command_that_converts_it(suffix):
    Path(f"my net{suffix}").write_bytes(b"weights")
    with pytest.raises(ModelError) as caught:
        registry.resolve(f"my net{suffix}")
    assert str(caught.value).endswith(
        f"with `portrait convert 'my net{suffix}' -o 'my net.onnx' --arch ARCHITECTURE`"
    )


def test_published_checkpoint_under_another_name_gets_its_architecture():
    Path("mine.ckpt").write_bytes(b"weights")
    known = entry(sha256=hashlib.sha256(b"weights").hexdigest(), architecture="shm")
    assert registry._architecture(Path("mine.ckpt"), {"tiny": known}) == "shm"


@pytest.mark.parametrize("download", [False, True])
def test_published_checkpoint_gets_the_commands_that_fetch_and_convert_it(folder, download):
    with pytest.raises(ModelError) as caught:
        registry.resolve("shm-mindspore", download=download)
    assert str(caught.value).endswith(
        "with `portrait models fetch shm-mindspore`, then `portrait convert "
        f"{folder}/shm-mindspore.f7423467525c.ckpt -o shm-mindspore.onnx --arch shm`"
    )
    assert not folder.exists()


def test_fetched_checkpoint_gets_the_command_that_converts_it():
    with serve(b"weights") as server:
        checkpoint = entry_at(server, format="mindspore-ckpt", architecture="shm")
        path = download.fetch(checkpoint)
        with pytest.raises(ModelError) as caught:
            registry.loadable(checkpoint)
    assert str(caught.value).endswith(f"with `portrait convert {path} -o tiny.onnx --arch shm`")
    assert "models fetch" not in str(caught.value)


def entry_at(server, **changes) -> Entry:
    values = {"url": server.url, "sha256": hashlib.sha256(server.content).hexdigest()}
    return entry(**(values | changes))


def test_published_model_is_downloaded_only_when_asked(folder):
    with serve(b"onnx") as server:
        with pytest.raises(ModelError) as caught:
            registry.loadable(entry_at(server))
        assert server.requests == []
        assert not folder.exists()
        path = registry.loadable(entry_at(server), download=True)
        assert path.read_bytes() == b"onnx"
        assert registry.loadable(entry_at(server)) == path
        assert len(server.requests) == 1
    assert str(caught.value) == "tiny: not downloaded yet; `portrait models fetch tiny` does so"


def test_offline_wins_over_asking(monkeypatch):
    monkeypatch.setenv("PORTRAIT_OFFLINE", "1")
    with serve(b"onnx") as server:
        with pytest.raises(DownloadError, match=r"PORTRAIT_OFFLINE is set"):
            registry.loadable(entry_at(server), download=True)
        assert server.requests == []


def test_model_missing_from_the_package_is_named():
    with pytest.raises(ModelError, match=r"the package's own .*tiny\.onnx is missing"):
        registry.locate(entry(embedded="tiny.onnx"))


# The command


def run(*args: str):
    return CliRunner().invoke(command.models, args, catch_exceptions=False)


def test_list_shows_name_licence_limits_and_place():
    lines = run("list").stdout.splitlines()
    assert lines[0].split("  ")[0] == "NAME"
    assert lines[1].startswith("portrait-s (default)  ")
    assert "  Apache-2.0  embedded" in lines[1]
    assert lines[2].split(maxsplit=1)[0] == "portrait-m"
    assert lines[3].split(maxsplit=1)[0] == "shm-mindspore"
    assert "not fetched  research and education only" in lines[3]


def test_list_as_json_is_the_registry_and_places():
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows.keys() == registry.entries().keys()
    small, shm = rows["portrait-s"], rows["shm-mindspore"]
    assert (small["state"], shm["state"]) == ("embedded", "not fetched")
    assert small["size_bytes"] == Path(small["path"]).stat().st_size
    assert (shm["path"], shm["sha256"]) == (None, SHM_HASH)


def test_path_of_the_embedded_model():
    assert run("path", "portrait-s").stdout == f"{registry.resolve(None)}\n"


def test_path_of_a_model_that_is_not_here():
    with pytest.raises(ModelError, match=r"`portrait models fetch shm-mindspore` does so$"):
        run("path", "shm-mindspore")


def test_fetch_of_the_embedded_model_prints_its_path_and_licence():
    result = run("fetch", "portrait-s")
    assert result.stdout == f"{registry.resolve(None)}\n"
    assert result.stderr == "portrait-s: Apache-2.0\n"


def test_fetch_says_licence_limits_and_progress_and_then_the_file_is_cached(capsys):
    with serve(bytes(2_000_000)) as server:
        tiny = entry_at(server, use_limits="tests only")
        assert command._row(tiny, registry.locate(tiny))["state"] == "not fetched"
        path = command._fetch(tiny)
        assert command._fetch(tiny) == path
        assert len(server.requests) == 1
    out, err = capsys.readouterr()
    first, *progress, again = err.splitlines()
    assert out == ""
    assert first == again == "tiny: MIT; tests only"
    assert progress[-1] == "tiny: 2.0 MB of 2.0 MB"
    assert len(progress) <= 10
    row = command._row(tiny, registry.locate(tiny))
    assert (row["state"], row["path"], row["size_bytes"]) == ("cached", str(path), 2_000_000)


def test_fetch_while_offline_is_refused(monkeypatch):
    monkeypatch.setenv("PORTRAIT_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"shm-mindspore\.f7423467525c\.ckpt in "):
        run("fetch", "shm-mindspore")
