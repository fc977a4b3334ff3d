"""IS-Net: DIS, ormbg and RMBG-1.4, one network under three sets of weights.

Sources:
    Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022: a U²-Net behind a
    strided convolution, so that 1024 x 1024 is within reach. The ground-truth encoder of its
    training is no part of it here.

Published programs stretch the map of each photo to reach from 0 to 1 before they use it. That is
undefined on an even map and paints noise where there is nothing to find, so alpha is the map
itself. Two of them also cut the resized photo to whole levels; the runtime feeds the fractions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy

from ._base import Architecture, Profile
from ._rsu import LEVELS, NestedU, full, resize

if TYPE_CHECKING:
    from portrait_sdk.spec import Triple

_SIZE = SizePolicy(
    rule="fixed", height=1024, width=1024, filter=Filter(kernel="bilinear", antialias=False)
)
_HALF = (0.5, 0.5, 0.5)


class IsNet(NestedU):
    """Photo to six maps of the subject, finest first."""

    def __init__(self) -> None:
        super().__init__(full(64))
        self.conv_in = nn.Conv2d(3, 64, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Six maps (N, 1, H, W) in [0, 1] for (N, 3, H, W) normalised RGB of any size."""
        logits = self.maps(self.conv_in(image))
        return tuple(torch.sigmoid(resize(one, image)) for one in logits)


def _finest(raw: tuple[Tensor, ...]) -> Tensor:
    return raw[0].clamp(0, 1)


def _profile(name: str, license_name: str, source: str, mean: Triple) -> Profile:
    photo = InputSpec(name="image", mean=mean, size=_SIZE)
    return Profile(name=name, license=license_name, source=source, input=photo)


ARCHITECTURES = (
    Architecture(
        name="isnet",
        title="IS-Net (DIS, ormbg, RMBG-1.4): a nested U-net at 1024 x 1024",
        build=IsNet,
        raw=tuple(OutputSpec(name=f"d{i}", meaning=f"map{i}") for i in range(1, LEVELS + 1)),
        finish=_finest,
        profiles=(
            _profile(
                "dis",
                "Apache-2.0",
                "xuebinqin/DIS: isnet.pth, isnet-general-use.pth; "
                "its training set DIS5K has terms of use of its own",
                _HALF,
            ),
            _profile(
                "rmbg-1.4",
                "bria-rmbg-1.4: non-commercial use only",
                "Hugging Face briaai/RMBG-1.4; commercial use by agreement with BRIA AI",
                _HALF,
            ),
            _profile(
                "ormbg",
                "Apache-2.0",
                "Hugging Face schirrmacher/ormbg, models/ormbg.pth; licensed by its model card",
                (0.0, 0.0, 0.0),
            ),
        ),
        signature=frozenset({"conv_in.weight", "stage1.rebnconvin.conv_s1.weight", "side6.weight"}),
        stride=1,
        verify_sizes=((192, 160), (200, 264), (97, 131)),
        tolerance=1e-4,
    ),
)
