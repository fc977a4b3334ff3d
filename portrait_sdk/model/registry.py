"""Published models by name: which file each one is, where it comes from, what it may be used for.

The data is ``registry.toml``. A name or a path becomes a file that the runtime can load, or an
error that says which command makes one; nothing is downloaded unless asked for.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from portrait_sdk.errors import ModelError
from portrait_sdk.model import cache as model_cache

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "onnx": ".onnx",
        "mindspore-ckpt": ".ckpt",
        "torch-pth": ".pth",
        "safetensors": ".safetensors",
    }
)
"""The file suffix of each format; the runtime loads ``onnx`` alone."""

_TO_CONVERT = (".ckpt", ".pth", ".pt", ".safetensors")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published model: a file inside the package, or an address and its file's hash."""

    name: str
    """Lower-case letters, digits, ``.``, ``_`` and ``-``; also the start of its file's name."""
    format: str
    """A key of :data:`FORMATS`."""
    architecture: str
    """What ``portrait convert --arch`` takes for it."""
    license: str
    """SPDX identifier of the weights."""
    embedded: str | None = None
    """File name inside the package; None where the file is fetched from ``url``."""
    url: str | None = None
    """``https://`` address (``http://`` for a server of one's own); None where embedded."""
    sha256: str | None = None
    """Of the file: 64 lower-case hexadecimal digits; always there with ``url``."""
    size_bytes: int | None = None
    """Of the file, where known."""
    use_limits: str = ""
    """What the publisher restricts beyond the licence; empty for nothing."""
    description: str = ""
    """One line for people."""
    default: bool = False
    """True for the one model used when none is named."""

    def __post_init__(self) -> None:
        """Refuse values that do not make one file to be found or fetched."""
        if not _NAME.fullmatch(self.name):
            raise ModelError(f"model name: expected {_NAME.pattern}, got {self.name!r}")
        if self.format not in FORMATS:
            raise ModelError(
                f"{self.name}: format: expected one of {', '.join(FORMATS)}, got {self.format!r}"
            )
        if (self.embedded is None) == (self.url is None):
            raise ModelError(f"{self.name}: expected either embedded or url")
        if self.url is not None and not self.url.startswith(("https://", "http://")):
            raise ModelError(f"{self.name}: url: expected https://, got {self.url!r}")
        hashed = self.url is not None or self.sha256 is not None
        if hashed and not _SHA256.fullmatch(self.sha256 or ""):
            raise ModelError(
                f"{self.name}: sha256: expected 64 lower-case hexadecimal digits, "
                f"got {self.sha256!r}"
            )
        if self.size_bytes is not None and self.size_bytes < 1:
            raise ModelError(f"{self.name}: size_bytes: expected at least 1, got {self.size_bytes}")

    @property
    def filename(self) -> str:
        """The file's name in the package or, with the start of its hash, in the download cache."""
        if self.embedded is not None:
            return self.embedded
        return f"{self.name}.{(self.sha256 or '')[:12]}{FORMATS[self.format]}"


