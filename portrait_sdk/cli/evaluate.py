"""``portrait evaluate``."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portrait_sdk.cli import interrupt
from portrait_sdk.cli.options import json_option, run_options
from portrait_sdk.errors import PortraitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portrait_sdk.evaluation import Evaluation
    from portrait_sdk.ops.refine import Refine

_CONVENTIONS = ("dim", "mmagic", "p3m", "rvm")
_REFINE = ("auto", "guided", "patches", "none")
_SOME_FAILED = 3
_RECORD = "record.jsonl"
_SHOWN = 10  # failures on standard error
_EVERY_S = 10.0  # between lines of progress


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--dataset",
    "text",
    required=True,
    metavar="KIND:PATH",
    help="What to evaluate on, such as pairs:FOLDER; options after a ?, as in "
    "pairs:FOLDER?image=im&truth=gt.",
)
@click.option("--split", metavar="NAME", help="Only this part of the dataset.")
@click.option("--scene", metavar="NAME", help="Only this scene.")
@click.option(
    "--ids", type=click.Path(path_type=Path), metavar="FILE", help="Only names in this list."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most so many pictures, evenly spread.",
)
@click.option(
    "--convention",
    type=click.Choice(_CONVENTIONS),
    help="A paper's own scalings and regions beside ours.",
)
@click.option(
    "--refine",
    type=click.Choice(_REFINE),
    default="auto",
    show_default=True,
    help="As in `portrait matte`. Published figures are those of none.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Write report.html, report.json, images.csv there, and {_RECORD} as the run goes.",
)
@click.option("--resume", is_flag=True, help="Go on with the run that DIR has the record of.")
@click.option("--html/--no-html", default=True, show_default=True, help="The page needs jinja2.")
@click.option(
    "--pictures",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    metavar="N",
    help="Worst, median and best photos of each model on the page.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of the intervals' bootstrap.",
)
@run_options
@json_option
def evaluate(  # noqa: PLR0913 - one parameter an option
    *,
    models: tuple[str, ...],
    text: str,
    split: str | None,
    scene: str | None,
    ids: Path | None,
    limit: int | None,
    convention: str | None,
    refine: Refine,
    out: Path | None,
    resume: bool,
    html: bool,
    pictures: int,
    seed: int,
    provider: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Score every MODEL on the same pictures: quality, how sure it is, and time.

    MODEL is a name from `portrait models list` or an .onnx file. A picture that fails is reported
    and counts for none: exit status 3 where some failed, 1 where nothing could be evaluated.
    """
    if resume and out is None:
        raise click.UsageError("--resume goes with --out DIR")
    import portrait_sdk
    from portrait_sdk.evaluation import evaluate as run
    from portrait_sdk.evaluation import page, report
    from portrait_sdk.evaluation.datasets import open_dataset

    if threads is not None:
        portrait_sdk.set_threads(threads)
    dataset = open_dataset(text, split=split, scene=scene, ids_file=ids)
    if out is not None and html:
        page.require_jinja2()
    record = None if out is None else out / _RECORD
    try:
        with _progress() as progress:
            found = run(
                models,
                dataset,
                limit=limit,
                convention=convention,
                refine=refine,
                provider=provider,
                threads=threads,
                record=record,
                resume=resume,
                pictures=pictures if out is not None and html else 0,
                progress=progress,
            )
    except KeyboardInterrupt:
        if record is not None:
            click.echo(f"{record}: --resume goes on from here", err=True)
        raise
    table = report.summary(found, seed=seed)
    click.echo(json.dumps(table) if as_json else report.as_text(table))
    written = [] if out is None else report.write(found, out, table, html=html)
    for path in written:
        click.echo(f"  {path}", err=True)
    if found.failures:
        _tell_failures(found)
        click.get_current_context().exit(_SOME_FAILED)


def _tell_failures(found: Evaluation) -> None:
    failed = len(found.failures)
    for failure in found.failures[:_SHOWN]:
        click.echo(str(PortraitError(f"{failure.name}: {failure.error}")), err=True)
    rest = f"; {failed - _SHOWN} more than shown" if failed > _SHOWN else ""
    click.echo(f"{failed} of {failed + len(found.photos)} pictures failed{rest}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """On standard error: a bar on a terminal, elsewhere a line now and then."""
    bar: Any = None
    told = time.monotonic()

    def update(done: int, total: int, _name: str) -> None:
        nonlocal bar, told
        interrupt.check()
        if sys.stderr is not None and sys.stderr.isatty():
            if bar is None:
                waiting = click.progressbar(length=total, label="evaluating", file=sys.stderr)
                bar = stack.enter_context(waiting)
            bar.update(done - bar.pos)
        elif time.monotonic() - told >= _EVERY_S:
            told = time.monotonic()
            click.echo(f"  {done} of {total} pictures", err=True)

    with ExitStack() as stack:
        yield update
