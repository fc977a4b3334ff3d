"""The cache of fetched models: one folder, each file checked against its hash at every use."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_sdk.errors import ModelError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portrait_sdk.model.registry import Entry

logger = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Name the folder of fetched models; it is created when something is stored in it.

    ``PORTRAIT_CACHE_DIR`` where set, else what the platform has for caches: ``$XDG_CACHE_HOME`` or
    ``~/.cache``, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.

    Raises:
        OptionError: The variable is not set and this user has no home folder.
    """
    try:
        if chosen := os.environ.get("PORTRAIT_CACHE_DIR"):
            return Path(chosen).expanduser().absolute()
        return _platform_cache_dir(sys.platform, os.environ, Path.home()) / "portrait_sdk"
    except RuntimeError as error:
        raise OptionError(f"model cache: {error}; set PORTRAIT_CACHE_DIR to a folder") from error


def _platform_cache_dir(platform: str, environ: Mapping[str, str], home: Path) -> Path:
    """Name a platform's folder for caches; a relative XDG path is ignored, as XDG asks."""
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if platform == "darwin":
        return home / "Library" / "Caches"
    xdg = Path(environ.get("XDG_CACHE_HOME", ""))
    return xdg if xdg.is_absolute() else home / ".cache"


def offline() -> bool:
    """Whether ``PORTRAIT_OFFLINE`` forbids downloads.

    Raises:
        OptionError: It has a value that is neither a yes nor a no.
    """
    return switch("PORTRAIT_OFFLINE")


def switch(variable: str) -> bool:
    """Whether an environment variable says yes; no where it is not set.

    Raises:
        OptionError: It has a value that is neither a yes nor a no.
    """
    value = os.environ.get(variable, "").strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise OptionError(f"{variable}: expected 1, true, yes, on, 0, false, no or off, got {value!r}")


def sha256(path: Path) -> str:
    """Compute a file's SHA-256, in lower-case hexadecimal digits.

    Raises:
        ModelError: It cannot be read.
    """
    import hashlib  # here, as the embedded model needs no hash: it takes 10 ms

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def cached(entry: Entry) -> Path | None:
    """Return the file of a fetched model, or None where it is absent or has another hash.

    Raises:
        ModelError: A file is there and cannot be read.
    """
    path = cache_dir() / entry.filename
    if not path.exists():
        return None
    found = sha256(path)
    if found == entry.sha256:
        return path
    logger.warning("%s: damaged: expected SHA-256 %s, found %s", path, entry.sha256, found)
    return None
