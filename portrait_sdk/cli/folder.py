"""``portrait folder``."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portrait_sdk.cli.options import (
    format_option,
    model_options,
    picture_options,
    usage,
)
from portrait_sdk.pipeline.outputs import Outputs, default_kinds, parse

if TYPE_CHECKING:
    from portrait_sdk.ops.foreground import Method
    from portrait_sdk.ops.refine import Refine
    from portrait_sdk.pipeline.outputs import Format
    from portrait_sdk.pipeline.record import Entry

_IN_PART = 3  # exit status: some photos failed
_NOTHING = 1


@click.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option(
    "--output",
    "kinds",
    metavar="KIND[:FORMAT],…",
    help="One or several of cutout, alpha, foreground, composite; see `portrait matte --help`. "
    "Several are told apart by their names: a-cutout.png, a-alpha.png.  "
    "[default: cutout; composite with --background]",
)
@picture_options
@format_option("png")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Only photos that match; repeatable."
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="No photos or folders that match; repeatable."
)
@click.option(
    "--files-from",
    metavar="FILE|-",
    help="Only the photos named there, one a line, relative to IN.",
)
@click.option("-0", "--null", is_flag=True, help="Names in --files-from end with a NUL.")
@click.option("--keep-times", is_flag=True, help="Results get their photo's modification time.")
@click.option(
    "--hash",
    "content_hash",
    is_flag=True,
    help="Tell changed photos by their content, not by size and time.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Photos under way at once.  [default: the number of threads]",
)
@click.option("--watch", is_flag=True, help="Go on, and take photos as they come in, until Ctrl-C.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: a photo is complete when it has not changed for so long.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON objects, one a line: one for each photo, then one for the whole.",
)
@model_options
def folder(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    target: str,
    kinds: str | None,
    background: str | None,
    method: Method,
    refine: Refine,
    file_format: Format | None,
    quality: int | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    files_from: str | None,
    null: bool,
    keep_times: bool,
    content_hash: bool,
    workers: int | None,
    watch: bool,
    settle: float,
    quiet: bool,
    as_json: bool,
    model: str | None,
    provider: str,
    threads: int | None,
) -> None:
    r"""Cut the people out of all photos in the folder IN and those below it, into OUT.

    OUT gets the same tree. Run the same command again to go on after whatever stopped it: what is
    finished is skipped, what has changed is done anew. OUT/report.json and OUT/report.csv say what
    became of each photo.

    \b
    Exit status: 0 all well, 1 nothing could run, 2 wrong usage, 3 some photos failed,
    130 interrupted.
    """
    from portrait_sdk.pipeline.job import FolderJob

    if null and files_from is None:
        raise click.UsageError("--null goes with --files-from")
    names = kinds.split(",") if kinds else default_kinds(background)
    with usage():
        job = FolderJob(
            source=source,
            target=target,
            outputs=Outputs(
                pictures=parse(names, file_format or "png"),
                background=background,
                foreground=method,
                quality=quality,
            ),
            refine=refine,
            model=model,
            include=include,
            exclude=exclude,
            files=None if files_from is None else _names(files_from, null=null),
            keep_times=keep_times,
            content_hash=content_hash,
        )
        job.check_apart()

    import portrait_sdk
    from portrait_sdk.cli.progress import Progress
    from portrait_sdk.pipeline.listing import tasks

    if threads is not None:
        portrait_sdk.set_threads(threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as tidily as Ctrl-C

    with Progress(None if watch else tasks(job), quiet=quiet or as_json) as progress:

        def on_entry(entry: Entry) -> None:
            progress.add(entry)
            if as_json:
                _event("photo", dataclasses.asdict(entry))

        report = portrait_sdk.process_folder(
            job,
            provider=provider,
            workers=workers,
            watch=portrait_sdk.Watch(settle_s=settle) if watch else None,
            on_entry=on_entry,
        )
    good = report.done + report.skipped
    if as_json:
        _event("end", {**dataclasses.asdict(report), "path": os.fspath(report.path)})
    elif not (good or report.failed or quiet):
        click.echo(f"no photos found in {source}", err=True)
    if report.stopped is not None:
        click.echo(f"Error: stopped: {report.stopped}; run the same command to go on", err=True)
    if report.failed or report.stopped is not None:
        click.get_current_context().exit(_IN_PART if good else _NOTHING)


def _event(kind: str, values: dict[str, Any]) -> None:
    click.echo(json.dumps({"event": kind, **values}))


def _names(files_from: str, *, null: bool) -> tuple[str, ...]:
    """The names in a list of files, whatever bytes they hold."""
    if files_from == "-":
        if sys.stdin is None:
            raise click.ClickException("standard input is closed")
        data = sys.stdin.buffer.read()
    else:
        data = Path(files_from).read_bytes()
    if b"\0" in data and not null:
        raise click.UsageError(f"{files_from}: names end with a NUL there: add --null")
    parts = data.split(b"\0") if null else [part.rstrip(b"\r") for part in data.split(b"\n")]
    return tuple(os.fsdecode(part) for part in parts if part)
