"""``portrait doctor``."""

from __future__ import annotations

import json

import click

from portrait_sdk.cli.options import json_option


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Print versions, providers and why each is or isn't usable, threads and the model cache."""
    from portrait_sdk import doctor as api

    found = api.report()
    click.echo(json.dumps(found, indent=2) if as_json else api.as_text(found))
