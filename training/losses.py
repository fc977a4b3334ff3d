"""Losses on alpha: absolute error, cross-entropy, Laplacian pyramid, gradient, coarse semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from training.recipe import LossRecipe

_PYRAMID_LEVELS = 4
_BAND_PX = 4
_CLEAR = 0.02
_SLOPE_MEANS = 8
_SLOPE_GAIN = 24.0  # of the squares, to those of kernels of unit norm
_SLOPE_FLOOR = 1e-6  # the root's own slope is finite there


def _smoothed(x: Tensor, times: int) -> Tensor:
    """Mean of neighbours along both sides, ``times`` over: binomial weights, variance times / 4.

    (N, 1, H, W) → (N, 1, H - times, W - times): the rim is used up. On a CPU this takes an eighth
    of the time of a convolution of one channel.
    """
    for _ in range(times):
        x = (x[..., :, 1:] + x[..., :, :-1]) / 2
        x = (x[..., 1:, :] + x[..., :-1, :]) / 2
    return x


def _binomial(x: Tensor) -> Tensor:
    """Blur (N, 1, H, W) with the 5-tap binomial of Burt & Adelson, 1983."""
    return _smoothed(functional.pad(x, (2, 2, 2, 2), mode="replicate"), 4)


def laplacian(difference: Tensor) -> Tensor:
    """Sum over levels of the mean absolute Laplacian coefficient, coarser levels weighing more.

    The pyramid is linear, so that of (alpha - truth) is all that is needed.

    Args:
        difference: (N, 1, H, W).

    Returns:
        (N,).

    Source:
        Hou & Liu, "Context-Aware Image Matting", ICCV 2019.
    """
    total = difference.new_zeros(difference.shape[0])
    for level in range(_PYRAMID_LEVELS):
        smooth = _binomial(difference)
        total = total + 2**level * (difference - smooth).abs().mean(dim=(1, 2, 3))
        difference = smooth[..., ::2, ::2]
    return total


def gradient(difference: Tensor) -> Tensor:
    """Mean absolute forward difference of (alpha - truth), (N, 1, H, W) → (N,)."""
    x = (difference[..., :, 1:] - difference[..., :, :-1]).abs().mean(dim=(1, 2, 3))
    y = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return x + y


def slope(alpha: Tensor, truth: Tensor) -> Tensor:
    """Mean squared difference of the lengths of the gradients, (N, 1, H, W) each → (N,).

    The gradient error that papers report, where one lost lock counts more than a blurred outline:
    scaled as ``evaluation.metrics.gradient`` is, but for four pixels along the rim.

    Source:
        Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009;
        derivatives of a Gaussian, of variance 2 as the means come to.
    """
    smooth = _smoothed(torch.cat((alpha, truth)), _SLOPE_MEANS)
    x = smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]
    y = smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]
    own, wanted = (_SLOPE_GAIN * (x * x + y * y) + _SLOPE_FLOOR).sqrt().chunk(2)
    return (own - wanted).square().mean(dim=(1, 2, 3))


def band(truth: Tensor) -> Tensor:
    """1 within 4 pixels of where the truth is neither 0 nor 1, else 0; (N, 1, H, W)."""
    soft = ((truth > _CLEAR) & (truth < 1 - _CLEAR)).to(truth.dtype)
    return functional.max_pool2d(soft, 2 * _BAND_PX + 1, stride=1, padding=_BAND_PX)


def edge(difference: Tensor, near: Tensor) -> Tensor:
    """Mean absolute error in the :func:`band` ``near``, (N, 1, H, W) each → (N,).

    A mean over the whole picture hardly sees its edges, which are a twentieth of it.
    """
    return (difference.abs() * near).sum(dim=(1, 2, 3)) / (near.sum(dim=(1, 2, 3)) + 1.0)


def loss(
    alpha: Tensor,
    logits: Tensor,
    semantic: Tensor,
    truth: Tensor,
    weight: Tensor,
    street: Tensor,
    recipe: LossRecipe,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts.

    Args:
        alpha: (N, 1, H, W) float32 in [0, 1], what the network gives in use.
        logits: (N, 1, H, W) float32, the network's own word, before the sigmoid and the filter.
        semantic: (N, 1, H/8, W/8) float32 logits of the coarse head.
        truth: (N, 1, H, W) in [0, 1].
        weight: (N,), how far each truth is to be trusted.
        street: (N,) bool, whose truth is a street photo's.
        recipe: Weights of the terms.

    Returns:
        The scalar to minimise, and each unweighted term's mean for the log.
    """
    difference, edges = alpha - truth, band(truth)
    bce = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    coarse = functional.avg_pool2d(truth, truth.shape[-1] // semantic.shape[-1])
    # Where somebody or nobody is for sure, a street photo's truth is not guessed; and a sure error,
    # at the sigmoid's flat end, teaches nothing else.
    guessed = torch.where(edges > 0, recipe.street_bce, recipe.street_sure_bce)
    weighted = bce * torch.where(street[:, None, None, None], guessed, recipe.bce)
    coarse_bce = functional.binary_cross_entropy_with_logits(semantic, coarse, reduction="none")
    terms = {
        "l1": difference.abs().mean(dim=(1, 2, 3)),
        "bce": bce.mean(dim=(1, 2, 3)),
        "laplacian": laplacian(difference),
        "gradient": gradient(difference),
        "slope": slope(alpha, truth),
        "edge": edge(difference, edges),
        "semantic": coarse_bce.mean(dim=(1, 2, 3)),
    }
    weights: dict[str, float | Tensor] = {
        "l1": recipe.l1,
        "laplacian": recipe.laplacian,
        "gradient": recipe.gradient,
        "slope": torch.where(street, recipe.street_slope, recipe.slope),
        "edge": recipe.edge,
        "semantic": recipe.semantic,
    }
    total = weighted.mean(dim=(1, 2, 3))
    total = total + sum(weight * terms[name] for name, weight in weights.items())
    return (total * weight).mean(), {n: float(t.detach().mean()) for n, t in terms.items()}
