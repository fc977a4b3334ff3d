"""Runs whose tensors live on the provider's device, by ONNX Runtime's IO binding.

What does not change is uploaded once; a sequence's states stay where they are; the photo goes up
and alpha comes down, through buffers that are kept for the last few input shapes. With CUDA graphs
the launches of one shape are recorded once and replayed, which needs those buffers: a graph reads
and writes the addresses it was recorded with.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.model import runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHAPES = 4
"""Input shapes whose buffers are kept; photos of ever new sizes would hoard memory otherwise."""
_EAGER = "-1"  # a run that is not recorded


@dataclass(slots=True, kw_only=True)
class _Buffers:
    """Of one input shape."""

    graph: str
    """The number of its CUDA graph."""
    image: Any
    outputs: dict[str, Any]
    """By name; empty before the first run, which tells their shapes."""


class DeviceRuns:
    """Runs one session with tensors on its device; safe to call from several threads.

    Runs take turns: they share buffers, and a device does one after the other anyway.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - no stubs
        device: tuple[str, int],
        image: str,
        fixed: Mapping[str, np.ndarray[Any, Any]],
        *,
        graphs: bool = False,
    ) -> None:
        """Upload what does not change.

        Args:
            session: ONNX Runtime's.
            device: Its type as ONNX Runtime names it (``cuda``, ``cpu``), and number.
            image: The input that changes with every run.
            fixed: The other inputs' values; those of states are for the first frame.
            graphs: Record and replay CUDA graphs, one for each shape that is kept.
        """
        self._value: Any = runtime.onnxruntime().OrtValue
        self._session, self._device, self._image, self._graphs = session, device, image, graphs
        self._fixed = {n: self._value.ortvalue_from_numpy(v, *device) for n, v in fixed.items()}
        self._kept: OrderedDict[tuple[int, ...], _Buffers] = OrderedDict()
        self._lock = threading.Lock()

    def run(
        self,
        alpha: str,
        image: np.ndarray[Any, Any],
        states: Mapping[str, Any],
        after: Sequence[str],
    ) -> tuple[np.ndarray[Any, Any], list[Any]]:
        """Run the graph once.

        Args:
            alpha: The output that is brought back.
            image: The photo, in the input's dtype.
            states: What ``run`` returned for the frame before, by input; absent ones start anew.
            after: The outputs that hold the states for the next frame.

        Returns:
            A copy of alpha in the host's memory; and the states, on the device.
        """
        with self._lock:
            buffers = self._buffers(image.shape, image.dtype)
            buffers.image.update_inplace(np.ascontiguousarray(image))
            if self._graphs and buffers.graph != _EAGER and alpha not in buffers.outputs:
                self._bound(buffers, alpha, states, after, _EAGER)  # its shape, for the recording
            values = self._bound(buffers, alpha, states, after, buffers.graph)
            return np.array(values[0].numpy()), values[1:]

    def _bound(
        self,
        buffers: _Buffers,
        alpha: str,
        states: Mapping[str, Any],
        after: Sequence[str],
        graph: str,
    ) -> list[Any]:
        binding = self._session.io_binding()
        for name, value in {**self._fixed, **states, self._image: buffers.image}.items():
            binding.bind_ortvalue_input(name, value)
        kept = buffers.outputs.get(alpha)
        if kept is None:
            binding.bind_output(alpha, *self._device)
        else:
            binding.bind_ortvalue_output(alpha, kept)
        for name in after:  # new memory each time: the last ones are this run's inputs
            binding.bind_output(name, *self._device)
        options = None
        if self._graphs:
            options = runtime.onnxruntime().RunOptions()
            options.add_run_config_entry("gpu_graph_id", graph)
        self._session.run_with_iobinding(binding, options)
        values: list[Any] = binding.get_outputs()
        buffers.outputs[alpha] = values[0]
        return values

    def _buffers(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Buffers:
        found = self._kept.pop(shape, None)
        if found is None:
            image = self._value.ortvalue_from_shape_and_type(shape, dtype.type, *self._device)
            if self._graphs and len(self._kept) == _SHAPES:
                # A recorded graph cannot be let go of: the first shapes keep theirs.
                return _Buffers(graph=_EAGER, image=image, outputs={})
            if len(self._kept) == _SHAPES:
                self._kept.popitem(last=False)
            found = _Buffers(graph=str(len(self._kept) + 1), image=image, outputs={})
        self._kept[shape] = found
        return found
