"""Metal on or in a body: implants by how much they attenuate, jewellery by what no tissue does.

A bracelet of one row of pixels holds no more mineral than a thigh bone, and changes an arm's bone mineral by half. Two
signs tell it from bone:

- *channels that disagree*: where a pixel that counts as soft tissue holds metal, fat and lean explain one energy or the
  other, and the segments of the wheel show that they explain neither;
- *mineral that comes and goes*: bones lie along the body, so that within two rows of a pixel there is about as much of
  it; metal that is worn lies across.

The figures are those of 297 scans of virtual people (cohort seed 78), children and amputees among them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import label, median_filter

from dxa_monai.analysis.channel_agreement import BoolArray, FloatArray, channel_differences, mineral_noise_g_cm2
from dxa_monai.analysis.flags import Flag
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS

METAL_BONE_G_CM2 = 6.0
"""Three times as much mineral as the densest pixels of healthy bone hold along the beam."""
METAL_NEPERS = 9.5
"""In the air segment's high-energy channel: more than 50 g/cm2 of tissue would have to lie there."""
METAL_PIXELS = 3
DISAGREEMENT = 150.0
"""Of the channels: sum of their squared differences over the photons' variances. Without metal up to 54, and up to 114
where nothing juts out; with worn or implanted metal hundreds to thousands."""
_JUTS_OUT_NEPERS = 0.2
"""More than the median of 5 x 5 pixels, or of five rows: what is wrong with a model is as wrong beside the pixel."""
_ABOVE_OTHERS = 3.0
"""Times the disagreement of all but a hundredth of the body's pixels, which tells of a wrong model."""
ACROSS_G_CM2 = {"limbs": 2.0, "elsewhere": 2.8}
"""Mineral above the median of five rows. Without metal up to 1.55 in arms, 2.07 in legs (knees), 2.65 elsewhere, with
little noise."""
_THIN_G_CM2 = 8.0
"""Soft tissue of arms, hands and ankles; knees and thighs hold more."""
HEALTHY_G_CM2, _NOISE_FACTOR = 1.5, 5.0
"""What bones have of it without noise, and standard deviations of noise beyond: few photons pass a trunk."""


def metal_flags(raw: torch.Tensor, areal_density_g_cm2: FloatArray, body: BoolArray, model: ScannerModel) -> list[Flag]:
    """Tell metal, with its place.

    Args:
        raw: ``(6, H, W)`` in [0, 1].
        areal_density_g_cm2: ``(3, H, W)`` fat, lean and bone mineral.
        body: ``(H, W)`` bool.
        model: the scanner.
    """
    nepers = np.moveaxis(raw.double().cpu().numpy(), 0, -1) * model.full_scale_nepers
    # Along a column, where pixels are close together; photon noise alone does not reach so high in three of them.
    mineral = median_filter(areal_density_g_cm2[2], (1, 3))
    thick = (mineral > METAL_BONE_G_CM2) | (nepers[..., CHANNELS.index("air_high")] > METAL_NEPERS)
    pieces, count = label(thick & body)
    sizes = np.bincount(pieces.ravel())[1:] if count else np.zeros(0, dtype=int)
    thick = np.isin(pieces, np.flatnonzero(sizes >= METAL_PIXELS) + 1) if count else np.zeros_like(body)
    if thick.any():
        return [_flag(thick, "attenuate more than any bone, as metal does")]
    thin = (_disagreeing(nepers, areal_density_g_cm2, body, model) | _across(areal_density_g_cm2, body, model)) & body
    return [_flag(thin, "read as no tissue does, as thin metal (jewellery, a zip) would")] if thin.any() else []


def _flag(where: BoolArray, what: str) -> Flag:
    pieces, _ = label(where, np.ones((3, 3)))
    largest = int(np.argmax(np.bincount(pieces.ravel())[1:])) + 1
    row, column = np.argwhere(pieces == largest).mean(axis=0)
    number = f"{where.sum()} pixels" if where.sum() > 1 else "A pixel"
    sentence = f"{number} around row {row:.0f}, column {column:.0f} {what}: the numbers of their region are wrong."
    return Flag("metal", sentence)


def _disagreeing(
    nepers: FloatArray, areal_density_g_cm2: FloatArray, body: BoolArray, model: ScannerModel
) -> npt.NDArray[np.bool_]:
    attenuation = nepers.mean(axis=-1)
    around = np.minimum(median_filter(attenuation, (5, 5)), median_filter(attenuation, (5, 1)))
    juts_out = body & (attenuation - around > _JUTS_OUT_NEPERS)
    difference, variance = channel_differences(nepers[body], areal_density_g_cm2[:, body].T, model)
    disagreement = np.zeros(body.shape)
    disagreement[body] = (difference**2 / variance).sum(axis=-1)
    usual = float(np.percentile(disagreement[body], 99.0)) if body.any() else 0.0
    return np.asarray(juts_out & (disagreement > max(DISAGREEMENT, _ABOVE_OTHERS * usual)))


def _across(areal_density_g_cm2: FloatArray, body: BoolArray, model: ScannerModel) -> npt.NDArray[np.bool_]:
    mineral = np.where(body, areal_density_g_cm2[2], 0.0)
    above = mineral - median_filter(mineral, (5, 1))
    thin = areal_density_g_cm2[:2].sum(axis=0) < _THIN_G_CM2
    limit = np.where(thin, ACROSS_G_CM2["limbs"], ACROSS_G_CM2["elsewhere"])
    suspected = body & (above > limit)
    noise = mineral_noise_g_cm2(areal_density_g_cm2[:, suspected].T, model)
    suspected[suspected] = above[suspected] > HEALTHY_G_CM2 + _NOISE_FACTOR * noise
    return np.asarray(suspected)
