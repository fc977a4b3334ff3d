"""MODNet: portraits in one pass, semantics and detail in branches that are then fused.

Sources:
    Ke et al., "MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition",
    AAAI 2022. Encoder: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    CVPR 2018. Gate: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018. Norm: Pan et al.,
    "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV 2018. Names
    of modules as in the checkpoints of ZHKKKe/MODNet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy

from ._base import Architecture, Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIDE = 32
"""Input height and width are multiples of this many pixels."""

_STAGES = (
    # expansion, out channels, repeats, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _TOP = 32, 1280
_TAP2, _TAP4 = (1, 16), (3, 24)
"""Feature index and channels at strides 2 and 4."""
_LOW = (96, 32)
"""Channels of the low-resolution branch at strides 16 and 8."""
_HIGH = 32
"""Channels of the high-resolution branch."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    pad = kernel // 2
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=pad, groups=groups, bias=False)


def _conv_bn_relu6(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, ...]:
    conv = _conv(inputs, outputs, kernel, stride, groups)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)


class InvertedResidual(nn.Module):
    """Expand 1 x 1, depthwise 3 x 3, project 1 x 1; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *(_conv_bn_relu6(inputs, middle, 1) if expansion > 1 else ()),
            *_conv_bn_relu6(middle, middle, 3, stride, groups=middle),
            _conv(middle, outputs, 1),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """The encoder without its classifier; ``features`` are numbered 0 to 18."""

    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*_conv_bn_relu6(3, _STEM, 3, stride=2))]
        channels = _STEM
        for expansion, outputs, repeats, stride in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                features.append(InvertedResidual(channels, outputs, step, expansion))
                channels = outputs
        features.append(nn.Sequential(*_conv_bn_relu6(channels, _TOP, 1)))
        self.features = nn.Sequential(*features)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 2, 4 and 32 with 16, 24 and 1280 channels."""
        taps = {}
        x = image
        for index, feature in enumerate(self.features):
            x = feature(x)
            taps[index] = x
        return taps[_TAP2[0]], taps[_TAP4[0]], x


class _Backbone(nn.Module):
    """A level of names, as published."""

    def __init__(self) -> None:
        super().__init__()
        self.model = MobileNetV2()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features: tuple[Tensor, Tensor, Tensor] = self.model(image)
        return features


