"""The picture's full size, computed at half of it: four phases of a pixel side by side as channels.

A decoder's last stage doubles its features and convolves them at the size of the photo, where
tensors are large and channels few: the worst case for an integer convolution, and the costliest
resize of the network. The same values come from a convolution at half the size that gives all four
pixels of a 2 x 2 block at once; whatever follows pixel by pixel can stay in that form, and only
alpha itself is laid out at the end.

Exact but for the two outermost pixels: there the doubling repeats the edge while the convolution
sees zeros, and both at once have no linear form at half the size. It moves alpha's mean by 1e-5 in
MODNet and portrait-s; ``rewrite.apply`` measures it.

Source:
    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", CVPR 2016: the layout; the weights follow from the bilinear's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._graph import Graph, attributes, bias

if TYPE_CHECKING:
    import onnx

    from portrait_sdk.spec import ModelSpec

# Rows: doubled samples -1, 0, 1, 2 around a block; columns: samples -1, 0, 1 they come from.
_BILINEAR = np.array([[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75]])
_TAPS = np.stack([_BILINEAR[phase : phase + 3] for phase in (0, 1)])
"""[phase, kernel tap, sample]: what a tap of a 3-wide kernel reads before the doubling."""
_POINTWISE = ("Relu", "Sigmoid", "Clip")
_WIDEST = 4  # channels: later convolutions are spread over phases, at 4 x their work, up to these


def upsampled_convolutions(graph: Graph, spec: ModelSpec) -> int:
    """Move every ``Resize 2x → (Concat →) Conv 3x3`` to half its size, and what can follow it.

    Only where what is laid beside the doubled features is little (a photo's three channels): it
    takes part with four times as many.

    Args:
        graph: Changed in place.
        spec: Names the photo's input.

    Returns:
        Convolutions moved.
    """
    if spec.input.layout != "NCHW":
        return 0
    graph.sort()
    blocks = _Blocks(graph)
    moved = 0
    for node in list(graph.nodes):
        source = _source(graph, node, spec.input.name)
        if source is not None:
            blocks.move(node, *source)
            moved += 1
        elif any(name in blocks.at for name in node.input):
            blocks.follow(node)
    for name in graph.outputs:
        if name in blocks.at:
            blocks.lay_out(name)
    graph.sort()
    return moved


def _source(graph: Graph, conv: onnx.NodeProto, photo: str) -> tuple[str, list[str]] | None:
    """For a convolution of doubled features: those before the doubling, and what lies beside."""
    maker = graph.maker.get(conv.input[0]) if _kernel(graph, conv) == 3 else None  # noqa: PLR2004
    resize, others = maker, []
    if maker is not None and maker.op_type == "Concat" and attributes(maker)["axis"] == 1:
        resize, others = graph.maker.get(maker.input[0]), list(maker.input[1:])
    if maker is None or resize is None or not doubles(graph, resize):
        return None
    readers = graph.readers[resize.output[0]] if others else []
    if len(readers) > 1 or any(r.op_type != "Conv" for r in graph.readers[maker.output[0]]):
        return None
    # The photo is the one tensor whose channels are known, and known to be few.
    if any(name != photo for name in others):
        return None
    return resize.input[0], others


def doubles(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a node is a bilinear doubling of height and width with aligned half pixels."""
    if node.op_type != "Resize" or len(node.input) < 3:  # noqa: PLR2004 - scales
        return False
    values = attributes(node)
    scales = graph.constants.get(node.input[2])
    return (
        values.get("mode") == b"linear"
        and not values.get("antialias")
        and values.get("coordinate_transformation_mode", b"half_pixel")
        in (b"half_pixel", b"pytorch_half_pixel")
        and scales is not None
        and scales.tolist() == [1, 1, 2, 2]
    )


def _kernel(graph: Graph, node: onnx.NodeProto) -> int | None:
    """1 or 3 for a plain convolution of that size that keeps height and width."""
    if node.op_type != "Conv" or node.input[1] not in graph.constants:
        return None
    shape = graph.constants[node.input[1]].shape
    values = attributes(node)
    side = shape[-1]
    plain = (
        shape[2:] in ((1, 1), (3, 3))
        and values.get("group", 1) == 1
        and set(values.get("strides", [1])) == {1}
        and set(values.get("dilations", [1])) == {1}
        and set(values.get("pads", [0])) == {side // 2}
        and values.get("auto_pad", b"NOTSET") == b"NOTSET"
    )
    return side if plain else None


class _Blocks:
    """Tensors known in block form: (N, 4 C, H/2, W/2), a channel's four phases side by side."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.at: dict[str, str] = {}
        """Names in full size to names in block form."""
        self._laid_out: set[str] = set()
        self._halved: dict[str, str] = {}

    def move(self, conv: onnx.NodeProto, features: str, others: list[str]) -> None:
        graph = self.graph
        full = conv.output[0]
        weight = graph.constants[conv.input[1]].astype(np.float64)
        end = conv.input[0]
        if end not in self._halved:
            parts = [features]
            parts += [
                graph.add("SpaceToDepth", [o], graph.name(f"{o}/blocks"), blocksize=2)
                for o in others
            ]
            name = graph.name(f"{end}/half")
            joined = graph.add("Concat", parts, name, axis=1) if others else features
            self._halved[end] = joined
        beside = 3 * len(others)  # channels of the photo
        split = weight.shape[1] - beside
        features_part = np.einsum(
            "ocyx,pyt,qxu->opqctu", weight[:, :split], _TAPS, _TAPS, optimize=True
        )
        photo_parts = [
            _spread(weight[:, start : start + 3], phases_first=True)
            for start in range(split, weight.shape[1], 3)
        ]
        blocks = np.concatenate([features_part, *photo_parts], axis=3)
        self._conv(conv, self._halved[end], blocks.reshape(-1, *blocks.shape[3:]), 3, full)

    def _conv(
        self,
        conv: onnx.NodeProto,
        source: str,
        weight: Any,  # noqa: ANN401 - an array
        side: int,
        full: str,
    ) -> None:
        graph = self.graph
        name = graph.name(f"{full}/blocks")
        inputs = [
            source,
            graph.constant(weight.astype(np.float32), f"{name}/weight"),
            graph.constant(np.repeat(bias(graph, conv), 4).astype(np.float32), f"{name}/bias"),
        ]
        self.at[full] = graph.add(
            "Conv", inputs, name, kernel_shape=[side, side], pads=[side // 2] * 4
        )

    def follow(self, node: onnx.NodeProto) -> None:
        """Give ``node`` in block form if that can be, else lay its inputs out."""
        graph = self.graph
        full = node.output[0]
        if node.op_type in _POINTWISE and all(n in graph.constants for n in node.input[1:] if n):
            inputs = [self.at[node.input[0]], *node.input[1:]]
            self.at[full] = graph.add(node.op_type, inputs, graph.name(f"{full}/blocks"))
        elif node.op_type == "Concat" and attributes(node)["axis"] == 1 and self._all(node):
            inputs = [self.at[name] for name in node.input]
            self.at[full] = graph.add("Concat", inputs, graph.name(f"{full}/blocks"), axis=1)
        elif node.op_type == "InstanceNormalization":
            self.at[full] = self._instance_norm(node)
        elif (side := _kernel(graph, node)) and len(graph.constants[node.input[1]]) <= _WIDEST:
            weight = graph.constants[node.input[1]].astype(np.float64)
            if side == 1:
                spread = np.einsum("ocyx,pq->opcqyx", weight, np.eye(4))
                spread = spread.reshape(4 * weight.shape[0], 4 * weight.shape[1], 1, 1)
            else:
                spread = _spread(weight, phases_first=False)
            self._conv(node, self.at[node.input[0]], spread, side, full)
        else:
            for name in node.input:
                if name in self.at:
                    self.lay_out(name)

    def _all(self, node: onnx.NodeProto) -> bool:
        return all(name in self.at for name in node.input)

    def _instance_norm(self, node: onnx.NodeProto) -> str:
        """Statistics over all four phases of a channel: they are one run of values."""
        graph, source = self.graph, self.at[node.input[0]]
        base = f"{node.output[0]}/blocks"
        count = len(graph.constants[node.input[1]])
        flat = graph.constant(np.array([0, count, -1], np.int64), f"{base}/flat_shape")
        shape = graph.add("Shape", [source], graph.name(f"{base}/shape"))
        run = graph.add("Reshape", [source, flat], graph.name(f"{base}/flat"))
        normed = graph.add(
            "InstanceNormalization",
            [run, *node.input[1:]],
            graph.name(f"{base}/normed"),
            **attributes(node),
        )
        return graph.add("Reshape", [normed, shape], graph.name(base))

    def lay_out(self, name: str) -> None:
        """Bring a tensor back to full size, under its old name."""
        if name in self._laid_out:
            return
        self._laid_out.add(name)
        self.graph.drop(self.graph.maker[name])
        self.graph.add("DepthToSpace", [self.at[name]], name, blocksize=2, mode="CRD")


def _spread(weight: Any, *, phases_first: bool) -> Any:  # noqa: ANN401 - arrays
    """A 3 x 3 kernel at full size as one between blocks.

    Args:
        weight: (O, C, 3, 3).
        phases_first: Input channels as SpaceToDepth orders them, phase by phase, and the result
            unflattened (O, 2, 2, 4 C, 3, 3); else (4 O, 4 C, 3, 3), channel by channel.
    """
    outputs, inputs = weight.shape[:2]
    blocks = np.zeros((outputs, 2, 2, 2, 2, inputs, 3, 3))
    for py, px, ky, kx in np.ndindex(2, 2, 3, 3):
        y, x = py + ky - 1, px + kx - 1  # -1 to 2, from the block's corner
        blocks[:, py, px, y % 2, x % 2, :, y // 2 + 1, x // 2 + 1] += weight[:, :, ky, kx]
    if phases_first:
        return blocks.reshape(outputs, 2, 2, 4 * inputs, 3, 3)
    by_channel = blocks.transpose(0, 1, 2, 5, 3, 4, 6, 7)
    return by_channel.reshape(4 * outputs, 4 * inputs, 3, 3)
