"""How a graph lies in its file: weights as float16, tensors beside it, and nothing half-written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portrait_sdk.errors import ConversionError, OutputError
from portrait_sdk.media import write_atomic

if TYPE_CHECKING:
    import onnx

HALF_TOLERANCE = 1e-3
"""Mean difference of alpha on portraits that weights stored as float16 may cause."""
_HALF_FROM = 256  # values; smaller tensors are not worth a Cast node
_EXTERNAL_FROM = 1024  # bytes; smaller tensors stay in the graph
ONE_FILE_BYTES = 2**31 - 2**20
"""Most that one .onnx file holds: protobuf ends at 2 GiB, and the metadata needs some of it."""


def half(model: onnx.ModelProto) -> None:
    """Keep large float32 weights as float16, each behind a Cast that is folded when opened.

    Args:
        model: Changed in place.

    Raises:
        ConversionError: A weight does not fit float16.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < _HALF_FROM:
            continue
        full = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            narrow = full.astype(np.float16)
        if not np.isfinite(narrow).all():
            raise ConversionError(
                f"weight {tensor.name}: values up to {np.abs(full).max():g} pass float16; "
                "keep float32 with --full-storage"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], f"widen_{name}", to=1))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def is_half(path: Path) -> bool:
    """Whether a file keeps its weights as :func:`half` does: float16 tensors that are only cast."""
    from onnx import TensorProto

    from .onnx_model import open_model

    graph = open_model(path)[0].graph
    narrow = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    used = {name for node in graph.node if node.op_type != "Cast" for name in node.input}
    return bool(narrow) and not narrow & used


def check_writable(out: Path) -> None:
    """Refuse an output that cannot be written, before hours are spent on it.

    Raises:
        OutputError: Its folder is missing or takes no new files, or it is a folder itself.
    """
    folder = Path(os.path.realpath(out)).parent
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; expected the name of an .onnx file")
    if not folder.is_dir():
        raise OutputError(f"{out}: the folder {str(folder)!r} does not exist; create it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{out}: its folder takes no new files: {error.strerror}; choose another with -o"
        ) from error


def write(model: onnx.ModelProto, out: Path, *, external: bool = False) -> list[Path]:
    """Write a model whole or not at all; over 2 GiB its tensors go into a file beside it.

    The tensors' file has its content's hash in its name, so that replacing a model never leaves the
    old graph with new tensors.

    Args:
        model: What to write; its tensors are moved out of it where they are written apart.
        out: The .onnx file.
        external: Tensors apart whatever the size.

    Returns:
        The files written, the graph last.

    Raises:
        OutputError: Something cannot be written.
    """
    if not external and model.ByteSize() <= ONE_FILE_BYTES:
        write_atomic(out, model.SerializeToString(deterministic=True))
        return [out]
    import onnx

    out = Path(out)
    folder = Path(os.path.realpath(out)).parent
    try:
        with tempfile.TemporaryDirectory(prefix=".portrait-", suffix=".part", dir=folder) as work:
            graph, tensors = Path(work) / "graph.onnx", Path(work) / "tensors.data"
            onnx.save_model(
                model,
                graph,
                save_as_external_data=True,
                all_tensors_to_one_file=True,
                location=tensors.name,
                size_threshold=_EXTERNAL_FROM,
            )
            with tensors.open("rb+") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            lean = onnx.load(graph, load_external_data=False)
            beside = folder / f"{out.stem}.{digest[:12]}.data"
            for tensor in lean.graph.initializer:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = beside.name
            tensors.replace(beside)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    write_atomic(out, lean.SerializeToString(deterministic=True))
    return [beside, out]
