"""A torch network to an ONNX graph: its outputs, its free axes, its opset."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from portrait_sdk.errors import ConversionError, OptionError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx
    from torch import Tensor, nn

    from .architectures._base import Architecture

OPSET = 18
"""The opset written where none is asked for: the newest that needs no newer ONNX Runtime than the
oldest this package supports, and the one torch's exporter is written in."""
OPSETS = range(18, 24)
"""What may be asked for: torch's exporter starts at 18, the oldest supported ONNX Runtime ends at
23."""
Outputs: TypeAlias = Literal["alpha", "raw"]

_LARGEST_BATCH, _LONGEST_SIDE = 64, 8192
_EXAMPLE_STRIDES = (32, 17)
"""Of the traced input, where free: unequal, nothing a network divides, and so many that no map on
the way is one window or one pooled pixel, which tracing would take for a constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Which of the input's axes keep one value; None is free."""

    size: tuple[int, int] | None = None
    """Height and width in pixels."""
    batch: int | None = None

    def check(self, architecture: Architecture) -> None:
        """Refuse a size the network cannot take.

        Raises:
            OptionError: A side is no multiple of the stride, or out of range.
        """
        stride = architecture.stride
        for side in self.size or ():
            if side % stride or not stride <= side <= _LONGEST_SIDE:
                raise OptionError(
                    f"size {self.size[0] if self.size else 0}x{self.size[1] if self.size else 0}: "
                    f"{architecture.name} takes multiples of {stride} from {stride} to "
                    f"{_LONGEST_SIDE}; {side} is none: {_nearest(side, stride)} is the nearest"
                )
        if self.batch is not None and not 1 <= self.batch <= _LARGEST_BATCH:
            raise OptionError(f"batch: expected 1 to {_LARGEST_BATCH}, got {self.batch}")


def _nearest(side: int, stride: int) -> int:
    top = _LONGEST_SIDE // stride * stride
    return min(top, max(stride, round(side / stride) * stride))


def check_opset(opset: int) -> None:
    """Refuse an opset that is not written.

    Raises:
        OptionError: Out of range; the message has the range.
    """
    if opset not in OPSETS:
        raise OptionError(
            f"opset: expected {OPSETS.start} to {OPSETS.stop - 1} "
            f"({OPSET} where none is named), got {opset}"
        )


def finished(network: nn.Module, architecture: Architecture, raw: tuple[str, ...]) -> nn.Module:
    """The network with its finish behind it: returns alpha, then the raw outputs named.

    Args:
        network: In evaluation mode.
        architecture: Its own.
        raw: Names among ``architecture.raw``, in the order they are returned.
    """
    from torch import nn

    names = [output.name for output in architecture.raw]
    picked = [names.index(name) for name in raw]

    class Finished(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            values = self.network(image)
            values = values if isinstance(values, tuple) else (values,)
            return (architecture.finish(values), *(values[i] for i in picked))

    return Finished().eval()


def to_onnx(
    network: nn.Module,
    architecture: Architecture,
    *,
    input_name: str,
    axes: Axes,
    raw: tuple[str, ...] = (),
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Torch's graph exporter; the output ``alpha`` first, then the raw ones.

    Args:
        network: In evaluation mode.
        architecture: Its own.
        input_name: Of the graph's input.
        axes: What is fixed.
        raw: Raw outputs to keep.
        opset: Of the file.

    Raises:
        ConversionError: Torch cannot export it in this opset.
        OptionError: The size or the opset is not possible.
    """
    import torch

    axes.check(architecture)
    check_opset(opset)
    stride = architecture.stride
    dims: dict[int, object] = {}
    if axes.batch is None:
        dims[0] = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    if axes.size is None:
        most = _LONGEST_SIDE // stride
        least = max(1, min(min(size) for size in architecture.verify_sizes) // stride)
        dims[2] = stride * torch.export.Dim("rows", min=least, max=most)
        dims[3] = stride * torch.export.Dim("columns", min=least, max=most)
    scale = max(1, 32 // stride)
    height, width = axes.size or (n * stride * scale for n in _EXAMPLE_STRIDES)
    # A batch of 1 would be taken for a constant where the axis is free.
    example = torch.rand(axes.batch or 2, 3, height, width)
    names = ["alpha", *raw]
    try:
        with _quiet():
            program = torch.onnx.export(
                finished(network, architecture, raw),
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[input_name],
                output_names=names,
                dynamic_shapes=(dims,),
                verbose=False,
            )
    except Exception as error:
        # The exporter raises what torch.export, the decompositions and onnxscript raise.
        raise ConversionError(
            f"export of {architecture.name} in opset {opset}: torch cannot: {first_line(error)}"
        ) from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    written = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    if written != opset:
        raise ConversionError(
            f"export of {architecture.name}: opset {opset} was asked for and torch could only "
            f"write {written}: choose --opset {written}"
        )
    _name_axes(model)
    return model


def _name_axes(model: onnx.ModelProto) -> None:
    """Free axes by the field's names, whatever the exporter derived them from."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, ("batch", "", "height", "width"), strict=False):
            if name and not dim.HasField("dim_value"):
                dim.dim_param = name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own deprecation warnings, log lines and prints to itself."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
