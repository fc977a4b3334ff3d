"""``portrait``: the command line. Errors of the package become one line and exit status 1."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from portrait_sdk import __version__
from portrait_sdk.cli import interrupt
from portrait_sdk.errors import PortraitError

_COMMANDS = {
    "adopt": ("portrait_sdk.cli.adopt", "adopt", "Make a foreign ONNX model describe itself."),
    "bench": ("portrait_sdk.cli.bench", "bench", "How fast each stage runs on this machine."),
    "convert": (
        "portrait_sdk.cli.convert",
        "convert",
        "Turn a trained checkpoint into a verified ONNX model.",
    ),
    "dataset": (
        "portrait_sdk.cli.dataset",
        "dataset",
        "Look into datasets, convert them, compose new ones.",
    ),
    "doctor": ("portrait_sdk.cli.doctor", "doctor", "What works on this machine, and why not."),
    "evaluate": (
        "portrait_sdk.cli.evaluate",
        "evaluate",
        "Score models side by side on a dataset.",
    ),
    "folder": ("portrait_sdk.cli.folder", "folder", "Cut the people out of a folder of photos."),
    "inspect": ("portrait_sdk.cli.inspect", "inspect", "Show what is in an ONNX model."),
    "matte": ("portrait_sdk.cli.matte", "matte", "Cut the person out of one photo."),
    "models": ("portrait_sdk.cli.models", "models", "List and fetch published models."),
    "verify": ("portrait_sdk.cli.convert", "verify", "Compare a model with its checkpoint."),
}
_INTERRUPTED = 130  # the shell's convention for Ctrl-C


class PortraitGroup(click.Group):
    """Loads a command's module when it is called; turns errors into one line and exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All commands, sorted."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command."""
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in ``--help``, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in sorted(_COMMANDS)])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - whatever a command returns
        """Run, and report the package's own errors in one line."""
        try:
            return super().invoke(ctx)
        except PortraitError as error:
            raise click.ClickException(str(error)) from error
        except MemoryError as error:
            raise click.ClickException("out of memory: try a smaller photo") from error
        except BrokenPipeError:
            raise
        except OSError as error:  # writing to a full standard output, above all
            raise click.ClickException(f"{error.filename or 'output'}: {error.strerror}") from error


@click.group(cls=PortraitGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="portrait")
def cli() -> None:
    """Cut people out of photos, with clean foreground colours, on CPU or CUDA."""


def main() -> None:
    """Entry point: exit status 0 done, 1 failed, 2 wrong usage, 3 in part, 130 interrupted."""
    interrupt.install()
    try:
        status = cli.main(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        status = _INTERRUPTED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        status = _INTERRUPTED
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except BrokenPipeError:
        _discard_output()  # the reader went away: nothing to tell it
        status = 1
    except OSError as error:
        click.echo(f"Error: standard output: {error.strerror}", err=True)
        _discard_output()
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def _discard_output() -> None:
    """Keep Python from complaining at exit about what standard output did not take."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
