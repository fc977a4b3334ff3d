"""``portrait bench``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from portrait_sdk.cli.options import json_option, model_options


@click.command()
@click.option(
    "--photo",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the test picture is made of.  [default: the bundled portrait]",
)
@click.option(
    "--megapixels",
    type=click.FloatRange(min=0, min_open=True),
    default=12.0,
    show_default=True,
    help="Size of the test picture.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How often each stage runs.",
)
@model_options
@json_option
def bench(
    *,
    photo: Path | None,
    megapixels: float,
    rounds: int,
    model: str | None,
    provider: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Time each stage of a cutout on this machine, beside OpenCV, NumPy, Pillow and PyMatting.

    The picture is a mosaic of a photo at its own resolution. Other packages take part where they
    are installed and compute the same; PyMatting compiles for about 40 s when first imported.
    """
    import portrait_sdk
    from portrait_sdk import bench as api

    if threads is not None:
        portrait_sdk.set_threads(threads)
    with portrait_sdk.load(model, provider=provider, threads=threads) as matting:
        result = api.run(
            photo,
            matting=matting,
            megapixels=megapixels,
            rounds=rounds,
            progress=lambda name: click.echo(f"  {name} …", err=True),
        )
    click.echo(json.dumps(result) if as_json else api.as_text(result))
