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

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dxa_monai.analysis.bone import find_bone
from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import BODY_MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.beam_fit import MODEL_ERROR_NEPERS, check_beam, fit_beam
from dxa_monai.physics.beam_model import ENERGY_KEV, BeamParameters, WheelSegments
from dxa_monai.physics.correction import find_correction
from dxa_monai.physics.decomposition import decompose_soft
from dxa_monai.physics.registration import believed_shift_mm
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.stray import LEAST_SIGNAL, StraySignal
from dxa_monai.physics.zero import FEWEST_AIR_PIXELS, Zero, zero_counts_of
from dxa_monai.scan.format import FULL_SCALE_NEPERS, PIXEL_SPACING_MM

FloatArray = npt.NDArray[np.float64]

_SOFT_NEPERS = (0.15, 7.0)
"""Mean attenuation of the air channels in the pixels used: below, the open beam's cut-off at zero counts may reach in;
beyond, few photons are left behind the wheel's segments."""
_DARK_SD, _DARK_HIGHEST = np.full(2, 3e-5), np.full(2, 1e-2)
"""Prior standard deviation and upper limit of the dark signal of each energy. The wheel's segments show it behind thick
bodies; they do not show scatter, which comes through them and adds alike to all."""
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
        InputError: fewer than 100 pixels of open air, too little soft tissue without bone, or no scanner of this kind
            reads like that.
    """
    raw = raw[None] if raw.ndim == 3 else raw
    wheel = WheelSegments() if wheel is None else wheel
    start = ScannerModel(wheel=wheel, source="scan", full_scale_nepers=full_scale_nepers)
    corrections = [find_correction(scan, start, pixel_spacing_mm) for scan in raw]
    # Known better from all of a scanner's scans than from any one of them.
    shift = believed_shift_mm([correction.measured_shift for correction in corrections], (0.0, 0.0))
    air = _Air.of([correction.zero for correction in corrections])
    start = dataclasses.replace(start, rounding_nepers=air.rounding_nepers)
    start = air.with_photons(start)
    air_sigma = np.hypot(air.error_nepers, MODEL_ERROR_NEPERS)

    def beam_at(beam: BeamParameters) -> ScannerModel:
        return dataclasses.replace(start, beam=beam)

    def air_misfit(model: ScannerModel) -> FloatArray:
        return (air.wheel_nepers - model.wheel_nepers[2:]) / air_sigma

    # The open air alone leads near enough to tell bone from soft tissue, which a typical scanner's values need not.
    start = dataclasses.replace(start, beam=fit_beam(lambda beam, _: air_misfit(beam_at(beam))).beam)
    # In the scans' own air the wheel reads what it reads, whatever the model says.
    wheel_nepers = np.concatenate([np.zeros(2), air.wheel_nepers])
    clean = torch.cat(
        [
            dataclasses.replace(correction, wheel_nepers=wheel_nepers, energy_shift_mm=shift).apply(scan[None])
            for scan, correction in zip(raw, corrections, strict=True)
        ]
    )
    masks = find_bone(clean, start, pixel_spacing_mm=pixel_spacing_mm)
    soft_mean, soft_count = _soft_means(clean * full_scale_nepers, masks.body, masks.bone)
    if len(soft_mean) == 0:
        raise InputError("scan: expected soft tissue without bone to calibrate the scanner with, got too little.")
    _, variance = _expected_behind(soft_mean, start)
    soft_sigma = np.hypot(np.sqrt(variance / soft_count[:, None]), MODEL_ERROR_NEPERS)

    def soft_residual(beam: BeamParameters, dark: FloatArray) -> FloatArray:
        seen = _without_dark(soft_mean, wheel_nepers, dark)
        return seen - _expected_behind(seen, beam_at(beam))[0]

    def misfit(beam: BeamParameters, dark: FloatArray) -> FloatArray:
        return np.concatenate([air_misfit(beam_at(beam)), (soft_residual(beam, dark) / soft_sigma).ravel()])

    beam, dark, _ = fit_beam(misfit, _DARK_SD, _DARK_HIGHEST, start.beam)
    left = np.append(soft_residual(beam, dark).ravel(), air_misfit(beam_at(beam)) * air_sigma)
    weight = 1.0 / np.append(soft_sigma.ravel(), air_sigma) ** 2
    residual = float(np.sqrt((left**2 * weight).sum() / weight.sum()))
    noise = 1.0 / float(np.sqrt(weight.mean()))
    check_beam(beam, residual, noise, "scan")
    model = dataclasses.replace(
        beam_at(beam),
        residual_nepers=residual,
        stray=StraySignal(dark_high=float(dark[0]), dark_low=float(dark[1])),
        energy_shift_mm=shift,
        zero_counts=zero_counts_of(air.level_nepers, full_scale_nepers),
    )
    return air.with_photons(model)


def _without_dark(nepers: FloatArray, wheel_nepers: FloatArray, dark: FloatArray) -> FloatArray:
    """Means ``(K, 6)`` as they were without dark signals of the high and low energy."""
    relative = np.tile(dark, len(wheel_nepers) // 2) * np.exp(wheel_nepers)
    signal = np.exp(wheel_nepers - nepers) * (1.0 + relative) - relative
    return np.asarray(wheel_nepers - np.log(np.maximum(signal, LEAST_SIGNAL)))


def nominal_scanner(raw: torch.Tensor, wheel: WheelSegments | None = None) -> ScannerModel:
    """The scanner as its label says, with the photons that the noise in scans ``(N, 6, H, W)`` tells of.

    Raises:
        InputError: fewer than 100 pixels of open air.
    """
    model = ScannerModel(wheel=WheelSegments() if wheel is None else wheel)
    return _Air.of([find_correction(scan, model).zero for scan in raw]).with_photons(model)


@dataclasses.dataclass(frozen=True)
class _Air:
    """What the open air of several scans of one scanner says.

    Attributes:
        level_nepers: ``(6,)`` mean zero.
        wheel_nepers: ``(4,)`` what the bone and tissue segments attenuate beyond the air segment.
        error_nepers: ``(4,)`` standard errors of it.
        rounding_nepers: the coarsest of the scans.
        zeros: of the scans.
    """

    level_nepers: FloatArray
    wheel_nepers: FloatArray
    error_nepers: FloatArray
    rounding_nepers: float
    zeros: list[Zero]

    @classmethod
    def of(cls, zeros: list[Zero]) -> _Air:
        pixels = np.array([int(zero.air.sum()) for zero in zeros])
        if pixels.sum() < FEWEST_AIR_PIXELS:
            raise InputError(
                f"scan: expected at least {FEWEST_AIR_PIXELS} pixels of open air around the body, got {pixels.sum()}."
            )
        share = pixels / pixels.sum()
        level = share @ np.stack([zero.level_nepers for zero in zeros])
        noise = share @ np.stack([zero.noise_nepers for zero in zeros])
        error = np.hypot(noise[2:], np.tile(noise[:2], 2)) / np.sqrt(pixels.sum())
        rounding = max(zero.rounding_nepers for zero in zeros)
        return cls(level, level[2:] - np.tile(level[:2], 2), error, rounding, zeros)

    def with_photons(self, model: ScannerModel) -> ScannerModel:
        """The model with the photons that the noise tells of; its own where rounding hides the noise."""
        found = [zero.photons(model.variance_per_photon) for zero in self.zeros if zero.enough_air]
        known = [photons for photons in found if photons is not None]
        return dataclasses.replace(model, photons_per_pixel=float(np.median(known))) if known else model


def _expected_behind(nepers: FloatArray, model: ScannerModel) -> tuple[FloatArray, FloatArray]:
    """Log attenuation ``(K, 6)`` behind the fat and lean that explain ``nepers`` ``(K, 6)`` best, and its variance by
    photon noise in one pixel. The logarithm of a noisy signal lies above that of its mean by half of the variance."""
    raw = torch.from_numpy(nepers.T[None, :, None, :] / model.full_scale_nepers)
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
