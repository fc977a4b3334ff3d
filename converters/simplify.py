"""Fewer nodes, the same function: onnxsim, then ONNX Runtime's own pass where it stays portable."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import ConversionError, first_line
from portrait_sdk.model import runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

_SEED = 20261121


def simplify(
    model: onnx.ModelProto,
    shapes: Sequence[tuple[int, ...]],
    *,
    tolerance: float,
    ignored: Sequence[str] = (),
) -> onnx.ModelProto:
    """Onnxsim, with its check on for every shape a conversion is verified on.

    Args:
        model: Left alone.
        shapes: Of the input: batch, channels, height, width.
        tolerance: Absolute difference of an output that passes.
        ignored: Outputs that jump where rounding flips a decision; the verification, which knows
            where, compares those.

    Raises:
        ConversionError: The simplified graph computes something else; nothing of it is used.
    """
    import onnxsim
    from onnxsim import model_checking

    name = model.graph.input[0].name
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            simple, _ = onnxsim.simplify(model, check_n=0)
        except Exception as error:
            # Its C++ core raises bare RuntimeErrors.
            raise ConversionError(f"simplification: onnxsim failed: {first_line(error)}") from error
        ours, theirs = _without(simple, ignored), _without(model, ignored)
        # onnxsim draws its inputs from NumPy's global generator.
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(_SEED)  # noqa: NPY002
        try:
            for shape in shapes:
                same = model_checking.compare(
                    ours, theirs, 1, {name: list(shape)}, atol=tolerance, rtol=1e-4
                )
                if not same:
                    raise ConversionError(
                        f"simplification: at input {shape} the simplified graph computes something "
                        f"else: {said.getvalue().strip().splitlines()[-1:]}"
                    )
        finally:
            np.random.set_state(state)  # noqa: NPY002
    simplified: onnx.ModelProto = simple
    return simplified


def _without(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    if not outputs:
        return model
    import onnx

    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    drop_outputs(rest, outputs)
    return rest


def drop_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Take outputs off a graph, and nodes that nothing needs any more.

    Args:
        model: Changed in place.
        names: Of outputs.
    """
    kept = [output for output in model.graph.output if output.name not in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    needed = {output.name for output in kept}
    nodes = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    needed.update(name for inner in graph.node for name in inner.input)
    nodes.reverse()
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    values = [value for value in model.graph.value_info if value.name in needed]
    del model.graph.value_info[:]
    model.graph.value_info.extend(values)


def fold_in_runtime(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """ONNX Runtime's basic graph optimisations, saved; None where the result is not portable.

    Portable: standard operators alone, the opset kept. The basic level folds constants and removes
    nodes that do nothing; the levels above write operators that only ONNX Runtime knows.
    """
    import onnx

    onnxruntime = runtime.onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="portrait-") as folder:
        path = Path(folder) / "optimised.onnx"
        settings.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        result = onnx.load(path)
    opset = {entry.domain: entry.version for entry in model.opset_import}
    domains = {node.domain or "" for node in result.graph.node}
    found = {entry.domain: entry.version for entry in result.opset_import}
    if not domains <= {"", "ai.onnx"} or found.get("") != opset.get(""):
        return None
    del result.opset_import[:]
    result.opset_import.extend(entry for entry in model.opset_import if entry.domain == "")
    result.ir_version = model.ir_version
    return result
