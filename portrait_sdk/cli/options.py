"""Options that several commands share, spelled once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import click

from portrait_sdk.errors import OptionError
from portrait_sdk.pipeline.outputs import FORMATS, METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Command = TypeVar("Command", bound=Callable[..., Any])


_REFINE = ("auto", "guided", "patches", "none")


def picture_options(command: Command) -> Command:
    """``--background``, ``--foreground``, ``--refine``, ``--quality``: how results look."""
    for option in (
        click.option("--quality", type=click.IntRange(1, 100), help="Of JPEG; makes WebP lossy."),
        click.option(
            "--refine",
            type=click.Choice(_REFINE),
            default="auto",
            show_default=True,
            help="How alpha gets the photo's resolution. guided: edges follow the photo's detail. "
            "patches: the network runs again where it was unsure; slow. auto: guided for photos "
            "larger than the network's input.",
        ),
        click.option(
            "--foreground",
            "method",
            type=click.Choice(METHODS),
            default="multilevel-fast",
            show_default=True,
            help="How edge colours are cleaned of the old background; none keeps the photo's own.",
        ),
        click.option(
            "--background",
            metavar="COLOR|FILE|blur[:RADIUS]",
            help="A colour (white, #1e90ff, 30,144,255), a picture, or the photo's own out of "
            "focus (radius in pixels).",
        ),
    ):
        command = option(command)
    return command


def format_option(default: str) -> Callable[[Command], Command]:
    """``--format``; ``default`` says what it is when left out."""
    return click.option(
        "--format",
        "file_format",
        type=click.Choice(FORMATS),
        help=f"File format.  [default: {default}]",
    )


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Options that do not go together are wrong usage: exit status 2."""
    try:
        yield
    except OptionError as error:
        raise click.UsageError(str(error)) from error


def run_options(command: Command) -> Command:
    """``--provider``, ``--threads``: where to run."""
    for option in (
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="Threads for everything.  [default: what the process may use]",
        ),
        click.option(
            "--provider",
            default="auto",
            show_default=True,
            metavar="NAME",
            help="auto, cpu, cuda, cuda:1, … One asked for by name is used or it is an error.",
        ),
    ):
        command = option(command)
    return command


def model_options(command: Command) -> Command:
    """``--model``, ``--provider``, ``--threads``: what to run and where."""
    return click.option(
        "--model",
        metavar="NAME|FILE",
        help="A name from `portrait models list` or an .onnx file.  [default: portrait-s]",
    )(run_options(command))


def json_option(command: Command) -> Command:
    """``--json``: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)
