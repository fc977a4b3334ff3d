"""Network architectures; a module here is an architecture, found by its name."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from portrait_sdk.errors import OptionError

if TYPE_CHECKING:
    from ._base import Architecture


def names() -> list[str]:
    """Every architecture's name, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def find(name: str) -> Architecture:
    """The architecture of this name.

    Raises:
        OptionError: There is none.
    """
    if name not in names():
        raise OptionError(f"architecture: expected one of {', '.join(names())}, got {name!r}")
    found: Architecture = import_module(f"{__name__}.{name}").ARCHITECTURE
    return found
