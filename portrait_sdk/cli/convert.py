"""``portrait convert`` and ``portrait verify``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portrait_sdk.cli import interrupt
from portrait_sdk.cli.options import json_option
from portrait_sdk.errors import CheckpointError, ConversionError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

_NEEDED = ("torch", "onnx", "onnxscript", "onnxsim", "safetensors")
_FILE = click.Path(path_type=Path)
_portraits = click.option(
    "--portraits",
    type=_FILE,
    metavar="DIR",
    help="Photos to compare on.  [default: the bundled portrait]",
)
_part = click.option(
    "--part", metavar="KEY", help="Which state dict, where the file holds several (ema, model, …)."
)


class _Size(click.ParamType):  # type: ignore[type-arg] # generic in newer releases alone
    """``dynamic``, or height x width."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401 - click's signature
        """``768x1024`` → (768, 1024)."""
        if not isinstance(value, str) or value in ("dynamic", "profile"):
            return value
        height, x, width = value.lower().partition("x")
        if not (x and height.isdecimal() and width.isdecimal()):
            self.fail(f"{value!r}: expected HEIGHTxWIDTH, such as 768x1024, or dynamic", param, ctx)
        return int(height), int(width)


@click.command()
@click.argument("checkpoint", type=_FILE)
@click.option("-o", "--out", type=_FILE, required=True, metavar="MODEL.onnx")
@click.option(
    "--arch",
    "architecture",
    default="auto",
    show_default=True,
    metavar="NAME|auto",
    help="The network; auto recognises it by its keys.",
)
@click.option("--profile", metavar="NAME", help="Which published weights, where keys cannot tell.")
@_part
@click.option(
    "--size",
    type=_Size(),
    default="profile",
    metavar="HxW|dynamic",
    help="Fix height and width, or leave them free.  [default: as the published weights want]",
)
@click.option(
    "--batch", metavar="N|dynamic", default="dynamic", show_default=True, help="The batch axis."
)
@click.option(
    "--outputs",
    type=click.Choice(["alpha", "raw"]),
    default="alpha",
    show_default=True,
    help="raw: the network's own outputs beside alpha.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
)
@click.option("--calibration", type=_FILE, metavar="DIR", help="Typical photos, for int8's ranges.")
@click.option(
    "--embed-preprocessing",
    is_flag=True,
    help="uint8 photos of any size in, alpha at their size out: for use without this package.",
)
@click.option(
    "--half-storage/--full-storage",
    default=None,
    help="Keep weights as float16, computed in float32.  [default: as the profile says]",
)
@click.option("--external-data", is_flag=True, help="Tensors in a file of their own.")
@click.option("--opset", type=int, metavar="N", help="Of the ONNX file.  [default: 18]")
@click.option("--name", metavar="NAME", help="Of the model.  [default: the profile's]")
@click.option("--license", "license_name", metavar="SPDX", help="[default: the profile's]")
@_portraits
@json_option
def convert(  # noqa: PLR0913 - one parameter an option
    *,
    checkpoint: Path,
    out: Path,
    architecture: str,
    profile: str | None,
    part: str | None,
    size: Any,  # noqa: ANN401 - two kinds
    batch: str,
    outputs: Any,  # noqa: ANN401 - a Literal
    precision: Any,  # noqa: ANN401 - a Literal
    calibration: Path | None,
    embed_preprocessing: bool,
    half_storage: bool | None,
    external_data: bool,
    opset: int | None,
    name: str | None,
    license_name: str | None,
    portraits: Path | None,
    as_json: bool,
) -> None:
    """Turn a trained CHECKPOINT into a simplified, verified, self-describing ONNX file.

    The checkpoint is a torch, safetensors or MindSpore file, told by its content; nothing in it is
    executed, and its own code is not needed. The graph is compared with torch before anything is
    written; the report lies beside the model as MODEL.report.json.
    """
    if precision != "int8" and calibration is not None:
        raise click.UsageError("--calibration goes with --precision int8")
    if batch != "dynamic" and not batch.isdecimal():
        raise click.UsageError(f"--batch: expected a number or dynamic, got {batch!r}")
    _require_extra()
    from portrait_sdk.converters import convert as converting
    from portrait_sdk.converters import export, report

    options = converting.Options(
        architecture=architecture,
        profile=profile,
        part=part,
        size=size,
        batch=None if batch == "dynamic" else int(batch),
        outputs=outputs,
        opset=export.OPSET if opset is None else opset,
        precision=precision,
        calibration=calibration,
        embed_preprocessing=embed_preprocessing,
        half_storage=half_storage,
        external_data=external_data,
        name=name,
        license=license_name,
        portraits=portraits,
    )
    table = _explained(lambda: converting.convert(checkpoint, out, options, _progress))
    click.echo(json.dumps(table) if as_json else "\n".join(report.summary(table, out)))


@click.command()
@click.argument("model", type=_FILE, metavar="MODEL.onnx")
@click.option("--against", type=_FILE, required=True, metavar="CHECKPOINT")
@_part
@_portraits
@json_option
def verify(
    *, model: Path, against: Path, part: str | None, portraits: Path | None, as_json: bool
) -> None:
    """Compare MODEL.onnx with the checkpoint it should come from; exit status 1 if it differs."""
    _require_extra()
    from portrait_sdk.converters.against import verify_file

    found = _explained(
        lambda: verify_file(model, against, part=part, people=portraits, progress=_progress)
    )
    if as_json:
        click.echo(json.dumps(found))
    if found["problems"]:
        raise ConversionError(f"{model}: {'; '.join(found['problems'])}")
    if not as_json:
        worst = max(row["max_difference"] for row in found["rows"])
        click.echo(
            f"{model}: computes what {against} computes: {len(found['rows'])} comparisons, "
            f"largest difference {worst:.1e}, tolerated {found['tolerance']:.0e}"
        )
        if not found["same_source"]:
            click.echo(f"{model}: was converted from another file than {against}", err=True)


def _require_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(
            f"converting needs {', '.join(missing)}, not installed: "
            "`pip install 'portrait-sdk[convert]'` brings everything"
        )


def _progress(text: str) -> None:
    interrupt.check()
    click.echo(f"  {text}", err=True)


def _explained(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Show the whole key table of a checkpoint that does not fit before the one-line error."""
    try:
        return call()
    except CheckpointError as error:
        if error.table:
            click.echo(error.table, err=True)
        raise
