"""A trained checkpoint to a simplified, verified, self-describing .onnx file and its report."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, replace
from importlib import metadata as distributions
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from portrait_sdk import __version__
from portrait_sdk.errors import ConversionError, OptionError, first_line
from portrait_sdk.media import write_atomic
from portrait_sdk.spec import ModelSpec, OutputSpec, SizePolicy

from . import (
    architectures,
    checkpoints,
    embed,
    export,
    metadata,
    portraits,
    report,
    simplify,
    storage,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import onnx
    from torch import nn

    from portrait_sdk.spec import InputSpec, Precision

    from .architectures._base import Architecture, Profile

Size: TypeAlias = Literal["profile", "dynamic"] | tuple[int, int]
Progress: TypeAlias = "Callable[[str], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a conversion may be told; the report repeats it."""

    architecture: str = "auto"
    profile: str | None = None
    """One of the architecture's; needed where it has several."""
    part: str | None = None
    """Which state dict, where the checkpoint holds several."""
    size: Size = "profile"
    """``profile``: fixed where the published weights want one size, else free. ``dynamic``: free.
    Or height and width."""
    batch: int | None = None
    """Of the graph's batch axis; None: free."""
    outputs: export.Outputs = "alpha"
    """``raw``: the network's own outputs beside alpha."""
    opset: int = export.OPSET
    precision: Precision = "fp32"
    calibration: Path | None = None
    """Folder of photos that set int8's ranges."""
    embed_preprocessing: bool = False
    half_storage: bool | None = None
    """Keep weights as float16; None: as the profile says."""
    external_data: bool = False
    """Tensors in a file of their own, whatever the size."""
    name: str | None = None
    """Of the model; None: the profile's."""
    license: str | None = None
    """Of the weights; None: the profile's."""
    portraits: Path | None = None
    """Folder of photos to compare on; None: the bundled portrait."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; folders by their last name, since reports travel."""
        values = asdict(self)
        for key in ("calibration", "portraits"):
            values[key] = values[key].name if values[key] is not None else None
        return values


