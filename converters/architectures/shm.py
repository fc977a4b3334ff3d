"""Semantic Human Matting: one network names the regions, a second draws alpha, a formula fuses.

Two published reductions of one method, told apart by their keys: ``shm`` (MobileNetV2-like T-Net,
M-Net with transposed convolutions) and ``shm-fast`` (dense pyramid T-Net, tiny M-Net).

Sources:
    Method: Chen et al., "Semantic Human Matting", ACM Multimedia 2018 (arXiv 1809.01354); both
    networks here are smaller than the paper's.
    Inverted residuals: Sandler et al., "MobileNetV2", CVPR 2018; unlike there, a block that does
    not expand keeps its 1x1 convolution, and the stem has stride 1.
    Dense blocks: Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018.
    Pooling and upsampling: written as torch writes them; the MindSpore original's own spellings
    (explicit padding, cut rows, hand-made bilinear) compute the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy

from ._base import Architecture, Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIDE, FAST_STRIDE = 16, 32
"""Input height and width are multiples of this many pixels."""

_CLASSES = 3  # background, foreground, unsure, as the fusion reads them


def _upsample() -> nn.Upsample:
    return nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self._shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, middle, 1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU6(),
            nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU6(),
            nn.Conv2d(middle, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self._shortcut else y


def _stage(inputs: int, outputs: int, stride: int, repeats: int) -> nn.Sequential:
    blocks = [InvertedResidual(inputs, outputs, stride, 6)]
    blocks += [InvertedResidual(outputs, outputs, 1, 6) for _ in range(repeats - 1)]
    return nn.Sequential(*blocks)


class Encoder(nn.Module):
    """T-Net's features, finest first."""

    def __init__(self) -> None:
        super().__init__()
        self.head_conv = nn.Sequential(
            nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.block_1 = InvertedResidual(32, 16, 1, 1)
        self.block_2 = _stage(16, 24, 2, 2)
        self.block_3 = _stage(24, 32, 2, 3)
        self.block_4 = _stage(32, 64, 2, 4)
        self.block_5 = _stage(64, 96, 1, 3)
        self.block_6 = _stage(96, 160, 2, 3)
        self.block_7 = InvertedResidual(160, 320, 1, 6)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features at strides 1, 2, 4, 8 and 16 with 16, 24, 32, 96 and 320 channels."""
        s1 = self.block_1(self.head_conv(image))
        s2 = self.block_2(s1)
        s3 = self.block_3(s2)
        s4 = self.block_5(self.block_4(s3))
        return s1, s2, s3, s4, self.block_7(self.block_6(s4))


def _up_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        _upsample(), nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _fusion(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels))


class TNet(nn.Module):
    """Photo to logits of three regions: a U-Net that adds its skips."""

    def __init__(self) -> None:
        super().__init__()
        self.feature = Encoder()
        self.s5_up_conv, self.s4_fusion = _up_conv(320, 96), _fusion(96)
        self.s4_up_conv, self.s3_fusion = _up_conv(96, 32), _fusion(32)
        self.s3_up_conv, self.s2_fusion = _up_conv(32, 24), _fusion(24)
        self.s2_up_conv, self.s1_fusion = _up_conv(24, 16), _fusion(16)
        self.last_conv = nn.Conv2d(16, _CLASSES, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → logits (N, 3, H, W); H and W multiples of 16."""
        s1, s2, s3, s4, s5 = self.feature(image)
        s4 = self.s4_fusion(self.s5_up_conv(s5) + s4)
        s3 = self.s3_fusion(self.s4_up_conv(s4) + s3)
        s2 = self.s2_fusion(self.s3_up_conv(s3) + s2)
        s1 = self.s1_fusion(self.s2_up_conv(s2) + s1)
        logits: Tensor = self.last_conv(s1)
        return logits


def _conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class MNet(nn.Module):
    """Photo and three probabilities to an alpha not yet fused: four levels down, four up.

    Args:
        down: Channels of the encoder's four levels.
        up: Channels of the decoder's four levels.
        learned: Levels are doubled by transposed convolutions; else bilinearly.
    """

    def __init__(self, down: Sequence[int], up: Sequence[int], *, learned: bool) -> None:
        super().__init__()
        inputs = 3 + _CLASSES
        for level, outputs in enumerate(down, 1):
            self.add_module(f"en_conv_bn_relu_{level}", _conv_bn_relu(inputs, outputs))
            inputs = outputs
        for level, outputs in enumerate(up, 1):
            self.add_module(f"de_conv_bn_relu_{level}", _conv_bn_relu(inputs, outputs))
            double = nn.ConvTranspose2d(outputs, outputs, 5, 2, 2, 1, bias=False)
            self.add_module(f"deconv_{level}", double if learned else _upsample())
            inputs = outputs
        self.conv = nn.Conv2d(inputs, 1, 5, 1, 2, bias=False)
        self._pool = nn.MaxPool2d(3, 2, 1)
        self._levels = range(1, len(down) + 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, H, W) → (N, 1, H, W), unbounded; H and W multiples of 16."""
        for level in self._levels:
            x = self._pool(self.get_submodule(f"en_conv_bn_relu_{level}")(x))
        for level in self._levels:
            x = self.get_submodule(f"de_conv_bn_relu_{level}")(x)
            x = self.get_submodule(f"deconv_{level}")(x)
        alpha: Tensor = self.conv(x)
        return alpha


class RegionThenAlpha(nn.Module):
    """T-Net, M-Net and their fusion; what both variants share."""

    def __init__(self, t_net: nn.Module, m_net: nn.Module) -> None:
        super().__init__()
        self.t_net, self.m_net = t_net, m_net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha before clamping (N, 1, H, W) and the regions' logits (N, 3, H, W).

        The fusion takes channel 1 for foreground and channel 2 for unsure; the published training
        labels T-Net's channels the other way round. So the formula stands as published, and the
        logits are no trustworthy trimap.

        Args:
            image: (N, 3, H, W) BGR, normalised as the profile says.
        """
        logits = self.t_net(image)
        regions = torch.softmax(logits, dim=1)
        drawn = self.m_net(torch.cat((image, regions), dim=1))
        return regions[:, 1:2] + regions[:, 2:3] * drawn, logits


class DenseLayer(nn.Module):
    """Appends ``growth`` channels to its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, growth, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(growth)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C + growth, H, W)."""
        return torch.cat((x, torch.relu(self.bn(self.conv(x)))), dim=1)


class DenseBlock(nn.Module):
    """The layers alone; a level of their own in the published names."""

    def __init__(self, growth: int, layers: int) -> None:
        super().__init__()
        self.dense_layers = nn.Sequential(
            *(DenseLayer(growth * (k + 1), growth) for k in range(layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, growth, H, W) → (N, growth * (layers + 1), H, W)."""
        y: Tensor = self.dense_layers(x)
        return y


class ResidualDenseBlock(nn.Module):
    """Squeeze to ``channels / split``, grow densely back to ``channels``, add the input."""

    def __init__(self, channels: int, split: int) -> None:
        super().__init__()
        growth = channels // split
        self.conv = nn.Conv2d(channels, growth, 1, bias=False)
        self.dense_block = DenseBlock(growth, split - 1)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) → the same shape."""
        y: Tensor = self.act(self.bn(self.dense_block(self.conv(x)) + x))
        return y


def _conv_bn_act(inputs: int, outputs: int) -> nn.Sequential:
    """Halves height and width."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs),
    )


def _bn_act(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels))


class FastTNet(nn.Module):
    """Photo to logits of three regions: residual dense stages beside the photo shrunk to each."""

    def __init__(self) -> None:
        super().__init__()
        self.cascade = nn.AvgPool2d(3, 2, 1)
        self.head_conv = _conv_bn_act(3, 24)
        self.stage_0 = ResidualDenseBlock(24, 3)
        self.ba_1, self.down_1 = _bn_act(27), _conv_bn_act(27, 24)
        self.stage_1 = nn.Sequential(*(ResidualDenseBlock(24, 3) for _ in range(2)))
        self.ba_2, self.down_2 = _bn_act(51), _conv_bn_act(51, 48)
        self.stage_2 = nn.Sequential(*(ResidualDenseBlock(48, 4) for _ in range(2)))
        self.ba_3, self.down_3 = _bn_act(99), _conv_bn_act(99, 96)
        self.stage_3 = nn.Sequential(*(ResidualDenseBlock(96, 4) for _ in range(2)))
        self.ba_4, self.down_4 = _bn_act(195), _conv_bn_act(195, 192)
        self.stage_4 = nn.Sequential(*(ResidualDenseBlock(192, 6) for _ in range(2)))
        self.classifier = nn.Conv2d(192, _CLASSES, 1)
        self.stage3_down, self.conv_3 = nn.Conv2d(96, _CLASSES, 1), _class_conv()
        self.stage2_down, self.conv_2 = nn.Conv2d(48, _CLASSES, 1), _class_conv()
        self.stage1_down, self.conv_1 = nn.Conv2d(24, _CLASSES, 1), _class_conv()
        self.stage0_down, self.conv_0 = nn.Conv2d(24, _CLASSES, 1), _class_conv()
        self._double = _upsample()

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → logits (N, 3, H, W); H and W multiples of 32."""
        c1 = self.cascade(image)
        c2 = self.cascade(c1)
        c3 = self.cascade(c2)
        c4 = self.cascade(c3)
        s0 = self.stage_0(self.head_conv(image))
        d1 = self.down_1(self.ba_1(torch.cat((c1, s0), dim=1)))
        s1 = self.stage_1(d1)
        d2 = self.down_2(self.ba_2(torch.cat((c2, d1, s1), dim=1)))
        s2 = self.stage_2(d2)
        d3 = self.down_3(self.ba_3(torch.cat((c3, d2, s2), dim=1)))
        s3 = self.stage_3(d3)
        d4 = self.down_4(self.ba_4(torch.cat((c4, d3, s3), dim=1)))
        x = self.classifier(self.stage_4(d4))
        x = self.conv_3(self._double(x) + self.stage3_down(s3))
        x = self.conv_2(self._double(x) + self.stage2_down(s2))
        x = self.conv_1(self._double(x) + self.stage1_down(s1))
        x = self.conv_0(self._double(x) + self.stage0_down(s0))
        logits: Tensor = self._double(x)
        return logits


def _class_conv() -> nn.Conv2d:
    return nn.Conv2d(_CLASSES, _CLASSES, 3, 1, 1)


def build_shm() -> nn.Module:
    """The MindSpore model zoo's network, and its torch sibling's main branch."""
    m_net = MNet((16, 32, 64, 128), (128, 64, 32, 16), learned=True)
    return RegionThenAlpha(TNet(), m_net)


def build_shm_fast() -> nn.Module:
    """The torch sibling's fast branch."""
    m_net = MNet((8, 12, 16, 24), (24, 16, 12, 8), learned=False)
    return RegionThenAlpha(FastTNet(), m_net)


def _finished(raw: tuple[Tensor, ...]) -> Tensor:
    return raw[0].clamp(0.0, 1.0)


def _input(stride: int) -> InputSpec:
    """Published inference: BGR, squeezed to a square by OpenCV's cubic, means subtracted.

    The means are the published inference code's, (104, 112, 121) for B, G, R; training subtracted
    (114, 121, 134), and the published scores were measured with the former.
    """
    return InputSpec(
        name="image",
        color="BGR",
        mean=(104 / 255, 112 / 255, 121 / 255),
        size=SizePolicy(
            rule="fixed",
            height=320,
            width=320,
            multiple=stride,
            filter=Filter(kernel="bicubic", coefficient=-0.75, antialias=False),
        ),
    )


_RAW = (
    OutputSpec(name="alpha_raw", meaning="alpha_raw"),
    OutputSpec(name="trimap_logits", meaning="trimap_logits", activation="softmax"),
)
_UNUSED = (r"m_net\.en_conv_bn_relu_5\..+",)  # declared upstream, in its files, never run
_TOLERANCE = 3e-4  # what rounding in float32 moves the logits, ten times over; alpha: 5e-5

SHM = Architecture(
    name="shm",
    title="Semantic Human Matting: regions by a MobileNetV2-like U-Net, alpha by a second network",
    build=build_shm,
    raw=_RAW,
    finish=_finished,
    profiles=(
        Profile(
            name="shm",
            license="Apache-2.0, with a disclaimer: for research and education only",
            source="MindSpore Hub, semantichumanmatting (.ckpt); its cards limit trained weights "
            "to research and education; the torch sibling publishes no licence",
            input=_input(STRIDE),
        ),
    ),
    signature=frozenset(
        {
            "t_net.feature.block_1.conv.0.weight",
            "t_net.s5_up_conv.1.weight",
            "m_net.deconv_1.weight",
        }
    ),
    stride=STRIDE,
    verify_sizes=((320, 320), (48, 80), (112, 176)),
    tolerance=_TOLERANCE,
    unused=_UNUSED,
)
SHM_FAST = Architecture(
    name="shm-fast",
    title="Semantic Human Matting, fast branch: regions by a dense pyramid, alpha by a tiny net",
    build=build_shm_fast,
    raw=_RAW,
    finish=_finished,
    profiles=(
        Profile(
            name="shm-fast",
            license="none stated: all rights reserved",
            source="branch fast_human_matting of the torch implementation "
            "lizhengwei1992/Semantic_Human_Matting, which has no licence file",
            input=_input(FAST_STRIDE),
        ),
    ),
    signature=frozenset(
        {
            "t_net.stage_0.dense_block.dense_layers.0.conv.weight",
            "t_net.stage0_down.weight",
            "m_net.conv.weight",
        }
    ),
    stride=FAST_STRIDE,
    verify_sizes=((320, 320), (96, 160), (224, 96)),
    tolerance=_TOLERANCE,
    unused=_UNUSED,
)
ARCHITECTURES = (SHM, SHM_FAST)
