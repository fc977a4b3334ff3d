"""Foreign .onnx files: the embedded model without its description, changed at either end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from portrait_sdk.model import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROFILE = {
    "architecture": "portrait",
    "license": "Apache-2.0",
    "input": {
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "size": {"rule": "fixed", "height": 640, "width": 640, "multiple": 32},
    },
}
"""How the embedded model wants to be fed; what it finds in smaller pictures differs by version."""


def profile(folder: Path, **changes: Any) -> str:
    """A profile file; ``changes`` replace top-level fields."""
    path = folder / "profile.json"
    path.write_text(json.dumps({**PROFILE, **changes}), "utf-8")
    return str(path)


def foreign(path: Path, change: Callable[[Any, Any], None] | None = None) -> Path:
    """Write the embedded model without metadata.

    Args:
        path: Where to.
        change: Given the graph and ``onnx.helper``, changes the graph.
    """
    import onnx

    model = onnx.load(registry.resolve(None))
    del model.metadata_props[:]
    if change is not None:
        change(model.graph, onnx.helper)
    onnx.save(model, path)
    return path


def tail(*nodes: tuple[str, list[str], dict[str, Any]], **constants: Any) -> Any:
    """A change: further nodes from ``alpha`` to the output ``result``."""

    def change(graph: Any, helper: Any) -> None:
        import numpy as np
        from onnx import numpy_helper

        for name, value in constants.items():
            graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
        source = "alpha"
        for index, (op, more, attributes) in enumerate(nodes):
            result = "result" if index == len(nodes) - 1 else f"tail_{index}"
            inputs = [source if one == "_" else one for one in more]
            graph.node.append(helper.make_node(op, inputs, [result], **attributes))
            source = result
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("result", 1, [None, None, None, None]))

    return change


LOGITS = tail(("Sub", ["_", "half"], {}), ("Mul", ["_", "ten"], {}), half=0.5, ten=10.0)
INVERTED = tail(("Sub", ["one_", "_"], {}), one_=1.0)
CONSTANT = tail(("Mul", ["_", "nought"], {}), nought=0.0)
TWICE = tail(("Sigmoid", ["_"], {}))
NOT_A_NUMBER = tail(("Mul", ["_", "nought"], {}), ("Div", ["_", "nought"], {}), nought=0.0)
TWO_CHANNELS = tail(("Neg", ["_"], {}), ("Concat", ["_", "alpha"], {"axis": 1}))
