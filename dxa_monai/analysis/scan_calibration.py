"""A scanner calibrated from nothing but scans of people, through the segments of its wheel.

In the open air the wheel's bone and tissue segments tell how much the beam is attenuated by a known amount of mineral
and acrylic: four numbers, each the mean of thousands of pixels. Behind a body they add less, because the body has
hardened the beam; how much less, at every thickness, tells the shape of the spectrum. A soft pixel has two unknowns,
fat and lean, and six channels: in the right model of the scanner all six agree.

Scans of several people on one scanner may be given together, which adds thicknesses that one person does not have.

All rests on what the wheel is made of: a tissue segment 1 % thicker than stated shifts fat by up to 0.8 g/cm2 (0.3 with
the step phantom, whose patches bear most of the weight there).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import least_squares

from dxa_monai.analysis.bone import find_bone
from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import BODY_MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.beam_model import ENERGY_KEV, PRIOR_SD, WheelSegments
from dxa_monai.physics.decomposition import decompose_soft
from dxa_monai.physics.scanner_model import ScannerModel, open_air, photons_from_open_air, stepped_parameters
from dxa_monai.scan.format import FULL_SCALE_NEPERS, PIXEL_SPACING_MM

FloatArray = npt.NDArray[np.float64]

_MODEL_ERROR_NEPERS = 3e-4
"""How well Kramers' law can describe a real beam at best."""
_SOFT_NEPERS = (0.15, 7.0)
"""Mean attenuation of the air channels in the pixels used: below, the open beam's cut-off at zero counts may reach in;
beyond, few photons are left behind the wheel's segments."""
_BIN_NEPERS = 0.3
_BIN_R = 0.02
_FEWEST_IN_BIN = 8
_NEIGHBOURS = 5  # pixels, odd