def parse(text: str) -> Mapping[str, Entry]:
    """Read a registry from TOML text.

    Returns:
        Entries by name, in the order of the text, read-only.

    Raises:
        ModelError: The text is no TOML, a table has an unknown, missing or impossible value, or not
            exactly one entry is the default.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"model registry: not TOML: {error}") from error
    known = {field.name for field in fields(Entry)}
    found: dict[str, Entry] = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or not table.keys() <= known - {"name"}:
            raise ModelError(
                f"model registry: {name}: expected a table of {', '.join(sorted(known))}"
            )
        try:
            found[name] = Entry(name=name, **table)
        except TypeError as error:
            raise ModelError(f"model registry: {name}: {error}") from error
    defaults = [entry.name for entry in found.values() if entry.default]
    if len(defaults) != 1 or found[defaults[0]].embedded is None:
        raise ModelError(
            f"model registry: expected one embedded default model, got {', '.join(defaults) or '0'}"
        )
    return MappingProxyType(found)


@cache
def entries() -> Mapping[str, Entry]:
    """Every published model by name, from ``registry.toml``; read once."""
    return parse(Path(__file__).with_name("registry.toml").read_text(encoding="utf-8"))


def find(name: str) -> Entry:
    """Return the published model of this name.

    Raises:
        ModelError: There is none; the message names the nearest one.
    """
    known = entries()
    if name in known:
        return known[name]
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    near = near or [other for other in known if name and name in other]
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ModelError(f"unknown model {name!r}; {hint}`portrait models list` lists them")


def locate(entry: Entry) -> Path | None:
    """Find a model's file: in the package, or verified in the download cache, or nowhere (None).

    Raises:
        ModelError: A file that should be there is missing from the package.
    """
    if entry.embedded is None:
        return model_cache.cached(entry)
    path = Path(__file__).resolve().parents[1] / "models" / entry.embedded
    if not path.is_file():
        raise ModelError(f"{entry.name}: the package's own {path} is missing; install it again")
    return path


def loadable(entry: Entry, *, download: bool = False) -> Path:
    """Return a published model as a file that the runtime can load.

    Args:
        entry: The model.
        download: Fetch the file when it is not in the cache.

    Raises:
        ModelError: The runtime cannot load its format, or it is not here; the message has the
            commands that change it.
        DownloadError: It was to be fetched and could not be.
    """
    path = locate(entry)
    fetch = f"`portrait models fetch {entry.name}`"
    if entry.format != "onnx":
        first = "" if path else f"{fetch}, then "
        source = path or model_cache.cache_dir() / entry.filename
        command = _convert_command(source, f"{entry.name}.onnx", entry.architecture)
        raise ModelError(
            f"{entry.name}: a {entry.format} file, which the runtime cannot load; "
            f"make it loadable with {first}{command}"
        )
    if path:
        return path
    if not download:
        raise ModelError(f"{entry.name}: not downloaded yet; {fetch} does so")
    from portrait_sdk.model import download as downloading  # brings the HTTP client

    return downloading.fetch(entry)


def resolve(model: str | os.PathLike[str] | None, *, download: bool = False) -> Path:
    """Turn what a user calls a model into a file that the runtime can load.

    Args:
        model: None for the default model; a path-like, or a string with a path separator, with a
            model file's suffix, or that names a file here, for that file; else a published name.
        download: Fetch a published model that is not in the cache. Without it, nothing is fetched.

    Raises:
        ModelError: There is no such file or name, or the runtime cannot load what it stands for;
            the message has the command that makes it loadable.
        DownloadError: It was to be fetched and could not be.
    """
    if model is None:
        return loadable(next(entry for entry in entries().values() if entry.default))
    if isinstance(model, str) and not _is_path(model):
        return loadable(find(model), download=download)
    path = Path(model)
    try:
        missing = not path.is_file()
        what = "a folder, not a model file" if path.is_dir() else "no such model file"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"{path}: cannot be read: {why}") from error
    if missing:
        raise ModelError(f"{path}: {what}")
    if path.suffix.lower() in _TO_CONVERT:
        command = _convert_command(path, f"{path.stem}.onnx", _architecture(path, entries()))
        raise ModelError(
            f"{path}: a checkpoint, which the runtime cannot load; make it loadable with {command}"
        )
    return path


def _is_path(model: str) -> bool:
    """Tell whether a string is meant as a path rather than as a published name."""
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return (
        any(separator in model for separator in separators)
        or model.lower().endswith((".onnx", *_TO_CONVERT))
        or os.path.isfile(model)  # noqa: PTH113 - False for names no file system takes
    )


def _architecture(path: Path, published: Mapping[str, Entry]) -> str:
    """Name a checkpoint's architecture, known where its hash is a published one's."""
    digest = model_cache.sha256(path)
    matches = (entry.architecture for entry in published.values() if entry.sha256 == digest)
    return next(matches, "ARCHITECTURE")


def _convert_command(source: Path, output: str, architecture: str) -> str:
    """Write the command that makes ``source`` loadable, quoted for this system's shell."""
    if os.name == "nt":
        words = [f'"{word}"' if " " in word else word for word in (str(source), output)]
    else:
        words = [shlex.quote(word) for word in (str(source), output)]
    return f"`portrait convert {words[0]} -o {words[1]} --arch {architecture}`"
