"""Network architectures; a module here holds one family, found by the names it gives."""

from __future__ import annotations

import functools
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from portrait_sdk.errors import OptionError

if TYPE_CHECKING:
    from ._base import Architecture


_registered: dict[str, Architecture] = {}


def register(architecture: Architecture) -> None:
    """Add an architecture of your own, for this process; one of the same name is replaced.

    Args:
        architecture: Then found by its name and recognised by its keys, as the package's own are.
    """
    _registered[architecture.name] = architecture


def every() -> dict[str, Architecture]:
    """All architectures by name, sorted; imports torch."""
    return dict(sorted({**_own(), **_registered}.items()))


@functools.cache
def _own() -> dict[str, Architecture]:
    found: dict[str, Architecture] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            for one in import_module(f"{__name__}.{module.name}").ARCHITECTURES:
                found[one.name] = one
    return found


def find(name: str) -> Architecture:
    """The architecture of this name.

    Raises:
        OptionError: There is none.
    """
    try:
        return every()[name]
    except KeyError:
        raise OptionError(
            f"architecture: expected one of {', '.join(every())}, got {name!r}"
        ) from None
