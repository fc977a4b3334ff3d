"""The range of every activation over calibration pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from portrait_sdk.errors import ConversionError
from portrait_sdk.model import runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from .quantize import Range

Method: TypeAlias = Literal["minmax", "percentile", "squares"]
METHODS: tuple[Method, ...] = get_args(Method)
_SAMPLES = 8192  # values kept per tensor and picture
_AT_ONCE = 96  # tensors fetched in one run: all of a network's at once would fill the memory
_PERCENTILE = 99.99
_SHRINK = np.linspace(0.3, 1.0, 29)


class Activations:
    """Extremes and a sample of every float activation."""

    def __init__(
        self, model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[dict[str, Any]]
    ) -> None:
        import onnx

        onnxruntime = runtime.onnxruntime()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        # Fused nodes would hide their inner tensors.
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self.extremes: dict[str, Range] = {}
        self.squares: dict[str, float] = {}
        """Largest mean square over the pictures."""
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Of the last picture."""
        self._samples: dict[str, Any] = {}
        inputs = {value.name for value in model.graph.input}
        inner = [name for name in names if name not in inputs]
        for start in range(0, len(inner), _AT_ONCE):
            some = inner[start : start + _AT_ONCE]
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            del copy.graph.output[:]
            copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in some)
            session = onnxruntime.InferenceSession(
                copy.SerializeToString(), settings, providers=["CPUExecutionProvider"]
            )
            values: dict[str, list[Any]] = {name: [] for name in some}
            for feed in feeds:
                for name, value in zip(some, session.run(some, feed), strict=True):
                    self._note(name, value, values[name])
            for name in some:
                self._samples[name] = np.sort(np.concatenate(values[name]))
        for name in inputs & set(names):
            kept: list[Any] = []
            for feed in feeds:
                self._note(name, feed[name], kept)
            self._samples[name] = np.sort(np.concatenate(kept))

    def _note(self, name: str, value: Any, kept: list[Any]) -> None:  # noqa: ANN401 - an array
        flat = value.ravel()
        low, high = self.extremes.get(name, (np.inf, -np.inf))
        self.extremes[name] = (min(low, float(flat.min())), max(high, float(flat.max())))
        if not np.isfinite(self.extremes[name]).all():
            raise ConversionError(f"{name}: holds NaN or infinite values on a calibration picture")
        kept_squares = float(np.dot(flat, flat)) / flat.size
        self.squares[name] = max(self.squares.get(name, 0.0), kept_squares)
        self.shapes[name] = value.shape
        step = max(1, flat.size // _SAMPLES) | 1  # odd: a power of two would pick few columns
        kept.append(flat[::step].astype(np.float32))

    def ranges(self, method: Method) -> dict[str, Range]:
        """Ranges by one method.

        Args:
            method: ``minmax``: what was seen. ``percentile``: 0.01 % cut off at each end.
                ``squares``: the range of least squared rounding and clipping error.
        """
        if method == "minmax":
            return dict(self.extremes)
        if method == "percentile":
            return {
                name: (
                    float(np.percentile(sample, 100 - _PERCENTILE)),
                    float(np.percentile(sample, _PERCENTILE)),
                )
                for name, sample in self._samples.items()
            }
        return {
            name: _least_squares(self._samples[name], self.extremes[name]) for name in self._samples
        }


def _least_squares(sample: Any, extremes: Range) -> Range:  # noqa: ANN401 - an array
    low, high = min(extremes[0], 0.0), max(extremes[1], 0.0)
    best, error = extremes, np.inf
    for factor in _SHRINK:
        scale = max((high - low) * factor, 1e-8) / 255
        zero = np.rint(-low * factor / scale)
        levels = np.clip(np.rint(sample / scale) + zero, 0, 255)
        squares = float(np.mean(((levels - zero) * scale - sample) ** 2, dtype=np.float64))
        if squares < error:
            best, error = (low * float(factor), high * float(factor)), squares
    return best
