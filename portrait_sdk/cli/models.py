"""``portrait models``: which models are published, what they may be used for, where they are."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portrait_sdk.model.registry import Entry

_LINE_BYTES = 16 << 20
"""Where there is no terminal and no known size, a line of progress comes this often."""


@click.group()
def models() -> None:
    """List and fetch published models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(*, as_json: bool) -> None:
    """Show every published model, its licence and limits of use, and where it is."""
    from portrait_sdk.model import registry

    rows = [_row(entry, registry.locate(entry)) for entry in registry.entries().values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = [("NAME", "SIZE", "LICENCE", "HERE", "LIMITS OF USE")]
    table += [
        (
            f"{row['name']}{' (default)' if row['default'] else ''}",
            _megabytes(row["size_bytes"]),
            row["license"],
            row["state"],
            row["use_limits"] or "-",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@models.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Download the published model NAME, verify it, and print where it is."""
    from portrait_sdk.model import registry

    click.echo(_fetch(registry.find(name)))


def _fetch(entry: Entry) -> Path:
    """Say what a model may be used for, and have it here."""
    from portrait_sdk.model import download, registry

    limits = f"; {entry.use_limits}" if entry.use_limits else ""
    click.echo(f"{entry.name}: {entry.license}{limits}", err=True)
    path = registry.locate(entry)
    if path is None:
        with _progress(entry.name) as progress:
            path = download.fetch(entry, progress=progress)
    return path


@models.command("path")
@click.argument("name")
def show_path(name: str) -> None:
    """Print where the published model NAME is on this machine."""
    from portrait_sdk.errors import ModelError
    from portrait_sdk.model import registry

    path = registry.locate(registry.find(name))
    if path is None:
        raise ModelError(f"{name}: not downloaded yet; `portrait models fetch {name}` does so")
    click.echo(path)


def _row(entry: Entry, path: Path | None) -> dict[str, Any]:
    """Collect what ``list`` says about one model."""
    here = "embedded" if entry.embedded else "cached"
    return {
        "name": entry.name,
        "default": entry.default,
        "state": here if path else "not fetched",
        "path": str(path) if path else None,
        "size_bytes": path.stat().st_size if path else entry.size_bytes,
        "license": entry.license,
        "use_limits": entry.use_limits,
        "format": entry.format,
        "architecture": entry.architecture,
        "description": entry.description,
        "url": entry.url,
        "sha256": entry.sha256,
    }


def _megabytes(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Report a download on stderr: a bar on a terminal, a line every tenth elsewhere."""
    bar: Any = None
    shown = 0

    def update(done: int, total: int | None) -> None:
        nonlocal bar, shown
        if total is not None and sys.stderr.isatty():
            if bar is None:
                waiting = click.progressbar(length=total, label=name, file=sys.stderr)
                bar = stack.enter_context(waiting)
            bar.update(done - shown)
        elif done != total and done < shown + (total // 10 if total else _LINE_BYTES):
            return
        else:
            click.echo(f"{name}: {_megabytes(done)} of {_megabytes(total)}", err=True)
        shown = done

    with ExitStack() as stack:
        yield update
