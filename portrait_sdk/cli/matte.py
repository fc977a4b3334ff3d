"""``portrait matte``."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portrait_sdk.cli.options import (
    format_option,
    json_option,
    model_options,
    picture_options,
    usage,
)
from portrait_sdk.pipeline.outputs import KINDS, Output, Outputs, default_kinds, encode, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from portrait_sdk.api import Matting
    from portrait_sdk.media import Loaded
    from portrait_sdk.ops.foreground import Method
    from portrait_sdk.ops.refine import Refine
    from portrait_sdk.pipeline.outputs import Format, Kind


@click.command()
@click.argument("image", metavar="IN")
@click.option(
    "-o", "--out", required=True, metavar="OUT", help="Where to write; - is standard output."
)
@click.option(
    "--output",
    "kind",
    type=click.Choice(KINDS),
    help="cutout: RGBA with clean colours. alpha: grey. foreground: estimated colours alone. "
    "composite: over --background.  [default: cutout; composite with --background]",
)
@picture_options
@format_option("by OUT's extension; png for -")
@model_options
@json_option
def matte(  # noqa: PLR0913 - one parameter an option
    *,
    image: str,
    out: str,
    kind: Kind | None,
    background: str | None,
    method: Method,
    refine: Refine,
    file_format: Format | None,
    quality: int | None,
    model: str | None,
    provider: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Cut the person out of the photo IN; - reads standard input.

    Formats go by extension: PNG, WebP, TIFF; JPEG for opaque outputs. The file appears whole or not
    at all.
    """
    form = _format(out, file_format)
    with usage():
        output = Output(kind=kind or default_kinds(background)[0], format=form)
        outputs = Outputs(
            pictures=(output,), background=background, foreground=method, quality=quality
        )
    if "-" not in (image, out) and _same_file(image, out):
        raise click.UsageError(f"IN and OUT are the same file: {out}")

    import portrait_sdk
    from portrait_sdk.cli.heap import give_back_large_blocks
    from portrait_sdk.media import write_atomic

    give_back_large_blocks()

    if threads is not None:
        portrait_sdk.set_threads(threads)
    source = _stream(sys.stdin, "standard input") if image == "-" else image
    sink = _stream(sys.stdout, "standard output") if out == "-" else None
    matting, photo, seconds = _open_both(
        lambda: portrait_sdk.load(model, provider=provider, threads=threads, keep_memory=False),
        source,
    )
    # Each array and the model go as soon as nothing needs them any more: at 48 megapixels one
    # array is 150 to 200 MB, and the network's memory counts beside the foreground's.
    with matting:
        result = matting.matte(photo, refine=refine)
    del photo
    seconds |= {name: value for name, value in result.seconds.items() if name != "decode"}
    found = result.has_subject
    row = {
        "input": image,
        "output": out,
        "kind": output.kind,
        "format": output.format,
        "width": result.alpha.shape[1],
        "height": result.alpha.shape[0],
        "model": result.spec.name,
        "provider": matting.provider,
        "threads": matting.threads,
        "coverage": round(result.coverage, 6),
        "has_subject": found,
    }
    clock = time.perf_counter()
    picture = render(result, output.kind, outputs, background)
    seconds["compose"] = time.perf_counter() - clock
    del result
    clock = time.perf_counter()
    data = encode(picture, output, quality)
    seconds["encode"] = time.perf_counter() - clock
    del picture
    clock = time.perf_counter()
    if sink is not None:
        sink.write(data)
        sink.flush()
    else:
        write_atomic(Path(out), data)
    seconds["write"] = time.perf_counter() - clock
    if not found:
        click.echo(f"{image}: nobody found in this photo; alpha is (almost) empty", err=True)
    if as_json:
        row["bytes"] = len(data)
        row["seconds"] = {name: round(value, 6) for name, value in seconds.items()}
        # Standard output holds the picture when OUT is -.
        click.echo(json.dumps(row), err=out == "-")


def _open_both(
    load: Callable[[], Matting],
    source: Any,  # noqa: ANN401 - a path or a stream
) -> tuple[Matting, Loaded, dict[str, float]]:
    """Open the model beside decoding the photo; where both fail, the model's error is told."""
    from portrait_sdk.media import load_image

    seconds: dict[str, float] = {}
    found: list[Loaded] = []
    errors: list[BaseException] = []

    def decode() -> None:
        started = time.perf_counter()
        try:
            found.append(load_image(source))
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
        seconds["decode"] = time.perf_counter() - started

    # A stream is read when there is a model: nobody waits for the end of a pipe without one, and
    # Python cannot exit while another thread is inside standard input.
    beside = isinstance(source, str)
    thread = threading.Thread(target=decode, daemon=True)
    if beside:
        thread.start()
    started = time.perf_counter()
    matting = load()
    seconds["load"] = time.perf_counter() - started
    if beside:
        thread.join()
    else:
        decode()
    if errors:
        matting.close()
        raise errors[0]
    return matting, found.pop(), seconds


def _stream(text: Any, name: str) -> Any:  # noqa: ANN401 - a standard stream or None
    """The bytes beneath a standard stream, which a shell may have closed."""
    if text is None:
        raise click.ClickException(f"{name} is closed")
    return text.buffer


def _same_file(image: str, out: str) -> bool:
    try:
        return Path(image).samefile(out)
    except OSError:  # either is missing: reading or writing says so
        return False


def _format(out: str, chosen: Format | None) -> Format:
    # Path would take the slash off a folder's name, "folder.png/".
    extension = os.path.splitext(out)[1].lower().lstrip(".")  # noqa: PTH122
    names: dict[str, Format] = {"png": "png", "webp": "webp", "tif": "tiff", "tiff": "tiff"}
    names |= {"jpg": "jpeg", "jpeg": "jpeg"}
    found = chosen or ("png" if out == "-" else names.get(extension))
    if found is None:
        raise click.UsageError(
            f"{out}: expected the extension .png, .webp, .tiff or .jpg, or --format"
        )
    return found
