"""How to feed one model and read it back: a versioned JSON value inside its own .onnx file.

The value stands in the file's ``metadata_props`` under the key ``portrait_sdk``. The runtime
decides everything from it and nothing from a file's name. Fields that this release does not know
are kept when a spec is read and written again; a newer ``schema`` number is refused, because it may
change what a known field means.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from portrait_sdk.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

METADATA_KEY = "portrait_sdk"
"""The entry of ``metadata_props`` that holds the JSON."""
SCHEMA = 1
"""The newest version of the JSON this release reads, and the one it writes."""

_LONGEST_SIDE = 16_384  # px; three float32 planes of it squared are 3 GB
_LARGEST_STATE = 1 << 26  # values of one recurrent state before the first frame

Color: TypeAlias = Literal["RGB", "BGR"]
Layout: TypeAlias = Literal["NCHW", "NHWC"]
SizeRule: TypeAlias = Literal["fixed", "short-side", "long-side", "area", "native"]
Rounding: TypeAlias = Literal["nearest", "up", "down"]
Fit: TypeAlias = Literal["stretch", "letterbox"]
Kernel: TypeAlias = Literal["nearest", "area", "area-bicubic", "bilinear", "bicubic", "lanczos4"]
Activation: TypeAlias = Literal["applied", "sigmoid", "softmax"]
Precision: TypeAlias = Literal["fp32", "fp16", "int8"]
Triple: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A resampling filter, named so that nobody has to guess which "bicubic" was meant."""

    kernel: Kernel = "area"
    """``area`` averages the source pixels an output pixel covers when shrinking; when either axis
    grows it is OpenCV's stand-in, a bilinear whose ramp is one *output* pixel wide, which leaves
    steps in what is drawn larger. ``area-bicubic`` is ``bicubic`` there, else ``area``."""
    coefficient: float = -0.75
    """The bicubic's ``a`` (Keys 1981): -0.75 in OpenCV and torch, -0.5 in Pillow. Others
    ignore it."""
    antialias: bool = True
    """Widen the kernel when shrinking, as Pillow and torch's ``antialias=True`` do. OpenCV does
    not. ``nearest`` and ``area`` ignore it; ``area-bicubic`` needs it where one axis grows and the
    other shrinks."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizePolicy:
    """Which height and width the network is fed for a photo's."""

    rule: SizeRule
    """``fixed``: always ``height`` x ``width``. ``short-side``/``long-side``: the photo's shorter
    or longer side becomes ``side``, the other follows. ``area``: as many pixels as a square of
    ``side`` has, whatever the photo's shape. ``native``: the photo's own size."""
    height: int | None = None
    """Pixels, for ``fixed``."""
    width: int | None = None
    """Pixels, for ``fixed``."""
    side: int | None = None
    """Pixels, for ``short-side``, ``long-side`` and ``area``."""
    leave_straddling: bool = False
    """Under ``short-side``: a photo whose shorter side is at most ``side`` and whose longer is at
    least that keeps its size, but for the multiple (MODNet's published rule)."""
    max_side: int | None = None
    """No side becomes longer than this (a panorama under ``short-side`` or ``area``); None: 4 x
    ``side``."""
    multiple: int = 1
    """Height and width are multiples of this many pixels."""
    rounding: Rounding = "nearest"
    """How a side, in whole pixels (rounded down), comes to a multiple."""
    fit: Fit = "stretch"
    """``stretch``: the photo fills the input, its aspect may change. ``letterbox``: the aspect is
    kept, the photo is centred and the rest is ``pad``."""
    pad: Triple = (0.0, 0.0, 0.0)
    """RGB in [0, 255], before normalising, around a letterboxed photo."""
    filter: Filter = field(default_factory=Filter)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """The network's photo input: ``(pixel / 255 * range - mean) / std`` per channel."""

    name: str
    layout: Layout = "NCHW"
    color: Color = "RGB"
    range: float = 1.0
    """What a pixel of 255 becomes before ``mean`` and ``std``: 1 or 255 in practice."""
    mean: Triple = (0.0, 0.0, 0.0)
    """In ``color`` order, on the scale of ``range``."""
    std: Triple = (1.0, 1.0, 1.0)
    """In ``color`` order, divided by after ``mean``."""
    size: SizePolicy
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One named output."""

    name: str
    meaning: str
    """``alpha`` for the one the runtime reads; others (``trimap_logits``, ``foreground``) are for
    whoever runs the graph alone."""
    activation: Activation = "applied"
    """``applied``: values are final. Else what the runtime still has to apply."""
    channel: int = 0
    """Which channel is the subject's, where there are several."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """A recurrent state: fed as ``input``, read as ``output``, all zeros before the first frame."""

    input: str
    output: str
    shape: tuple[int, ...]
    """Of the initial zeros."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """How to feed one matting model and read it back; kept in its own .onnx file."""

    name: str
    architecture: str
    license: str
    """An SPDX identifier, or words where none fits."""
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """``source_sha256`` of the checkpoint, ``converter`` with its version, and whatever else."""
    states: tuple[StateSpec, ...] = ()
    constants: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Further float inputs that keep one value, by name (RVM's ``downsample_ratio``)."""
    precision: Precision = "fp32"
    tolerance: float = 1e-4
    """Largest difference of alpha from the source checkpoint that conversion accepted."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Top-level fields this release does not know."""

    @property
    def alpha(self) -> OutputSpec:
        """The output that is alpha."""
        return next(output for output in self.outputs if output.meaning == "alpha")

    def to_json(self) -> str:
        """The JSON kept in the file: sorted keys, no spaces to spare, unknown fields included."""
        table = {"schema": SCHEMA, **plain(self)}
        return json.dumps(table, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> ModelSpec:
        """Read and check the JSON.

        Args:
            text: The metadata value.
            where: The file it stands in, for messages.

        Raises:
            SpecError: Not JSON, a newer schema, a missing or impossible field; the message says
                which.
        """
        try:
            table = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(
                f"{where}: its {METADATA_KEY!r} metadata is not JSON: {error}"
            ) from error
        if not isinstance(table, dict):
            raise SpecError(
                f"{where}: its {METADATA_KEY!r} metadata: expected a JSON object, "
                f"got {type(table).__name__}"
            )
        schema = table.pop("schema", None)
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise SpecError(f"{where}: schema: expected a whole number from 1, got {schema!r}")
        if schema > SCHEMA:
            raise SpecError(
                f"{where}: described in schema {schema}, this release knows schema {SCHEMA}: "
                "`pip install --upgrade portrait-sdk` brings one that may know it"
            )
        return _Reader(where, table).model()


def missing_spec(where: str) -> SpecError:
    """The error for a graph that does not describe itself, with the command that makes it do so."""
    return SpecError(
        f"{where}: does not say how to feed it (no {METADATA_KEY!r} entry in its metadata); "
        f"add one with `portrait adopt {shlex.quote(where)} -o OUT.onnx --profile NAME`"
    )


def input_from_json(table: object, where: str) -> InputSpec:
    """Read and check one input's description alone.

    Args:
        table: As :func:`plain` gives it.
        where: The file it stands in, for messages.

    Raises:
        SpecError: A field is missing or impossible; the message says which.
    """
    return _Reader(where, table).image()


def plain(value: Any) -> Any:  # noqa: ANN401 - anything a spec holds
    """Dataclasses to plain JSON values, ``extra`` fields beside the known ones, None left out."""
    if dataclasses.is_dataclass(value):
        table = dict(value.extra)  # type: ignore[union-attr]
        for item in dataclasses.fields(value):
            own = getattr(value, item.name)
            if item.name != "extra" and own is not None:
                table[item.name] = plain(own)
        return table
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


class _Reader:
    """Takes known fields out of one JSON object; what is left over is ``extra``."""

    def __init__(self, where: str, table: object, path: str = "") -> None:
        self.where, self.path = where, path
        if not isinstance(table, dict):
            raise self.wrong("", "an object", table)
        self.left = dict(table)

    def wrong(self, name: str, expected: str, got: object) -> SpecError:
        at = f"{self.path}{name}".rstrip(".") or "metadata"
        return SpecError(f"{self.where}: {at}: expected {expected}, got {got!r}")

    def take(
        self,
        name: str,
        expected: str,
        check: Callable[[Any], bool],
        default: Any = ...,  # noqa: ANN401 - any JSON value
    ) -> Any:  # noqa: ANN401
        value = self.left.pop(name, default)
        if value is ...:
            raise self.wrong(name, expected, None)
        if value is not default and not check(value):
            raise self.wrong(name, expected, value)
        return value

    def text(self, name: str) -> str:
        value: str = self.take(name, "a text", lambda v: isinstance(v, str) and v != "")
        return value

    def choice(self, name: str, kind: Any, default: Any = ...) -> Any:  # noqa: ANN401
        choices = get_args(kind)
        return self.take(name, f"one of {', '.join(choices)}", lambda v: v in choices, default)

    def number(self, name: str, default: Any = ...) -> float:  # noqa: ANN401
        value = self.take(name, "a number", _is_number, default)
        return float(value)

    def count(self, name: str, default: Any = ...) -> Any:  # noqa: ANN401
        return self.take(
            name,
            f"a whole number from 1 to {_LONGEST_SIDE}",
            lambda v: _is_count(v) and 0 < v <= _LONGEST_SIDE,
            default,
        )

    def flag(self, name: str, *, default: bool) -> bool:
        value: bool = self.take(name, "true or false", lambda v: isinstance(v, bool), default)
        return value

    def triple(self, name: str, default: Triple) -> Triple:
        value = self.take(name, "three numbers", _is_triple, default)
        return (float(value[0]), float(value[1]), float(value[2]))

    def inner(self, name: str, default: Any = ...) -> _Reader:  # noqa: ANN401
        table = self.take(name, "an object", lambda v: isinstance(v, dict), default)
        return _Reader(self.where, table, f"{self.path}{name}.")

    def items(self, name: str, default: Any = ...) -> list[_Reader]:  # noqa: ANN401
        values = self.take(name, "a list", lambda v: isinstance(v, list), default)
        return [_Reader(self.where, v, f"{self.path}{name}[{i}].") for i, v in enumerate(values)]

    def model(self) -> ModelSpec:
        name, architecture = self.text("name"), self.text("architecture")
        license_name = self.text("license")
        image = self.inner("input").image()
        outputs = tuple(item.output() for item in self.items("outputs"))
        found = [o.name for o in outputs if o.meaning == "alpha"]
        if len(found) != 1:
            raise self.wrong("outputs", "exactly one whose meaning is 'alpha'", found)
        return ModelSpec(
            name=name,
            architecture=architecture,
            license=license_name,
            input=image,
            outputs=outputs,
            provenance=self.take("provenance", "an object", lambda v: isinstance(v, dict), {}),
            states=tuple(item.state() for item in self.items("states", [])),
            constants=self.inner("constants", {}).floats(),
            precision=self.choice("precision", Precision, "fp32"),
            tolerance=self.number("tolerance", 1e-4),
            extra=self.left,
        )

    def image(self) -> InputSpec:
        std = self.triple("std", (1.0, 1.0, 1.0))
        if 0.0 in std:
            raise self.wrong("std", "three numbers other than 0", list(std))
        top = self.number("range", 1.0)
        if not top > 0:
            raise self.wrong("range", "a number above 0", top)
        return InputSpec(
            name=self.text("name"),
            layout=self.choice("layout", Layout, "NCHW"),
            color=self.choice("color", Color, "RGB"),
            range=top,
            mean=self.triple("mean", (0.0, 0.0, 0.0)),
            std=std,
            size=self.inner("size").size(),
            extra=self.left,
        )

    def size(self) -> SizePolicy:
        rule: SizeRule = self.choice("rule", SizeRule)
        policy = SizePolicy(
            rule=rule,
            height=self.count("height", None if rule != "fixed" else ...),
            width=self.count("width", None if rule != "fixed" else ...),
            side=self.count("side", ... if rule in ("short-side", "long-side", "area") else None),
            leave_straddling=self.flag("leave_straddling", default=False),
            max_side=self.count("max_side", None),
            multiple=self.count("multiple", 1),
            rounding=self.choice("rounding", Rounding, "nearest"),
            fit=self.choice("fit", Fit, "stretch"),
            pad=self.triple("pad", (0.0, 0.0, 0.0)),
            filter=self.inner("filter", {}).filter(),
            extra=self.left,
        )
        for side in (policy.height, policy.width):
            if side is not None and side % policy.multiple:
                raise self.wrong("multiple", f"a divisor of {side}", policy.multiple)
        return policy

    def filter(self) -> Filter:
        return Filter(
            kernel=self.choice("kernel", Kernel, "area"),
            coefficient=self.number("coefficient", -0.75),
            antialias=self.flag("antialias", default=True),
            extra=self.left,
        )

    def output(self) -> OutputSpec:
        return OutputSpec(
            name=self.text("name"),
            meaning=self.text("meaning"),
            activation=self.choice("activation", Activation, "applied"),
            channel=self.take("channel", "a whole number from 0", _is_count, 0),
            extra=self.left,
        )

    def state(self) -> StateSpec:
        shape = self.take("shape", "a list of whole numbers", _is_counts)
        if math.prod(shape) > _LARGEST_STATE:
            raise self.wrong("shape", f"at most {_LARGEST_STATE} values", shape)
        return StateSpec(
            input=self.text("input"),
            output=self.text("output"),
            shape=tuple(shape),
            extra=self.left,
        )

    def floats(self) -> dict[str, tuple[float, ...]]:
        for name, values in self.left.items():
            if not isinstance(values, list) or not all(map(_is_number, values)):
                raise self.wrong(name, "a list of numbers", values)
        return {name: tuple(map(float, values)) for name, values in self.left.items()}


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_triple(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))  # noqa: PLR2004
