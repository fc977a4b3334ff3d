"""How published .onnx files want to be fed: the profiles that ship, and a user's own."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait_sdk.errors import OptionError, SpecError
from portrait_sdk.spec import SCHEMA, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

FROM_GRAPH = "?"
"""Stands in a profile's spec for a name that the graph gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A spec whose names are still to be read from a graph."""

    name: str
    """Of the profile: that of a shipped one, or a file's path."""
    title: str
    source: str
    """Where the facts and the weights are from, and what restricts their use."""
    first_output: bool
    """Of several outputs that could be alpha, the first is."""
    spec: ModelSpec
    """Names that the profile leaves to the graph are ``FROM_GRAPH``."""


def shipped() -> dict[str, Profile]:
    """All profiles that come with the package, by name, in their file's order."""
    return {name: _read(name, f"profile {name}", table) for name, table in _tables().items()}


@functools.cache
def _tables() -> dict[str, dict[str, Any]]:
    text = resources.files("portrait_sdk.converters").joinpath("profiles.toml").read_text("utf-8")
    return tomllib.loads(text)


def find(wanted: str) -> Profile:
    """The shipped profile of this name, or the one in this JSON file.

    Args:
        wanted: A name, or the path of a file with a ``ModelSpec`` in JSON, whole or with parts left
            out: ``name``, ``architecture``, ``license``, ``schema``, the input's and the
            outputs' names, and ``outputs`` where there is one and its values are final.

    Raises:
        OptionError: No such profile and no such file.
        SpecError: The file is not JSON, or one of its fields is unknown or impossible.
    """
    tables = _tables()
    if wanted in tables:
        return _read(wanted, f"profile {wanted}", tables[wanted])
    path = Path(wanted)
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or path.exists():
            reason = getattr(error, "strerror", None) or "not text in UTF-8"
            raise SpecError(f"{wanted}: cannot be read as a profile: {reason}") from error
        near = difflib.get_close_matches(wanted, tables, 1, 0.5)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise OptionError(
            f"profile {wanted!r}: {meant}expected a JSON file or one of {', '.join(tables)}"
        ) from error
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{wanted}: expected a profile in JSON: {error}") from error
    if not isinstance(table, dict):
        raise SpecError(f"{wanted}: expected a JSON object, got {type(table).__name__}")
    return _read(wanted, wanted, table)


def _read(name: str, where: str, table: dict[str, Any]) -> Profile:
    table = {
        "schema": SCHEMA,
        "name": FROM_GRAPH,
        "architecture": "unknown",
        "license": "unknown",
        "outputs": [{"meaning": "alpha"}],
        **table,
    }
    texts = [table.pop(key, "") for key in ("title", "source")]
    first = table.pop("first_output", False)
    for key, value, kind in (
        ("title", texts[0], str),
        ("source", texts[1], str),
        ("first_output", first, bool),
    ):
        if not isinstance(value, kind):
            expected = "a text" if kind is str else "true or false"
            raise SpecError(f"{where}: {key}: expected {expected}, got {value!r}")
    if isinstance(table.get("input"), dict):
        table["input"] = {"name": FROM_GRAPH, **table["input"]}
    if isinstance(table["outputs"], list):
        table["outputs"] = [
            {"name": FROM_GRAPH, **one} if isinstance(one, dict) else one
            for one in table["outputs"]
        ]
    spec = ModelSpec.from_json(json.dumps(table), where)
    try:
        spec.to_json()
    except ValueError as error:  # NaN in a field of free form
        raise SpecError(f"{where}: expected finite numbers: {error}") from error
    for path, known, field in _unknown(spec):
        near = difflib.get_close_matches(field, known, 1, 0.5)
        meant = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        raise SpecError(f"{where}: {path}{field}: no such field; {meant}")
    return Profile(name=name, title=texts[0], source=texts[1], first_output=first, spec=spec)


def _unknown(part: Any, path: str = "") -> Iterator[tuple[str, list[str], str]]:  # noqa: ANN401
    """Fields that this release would keep and not understand, with their part's known ones."""
    known = [item.name for item in dataclasses.fields(part) if item.name != "extra"]
    for field in part.extra:
        yield path, known, field
    for name in known:
        value = getattr(part, name)
        inner = value if isinstance(value, tuple) else (value,)
        for index, one in enumerate(inner):
            if dataclasses.is_dataclass(one):
                at = f"{path}{name}[{index}]." if isinstance(value, tuple) else f"{path}{name}."
                yield from _unknown(one, at)
