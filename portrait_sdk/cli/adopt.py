"""``portrait adopt``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from portrait_sdk.cli.options import json_option


def _list_profiles(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if not value or ctx.resilient_parsing:
        return
    from portrait_sdk.converters import profiles

    rows = [(p.name, p.spec.license, p.title) for p in profiles.shipped().values()]
    table = [("NAME", "LICENCE", "MODEL"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    ctx.exit()


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option("-o", "--out", required=True, metavar="OUT.onnx", help="Where to write the copy.")
@click.option(
    "--profile",
    required=True,
    metavar="NAME|SPEC.json",
    help="How the model wants to be fed: a name from --list-profiles, or a JSON file of your own.",
)
@click.option("--name", help="Of the model.  [default: the profile's, or else the file's]")
@click.option(
    "--license",
    "license_name",
    help="Of the weights, an SPDX identifier where one fits.  [default: the profile's]",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace a description the file has; write it though its alpha is implausible.",
)
@click.option(
    "--list-profiles",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_profiles,
    help="Show the profiles and exit.",
)
@json_option
def adopt(
    *,
    model: str,
    out: str,
    profile: str,
    name: str | None,
    license_name: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a copy of MODEL.onnx that says how it wants to be fed, so that `matte` can run it.

    The copy is written when the model fits the profile, runs, and finds the person in a portrait.
    """
    from portrait_sdk.converters import adopt as api

    done = api.adopt(
        Path(model), Path(out), profile, name=name, license_name=license_name, force=force
    )
    found = done.plausibility
    if found.problem is not None:
        click.echo(f"{out}: written all the same: {found.problem}", err=True)
    if as_json:
        row = {
            "output": out,
            "profile": profile,
            "portrait": asdict(found),
            "spec": json.loads(done.spec.to_json()),
        }
        click.echo(json.dumps(row))
    else:
        click.echo(
            f"{out}: {done.spec.name}, {done.spec.license}; agrees with the default model "
            f"on a portrait to an IoU of {found.iou:.3f}"
        )