def convert(
    checkpoint: Path, out: Path, options: Options, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Convert a checkpoint; nothing is written unless the graph computes the same function.

    Args:
        checkpoint: A torch, safetensors or MindSpore file; told by content.
        out: The .onnx file; its report is written beside it as ``<stem>.report.json``.
        options: See there.
        progress: Told each step, in a few words.

    Returns:
        The report.

    Raises:
        CheckpointError: It is damaged, unsafe, or fits no architecture.
        ConversionError: A step failed, or the graph computes something else.
        OptionError: An option is not possible for this network.
        OutputError: The file cannot be written.
    """
    started = time.perf_counter()
    export.check_opset(options.opset)
    storage.check_writable(out)
    if options.precision == "int8" and options.calibration is None:
        raise OptionError("precision int8: give a folder of typical photos with --calibration DIR")
    people = portraits.load(options.portraits)

    progress("reading the checkpoint")
    source = checkpoints.read(checkpoint, part=options.part)
    architecture = (
        checkpoints.recognise(source)
        if options.architecture == "auto"
        else architectures.find(options.architecture)
    )
    profile = architecture.profile(options.profile)
    image, axes = _feeding(architecture, profile, options)
    axes.check(architecture)
    network = architecture.build().eval()
    checkpoints.fit(network, source, architecture)
    half = _half_storage(profile, options)

    raw = tuple(o.name for o in architecture.raw) if options.outputs == "raw" else ()
    spec = _describe(architecture, profile, image, raw, source, options)
    calibration = _calibration(spec, options)
    steps = report.Steps(image, axes, people)
    model = _graph(network, architecture, image, axes, raw, options.opset, steps, progress)
    progress("verifying")
    feeds = verify.inputs(architecture, image, axes, people)
    compared = verify.compare(
        verify.open_session(model.SerializeToString()),
        network,
        architecture,
        list(feeds),
        input_name=image.name,
        outputs={name: name for name in ("alpha", *raw)},
        progress=lambda text: progress(f"verifying: {text}"),
    )
    compared.require(f"{out}: not written")

    details: dict[str, Any] = {}
    if half:
        details["storage"] = _halved(model, steps.feeds)
        steps.add("float16 storage", model)
    if options.precision != "fp32":
        model, spec, details["precision"] = _narrow(model, spec, calibration, steps, progress)
    if options.embed_preprocessing:
        progress("embedding the preprocessing")
        model, spec, details["embedding"] = embed.checked(model, spec, people)
    provenance = {**spec.provenance, "verified": compared.summary()}
    metadata.strip(model)
    metadata.write(model, replace(spec, provenance=provenance))
    _check(model)

    progress("writing")
    table = {
        "model": out.name,
        "checkpoint": {
            "name": checkpoint.name,
            "sha256": source.sha256,
            "format": source.format,
            "part": source.part,
            "left_out": source.left_out,
            "notes": list(source.notes),
        },
        "architecture": architecture.name,
        "profile": profile.name,
        "license": spec.license,
        "source": profile.source,
        "options": options.as_json(),
        "versions": report.versions(),
        "steps": steps.rows,
        "verification": compared.as_json(),
        **details,
        "seconds": round(time.perf_counter() - started, 1),
    }
    _write(model, out, table, external=options.external_data)
    return table


def _feeding(
    architecture: Architecture, profile: Profile, options: Options
) -> tuple[InputSpec, export.Axes]:
    """What the file will say of its input, and which axes of its graph are fixed."""
    image = profile.input
    policy = image.size
    size = options.size
    if size == "profile" and policy.rule == "fixed":
        assert policy.height is not None
        assert policy.width is not None
        size = (policy.height, policy.width)
    if isinstance(size, str):
        return image, export.Axes(batch=options.batch)
    fixed = SizePolicy(
        rule="fixed",
        height=size[0],
        width=size[1],
        multiple=architecture.stride,
        fit=policy.fit,
        pad=policy.pad,
        filter=policy.filter,
    )
    return replace(image, size=fixed), export.Axes(size=size, batch=options.batch)


def _half_storage(profile: Profile, options: Options) -> bool:
    if options.precision != "fp32":
        if options.half_storage:
            raise OptionError(f"half storage is for fp32, got precision {options.precision}")
        return False
    return profile.half_storage if options.half_storage is None else options.half_storage


def _graph(
    network: nn.Module,
    architecture: Architecture,
    image: InputSpec,
    axes: export.Axes,
    raw: tuple[str, ...],
    opset: int,
    steps: report.Steps,
    progress: Progress,
) -> onnx.ModelProto:
    """Export and simplify; each pass is counted and timed."""
    # A decision's two sides may differ by rounding: then the raw outputs are what is checked.
    decides = architecture.undecided is not None
    checked = raw or (tuple(o.name for o in architecture.raw) if decides else ())
    progress("exporting")
    model = export.to_onnx(
        network, architecture, input_name=image.name, axes=axes, raw=checked, opset=opset
    )
    metadata.strip(model)
    steps.add("exported", model)
    progress("simplifying")
    simple = simplify.simplify(
        model,
        verify.shapes(architecture, axes),
        tolerance=architecture.tolerance,
        ignored=("alpha",) if decides else (),
    )
    simplify.drop_outputs(simple, [name for name in checked if name not in raw])
    metadata.strip(simple)
    steps.add("simplified", simple)
    folded = simplify.fold_in_runtime(simple)
    if folded is None:
        steps.note("folded in ONNX Runtime", "not portable: left out")
        return simple
    metadata.strip(folded)
    if len(folded.graph.node) >= len(simple.graph.node):
        steps.note("folded in ONNX Runtime", "no fewer nodes: left out")
        return simple
    steps.add("folded in ONNX Runtime", folded)
    return folded


def _describe(
    architecture: Architecture,
    profile: Profile,
    image: InputSpec,
    raw: tuple[str, ...],
    source: checkpoints.Checkpoint,
    options: Options,
) -> ModelSpec:
    return ModelSpec(
        name=options.name or profile.name,
        architecture=architecture.name,
        license=options.license or profile.license,
        input=image,
        outputs=(
            OutputSpec(name="alpha", meaning="alpha"),
            *(output for output in architecture.raw if output.name in raw),
        ),
        provenance={
            "source_sha256": source.sha256,
            "source_format": source.format,
            "source_part": source.part,
            "profile": profile.name,
            "converter": f"portrait_sdk {__version__}",
            "torch": distributions.version("torch").partition("+")[0],
            "opset": options.opset,
        },
        tolerance=architecture.tolerance,
    )


def _halved(model: onnx.ModelProto, feeds: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Store weights as float16, and say how far alpha moves on portraits by it.

    Raises:
        ConversionError: Too far, or a weight does not fit float16.
    """
    before = verify.open_session(model.SerializeToString())
    storage.half(model)
    after = verify.open_session(model.SerializeToString())
    name = before.get_inputs()[0].name
    rows = [
        verify.difference(*(s.run(["alpha"], {name: feed})[0] for s in (before, after)))
        for feed in feeds
    ]
    means = [row["mean_difference"] for row in rows]
    if not max(means) <= storage.HALF_TOLERANCE:
        raise ConversionError(
            f"weights as float16 move alpha by {max(means):.1e} on average, "
            f"{storage.HALF_TOLERANCE:.0e} is tolerated; keep float32 with --full-storage"
        )
    return {
        "weights": "float16, widened when opened",
        "max_difference": max(row["max_difference"] for row in rows),
        "mean_difference": float(np.mean(means)),
    }


def _calibration(spec: ModelSpec, options: Options) -> list[np.ndarray[Any, Any]]:
    """Photos that set int8's ranges, as the network is fed them; none for other precisions."""
    if options.precision != "int8":
        return []
    from .precision import calibration

    assert options.calibration is not None
    return calibration.load(options.calibration, spec)


def _narrow(
    model: onnx.ModelProto,
    spec: ModelSpec,
    calibration: list[np.ndarray[Any, Any]],
    steps: report.Steps,
    progress: Progress,
) -> tuple[onnx.ModelProto, ModelSpec, dict[str, Any]]:
    """The verified graph as int8 where there are calibration photos, else fp16; measured."""
    from .precision import fp16, int8, measure

    precision: Precision = "int8" if calibration else "fp16"
    progress(f"converting to {precision}, measured beside fp32")
    if calibration:
        other, details = int8.convert(model, spec, calibration, steps.feeds)
    else:
        other, details = fp16.convert(model, spec, steps.feeds)
    steps.add(precision, other)
    limit = measure.TOLERANCES[precision]
    return other, replace(spec, precision=precision, tolerance=limit), details


def _check(model: onnx.ModelProto) -> None:
    import onnx

    if model.ByteSize() < storage.ONE_FILE_BYTES:  # the checker takes larger ones only as files
        try:
            onnx.checker.check_model(model, full_check=True)
        except onnx.checker.ValidationError as error:
            raise ConversionError(f"the graph is not valid ONNX: {first_line(error)}") from error


def _write(model: onnx.ModelProto, out: Path, table: dict[str, Any], *, external: bool) -> None:
    beside = report.report_path(out)
    old = beside.read_bytes() if beside.is_file() else None
    text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    write_atomic(beside, text.encode())
    try:
        storage.write(model, out, external=external)
    except BaseException:
        with contextlib.suppress(OSError):
            if old is None:
                beside.unlink()
            else:
                write_atomic(beside, old)
        raise
