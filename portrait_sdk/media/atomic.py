"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from portrait_sdk.errors import OutputError, PortraitError

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = re.compile(r"\.portrait-[0-9a-f]{16}\.part")
"""Name of a temporary file, which a process that was killed leaves behind."""

_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")


def write_atomic(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write ``data`` to ``path``; whatever happens, the file is the old one or the new one, whole.

    A temporary file in the same folder (``.portrait-*.part``) is written, synced and renamed. A new
    file gets the permissions any new file would; an existing one keeps its own, and one that may
    not be written is refused. Through a symbolic link the file it leads to is replaced. Devices,
    pipes and ``/dev/stdout`` are written straight, since they cannot be renamed onto.

    Raises:
        OutputError: It cannot be written; the temporary file is gone.
    """
    with open_atomic(path) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file to be written piece by piece, as :func:`write_atomic` does in one.

    It appears at the end of the ``with`` block, and not at all if that ends with an error.

    Raises:
        OutputError: It cannot be written, or an OSError came out of the block.
    """
    name = os.fsdecode(path)
    try:
        state = _stat(name)
        if state is not None and _is_stream(name, state):
            with Path(name).open("wb") as file:
                yield file
            return
        target = Path(os.path.realpath(name))
        problem = _problem(name, state, target)
        if problem is not None:
            raise OutputError(f"{name!r}: {problem}")
        with _replacing(target, None if state is None else stat.S_IMODE(state.st_mode)) as file:
            yield file
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, PortraitError):
            raise
        reason = error.strerror if isinstance(error, OSError) else None
        raise OutputError(f"{name!r}: cannot be written: {reason or error}") from error


def _is_stream(name: str, state: os.stat_result) -> bool:
    other = not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode))
    return other or name.startswith(_STREAMS)


def _problem(name: str, state: os.stat_result | None, target: Path) -> str | None:
    """Say what stands in the way, where it can be said better than the system does."""
    if name == "" or (state is None and name.endswith(os.sep)):
        return "expected the name of a file"
    if state is not None and stat.S_ISDIR(state.st_mode):
        return "is a folder; expected the name of a file"
    if not target.parent.is_dir():
        return f"the folder {str(target.parent)!r} does not exist; create it first"
    if state is not None and not os.access(target, os.W_OK):
        return "cannot be written: its permissions forbid it"
    return None


def _stat(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)  # noqa: PTH116 - Path would drop a trailing slash
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _replacing(target: Path, mode: int | None) -> Iterator[BinaryIO]:
    part = target.parent / f".portrait-{os.urandom(8).hex()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        # 0o666 less the umask, as for any new file; tempfile would make it private.
        with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
            if mode is not None:
                part.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
