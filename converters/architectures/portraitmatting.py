"""Portraitmatting: a window-attention encoder and decoder that draws alpha and a trimap at once.

Sources:
    The network and its weights are published in the repository QLYoo/Portraitmatting; this file is
    written from measured facts about them.
    Encoder and decoder layers: Liu et al., "Swin Transformer", ICCV 2021 (``_swin.py``).
    Context: the pyramid of pooled features of Zhao et al., "Pyramid Scene Parsing Network",
    CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy

from . import _swin
from ._base import Architecture, Profile

STRIDE = 32
"""Input height and width are multiples of this many pixels."""

_STEM, _WIDTH, _BLOCKS = 32, 96, (2, 2, 6, 2)
_POOLS = (3, 7, 11, 15)  # sides of the context's pooling windows, in pixels of stride 32
_DECODER_BLOCKS = 3
_UNDECIDED = 1e-3
"""Two logits nearer than this may change places: what both may move by together when each keeps
within the architecture's tolerance."""


class Pyramid(nn.Module):
    """The features beside averages of themselves over windows of growing size."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.comp = nn.Conv2d(inputs, middle, 1)
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AvgPool2d(side, side, (side - 1) // 2, count_include_pad=False),
                nn.Conv2d(middle, outputs, 1),
                nn.GroupNorm(16, outputs, eps=_swin.EPS),
                nn.ReLU(),
            )
            for side in _POOLS
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, inputs + 4 * outputs, h, w)."""
        size = features.shape[2:]
        narrow = self.comp(features)
        pooled = [functional.interpolate(f(narrow), size, mode="bilinear") for f in self.features]
        return torch.cat((features, *pooled), dim=1)


class PortraitMattingNet(nn.Module):
    """Photo to raw alpha and trimap logits."""

    def __init__(self) -> None:
        super().__init__()
        self.start_conv = nn.Sequential(
            nn.Conv2d(3, _STEM, 3, stride=2, padding=1),
            nn.PReLU(_STEM),
            nn.Conv2d(_STEM, _STEM, 3, padding=1),
            nn.PReLU(_STEM),
        )
        self.trans = _swin.Encoder(_STEM, _WIDTH, _BLOCKS)
        self.ppm = Pyramid(8 * _WIDTH, 256, 128)
        self.conv1 = nn.Sequential(nn.Conv2d(8 * _WIDTH + 4 * 128, 256, 1))
        self.conv2 = nn.Sequential(nn.Conv2d(4 * _WIDTH + 256, 256, 1))
        self.conv3 = nn.Sequential(nn.Conv2d(2 * _WIDTH + 256, 192, 1))
        self.conv4 = nn.Sequential(nn.Conv2d(_WIDTH + 192, 128, 1))
        self.tran0 = _swin.Layer(256, _DECODER_BLOCKS)
        self.tran1 = _swin.Layer(256, _DECODER_BLOCKS)
        self.tran2 = _swin.Layer(192, _DECODER_BLOCKS)
        self.tran3 = _swin.Layer(128, _DECODER_BLOCKS)
        self.conv5 = nn.Sequential(
            nn.Conv2d(_STEM + 128, 64, 3, padding=1),
            nn.PReLU(64),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.PReLU(64),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.PReLU(32),
        )
        self.convtri = nn.Sequential(
            nn.Conv2d(_STEM + 128, 64, 3, padding=1),
            nn.GroupNorm(16, 64, eps=_swin.EPS),
            _swin.Gelu(),
            nn.Conv2d(64, 64, 1),
            nn.GroupNorm(8, 64, eps=_swin.EPS),
            _swin.Gelu(),
            nn.Dropout(0.2),
            nn.Conv2d(64, 3, 1),
        )
        self.convo = nn.Sequential(
            nn.Conv2d(3 + 32, 32, 3, padding=1),
            nn.PReLU(32),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.PReLU(16),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Raw alpha and the logits of a trimap.

        Args:
            image: (N, 3, H, W) RGB in [0, 1]; H and W multiples of 32.

        Returns:
            (N, 1, H, W), unbounded; and (N, 3, H, W): background, unknown, foreground.
        """
        batch, _, height, width = image.shape
        grids = [
            _swin.Grid.of(batch, height // side, width // side, image.device)
            for side in (4, 8, 16, 32)
        ]
        stem = self.start_conv(image)
        x1, x2, x3, x4 = self.trans(stem, grids)
        x = _on_tokens(self.tran0, self.conv1(self.ppm(x4)), grids[3])
        x = _on_tokens(self.tran1, self.conv2(torch.cat((x3, _double(x)), dim=1)), grids[2])
        x = _on_tokens(self.tran2, self.conv3(torch.cat((x2, _double(x)), dim=1)), grids[1])
        x = _on_tokens(self.tran3, self.conv4(torch.cat((x1, _double(x)), dim=1)), grids[0])
        x = torch.cat((stem, _double(x)), dim=1)
        alpha = self.convo(torch.cat((image, _double(self.conv5(x))), dim=1))
        return alpha, _double(self.convtri(x))


def _on_tokens(layer: _swin.Layer, features: Tensor, grid: _swin.Grid) -> Tensor:
    return _swin.to_map(layer(_swin.to_tokens(features), grid), grid)


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _fuse(raw: tuple[Tensor, ...]) -> Tensor:
    """Alpha where the trimap is unknown, 0 in the background, 1 in the foreground."""
    alpha, logits = raw
    region = logits.argmax(dim=1, keepdim=True)  # the first of equals
    sure = (region == 2).to(alpha.dtype)  # noqa: PLR2004 - the class, foreground
    return torch.where(region == 1, alpha.clamp(0, 1), sure)


def _undecided(raw: tuple[Tensor, ...]) -> Tensor:
    best = raw[1].topk(2, dim=1).values
    return best[:, :1] - best[:, 1:] < _UNDECIDED


ARCHITECTURES = (
    Architecture(
        name="portraitmatting",
        title="Swin-T encoder-decoder with trimap head, no trimap needed (Portraitmatting)",
        build=PortraitMattingNet,
        raw=(
            OutputSpec(name="alpha_raw", meaning="alpha_raw"),
            OutputSpec(name="trimap_logits", meaning="trimap_logits"),
        ),
        finish=_fuse,
        profiles=(
            Profile(
                name="portraitmatting",
                license="none granted; academic use only, commercial use forbidden",
                source="QLYoo/Portraitmatting on GitHub, files SwinT and SwinT(EMA); "
                "no licence, academic use only",
                input=InputSpec(
                    name="image",
                    size=SizePolicy(
                        rule="short-side",
                        side=768,
                        max_side=16_384,  # published without a bound; the most a spec can say
                        multiple=STRIDE,
                        rounding="up",
                        filter=Filter(kernel="bicubic", coefficient=-0.75, antialias=False),
                    ),
                ),
            ),
        ),
        signature=frozenset(
            {"start_conv.0.weight", "trans.patch_embed.proj.weight", "convtri.7.weight"}
        ),
        stride=STRIDE,
        verify_sizes=((256, 320), (224, 224), (96, 160), (32, 512)),
        # Group norms sum over whole maps: at 1152 x 768, logits of about 10 differ by 1e-4.
        tolerance=5e-4,
        unused=(r".*\.relative_position_index",),
        undecided=_undecided,
    ),
)
