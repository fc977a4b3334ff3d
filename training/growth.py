"""Fills a network with the weights of a smaller one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from converters.architectures.portrait import PortraitNet

_COUNTERS = "num_batches_tracked"


def grow(net: PortraitNet, smaller: Mapping[str, Tensor]) -> None:
    """Fill ``net`` so that it computes what a network of as many or fewer channels does.

    Channels that the smaller one has not got are random and read from all, and what reads them
    starts from zero. A scene encoder, which adds nothing as built, stays as it is.

    Args:
        net: As built.
        smaller: The other's state dict, float32.

    Raises:
        ValueError: The two do not fit.

    Source:
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016.
    """
    own = net.state_dict()
    unknown = sorted(set(smaller) - set(own))
    missing = sorted(
        name
        for name in set(own) - set(smaller)
        if not name.endswith(_COUNTERS) and not name.startswith(("scene.", "around."))
    )
    if unknown or missing:
        found = ((missing, "missing"), (unknown, "unknown"))
        said = [f"{len(names)} {what} ({names[0]}, …)" for names, what in found if names]
        raise ValueError(f"the weights are of another network: {' and '.join(said)}")
    for name, value in smaller.items():
        whole = own[name]
        if any(few > many for few, many in zip(value.shape, whole.shape, strict=True)):
            raise ValueError(f"{name}: {list(value.shape)} is larger than {list(whole.shape)}")
        if value.ndim > 1:
            whole[: len(value)] = 0
        whole[tuple(slice(n) for n in value.shape)] = value
