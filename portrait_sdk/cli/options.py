"""Options that several commands share, spelled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = TypeVar("Command", bound=Callable[..., Any])


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
