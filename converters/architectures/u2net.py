"""U²-Net and its small sibling U²-Net-P: salient objects, people among them.

Sources:
    Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
    Pattern Recognition 106, 2020. Names of modules as in the checkpoints of xuebinqin/U-2-Net.

Where the published program differs from the profile here: it divides a photo by its own largest
value, which is 255 for nearly every photo, and stretches each map to reach from 0 to 1; alpha is
the map itself. It shrinks with scikit-image's ``resize``, which blurs and then samples linearly;
the nearest filter of the runtime's is the widened bilinear. (rembg shrinks with Lanczos.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy

from ._base import Architecture, Profile
from ._rsu import LEVELS, NestedU, full, resize, small

if TYPE_CHECKING:
    from ._rsu import Widths

_INPUT = InputSpec(
    name="image",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    size=SizePolicy(
        rule="fixed", height=320, width=320, filter=Filter(kernel="bilinear", antialias=True)
    ),
)
_RAW = tuple(OutputSpec(name=f"d{i}", meaning=f"map{i}") for i in range(LEVELS + 1))
_SIGNATURE = frozenset({"stage1.rebnconvin.conv_s1.weight", "side6.weight", "outconv.weight"})
_VERIFY_SIZES = ((160, 192), (320, 320), (97, 131))


class U2Net(NestedU):
    """Photo to the fused map of the subject and the six it is fused from, finest first."""

    def __init__(self, widths: Widths) -> None:
        super().__init__(widths)
        self.outconv = nn.Conv2d(LEVELS, 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Seven maps (N, 1, H, W) in [0, 1] for (N, 3, H, W) normalised RGB of any size."""
        finest, *coarser = self.maps(image)
        logits = [finest, *(resize(one, finest) for one in coarser)]
        fused = self.outconv(torch.cat(logits, dim=1))
        return tuple(torch.sigmoid(one) for one in (fused, *logits))


def _large() -> U2Net:
    return U2Net(full(3))


def _small() -> U2Net:
    return U2Net(small(3))


def _fused(raw: tuple[Tensor, ...]) -> Tensor:
    return raw[0].clamp(0, 1)


U2NET = Architecture(
    name="u2net",
    title="U²-Net: a U-net of U-nets for salient objects, 44 million parameters",
    build=_large,
    raw=_RAW,
    finish=_fused,
    profiles=(
        Profile(
            name="u2net",
            license="Apache-2.0",
            source="xuebinqin/U-2-Net: u2net.pth; u2net_human_seg.pth, for people, is fed the same",
            input=_INPUT,
        ),
    ),
    signature=_SIGNATURE,
    stride=1,
    verify_sizes=_VERIFY_SIZES,
    tolerance=1e-4,
)
U2NETP = Architecture(
    name="u2netp",
    title="U²-Net-P: the same with few channels, 1.1 million parameters",
    build=_small,
    raw=_RAW,
    finish=_fused,
    profiles=(
        Profile(
            name="u2netp",
            license="Apache-2.0",
            source="xuebinqin/U-2-Net: u2netp.pth",
            input=_INPUT,
        ),
    ),
    signature=_SIGNATURE,
    stride=1,
    verify_sizes=_VERIFY_SIZES,
    tolerance=1e-4,
)
ARCHITECTURES = (U2NET, U2NETP)
