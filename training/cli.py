"""``python -m training run|export``: trains the default model and writes its .onnx file."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from training import recipe as recipes


@click.group()
def main() -> None:
    """Train the default model."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@main.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--recipe", "recipe_path", type=click.Path(path_type=Path), default=recipes.DEFAULT)
@click.option("--threads", default=2, show_default=True, help="Of torch, on CPU.")
@click.option("--workers", default=1, show_default=True, help="Threads that make batches.")
def run(data: Path, out: Path, recipe_path: Path, threads: int, workers: int) -> None:
    """Train, or go on training, into the folder OUT."""
    from training import loop

    loop.run(recipes.load(recipe_path), data, out, threads=threads, workers=workers)
