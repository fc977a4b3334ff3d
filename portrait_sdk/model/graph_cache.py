"""Optimised graphs kept between processes, for whoever asks for it.

ONNX Runtime rewrites a graph each time it opens it. The rewritten graph can be saved and opened
again without that work. It holds what suits one processor, so a file's name says all it depends on:
the model's hash, ONNX Runtime's version, the processor, the settings. Beside each lies its SHA-256;
a file that is damaged, foreign or not this user's own is made anew.

Only for the CPU, and for models whose weights lie inside the .onnx file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.errors import ModelError
from portrait_sdk.model import cache

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PORTRAIT_GRAPH_CACHE"
"""Environment variable that asks for it where ``load`` is not told."""

_FOLDER = "graphs"
_LAYOUT = 1  # of key and files; another number leaves the files of old behind
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_log = logging.getLogger(__name__)


def wanted(graph_cache: bool | None) -> bool:  # noqa: FBT001 - the option's own value
    """Whether to use the cache: as told, else as the variable says, else not.

    Raises:
        OptionError: The variable is neither a yes nor a no.
    """
    return cache.switch(VARIABLE) if graph_cache is None else graph_cache


def entry(model: Path, runtime_version: str, settings: Mapping[str, object]) -> Path:
    """Name the file of a model's optimised graph; it need not exist.

    Args:
        model: The .onnx file.
        runtime_version: ONNX Runtime's.
        settings: All else that the graph depends on, such as provider and options.

    Raises:
        ModelError: The model cannot be read.
        OptionError: There is no folder for caches.
    """
    import hashlib  # here, as those who keep no graphs need not load it

    facts = {
        "layout": _LAYOUT,
        "model": cache.sha256(model),
        "onnxruntime": runtime_version,
        "processor": _processor(),
        "settings": dict(settings),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache.cache_dir() / _FOLDER / f"{key[:32]}.onnx"


def read(path: Path) -> bytes | None:
    """Return a kept graph; None where there is none to be trusted, with the reason in the log."""
    import hashlib

    try:
        expected = _own(_sidecar(path)).decode("ascii").strip()
        graph = _own(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("%s: optimised graph ignored: %s", path, error)
        return None
    if hashlib.sha256(graph).hexdigest() != expected:
        _log.warning("%s: optimised graph ignored: damaged", path)
        return None
    return graph


def begin(path: Path) -> Path | None:
    """Name a file beside ``path`` for ONNX Runtime to write; None where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.parent / f".portrait-{os.urandom(8).hex()}.part"
        # Made here, so that it is private from its first byte.
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        _log.warning("%s: optimised graph not kept: %s", path, error)
        return None
    return part


def finish(part: Path, path: Path) -> None:
    """Put what ONNX Runtime wrote in place, whole, with its hash; or leave nothing."""
    try:
        digest = cache.sha256(part)
        sidecar = part.with_suffix(".sha256")
        with os.fdopen(os.open(sidecar, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(digest.encode() + b"\n")
        # Between the two renames the pair does not match, which reads as damaged: made anew.
        sidecar.replace(_sidecar(path))
        part.replace(path)
    except (OSError, ModelError) as error:
        _log.warning("%s: optimised graph not kept: %s", path, error)
        discard(part)


def discard(part: Path) -> None:
    """Remove what ``begin`` made."""
    for leftover in (part, part.with_suffix(".sha256")):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _own(path: Path) -> bytes:
    """Read a plain file that this user owns and nobody else may write."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("not a plain file")
        if hasattr(os, "geteuid"):
            if state.st_uid != os.geteuid():
                raise ValueError("owned by another user")
            if state.st_mode & _OTHERS_WRITE:
                raise ValueError("others may write it")
        return file.read()


def _processor() -> str:
    """What tells processors apart whose best graphs may differ."""
    names = ("model name", "flags", "Features", "CPU part")
    try:
        text = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    first = text.split("\n\n", 1)[0].splitlines()
    return f"{platform.machine()} " + "; ".join(line for line in first if line.startswith(names))