def calibrate_with_scan(
    raw: torch.Tensor,
    wheel: WheelSegments | None = None,
    full_scale_nepers: float = FULL_SCALE_NEPERS,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> ScannerModel:
    """Fit a scanner from scans of people.

    Args:
        raw: ``(N, 6, H, W)`` scans of one scanner in [0, 1]; a single one may come as ``(6, H, W)``.
        wheel: what the segments are made of.
        full_scale_nepers: what a raw value of 1 means.
        pixel_spacing_mm: distance between rows and between columns.

    Raises:
        InputError: fewer than 100 pixels of open air, or too little soft tissue without bone.
    """
    raw = raw[None] if raw.ndim == 3 else raw
    wheel = WheelSegments() if wheel is None else wheel
    every = side_by_side(raw)
    start = ScannerModel(wheel=wheel, source="scan", full_scale_nepers=full_scale_nepers)
    start = dataclasses.replace(start, photons_per_pixel=photons_from_open_air(every, start))
    air_mean, air_error = _open_air_statistics(every, full_scale_nepers)
    air_sigma = np.hypot(air_error, _MODEL_ERROR_NEPERS)

    def air_misfit(model: ScannerModel) -> FloatArray:
        return (air_mean + np.log(model.signal_weights.sum(axis=0)[2:])) / air_sigma

    # The open air alone leads near enough to tell bone from soft tissue, which a typical scanner's values need not.
    start = _fit(start, air_misfit)
    masks = find_bone(raw, start, pixel_spacing_mm=pixel_spacing_mm)
    soft_mean, soft_count = _soft_means(raw * full_scale_nepers, masks.body, masks.bone)
    if len(soft_mean) == 0:
        raise InputError("scan: expected soft tissue without bone to calibrate the scanner with, got too little.")
    as_scan = torch.from_numpy(soft_mean.T[None, :, None, :] / full_scale_nepers)
    _, variance = _expected_behind(as_scan, start)
    soft_sigma = np.hypot(np.sqrt(variance / soft_count[:, None]), _MODEL_ERROR_NEPERS)

    def soft_residual(model: ScannerModel) -> FloatArray:
        return soft_mean - _expected_behind(as_scan, model)[0]

    model = _fit(start, lambda model: np.concatenate([air_misfit(model), (soft_residual(model) / soft_sigma).ravel()]))
    left = np.append(soft_residual(model).ravel(), air_misfit(model) * air_sigma)
    model = dataclasses.replace(model, residual_nepers=float(np.sqrt((left**2).mean())))
    return dataclasses.replace(model, photons_per_pixel=photons_from_open_air(every, model))


def _fit(model: ScannerModel, misfit: Callable[[ScannerModel], FloatArray]) -> ScannerModel:
    """The model with the most probable beam, given the misfit of a model in standard deviations and the prior."""

    def at(steps: FloatArray) -> ScannerModel:
        return dataclasses.replace(model, beam=stepped_parameters(steps))

    best = least_squares(lambda steps: np.concatenate([misfit(at(steps)), steps]), np.zeros(len(PRIOR_SD.as_vector())))
    return at(best.x)


def side_by_side(raw: torch.Tensor) -> torch.Tensor:
    """``(N, 6, H, W)`` scans as one wide ``(6, H, N W)``."""
    return raw.movedim(0, 2).flatten(2)


def _open_air_statistics(raw: torch.Tensor, full_scale_nepers: float) -> tuple[FloatArray, FloatArray]:
    """Log attenuation ``(4,)`` of the bone and tissue segments in the open air and its standard error.

    The air segment's own channels are cut off at zero counts there and tell nothing.
    """
    air = open_air(raw, full_scale_nepers)
    nepers = raw[2:, air].double().numpy() * full_scale_nepers
    deviation = nepers.std(axis=1, ddof=1)
    return nepers.mean(axis=1) - deviation**2 / 2.0, deviation / np.sqrt(nepers.shape[1])


def _expected_behind(raw: torch.Tensor, model: ScannerModel) -> tuple[FloatArray, FloatArray]:
    """Log attenuation ``(K, 6)`` behind the fat and lean that explain ``(1, 6, 1, K)`` best, and its variance by photon
    noise in one pixel. The logarithm of a noisy signal lies above that of its mean by half of the variance."""
    fat_and_lean = decompose_soft(raw, model)[0, :, 0].numpy().T
    coefficients = np.stack([mass_attenuation_cm2_g(name, ENERGY_KEV) for name in BODY_MATERIALS[:2]])
    transmission = np.exp(-fat_and_lean @ coefficients)
    signal = transmission @ model.signal_weights
    variance = transmission @ model.variance_weights / model.photons_per_pixel / signal**2
    return variance / 2.0 - np.log(signal), variance


def _soft_means(nepers: torch.Tensor, body: torch.Tensor, bone: torch.Tensor) -> tuple[FloatArray, FloatArray]:
    """Means ``(K, 6)`` of all channels over soft pixels of about the same attenuation and R, and their number ``(K,)``.

    What is the same is judged by the neighbourhood's mean: a pixel's own noise would otherwise decide upon its bin, and
    the bin's mean would keep it.
    """
    free = body & (F.max_pool2d(bone.float(), 3, 1, 1) == 0)
    weight = free.to(nepers.dtype)
    covered = F.avg_pool2d(weight, _NEIGHBOURS, 1, _NEIGHBOURS // 2).clamp_min(1e-6)
    smooth = F.avg_pool2d(nepers[:, :2] * weight, _NEIGHBOURS, 1, _NEIGHBOURS // 2) / covered
    high, low = smooth.movedim(1, 0).double().numpy()
    mean = (high + low) / 2.0
    used = free[:, 0].numpy() & (mean > _SOFT_NEPERS[0]) & (mean < _SOFT_NEPERS[1])
    pairs = np.stack([mean[used] // _BIN_NEPERS, low[used] / high[used] // _BIN_R], axis=1)
    _, member, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    values = nepers.movedim(1, -1).double().numpy()[used]
    sums = np.stack([np.bincount(member, weights=channel, minlength=len(count)) for channel in values.T], axis=1)
    kept = count >= _FEWEST_IN_BIN
    return sums[kept] / count[kept, None], count[kept].astype(np.float64)
