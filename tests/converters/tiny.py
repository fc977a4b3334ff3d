"""A network small enough to convert in a second, with everything a conversion has to handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from portrait_sdk.converters import architectures
from portrait_sdk.converters.architectures._base import Architecture, Profile
from portrait_sdk.spec import Filter, InputSpec, OutputSpec, SizePolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TinyNet(nn.Module):
    """Two convolutions around a stride of 2, and a second output of three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.out = nn.Conv2d(19, 1, 3, padding=1)
        self.classes = nn.Conv2d(16, 3, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.norm(self.down(image)))
        large = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.out(torch.cat((image, large), dim=1)), self.classes(x)


def _alpha(raw: tuple[Tensor, ...]) -> Tensor:
    return torch.sigmoid(raw[0])


def _profile(name: str, **size: Any) -> Profile:
    return Profile(
        name=name,
        license="Apache-2.0",
        source="made by a test",
        input=InputSpec(
            name="image",
            color="BGR",
            mean=(0.4, 0.45, 0.5),
            std=(0.2, 0.25, 0.3),
            size=SizePolicy(**size),
        ),
    )


FREE = _profile("free", rule="short-side", side=64, multiple=2, filter=Filter(kernel="bilinear"))
SQUARE = _profile("square", rule="fixed", height=48, width=48)


def architecture(**changes: Any) -> Architecture:
    fields: dict[str, Any] = {
        "name": "tiny",
        "title": "a test's network",
        "build": TinyNet,
        "raw": (
            OutputSpec(name="logits", meaning="logits"),
            OutputSpec(name="classes", meaning="trimap_logits"),
        ),
        "finish": _alpha,
        "profiles": (FREE, SQUARE),
        "signature": frozenset({"down.weight", "classes.weight"}),
        "stride": 2,
        "verify_sizes": ((64, 48), (38, 62), (2, 6)),
        "tolerance": 2e-5,  # float32 rounding of some hundred additions of values about 1
    }
    return Architecture(**{**fields, **changes})


def register(**changes: Any) -> Architecture:
    """Make it known in this process, in place of an earlier one."""
    made = architecture(**changes)
    architectures.register(made)
    return made


def checkpoint(path: Path, edit: Callable[[dict[str, Any]], Any] | None = None) -> Path:
    """Save a seeded network's weights; ``edit`` changes what is saved."""
    torch.manual_seed(3)
    net = TinyNet().eval()
    state: Any = dict(net.state_dict())
    state["norm.running_mean"] = torch.randn(16)
    state["norm.running_var"] = torch.rand(16) + 0.5
    if edit is not None:
        state = edit(state) or state
    torch.save(state, path)
    return path
