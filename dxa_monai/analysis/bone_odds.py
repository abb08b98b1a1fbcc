"""How likely a pixel holds bone: from its own mineral, from the noise of it, and from its neighbours.

With sigma the noise of a pixel's mineral M and bone's own mineral spread exponentially with mean mu, the two hypotheses
are M ~ N(0, sigma^2) and M ~ N(0, sigma^2) + Exp(mu). Their likelihoods' ratio is, with erfcx(x) = exp(x^2) erfc(x),

    p(M | bone) / p(M | none) = sigma / mu sqrt(pi / 2) erfcx((sigma / mu - M / sigma) / sqrt(2))            (1)

Bone is connected: neighbours are alike with the odds exp(2 beta w). The field that they make of each other's chances is
found by iteration (mean field of the Ising model [1]):

    m_i = tanh(1/2 [ln (1)_i + beta sum_j w_ij m_j])                                                         (2)

where m runs from -1, surely none, to 1, surely bone. If a pixel holds bone, its mineral is expected to be the mean of a
normal distribution cut at zero,

    E[mineral | M, bone] = M - sigma^2 / mu + sigma sqrt(2 / pi) / erfcx((sigma / mu - M / sigma) / sqrt(2))   (3)

So thin bones, a pixel wide, keep their edges where there is
little noise, and thick parts of the body, where a single pixel says nothing, are judged together with what is around.

References:
    [1] Geman and Geman: Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images. IEEE TPAMI
        6, 721 (1984). doi:10.1109/TPAMI.1984.4767596
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

_LEAST_NOISE_G_CM2 = 0.03
"""What the fat behind bone is uncertain by is as much mineral, however many photons there are."""
_BESIDE, _ABOVE, _DIAGONAL = 1.0, 0.6, 0.3
"""w of the neighbours in a row, in a column and across: columns are half as far apart as rows."""
_ITERATIONS = 5
_STEEPEST = -6.0  # of erfcx's argument: beyond, a pixel is bone whatever its neighbours say
_TYPICAL_LEVEL_G_CM2 = 1.46
_LEVEL_RANGE = (0.35, 2.0)
_LEVEL_WEIGHT_G_CM2 = 100.0
"""Sum over pixels of the mineral that the typical level counts as: a body has about 2,000 in limbs and head."""


def log_odds(mineral: torch.Tensor, noise: torch.Tensor, mean_g_cm2: float) -> torch.Tensor:
    """Logarithm of equation (1).

    Args:
        mineral: any shape, g/cm2; signed.
        noise: its standard deviation.
        mean_g_cm2: mu.
    """
    ratio, tail = _ratio_and_tail(mineral, noise.clamp_min(_LEAST_NOISE_G_CM2), mean_g_cm2)
    return torch.log(ratio * math.sqrt(math.pi / 2.0) * tail)


def bone_posterior(
    mineral: torch.Tensor, noise: torch.Tensor, mean_g_cm2: torch.Tensor, share: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probability of bone, and equation (3).

    Args:
        mineral: any shape, g/cm2; signed.
        noise: its standard deviation, positive.
        mean_g_cm2: mu, of each pixel.
        share: of pixels that hold bone, before anything is seen of this one, between 0 and 1.

    Returns:
        Both of the mineral's shape; the second in g/cm2, positive.
    """
    ratio, tail = _ratio_and_tail(mineral, noise, mean_g_cm2)
    odds = share / (1.0 - share) * ratio * math.sqrt(math.pi / 2.0) * tail
    expected = mineral - noise * ratio + math.sqrt(2.0 / math.pi) * noise / tail
    return odds / (1.0 + odds), expected.clamp_min(0.0)


def _ratio_and_tail(
    mineral: torch.Tensor, noise: torch.Tensor, mean_g_cm2: float | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """sigma / mu, and erfcx of (1)."""
    ratio = noise / mean_g_cm2
    argument = ((ratio - mineral / noise) / math.sqrt(2.0)).clamp_min(_STEEPEST)
    return ratio, torch.special.erfcx(argument)


def with_neighbours(odds: torch.Tensor, body: torch.Tensor, coupling: float) -> torch.Tensor:
    """Equation (2).

    Args:
        odds: ``(B, 1, H, W)`` logarithms of each pixel's own odds.
        body: ``(B, 1, H, W)`` bool; air says nothing.
        coupling: beta.

    Returns:
        ``(B, 1, H, W)`` m, from -1 to 1; 0 outside of the body.
    """
    inside = body.to(odds.dtype)
    chance = torch.tanh(0.5 * odds) * inside
    for _ in range(_ITERATIONS):
        padded = F.pad(chance, (1, 1, 1, 1))
        row = padded[..., :-2] + padded[..., 2:]
        above = torch.add(_ABOVE * padded[..., 1:-1], row, alpha=_DIAGONAL)
        around = (above[..., :-2, :] + above[..., 2:, :]).add_(row[..., 1:-1, :], alpha=_BESIDE)
        chance = torch.add(odds, around, alpha=coupling).mul_(0.5).tanh_().mul_(inside)
    return chance


def bone_level(mineral: torch.Tensor, noise: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """How dense this person's bones are, over what is usual: 1 on average, and where no bone is seen.

    The mean of the mineral over the mineral itself, sum M^2 / sum M, needs no mask of bone.

    Args:
        mineral: ``(B, 1, H, W)`` blurred, g/cm2.
        noise: its standard deviation.
        weight: ``(B, 1, H, W)`` where to look, 0 to 1.

    Returns:
        ``(B, 1, 1, 1)``.
    """
    first = (mineral * weight).sum(dim=(2, 3), keepdim=True).clamp_min(0.0) + _LEVEL_WEIGHT_G_CM2
    second = ((mineral**2 - noise**2) * weight).sum(dim=(2, 3), keepdim=True)
    level = second / _TYPICAL_LEVEL_G_CM2 + _LEVEL_WEIGHT_G_CM2
    return (level / first).clamp(*_LEVEL_RANGE)
