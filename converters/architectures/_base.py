"""What an architecture's module says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from portrait_sdk.spec import InputSpec, OutputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One published family of weights: how they want to be fed, and on what terms."""

    name: str
    license: str
    """Of the weights: an SPDX identifier, or words where none fits."""
    source: str
    """Where they are published and what restricts their use, in one line."""
    input: InputSpec
    half_storage: bool = False
    """Weights are kept as float16 and widened when the model is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One network: how to build it, which checkpoints fit, what its graph takes and gives."""

    name: str
    title: str
    """The method in one line, for lists."""
    build: Callable[[], nn.Module]
    """An untrained network whose state dict has the published keys. In evaluation mode its forward
    takes the normalised photo (N, 3, H, W) and returns the ``raw`` outputs in their order: a tuple,
    or a tensor where there is one."""
    raw: tuple[OutputSpec, ...]
    """The network's own outputs; written beside alpha where a conversion asks for them. None is
    named ``alpha``."""
    finish: Callable[[tuple[Tensor, ...]], Tensor]
    """The raw outputs to finished alpha (N, 1, H, W) in [0, 1]; becomes part of the graph."""
    profiles: tuple[Profile, ...]
    """Published weights. With more than one, a conversion has to name one: keys cannot tell."""
    signature: frozenset[str]
    """Some keys, in the network's spelling, that together only this architecture has."""
    stride: int
    """Input height and width are multiples of this many pixels."""
    verify_sizes: tuple[tuple[int, int], ...]
    """Heights and widths on which a conversion with free size is compared: three or more, odd
    multiples of the stride among them."""
    tolerance: float
    """Largest difference of any output from the checkpoint's that a conversion may show."""
    translate: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict
    """Published spellings of the keys to the network's own."""
    unused: tuple[str, ...] = ()
    """Regular expressions for keys that published files hold and the network has no use for."""
    optional: tuple[str, ...] = (r".*num_batches_tracked",)
    """Regular expressions for keys of the network that published files may lack."""
    undecided: Callable[[tuple[Tensor, ...]], Tensor] | None = None
    """Where ``finish`` takes a decision (an argmax) that rounding may flip: a mask (N, 1, H, W) of
    the pixels too near to call. They are counted, and left out of alpha's differences."""

    def profile(self, name: str | None = None) -> Profile:
        """The profile of this name; without one, the only one.

        Raises:
            OptionError: Unknown, or not named where there are several.
        """
        from portrait_sdk.errors import OptionError

        names = ", ".join(profile.name for profile in self.profiles)
        if name is None:
            if len(self.profiles) == 1:
                return self.profiles[0]
            raise OptionError(
                f"architecture {self.name}: its published weights want different inputs and their "
                f"keys do not tell them apart; name one with --profile: {names}"
            )
        for profile in self.profiles:
            if profile.name == name:
                return profile
        raise OptionError(f"profile: expected one of {names} for {self.name}, got {name!r}")
