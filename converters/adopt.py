"""A foreign .onnx file gets its metadata, once it is seen to run and to find the person."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk import __version__
from portrait_sdk.api import load
from portrait_sdk.errors import ConversionError, ModelError, OptionError, SpecError
from portrait_sdk.media import load_image, write_atomic
from portrait_sdk.model.cache import sha256
from portrait_sdk.model.session import Session
from portrait_sdk.ops import postprocess, preprocess
from portrait_sdk.spec import METADATA_KEY

from . import inspect_model, metadata, profiles
from .onnx_model import image_inputs, open_model, shape, shape_text
from .portraits import BUNDLED
from .storage import ONE_FILE_BYTES

if TYPE_CHECKING:
    import onnx

    from portrait_sdk.model.onnx_file import OnnxFile
    from portrait_sdk.spec import InputSpec, ModelSpec, OutputSpec, SizePolicy
    from portrait_sdk.types import AlphaF32

    from .profiles import Profile

_LEAST_IOU = 0.5  # real models reach .71 (PP-HumanSeg) to .98: they differ about her helmet
_LEAST_CONTRAST = 0.4  # and .65 to .97; a sigmoid applied twice leaves .2
_TWICE = (0.26, 0.74)  # where a sigmoid or softmax puts all of [0, 1]: 0.5 then cuts off nothing
_OVERSHOOT = 0.01  # beyond [0, 1]: a bicubic inside the graph; the runtime clamps it
_CONSTANT = 0.01  # a smaller span of values finds nothing
_FLOATS = {1: "float", 10: "float16"}  # onnx.TensorProto's numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausibility:
    """What the model made of a portrait, beside what the default model did."""

    iou: float
    """Intersection over union of the two alphas above 0.5."""
    low: float
    """Least value of the network's alpha, before clamping."""
    high: float
    """Largest value, likewise."""
    contrast: float
    """Mean of alpha where the default model's is above 0.5, less its mean elsewhere."""
    coverage: float
    """Mean of alpha."""
    expected_coverage: float
    """The default model's."""
    problem: str | None
    """Why the result is not plausible, and what may be the cause; None if it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """One adopted file."""

    out: Path
    spec: ModelSpec
    plausibility: Plausibility


def adopt(
    source: Path,
    out: Path,
    profile: str,
    *,
    name: str | None = None,
    license_name: str | None = None,
    force: bool = False,
) -> Adoption:
    """Write a copy of ``source`` that describes itself; nothing but its metadata changes.

    Args:
        source: An .onnx file. Weights it keeps in other files come into the copy, up to 2 GB.
        out: The file to write; it appears whole or not at all.
        profile: A shipped profile's name, or a JSON file; see ``profiles.find``.
        name: Of the model; None: the profile's, or else the file's.
        license_name: Of the weights; None: the profile's.
        force: Replace a description the file has, and write the copy though its alpha on a portrait
            is implausible, which is then recorded in it. A file that does not run is never written.

    Raises:
        OptionError: No such profile; ``out`` is ``source``; the package ``onnx`` is not installed.
        SpecError: The graph does not fit the profile, or the profile contradicts itself.
        ModelError: ``source`` is no model, leads outside its folder, or does not run.
        ConversionError: Its alpha is implausible, or it describes itself already.
        OutputError: ``out`` cannot be written.
    """
    chosen = profiles.find(profile)
    model, file = open_model(source)
    _check_out(source, out, file)
    if METADATA_KEY in file.metadata and not force:
        raise ConversionError(
            f"{source}: describes itself already, `portrait inspect` shows how; "
            "--force replaces the description"
        )
    spec = describe(model, chosen, str(source))
    if spec.name == profiles.FROM_GRAPH:
        spec = replace(spec, name=source.stem)
    spec = replace(spec, name=name or spec.name, license=license_name or spec.license)
    session = Session(source, "cpu", spec=spec)
    try:
        found = examine(session)
    finally:
        session.close()
    if found.problem is not None and not force:
        raise ConversionError(
            f"{source}: not written: under profile {chosen.name}, {found.problem}; "
            "--force writes it all the same"
        )
    spec = replace(spec, provenance=_provenance(source, file, chosen, found))
    metadata.write(model, spec)
    write_atomic(out, _serialized(model, source, out, file))
    return Adoption(out=out, spec=spec, plausibility=found)


def describe(model: onnx.ModelProto, profile: Profile, where: str) -> ModelSpec:
    """The profile's spec with the graph's names, fixed size and precision in it.

    Args:
        model: Whose inputs and outputs are looked at.
        profile: How they are to be used.
        where: The model's file, for messages.

    Raises:
        SpecError: They do not fit.
    """
    spec = profile.spec
    label = f"{where}: does not fit profile {profile.name}"
    inputs = {value.name: value for value in image_inputs(model)}
    fed = [*(state.input for state in spec.states), *spec.constants]
    missing = [one for one in fed if one not in inputs]
    if missing:
        raise SpecError(f"{label}: it feeds {_names(missing)}, the graph has {_names(inputs)}")
    left = [value for key, value in inputs.items() if key not in fed]
    if len(left) != 1:
        raise SpecError(
            f"{label}: expected one input besides states and constants, "
            f"got {_names(value.name for value in left)}"
        )
    image = _fit_input(left[0], spec.input, label)
    alpha = _fit_alpha(model, profile, image, label)
    outputs = tuple(alpha if one.meaning == "alpha" else one for one in spec.outputs)
    precision = inspect_model.precision(model)
    return replace(spec, input=image, outputs=outputs, precision=precision)


def _fit_input(value: onnx.ValueInfoProto, image: InputSpec, label: str) -> InputSpec:
    axes, kind = shape(value), value.type.tensor_type.elem_type
    got = f"{label}: input {value.name!r}"
    if kind not in _FLOATS:
        raise SpecError(f"{got}: expected float or float16 values, got ONNX type {kind}")
    if axes is None:
        return replace(image, name=value.name)
    nhwc = image.layout == "NHWC"
    if len(axes) != 4 or not _may_be(axes[3 if nhwc else 1], 3):  # noqa: PLR2004 - N, C, H, W
        channels = "height x width x 3 (NHWC)" if nhwc else "3 x height x width (NCHW)"
        raise SpecError(f"{got}: expected batch x {channels}, got {shape_text(axes)}")
    if not _may_be(axes[0], 1):
        raise SpecError(f"{got}: expected a batch of 1 or any, got {shape_text(axes)}")
    height, width = axes[1:3] if nhwc else axes[2:4]
    return replace(image, name=value.name, size=_fit_size(image.size, height, width, got))


def _fit_size(policy: SizePolicy, height: int | str, width: int | str, got: str) -> SizePolicy:
    """What the graph fixes wins: it takes nothing else."""
    if isinstance(height, str) and isinstance(width, str):
        return policy
    if isinstance(height, str) or isinstance(width, str):
        if (
            policy.rule == "fixed"
            and _may_be(height, policy.height)
            and _may_be(width, policy.width)
        ):
            return policy
        raise SpecError(f"{got}: expected both sides fixed or none, got {height} x {width}")
    if policy.rule == "fixed" and (policy.height, policy.width) == (height, width):
        return policy
    return replace(
        policy,
        rule="fixed",
        height=height,
        width=width,
        side=None,
        max_side=None,
        leave_straddling=False,
        multiple=1,
    )


def _fit_alpha(
    model: onnx.ModelProto, profile: Profile, image: InputSpec, label: str
) -> OutputSpec:
    spec, alpha = profile.spec, profile.spec.alpha
    taken = {state.output for state in spec.states}
    taken |= {one.name for one in spec.outputs if one.meaning != "alpha"}
    candidates = {
        value.name: shape(value)
        for value in model.graph.output
        if value.name not in taken
        and value.type.tensor_type.elem_type in _FLOATS
        and len(shape(value) or "NCHW") in (3, 4)
    }
    if alpha.name in candidates:
        name = alpha.name
    elif len(candidates) == 1 or (candidates and profile.first_output):
        name = next(iter(candidates))
    else:
        every = _names(value.name for value in model.graph.output)
        raise SpecError(
            f"{label}: expected one output that could be alpha, got {_names(candidates)} of "
            f"{every}; name it in a profile of your own (outputs[0].name)"
        )
    axes = candidates[name]
    if axes is not None:
        channels = 1 if len(axes) == 3 else axes[3 if image.layout == "NHWC" else 1]  # noqa: PLR2004
        if isinstance(channels, int) and channels <= alpha.channel:
            raise SpecError(
                f"{label}: output {name!r}: expected more than {alpha.channel} channels, "
                f"got {shape_text(axes)}"
            )
    return replace(alpha, name=name)


def _may_be(axis: int | str | None, length: int | None) -> bool:
    return isinstance(axis, str) or axis == length


def _names(values: Any) -> str:  # noqa: ANN401 - names, in any container
    return ", ".join(map(repr, values)) or "none"


def examine(session: Session) -> Plausibility:
    """Matte the portrait that ships, and compare with the default model's alpha.

    A recurrent model runs a second time on the first run's states.

    Args:
        session: An open model.

    Raises:
        ModelError: It does not run, or its alpha is not a number.
    """
    spec = session.spec
    photo = load_image(BUNDLED).over_white()
    batch, places = preprocess.prepare([photo], spec.input)
    output, states = session.step(batch, {})
    if states:
        session.step(batch, states)
    small = postprocess.network_alpha(output, spec, places[0].input)
    alpha = postprocess.to_photo(small[0], places[0], photo.shape[:2])
    with load(provider="cpu") as matting:
        expected = matting.matte(photo).alpha
    low, high = float(small.min()), float(small.max())
    iou = _iou(alpha, expected)
    inside = expected > 0.5  # noqa: PLR2004 - as in _iou
    contrast = float(alpha[inside].mean() - alpha[~inside].mean())
    problem = None
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        problem = (
            f"alpha lies in [{low:.3g}, {high:.3g}], expected [0, 1]: "
            "its activation may still have to be applied (sigmoid or softmax)"
        )
    elif high - low < _CONSTANT:
        problem = (
            f"alpha is {low:.3g} all over a portrait, where the default model's covers "
            f"{expected.mean():.0%}: mean, std or range may be wrong, or it is another profile's"
        )
    elif iou < _LEAST_IOU and not _TWICE[0] <= low <= high <= _TWICE[1]:
        problem = (
            f"alpha covers {alpha.mean():.0%} of a portrait and agrees with the default model's, "
            f"which covers {expected.mean():.0%}, to an IoU of {iou:.2f}, expected {_LEAST_IOU}: "
        )
        if _iou(1 - alpha, expected) >= _LEAST_IOU:
            problem += "it is the background's: the subject's channel is another"
        else:
            problem += "colour order, channel, mean or std may be wrong, or it is another profile's"
    elif contrast < _LEAST_CONTRAST:
        problem = (
            f"alpha is only {contrast:.2f} higher on a portrait's person than around, expected "
            f"{_LEAST_CONTRAST}: an activation (sigmoid, softmax) may be applied twice, or mean or "
            "std be wrong"
        )
    return Plausibility(
        iou=iou,
        contrast=contrast,
        low=low,
        high=high,
        coverage=float(alpha.mean()),
        expected_coverage=float(expected.mean()),
        problem=problem,
    )


def _iou(one: AlphaF32, other: AlphaF32) -> float:
    a, b = one > 0.5, other > 0.5  # noqa: PLR2004 - where the subject outweighs the background
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def _provenance(
    source: Path, file: OnnxFile, profile: Profile, found: Plausibility
) -> dict[str, Any]:
    measured = {
        key: round(value, 4) for key, value in asdict(found).items() if isinstance(value, float)
    }
    shown = profile.name if not profile.source else f"{profile.name}: {profile.source}"
    entries: dict[str, Any] = {
        **profile.spec.provenance,
        "source_sha256": sha256(source),
        "adopted_from": source.name,
        "profile": Path(profile.name).name if not profile.source else shown,
        "converter": f"portrait_sdk {__version__}",
        "portrait": measured,
    }
    if file.external:
        data = {location: sha256(source.parent / location) for location in sorted(file.external)}
        entries["external_data_sha256"] = data
    if found.problem is not None:
        entries["implausible"] = found.problem
    return entries


def _check_out(source: Path, out: Path, file: OnnxFile) -> None:
    for path in (source, *(source.parent / location for location in sorted(file.external))):
        try:
            same = path.samefile(out)
        except OSError:  # OUT is not there yet; whether it can be is write_atomic's to say
            same = False
        if same:
            raise OptionError(
                f"{out}: is the model to adopt, or its data: choose another name for the result"
            )


def _serialized(model: onnx.ModelProto, source: Path, out: Path, file: OnnxFile) -> bytes:
    """The file's bytes, with weights from outside brought in where one file can hold them."""
    if file.external:
        data = [source.parent / location for location in file.external]
        total = sum(path.stat().st_size for path in (source, *data))
        if total < ONE_FILE_BYTES:
            _bring_in(model, source)
        elif out.parent.resolve() != source.parent.resolve():
            raise OptionError(
                f"{source}: keeps {total / 1e9:.1f} GB in other files and one .onnx file holds "
                f"2 GB: write the result beside them, in {source.parent}"
            )
    return bytes(model.SerializeToString(deterministic=True))


def _bring_in(model: onnx.ModelProto, source: Path) -> None:
    from onnx import external_data_helper
    from onnx.checker import ValidationError

    try:
        external_data_helper.load_external_data_for_model(model, str(source.parent))
    except (OSError, ValueError, ValidationError) as error:
        raise ModelError(f"{source}: its external data cannot be read: {error}") from error
