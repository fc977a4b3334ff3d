"""Residual U-blocks and the U-net of them that U²-Net and IS-Net share.

Source:
    Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
    Pattern Recognition 106, 2020: Fig. 2 (the block), Fig. 5 and Table 1 (the nesting). Module
    names are those of the published checkpoints. Every pool rounds up and every resize aims at a
    size that is there, so that any height and width passes, odd ones included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

BN_EPS = 1e-5
"""Torch's own default, with which all published weights were trained."""


class RebnConv(nn.Module):
    """Convolution 3 x 3 with a bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H, W)."""
        return functional.relu(self.bn_s1(self.conv_s1(x)))


class Rsu(nn.Module):
    """RSU-L: a U of ``depth`` units, each a pool below the last, around its own input.

    Attributes are ``rebnconvin``, ``rebnconv1`` … ``rebnconvL`` downwards, ``rebnconv(L-1)d`` …
    ``rebnconv1d`` upwards. The lowest unit does not pool but is dilated.
    """

    def __init__(self, depth: int, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.depth = depth
        self.rebnconvin = RebnConv(inputs, outputs)
        for level in range(1, depth + 1):
            unit = RebnConv(outputs if level == 1 else middle, middle, 2 if level == depth else 1)
            self.add_module(f"rebnconv{level}", unit)
        for level in range(depth - 1, 0, -1):
            unit = RebnConv(2 * middle, outputs if level == 1 else middle)
            self.add_module(f"rebnconv{level}d", unit)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H, W)."""
        x = self.rebnconvin(x)
        down = [self.get_submodule("rebnconv1")(x)]
        for level in range(2, self.depth + 1):
            above = down[-1] if level == self.depth else pool(down[-1])
            down.append(self.get_submodule(f"rebnconv{level}")(above))
        y = down.pop()
        for level in range(self.depth - 1, 0, -1):
            beside = down.pop()
            if level < self.depth - 1:
                y = resize(y, beside)
            y = self.get_submodule(f"rebnconv{level}d")(torch.cat((y, beside), dim=1))
        whole: Tensor = y + x
        return whole


class DilatedRsu(nn.Module):
    """RSU-4F: four units at one size, dilated by 1, 2, 4 and 8 instead of pooled."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.rebnconvin = RebnConv(inputs, outputs)
        self.rebnconv1 = RebnConv(outputs, middle, 1)
        self.rebnconv2 = RebnConv(middle, middle, 2)
        self.rebnconv3 = RebnConv(middle, middle, 4)
        self.rebnconv4 = RebnConv(middle, middle, 8)
        self.rebnconv3d = RebnConv(2 * middle, middle, 4)
        self.rebnconv2d = RebnConv(2 * middle, middle, 2)
        self.rebnconv1d = RebnConv(2 * middle, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H, W)."""
        x = self.rebnconvin(x)
        e1 = self.rebnconv1(x)
        e2 = self.rebnconv2(e1)
        e3 = self.rebnconv3(e2)
        e4 = self.rebnconv4(e3)
        y = self.rebnconv3d(torch.cat((e4, e3), dim=1))
        y = self.rebnconv2d(torch.cat((y, e2), dim=1))
        whole: Tensor = x + self.rebnconv1d(torch.cat((y, e1), dim=1))
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Channels of one nested U."""

    stages: Mapping[str, tuple[int, int, int]]
    """Input, middle and output channels of ``stage1`` … ``stage6``, ``stage5d`` … ``stage1d``."""

    def side(self, level: int) -> int:
        """Channels that the map ``side<level>`` is drawn from."""
        return self.stages["stage6" if level == LEVELS else f"stage{level}d"][2]


LEVELS = 6
"""Stages downwards, and maps."""
_DEPTHS = {"1": 7, "2": 6, "3": 5, "4": 4, "1d": 7, "2d": 6, "3d": 5, "4d": 4}
"""Depth of the block by stage; stages 5, 6 and 5d, already small, are dilated instead."""


def full(first: int) -> Widths:
    """The large network's channels, on an input of ``first`` channels (Table 1 of the paper)."""
    return Widths(
        stages={
            "stage1": (first, 32, 64),
            "stage2": (64, 32, 128),
            "stage3": (128, 64, 256),
            "stage4": (256, 128, 512),
            "stage5": (512, 256, 512),
            "stage6": (512, 256, 512),
            "stage5d": (1024, 256, 512),
            "stage4d": (1024, 128, 256),
            "stage3d": (512, 64, 128),
            "stage2d": (256, 32, 64),
            "stage1d": (128, 16, 64),
        }
    )


def small(first: int) -> Widths:
    """The small network's channels: 64 between all stages, 16 inside them."""
    down = {f"stage{level}": (first if level == 1 else 64, 16, 64) for level in range(1, 7)}
    up = {f"stage{level}d": (128, 16, 64) for level in range(5, 0, -1)}
    return Widths(stages={**down, **up})


class NestedU(nn.Module):
    """Six stages down, five up, and a one-channel map from each way up and from the bottom."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        for name, channels in widths.stages.items():
            depth = _DEPTHS.get(name.removeprefix("stage"))
            self.add_module(name, Rsu(depth, *channels) if depth else DilatedRsu(*channels))
        for level in range(1, LEVELS + 1):
            self.add_module(f"side{level}", nn.Conv2d(widths.side(level), 1, 3, padding=1))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Logits (N, 1, h, w) of the six levels, finest first, each at its own size."""
        down = [self.get_submodule("stage1")(x)]
        for level in range(2, LEVELS + 1):
            down.append(self.get_submodule(f"stage{level}")(pool(down[-1])))
        y = down.pop()
        logits = [self.get_submodule(f"side{LEVELS}")(y)]
        for level in range(LEVELS - 1, 0, -1):
            beside = down.pop()
            joined = torch.cat((resize(y, beside), beside), dim=1)
            y = self.get_submodule(f"stage{level}d")(joined)
            logits.append(self.get_submodule(f"side{level}")(y))
        return logits[::-1]


def pool(x: Tensor) -> Tensor:
    """Largest of each 2 x 2; a last odd row or column is a window of its own."""
    return functional.max_pool2d(x, 2, stride=2, ceil_mode=True)


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear to the height and width of ``like``; pixel centres at halves."""
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
