"""From a path, bytes or an open file to the bytes of one encoded picture."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeGuard

from portrait_sdk.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image as Pil

    from portrait_sdk.media.limits import Limits

_PIECE = 2**20


class BinaryReader(Protocol):
    """Anything with ``read(size) -> bytes``."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""


def is_encoded(image: object) -> TypeGuard[bytes | bytearray | memoryview]:
    """Whether ``image`` is the bytes of an encoded file (a shaped memoryview is an array)."""
    if isinstance(image, memoryview):
        return image.ndim == 1 and image.itemsize == 1
    return isinstance(image, bytes | bytearray)


def is_pil(image: object) -> TypeGuard[Pil.Image]:
    """Whether ``image`` is a Pillow image, which exists only where Pillow is loaded."""
    # Another thread may be loading it just now: then the module is there, and its class is not.
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return kind is not None and isinstance(image, kind)


def read_path(path: str | os.PathLike[str], limits: Limits) -> tuple[bytes, str]:
    """Read the file at ``path``; returns its bytes and its name for messages (one line always)."""
    name = repr(os.fsdecode(path))
    try:
        with Path(os.fsdecode(path)).open("rb", buffering=0) as file:
            state = os.fstat(file.fileno())
            if stat.S_ISREG(state.st_mode):
                limits.check_bytes(state.st_size, name)
            return _drain(file, name, limits), name
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name}: expected a picture, got a folder") from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name}: cannot be a file name: {error}") from error


def read_file(file: BinaryReader, limits: Limits) -> tuple[bytes, str]:
    """Read an open binary file from where it stands to its end; returns its bytes and a name."""
    given = getattr(file, "name", None)
    name = repr(given) if isinstance(given, str) else f"the given {type(file).__name__}"
    try:
        return _drain(file, name, limits), name
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # closed
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name}: cannot be read: {error}") from error


def read_bytes(data: bytes | bytearray | memoryview, limits: Limits) -> tuple[bytes, str]:
    """Take an encoded file from memory; returns its bytes (a copy unless ``bytes``) and a name."""
    name = f"the given {type(data).__name__}"
    limits.check_bytes(len(data), name)
    return bytes(data), name


def _drain(file: BinaryReader, name: str, limits: Limits) -> bytes:
    """Read to the end, at most one byte past the limit."""
    pieces: list[bytes] = []
    size = 0
    while True:
        room = _PIECE if limits.max_bytes is None else min(_PIECE, limits.max_bytes + 1 - size)
        piece = file.read(room)
        if isinstance(piece, str):
            raise ImageError(f"{name}: expected a binary file, got one opened as text; use 'rb'")
        if piece is None:
            raise ImageError(f"{name}: has no bytes yet (opened non-blocking)")
        if not piece:
            return b"".join(pieces)
        pieces.append(bytes(piece))
        size += len(piece)
        limits.check_bytes(size, name)
