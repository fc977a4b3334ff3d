"""A torch module to a simplified, verified, self-describing .onnx file."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk import __version__
from portrait_sdk.errors import ModelError
from portrait_sdk.media import write_atomic
from portrait_sdk.spec import ModelSpec

from . import metadata, verify

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from .architectures._base import Architecture

OPSET = 18
"""The opset written: the newest that every ONNX Runtime the package supports runs everywhere."""
_HALF_FROM = 256  # values; smaller tensors are not worth a Cast node


def describe(
    architecture: Architecture, name: str, license_name: str, checkpoint: bytes
) -> ModelSpec:
    """The spec of a model converted from ``checkpoint``.

    Args:
        architecture: Whose input and outputs it has.
        name: Of the model.
        license_name: Of its weights; an SPDX identifier where one fits.
        checkpoint: The source file's bytes.
    """
    return ModelSpec(
        name=name,
        architecture=architecture.name,
        license=license_name,
        input=architecture.input,
        outputs=architecture.outputs,
        provenance={
            "source_sha256": hashlib.sha256(checkpoint).hexdigest(),
            "converter": f"portrait_sdk {__version__}",
            "opset": OPSET,
        },
        tolerance=architecture.tolerance,
    )


def export(
    module: nn.Module,
    architecture: Architecture,
    spec: ModelSpec,
    out: Path,
    *,
    half_storage: bool = False,
) -> verify.Report:
    """Write ``module`` as an .onnx file, if it computes the same function.

    Args:
        module: Trained; set to evaluation mode here.
        architecture: Its own.
        spec: Goes into the file's metadata, with the verification's figures added.
        out: The file to write; it appears whole or not at all.
        half_storage: Keep weights as float16 and widen them when the model is opened: half the
            size, computed in float32 all the same.

    Returns:
        The verification of the file that was written.

    Raises:
        ModelError: The graph differs from the module by more than the architecture tolerates.
    """
    import onnx

    module.eval()
    model = simplify(to_onnx(module, architecture), architecture)
    if half_storage:
        store_half(model)
    metadata.strip(model)
    data = model.SerializeToString(deterministic=True)
    report = verify.compare(data, module, architecture)
    if report.max_difference > architecture.tolerance:
        raise ModelError(
            f"{out}: not written: alpha differs from the checkpoint by "
            f"{report.max_difference:.2e}, "
            f"{architecture.name} tolerates {architecture.tolerance:.0e}"
        )
    summary = {"max": report.max_difference, "mean": report.mean_difference}
    metadata.write(model, replace(spec, provenance={**spec.provenance, "verified": summary}))
    onnx.checker.check_model(model, full_check=True)
    write_atomic(Path(out), model.SerializeToString(deterministic=True))
    return report


def to_onnx(module: nn.Module, architecture: Architecture) -> onnx.ModelProto:
    """Torch's exporter, with free batch, height and width."""
    import torch

    stride = architecture.input.size.multiple
    batch = torch.export.Dim("batch", min=1, max=64)
    height = stride * torch.export.Dim("rows", min=1, max=8192 // stride)
    width = stride * torch.export.Dim("columns", min=1, max=8192 // stride)
    example = torch.rand(2, 3, stride * 4, stride * 3)
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[architecture.input.name],
        output_names=[output.name for output in architecture.outputs],
        dynamic_shapes=({0: batch, 2: height, 3: width},),
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, ("batch", "", "height", "width"), strict=False):
            if name and not dim.HasField("dim_value"):
                dim.dim_param = name
    return model


def simplify(model: onnx.ModelProto, architecture: Architecture) -> onnx.ModelProto:
    """Onnxsim with its check on, at the first size conversions are verified on.

    Raises:
        ModelError: The simplified graph does not compute the same.
    """
    import onnxsim

    size = architecture.verify_sizes[0]
    shape = {architecture.input.name: [2, 3, *size]}
    simple: onnx.ModelProto
    simple, same = onnxsim.simplify(model, check_n=2, test_input_shapes=shape)
    if not same:
        raise ModelError(f"{architecture.name}: the simplified graph computes something else")
    return simple


def store_half(model: onnx.ModelProto) -> None:
    """Keep large float32 weights as float16, each behind a Cast that is folded when opened.

    Args:
        model: Changed in place.

    Raises:
        ModelError: A weight does not fit float16.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < _HALF_FROM:
            continue
        full = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = full.astype(np.float16)
        if not np.isfinite(half).all():
            raise ModelError(
                f"weight {tensor.name}: values up to {np.abs(full).max():g} pass float16"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], f"widen_{name}", to=1))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def load_checkpoint(data: bytes) -> dict[str, Any]:
    """A state dict saved by ``torch.save``; nothing in it is executed.

    Raises:
        ModelError: Not a checkpoint, or one that holds more than tensors.
    """
    import torch

    try:
        state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        # torch raises what its pickle and zip readers raise, without a common base class.
        raise ModelError(f"not a torch checkpoint of tensors alone: {error}") from error
    if not isinstance(state, dict):
        raise ModelError(f"checkpoint: expected a state dict, got {type(state).__name__}")
    return state