class IBNorm(nn.Module):
    """Batch norm on the first half of the channels, instance norm on the second."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = channels // 2
        self.bnorm = nn.BatchNorm2d(self.first)
        self.inorm = nn.InstanceNorm2d(channels - self.first)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        return torch.cat((self.bnorm(x[:, : self.first]), self.inorm(x[:, self.first :])), dim=1)


class ConvIBN(nn.Module):
    """Convolution with a bias, then :class:`IBNorm` and ReLU unless it is ``bare``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, bare: bool = False
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        after = () if bare else (IBNorm(outputs), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(conv, *after)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return y


class Gate(nn.Module):
    """Squeeze and excitation: each channel scaled by what the pooled channels say."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        weight: Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * weight[:, :, None, None]


class LowBranch(nn.Module):
    """Semantics: what is a person, at an eighth of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.se_block = Gate(_TOP, 4)
        self.conv_lr16x = ConvIBN(_TOP, _LOW[0], 5)
        self.conv_lr8x = ConvIBN(_LOW[0], _LOW[1], 5)
        self.conv_lr = ConvIBN(_LOW[1], 1, 3, stride=2, bare=True)

    def forward(self, top: Tensor) -> tuple[Tensor, Tensor]:
        """Features at stride 8 and logits at stride 16, from features at stride 32."""
        x = self.conv_lr16x(_scale(self.se_block(top), 2))
        x = self.conv_lr8x(_scale(x, 2))
        return x, self.conv_lr(x)


class HighBranch(nn.Module):
    """Detail: the outline, mostly at half of the size."""

    def __init__(self) -> None:
        super().__init__()
        c = _HIGH
        self.tohr_enc2x = ConvIBN(_TAP2[1], c, 1)
        self.conv_enc2x = ConvIBN(c + 3, c, 3, stride=2)
        self.tohr_enc4x = ConvIBN(_TAP4[1], c, 1)
        self.conv_enc4x = ConvIBN(2 * c, 2 * c, 3)
        self.conv_hr4x = nn.Sequential(
            ConvIBN(2 * c + _LOW[1] + 3, 2 * c, 3), ConvIBN(2 * c, 2 * c, 3), ConvIBN(2 * c, c, 3)
        )
        self.conv_hr2x = nn.Sequential(
            ConvIBN(2 * c, 2 * c, 3), ConvIBN(2 * c, c, 3), ConvIBN(c, c, 3), ConvIBN(c, c, 3)
        )
        self.conv_hr = nn.Sequential(ConvIBN(c + 3, c, 3), ConvIBN(c, 1, 1, bare=True))

    def forward(
        self, image: Tensor, enc2: Tensor, enc4: Tensor, low8: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Features at stride 2 and logits of the outline at stride 1."""
        enc2 = self.tohr_enc2x(enc2)
        x = self.conv_enc2x(torch.cat((_scale(image, 0.5), enc2), dim=1))
        x = self.conv_enc4x(torch.cat((x, self.tohr_enc4x(enc4)), dim=1))
        x = self.conv_hr4x(torch.cat((x, _scale(low8, 2), _scale(image, 0.25)), dim=1))
        x = self.conv_hr2x(torch.cat((_scale(x, 2), enc2), dim=1))
        return x, self.conv_hr(torch.cat((_scale(x, 2), image), dim=1))


class FusionBranch(nn.Module):
    """Alpha's logits from both."""

    def __init__(self) -> None:
        super().__init__()
        c = _HIGH
        self.conv_lr4x = ConvIBN(_LOW[1], c, 5)
        self.conv_f2x = ConvIBN(2 * c, c, 3)
        self.conv_f = nn.Sequential(ConvIBN(c + 3, c // 2, 3), ConvIBN(c // 2, 1, 1, bare=True))

    def forward(self, image: Tensor, low8: Tensor, high2: Tensor) -> Tensor:
        """(N, 1, H, W)."""
        x = self.conv_lr4x(_scale(low8, 2))
        x = self.conv_f2x(torch.cat((_scale(x, 2), high2), dim=1))
        y: Tensor = self.conv_f(torch.cat((_scale(x, 2), image), dim=1))
        return y


class MODNet(nn.Module):
    """Photo to alpha, and to the two sub-objectives that it was trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Backbone()
        self.lr_branch = LowBranch()
        self.hr_branch = HighBranch()
        self.f_branch = FusionBranch()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Alpha (N, 1, H, W), semantics (N, 1, H / 16, W / 16), detail (N, 1, H, W): in [0, 1].

        Args:
            image: (N, 3, H, W) RGB in [-1, 1]; H and W multiples of 32.
        """
        enc2, enc4, top = self.backbone(image)
        low8, semantic = self.lr_branch(top)
        high2, detail = self.hr_branch(image, enc2, enc4, low8)
        alpha = self.f_branch(image, low8, high2)
        return torch.sigmoid(alpha), torch.sigmoid(semantic), torch.sigmoid(detail)


def _scale(x: Tensor, factor: float) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _alpha(raw: tuple[Tensor, ...]) -> Tensor:
    return raw[0].clamp(0, 1)


_COPY = "lr_branch."


def _one_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published files hold the backbone twice: its own, and as a part of the branch it feeds."""
    own = {}
    for key, value in state.items():
        if not key.startswith(f"{_COPY}backbone."):
            own[key] = value
        elif key.removeprefix(_COPY) not in state:
            own[key.removeprefix(_COPY)] = value
    return own


ARCHITECTURES = (
    Architecture(
        name="modnet",
        title="MODNet: MobileNetV2, a semantic and a detail branch, and their fusion",
        build=MODNet,
        raw=(
            OutputSpec(name="alpha_raw", meaning="alpha_raw"),
            OutputSpec(name="semantic", meaning="semantic"),
            OutputSpec(name="detail", meaning="detail"),
        ),
        finish=_alpha,
        profiles=(
            Profile(
                name="modnet",
                license="Apache-2.0",
                source="ZHKKKe/MODNet: modnet_photographic_portrait_matting.ckpt and its webcam "
                "sibling; code and models",
                input=InputSpec(
                    name="image",
                    mean=(0.5, 0.5, 0.5),
                    std=(0.5, 0.5, 0.5),
                    size=SizePolicy(
                        rule="short-side",
                        side=512,
                        leave_straddling=True,
                        multiple=STRIDE,
                        rounding="down",
                        filter=Filter(kernel="area"),
                    ),
                ),
            ),
        ),
        signature=frozenset(
            {
                "backbone.model.features.0.0.weight",
                "lr_branch.se_block.fc.0.weight",
                "f_branch.conv_f2x.layers.0.weight",
            }
        ),
        stride=STRIDE,
        verify_sizes=((256, 192), (160, 288), (64, 96)),
        # Float32 alone moves torch's alpha by up to 2e-4 from float64 at single pixels of a
        # portrait: instance norms divide by small deviations.
        tolerance=5e-4,
        translate=_one_backbone,
    ),
)
