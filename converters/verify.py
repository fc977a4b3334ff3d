"""Whether a graph computes what its network computes: names, shapes, then values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from portrait_sdk.errors import ConversionError, first_line
from portrait_sdk.model import runtime
from portrait_sdk.ops import preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn

    from portrait_sdk.spec import InputSpec
    from portrait_sdk.types import Image

    from .architectures._base import Architecture
    from .export import Axes

Kind: TypeAlias = Literal["noise", "smooth", "portrait"]

SEED = 20261121
"""Of the random inputs, so that a report can be made again."""
_LARGEST_UNDECIDED = 0.01  # of the pixels; a network that cannot decide on more is not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One output of one input, compared."""

    input: str
    """``noise``, ``smooth``, or a portrait's file name."""
    shape: tuple[int, ...]
    """Of the network's input."""
    output: str
    max_difference: float
    mean_difference: float
    levels: int | None
    """Largest difference of 8-bit alpha; None for an output that is no alpha."""
    undecided: int
    """Pixels left out because rounding may flip the network's decision there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All comparisons of one file."""

    tolerance: float
    problems: tuple[str, ...]
    """What is wrong, in words; empty where all is well."""
    rows: tuple[Row, ...]

    @property
    def max_difference(self) -> float:
        """Of alpha, over all rows."""
        return max((r.max_difference for r in self.rows if r.output == "alpha"), default=0.0)

    @property
    def mean_difference(self) -> float:
        """Of alpha: mean over rows of their means."""
        means = [r.mean_difference for r in self.rows if r.output == "alpha"]
        return float(np.mean(means)) if means else 0.0

    def require(self, what: str) -> None:
        """Raise if anything is wrong.

        Raises:
            ConversionError: All problems, the largest difference first.
        """
        if self.problems:
            raise ConversionError(f"{what}: {'; '.join(self.problems)}")

    def summary(self) -> dict[str, Any]:
        """The few figures kept in the file.

        Differences are rounded up to one digit, so that the same checkpoint gives the same bytes
        on machines whose last digits differ.
        """
        shapes = sorted({r.shape for r in self.rows})
        return {
            "against": "torch, float32",
            "shapes": [list(shape) for shape in shapes],
            "portraits": sorted({r.input for r in self.rows} - {"noise", "smooth"}),
            "max_difference": _one_digit(self.max_difference),
            "tolerance": self.tolerance,
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "tolerance": self.tolerance,
            "seed": SEED,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "problems": list(self.problems),
            "rows": [asdict(row) for row in self.rows],
        }


def _one_digit(value: float) -> float:
    if value == 0:
        return 0.0
    power = math.floor(math.log10(value))
    return float(f"{math.ceil(value / 10**power)}e{power}")


def open_session(model: bytes | Path, *, threads: int | None = None) -> Any:  # noqa: ANN401 - no stubs
    """ONNX Runtime on the CPU, as quiet as it can be.

    Args:
        model: The file, or its bytes.
        threads: Within one run; None: as many as ONNX Runtime takes.

    Raises:
        ConversionError: It does not open the graph.
    """
    onnxruntime = runtime.onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    if threads is not None:
        settings.intra_op_num_threads = threads
    # Torch runs between the sessions: threads that spin while they wait would take its cores.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime has no common base class for what it raises.
        raise ConversionError(
            f"ONNX Runtime does not open the graph: {first_line(error)}"
        ) from error


