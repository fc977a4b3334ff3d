"""Depthwise convolutions that train fast in bfloat16 on a CPU.

oneDNN has no bfloat16 kernel for two of their gradients and falls back to plain loops, 5 to 40
times slower: that of 5 x 5 weights, and that of the input at stride 2. They take three quarters of
a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Pair = tuple[int, int]
_SMALL, _LARGE = _SIZES = (3, 5)


class _Context(Protocol):
    """What autograd keeps between the two passes."""

    stride: Pair
    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Depthwise(torch.autograd.Function):
    """``conv2d`` of (N, C, H, W) with (C, 1, k, k), k 3 or 5, no padding, and its gradients."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, weight: Tensor, stride: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return torch.conv2d(x, weight, None, stride, 0, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        for_x, for_weight, _ = ctx.needs_input_grad
        return (
            _input_gradient(grad, x, weight, ctx.stride) if for_x else None,
            _weight_gradient(grad, x, weight, ctx.stride) if for_weight else None,
            None,
        )


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Pair) -> Tensor:
    """In float32 at stride 2, where only that has a kernel."""
    kind = x.dtype
    if stride != (1, 1):
        grad, x, weight = grad.float(), x.float(), weight.float()
    return _gradients(grad, x, weight, stride, (True, False))[0].to(kind)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Pair) -> Tensor:
    """A 5 x 5 one from the four 3 x 3 windows that cover it."""
    size = weight.shape[-1]
    starts = (0,) if size == _SMALL else (0, _LARGE - _SMALL)
    rows, columns = (s * (n - 1) + _SMALL for s, n in zip(stride, grad.shape[-2:], strict=True))
    whole = torch.empty_like(weight)
    for top in starts:
        for left in starts:
            window = weight[..., top : top + _SMALL, left : left + _SMALL].contiguous()
            part = x[..., top : top + rows, left : left + columns].contiguous(
                memory_format=torch.channels_last
            )
            found = _gradients(grad, part, window, stride, (False, True))[1]
            whole[..., top : top + _SMALL, left : left + _SMALL] = found
    return whole


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """What torch computes itself, of the input and of the weight; what is not wanted is None."""
    plain = ((0, 0), (1, 1), False, (0, 0), weight.shape[0])  # no padding, dilation 1
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, *plain, (*wanted, False)
    )
    return found[0], found[1]


class FastDepthwise(TorchFunctionMode):
    """While it is entered, depthwise ``conv2d`` under bfloat16 autocast goes through the above."""

    def __torch_function__(  # noqa: D105 - torch's own
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if func is not torch.conv2d:
            return func(*args, **(kwargs or {}))
        x, weight, bias, stride, padding, dilation, groups = _arguments(*args, **(kwargs or {}))
        ours = groups == weight.shape[0] and weight.shape[-1] in _SIZES and dilation == (1, 1)
        plain = isinstance(stride, tuple) and isinstance(padding, tuple)
        if not (ours and plain and torch.is_autocast_enabled(x.device.type)):
            return func(*args, **(kwargs or {}))
        kind = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(kind), weight.to(kind)
        if padding != (0, 0):
            x = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = _Depthwise.apply(x, weight, stride)  # type: ignore[no-untyped-call]
        return y if bias is None else y + bias.to(y.dtype).view(1, -1, 1, 1)


def _arguments(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Pair, Pair, Pair, int]:
    """``conv2d``'s, by position or by name."""
    return x, weight, bias, stride, padding, dilation, groups
