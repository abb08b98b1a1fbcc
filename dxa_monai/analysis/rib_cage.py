"""The fat in a rib cage and in a pelvis, where hardly a pixel is free of bone.

Ribs in front cross ribs behind: most pixels over the lungs hold 0.05 to 0.2 g/cm2 of mineral, too little for one of
them to be told from soft tissue, and the wings of the ilium hold hardly more. A pixel that is missed reads as 18 g too
little fat for each g of its mineral and, taken for soft, pulls down the fat of its surroundings too. So nothing is
decided there. With M the mineral of a pixel
for a guess f of its fat, of which the noise is s, let a share pi of the pixels hold bone, exponentially distributed
with mean mu (:mod:`dxa_monai.analysis.bone_odds`). Expectation and maximisation in turn [1] find what explains all
pixels best: with P the probability of bone and E the mineral to be expected if it is bone, given M,

    f <- G * [v (y + k P E)] / G * v,        v = (1 - P) / s^2                                          (1)
    pi <- mean of P,    mu <- mean of P E / mean of P     over the lungs and in the pelvis                (2)

where y is the fat that a pixel reads without bone, k the fat that hides behind a gram of mineral and G a Gaussian wider
than a rib. The mineral of all these pixels then follows from f, signed, so that its noise cancels in sums.

References:
    [1] Dempster, Laird and Rubin: Maximum likelihood from incomplete data via the EM algorithm. J R Stat Soc B 39, 1
        (1977). doi:10.1111/j.2517-6161.1977.tb01600.x
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dxa_monai.analysis.bone_odds import bone_posterior
from dxa_monai.analysis.rectangle import Rectangle
from dxa_monai.analysis.soft_tissue import along_body
from dxa_monai.physics.forward import gaussian_blur

SMOOTHING_MM = 18.0
"""G. This, ``_LUNG_TOTAL``, ``_NEAR_LUNG`` and ``_LEAST_NOISE_G_CM2`` are those of some 60 variants whose largest bias
of total fat was among the least on three kinds of virtual people of seed 78: as they are, with ribs of 0.2 to 0.5 of
their mineral, and with such ribs spread over 8 mm."""
_LUNG_TOTAL = (0.75, 1.0)
"""Fat and lean over the trunk's mean, weighted with itself: all lung below the first, none from the second."""
_NEAR_LUNG_MM, _NEAR_LUNG = 40.0, 0.3
"""Blurred, the lungs are this where the rib cage ends: ribs reach below them."""
_LOWEST_RIB = 0.37
"""Share of the length from crown to toes, toes pointed, above which the ribs lie: the twelfth ends at 0.6 of the
stature, as high as the iliac crest."""
_PELVIS = (0.40, 0.52)
"""Shares of that length between which the pelvis lies, iliac crest to ischium, of a body that is seen whole. Without it
the virtual people's pelvis (seed 78) lost 7 % of its fat and 9 % of its mineral."""
_LEAST_NOISE_G_CM2 = 0.015
"""What fat differs by from pixel to pixel, 0.3 g/cm2, is as much mineral."""
_SHARE, _MEAN_G_CM2 = 0.5, 0.3
"""pi and mu elsewhere. The spine's mineral is far more, but there P is 1 for every mu."""
_THIN_SHARE, _THIN_MEAN_G_CM2, _THIN_WEIGHT = 0.7, 0.2, 50.0
"""pi and mu over lungs and in the pelvis to begin with, and how many pixels they count as afterwards. 0.7 is the share
of the virtual people's pixels over the lungs."""
_SHARES = (0.5, 0.95)
"""Least and largest pi: 12 ribs 14 mm high in 30 mm, twice, leave hardly a row of 13 mm clear."""
_STEPS, _OVER_RELAXATION = 8, 1.7
_KNOWN_SHARE = 0.15
"""Of soft pixels around, from which on (1) tells the fat. The middle of the spine has less."""
_LEAST_SLOPE = 0.02  # of mineral over fat: no division by zero outside of the body


@dataclass(frozen=True)
class RibCage:
    """Pixels that are judged together, and how the fat they hold follows from what they read; without gradient.

    Attributes:
        inside: ``(B, 1, H, W)`` bool, rib cage and pelvis.
        known: ``(B, 1, H, W)`` bool, where in it the fat is told by :meth:`fat`; the rest lies behind dense bone.
        weight: ``(B, 1, H, W)`` v of equation (1).
        hidden_fat: ``(B, 1, H, W)`` k P E in g/cm2: how much more fat there is than a pixel reads, by expectation.
    """

    inside: torch.Tensor
    known: torch.Tensor
    weight: torch.Tensor
    hidden_fat: torch.Tensor

    def fat(self, soft_fat: torch.Tensor, pixel_spacing_mm: tuple[float, float]) -> torch.Tensor:
        """Equation (1), ``(B, 1, H, W)`` in g/cm2, for the fat that each pixel reads without bone. Linear in it."""
        return _mean_around(soft_fat + self.hidden_fat, self.weight, pixel_spacing_mm)

    def whole(self, part: Rectangle) -> RibCage:
        """The rib cage of images, of that of their rectangle."""
        images = (self.inside, self.known, self.weight, self.hidden_fat)
        return RibCage(*(part.padded(image) for image in images))