def difference(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> dict[str, float]:
    """Largest and mean absolute difference, taken in float64."""
    values = np.abs(got.astype(np.float64) - want)
    return {"max_difference": float(values.max()), "mean_difference": float(values.mean())}


def compare(
    session: Any,  # noqa: ANN401 - no stubs
    network: nn.Module,
    architecture: Architecture,
    feeds: Sequence[tuple[str, np.ndarray[Any, Any]]],
    *,
    input_name: str,
    outputs: Mapping[str, str],
    exact: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compare names, then shapes, then values; every difference is reported, not the first alone.

    Args:
        session: The file, open in ONNX Runtime.
        network: In evaluation mode, with the checkpoint's weights.
        architecture: Of both.
        feeds: Names and network inputs; see :func:`inputs`.
        input_name: What the input should be named.
        outputs: ``alpha`` and raw outputs, by our names, to the graph's names for them.
        exact: The graph has these outputs and no others.
        progress: Told each step.
    """
    import torch

    from .export import finished

    problems = _names(session, input_name, list(outputs.values()), exact=exact)
    rows: list[Row] = []
    if not problems:
        every = tuple(output.name for output in architecture.raw)
        whole = finished(network, architecture, every)
        for name, feed in feeds:
            progress(f"{name} {'x'.join(map(str, feed.shape))}")
            with torch.inference_mode():
                tensors = whole(torch.from_numpy(feed))
            unsure = None
            if architecture.undecided is not None:
                unsure = architecture.undecided(tuple(tensors[1:])).numpy()
            torch_values = dict(zip(("alpha", *every), tensors, strict=True))
            got = session.run(list(outputs.values()), {input_name: feed})
            for output, values in zip(outputs, got, strict=True):
                want = torch_values[output].numpy()
                skip = unsure if output == "alpha" else None
                problem, row = _compare(name, feed.shape, output, values, want, skip)
                if row is not None:
                    rows.append(row)
                if problem:
                    problems.append(problem)
    worst = [row for row in rows if not row.max_difference <= architecture.tolerance]
    for row in sorted(worst, key=lambda r: -r.max_difference)[:3]:
        problems.append(
            f"{row.output} differs from the checkpoint by {row.max_difference:.1e} on {row.input} "
            f"{'x'.join(map(str, row.shape))}, {architecture.name} tolerates "
            f"{architecture.tolerance:.0e}"
        )
    return Report(tolerance=architecture.tolerance, problems=tuple(problems), rows=tuple(rows))


def _names(session: Any, input_name: str, wanted: list[str], *, exact: bool) -> list[str]:  # noqa: ANN401
    problems = []
    inputs = [item.name for item in session.get_inputs()]
    if inputs != [input_name]:
        problems.append(f"inputs: expected {input_name!r}, the graph has {inputs}")
    found = [item.name for item in session.get_outputs()]
    if (exact and found != wanted) or not set(wanted) <= set(found):
        problems.append(f"outputs: expected {wanted}, the graph has {found}")
    return problems


def _compare(
    name: str,
    shape: tuple[int, ...],
    output: str,
    got: np.ndarray[Any, Any],
    want: np.ndarray[Any, Any],
    undecided: np.ndarray[Any, Any] | None,
) -> tuple[str | None, Row | None]:
    where = f"{output} on {name} {'x'.join(map(str, shape))}"
    if got.shape != want.shape:
        return f"{where}: expected shape {want.shape}, got {got.shape}", None
    if not np.isfinite(want).all():
        return f"{where}: the checkpoint itself gives NaN or infinite values", None
    difference = np.abs(got.astype(np.float64) - want)
    left_out = 0
    if undecided is not None:
        left_out = int(undecided.sum())
        if left_out > _LARGEST_UNDECIDED * undecided.size:
            return f"{where}: undecided on {left_out} of {undecided.size} pixels", None
        difference = np.where(undecided, 0.0, difference)
    levels = None
    if output == "alpha":
        steps = np.abs(np.rint(got * 255.0) - np.rint(want * 255.0))
        if undecided is not None:
            steps = np.where(undecided, 0, steps)
        # NaN compares as different below; here it only must not stop the count.
        levels = int(np.nan_to_num(steps, nan=255.0).max())
        outside = float(max(got.max() - 1, -got.min(), 0.0))
        if outside > 0:
            return f"{where}: alpha leaves [0, 1] by {outside:.1e}", None
    return None, Row(
        input=name,
        shape=tuple(shape),
        output=output,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        levels=levels,
        undecided=left_out,
    )


def inputs(
    architecture: Architecture,
    spec: InputSpec,
    axes: Axes,
    portraits: Sequence[tuple[str, Image]],
    rng: np.random.Generator | None = None,
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """What a conversion is compared on: random inputs at every size and batch, real portraits.

    Args:
        architecture: Has the sizes.
        spec: Portraits are prepared as the model's users will prepare them.
        axes: Fixed axes keep their value; free ones take three sizes or more, batches of 1 and 2.
        portraits: Names and uint8 (H, W, 3) RGB.
        rng: Of the random inputs.
    """
    rng = rng or np.random.default_rng(SEED)
    for shape in shapes(architecture, axes):
        kinds: tuple[Kind, ...] = ("noise", "smooth") if shape[0] == 1 else ("noise",)
        for kind in kinds:
            yield kind, _random(kind, shape, spec, rng)
    for name, image in portraits:
        feed, _ = preprocess.prepare([image] * (axes.batch or 1), spec)
        yield name, feed


def shapes(architecture: Architecture, axes: Axes) -> list[tuple[int, int, int, int]]:
    """The inputs a conversion is compared on: every size, and each in batches of 1 and 2."""
    sizes = (axes.size,) if axes.size is not None else architecture.verify_sizes
    batches = (1, 2) if axes.batch is None else (axes.batch,)
    return [(batch, 3, *size) for size in sizes for batch in batches]


def _random(
    kind: Kind, shape: tuple[int, ...], spec: InputSpec, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Pixels of 0 to 255, normalised: independent ones, or a few smooth waves."""
    scale, offset = preprocess.affine(spec)
    if kind == "noise":
        pixels = rng.uniform(0, 255, shape)
    else:
        y, x = np.mgrid[0 : shape[2], 0 : shape[3]]
        pixels = np.empty(shape)
        for plane in pixels.reshape(-1, *shape[2:]):
            a, b, c, d = rng.uniform(0, 0.1, 4)
            plane[...] = 127.5 + 63 * (np.sin(a * x + c * 60) + np.cos(b * y + d * 60))
    normal = pixels * scale[:, None, None] + offset[:, None, None]
    return np.ascontiguousarray(normal, np.float32)