def find_rib_cage(
    soft: torch.Tensor,
    lines: tuple[torch.Tensor, torch.Tensor],
    noise: torch.Tensor,
    total: torch.Tensor,
    guess: torch.Tensor,
    body: torch.Tensor,
    trunk: torch.Tensor,
    pixel_spacing_mm: tuple[float, float],
) -> RibCage:
    """Rib cage and pelvis of bodies: no cage where nothing of the trunk looks like lung, no pelvis of a part of a body.

    Args:
        soft: ``(B, 2, H, W)`` fat and lean in g/cm2 of the decomposition without bone.
        lines: of :func:`dxa_monai.physics.decomposition.bone_lines`.
        noise: ``(B, 1, H, W)`` standard deviation of a pixel's mineral, g/cm2.
        total: ``(B, 1, H, W)`` fat and lean in g/cm2, with little noise.
        guess: ``(B, 1, H, W)`` of the fat, g/cm2.
        body: ``(B, 1, H, W)`` bool.
        trunk: ``(B, 1, H, W)`` of :func:`dxa_monai.analysis.soft_tissue.trunk_share`.
        pixel_spacing_mm: distance between rows and between columns.
    """
    with torch.no_grad():
        thin, inside = _thin_and_inside(total, body, trunk, pixel_spacing_mm)
        if not inside.any():
            nothing = torch.zeros_like(noise)
            return RibCage(inside, inside, nothing, nothing)
        margin = (round(4.0 * SMOOTHING_MM / pixel_spacing_mm[0]), round(4.0 * SMOOTHING_MM / pixel_spacing_mm[1]))
        part = Rectangle(inside, margin)
        images = (soft[:, :1], lines[0][:, 1:], lines[1][:, 1:], noise, guess, thin, inside, body)
        known, weight, hidden_fat = _fitted([part.cut(image) for image in images], pixel_spacing_mm)
        return RibCage(inside, part.padded(known), part.padded(weight), part.padded(hidden_fat))


def _thin_and_inside(
    total: torch.Tensor, body: torch.Tensor, trunk: torch.Tensor, pixel_spacing_mm: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How much a pixel is lung or pelvis, ``(B, 1, H, W)`` from 0 to 1, and the mask of rib cage and pelvis."""
    mass = trunk * body * total
    usual = (mass * total).sum(dim=(2, 3), keepdim=True) / mass.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
    place, in_trunk = along_body(body), body & (trunk > 0.5)
    chest = in_trunk & (place < _LOWEST_RIB)
    lowest, highest = _LUNG_TOTAL
    lung = ((highest - total / usual.clamp_min(1.0)) / (highest - lowest)).clamp(0.0, 1.0) * chest
    near = gaussian_blur(lung, (_NEAR_LUNG_MM / pixel_spacing_mm[0], _NEAR_LUNG_MM / pixel_spacing_mm[1]))
    pelvis = in_trunk & (place > _PELVIS[0]) & (place < _PELVIS[1])
    return torch.maximum(lung, pelvis.to(lung.dtype)), (chest & (near > _NEAR_LUNG)) | pelvis


def _fitted(
    images: Sequence[torch.Tensor], pixel_spacing_mm: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``known``, ``weight`` and ``hidden_fat`` of :class:`RibCage`, all ``(B, 1, H, W)`` as the images given: soft fat,
    mineral for that fat and what more of fat adds to it, noise of mineral, guess of the fat, thin bone, mask and body.
    """
    soft_fat, own_mineral, slope, noise, guess, thin, inside, body = images
    noise = noise.clamp_min(_LEAST_NOISE_G_CM2)
    fat_per_mineral = 1.0 / slope.clamp_min(_LEAST_SLOPE)
    trusted = body / noise**2
    pixels = thin.sum(dim=(2, 3), keepdim=True) + _THIN_WEIGHT
    prior_share, prior_mineral = _THIN_WEIGHT * _THIN_SHARE, _THIN_WEIGHT * _THIN_SHARE * _THIN_MEAN_G_CM2
    thin_share, thin_mean = torch.full_like(pixels, _THIN_SHARE), torch.full_like(pixels, _THIN_MEAN_G_CM2)
    fat = guess
    for step in range(_STEPS):
        mineral = own_mineral + slope * (fat - soft_fat)
        share = _SHARE + (thin_share - _SHARE) * thin
        mean = _MEAN_G_CM2 + (thin_mean - _MEAN_G_CM2) * thin
        bone, expected = bone_posterior(mineral, noise, mean, share)
        weight = (1.0 - bone) * trusted
        hidden_fat = fat_per_mineral * bone * expected * body
        if step == _STEPS - 1:
            break
        around = _mean_around(soft_fat + hidden_fat, weight, pixel_spacing_mm)
        fat = torch.where(inside, torch.lerp(fat, around, _OVER_RELAXATION), fat)
        bones = (bone * thin).sum(dim=(2, 3), keepdim=True) + prior_share
        thin_mean = ((bone * expected * thin).sum(dim=(2, 3), keepdim=True) + prior_mineral) / bones
        thin_share = (bones / pixels).clamp(*_SHARES)
    # What the pixel itself says, whatever share of its surroundings is bone.
    evidence = bone / (1.0 - bone).clamp_min(1e-6) * (1.0 - share) / share
    soft_around = _mean_around(1.0 / (1.0 + evidence), body.to(noise.dtype), pixel_spacing_mm)
    return inside & (soft_around > _KNOWN_SHARE), weight, hidden_fat


def _mean_around(values: torch.Tensor, weight: torch.Tensor, pixel_spacing_mm: tuple[float, float]) -> torch.Tensor:
    """Mean under a Gaussian of values with weights."""
    sigma = (SMOOTHING_MM / pixel_spacing_mm[0], SMOOTHING_MM / pixel_spacing_mm[1])
    weight = weight.to(values.dtype)
    sums, weights = gaussian_blur(torch.cat([weight * values, weight], dim=1), sigma).split(1, dim=1)
    return sums / weights.clamp_min(1e-6)
