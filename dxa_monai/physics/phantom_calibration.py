"""A scanner calibrated with a scan of the step phantom.

Each patch, and each channel, is compared with its own reading in the open air around the phantom, so pedestal, table
and the wheel's attenuation cancel. The beam's hardening by ninety patches of two plastics and aluminium then tells the
beam (:mod:`dxa_monai.physics.beam_model`), and what thick patches read too little tells dark signal, glare and scatter
(:mod:`dxa_monai.physics.stray`), all of which is fitted at once. The patches' edges tell the blur.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import mass_attenuation_cm2_g
from dxa_monai.physics.beam_fit import MODEL_ERROR_NEPERS, BeamFit, check_beam, fit_beam
from dxa_monai.physics.beam_model import ENERGY_KEV, BeamParameters, WheelSegments, channel_weights
from dxa_monai.physics.columns import fill_columns, find_dead_columns
from dxa_monai.physics.forward import gaussian_blur
from dxa_monai.physics.phantom_blur import phantom_blur
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import PHANTOM_MATERIALS, StepPhantom
from dxa_monai.physics.stray import HIGH_ENERGY_CM2_G, SCATTER_REFERENCE_G_CM2, StraySignal
from dxa_monai.physics.zero import FEWEST_AIR_PIXELS, find_zero
from dxa_monai.scan.format import FULL_SCALE_NEPERS, PIXEL_SPACING_MM

FloatArray = npt.NDArray[np.float64]

_MAX_NEPERS = 9.5  # beyond, few photons are left and the logarithm is biased
_SATURATED_NEPERS = 0.5
"""So near to full scale noise carries some of a patch's pixels beyond it: a high zero leaves less room."""
_UNUSED_NEPERS = 1e3
_LEAST_AROUND = 0.8
"""Share of the open air that must lie where the layout has it."""
_MAT_SD_G_CM2 = 0.03
"""How much more or less of the mat may lie under a patch than in the open air (assumption)."""
_MakeStray = Callable[[FloatArray], StraySignal]
_GLARE_SIGMAS_MM = (25.0, 50.0, 100.0, 200.0)
_SCATTER_SIGMAS_MM = (15.0, 30.0, 60.0)
_USUAL_SIGMAS_MM, _LOG_SIGMA_SD = np.array([50.0, 30.0]), 0.3
"""Of glare and scatter, and the standard deviation of the logarithm of what others have (assumption)."""
_STRAY_SD = np.array([3e-5, 3e-5, 0.005, 0.03])
"""Prior standard deviations of dark signal in both phases, glare, and scatter to primary."""
_STRAY_HIGHEST = np.array([1e-2, 1e-2, 0.3, 0.5])


def calibrate_with_phantom(
    raw: torch.Tensor,
    phantom: StepPhantom | None = None,
    wheel: WheelSegments | None = None,
    full_scale_nepers: float = FULL_SCALE_NEPERS,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> ScannerModel:
    """Fit a scanner from a scan of the step phantom.

    Args:
        raw: ``(6, H, W)`` scan of the phantom in [0, 1].
        phantom: its layout.
        wheel: what the segments are made of.
        full_scale_nepers: what a raw value of 1 means.
        pixel_spacing_mm: distance between rows and between columns.

    Raises:
        InputError: the scan does not show the phantom in open air, or no scanner of this kind reads like that.
    """
    phantom = StepPhantom() if phantom is None else phantom
    wheel = WheelSegments() if wheel is None else wheel
    if tuple(raw.shape) != (6, *phantom.shape):
        raise InputError(f"step phantom: expected shape (6, {phantom.shape[0]}, {phantom.shape[1]}), got {raw.shape}.")
    if not bool(torch.isfinite(raw).all()):
        raise InputError("step phantom: expected finite numbers, got some that are NaN or infinite.")
    filled = fill_columns(raw, find_dead_columns(raw, full_scale_nepers))
    zero = find_zero(filled.numpy(), full_scale_nepers)
    around = zero.air & (phantom.labels < 0)
    if around.sum() < FEWEST_AIR_PIXELS or around.sum() < _LEAST_AROUND * zero.air.sum():
        raise InputError(
            f"step phantom: expected open air around it, got {around.sum()} pixels of it there and "
            f"{zero.air.sum() - around.sum()} within the phantom."
        )
    above = filled.double() * full_scale_nepers - torch.from_numpy(zero.image_nepers())
    mean, error = (values[:-1] for values in phantom.patch_statistics(above))
    areal = phantom.patches_g_cm2
    with np.errstate(invalid="ignore"):  # a constant scan has no correlation: NaN, which is not 0.9 either
        correlation = np.corrcoef(areal.sum(axis=1), mean[:, 0])[0, 1]
    if not correlation >= 0.9:
        raise InputError("step phantom: expected patches whose attenuation rises with their mass, got another object.")
    sigma = np.hypot(error, MODEL_ERROR_NEPERS)
    starved = mean + zero.wheel_nepers >= _MAX_NEPERS
    saturated = mean + zero.level_nepers >= full_scale_nepers - _SATURATED_NEPERS
    sigma[starved | saturated] = _UNUSED_NEPERS
    patches = _Patches(areal, wheel, phantom, pixel_spacing_mm)
    blur = phantom_blur(above, phantom)
    whitening = _Whitening(sigma, patches.of_the_mat())
    fit, stray = _most_probable(patches, mean, whitening)
    residual = whitening.residual_nepers(patches.nepers(fit.beam, stray) - mean)
    noise = 1.0 / float(np.sqrt((1.0 / sigma**2).mean()))
    check_beam(fit.beam, residual, noise, "step phantom")
    model = ScannerModel(
        fit.beam,
        wheel=wheel,
        source="phantom",
        residual_nepers=residual,
        full_scale_nepers=full_scale_nepers,
        stray=dataclasses.replace(stray, blur_rows=blur[0], blur_columns=blur[1]),
        rounding_nepers=zero.rounding_nepers,
        zero_counts=zero.level_counts(full_scale_nepers),
    )
    photons = zero.photons(model.variance_per_photon)
    return model if photons is None else dataclasses.replace(model, photons_per_pixel=photons)


def _most_probable(patches: _Patches, mean: FloatArray, whitening: _Whitening) -> tuple[BeamFit, StraySignal]:
    """Beam and stray signal; how far stray signal spreads is tried out."""
    best: tuple[BeamFit, StraySignal] | None = None
    for sigmas in itertools.product(_GLARE_SIGMAS_MM, _SCATTER_SIGMAS_MM):

        def stray(values: FloatArray, sigmas: tuple[float, float] = sigmas) -> StraySignal:
            high, low, glare, scatter = (float(value) for value in values)
            return StraySignal(high, low, glare, sigmas[0], scatter, sigmas[1])

        def misfit(beam: BeamParameters, values: FloatArray, stray: _MakeStray = stray) -> FloatArray:
            return whitening(patches.nepers(beam, stray(values)) - mean).ravel()

        fit = fit_beam(misfit, _STRAY_SD, _STRAY_HIGHEST, None if best is None else best[0].beam)
        # Little glare or scatter hardly tells how far it spreads: the noise must not choose.
        unusual = np.log(np.array(sigmas) / _USUAL_SIGMAS_MM) / _LOG_SIGMA_SD
        fit = fit._replace(misfit=fit.misfit + float((unusual**2).sum()))
        if best is None or fit.misfit < best[0].misfit:
            best = fit, stray(fit.extra)
    assert best is not None
    return best


class _Whitening:
    """Differences of the patches in standard deviations.

    The mat under a patch may be a little thicker than elsewhere. That moves its six channels together, along ``mat``,
    by an amount that nobody knows: the covariance of a patch is diag(sigma^2) + mat mat^T.
    """

    def __init__(self, sigma: FloatArray, mat: FloatArray) -> None:
        self._sigma, self._mat = sigma, mat
        covariance = np.einsum("pc,cd->pcd", sigma**2, np.eye(sigma.shape[1])) + mat[:, :, None] * mat[:, None, :]
        self._inverse = np.linalg.inv(np.linalg.cholesky(covariance))

    def __call__(self, difference: FloatArray) -> FloatArray:
        """``(P, 6)``, independent and each of variance 1."""
        return np.asarray((self._inverse @ difference[:, :, None])[:, :, 0])

    def residual_nepers(self, difference: FloatArray) -> float:
        """Root mean square, weighted by the inverse variances, of what the mat does not explain."""
        weight = 1.0 / self._sigma**2
        size = (weight * self._mat * difference).sum(1) / (1.0 + (weight * self._mat**2).sum(1))
        left = difference - size[:, None] * self._mat
        return float(np.sqrt((weight * left**2).sum() / weight.sum()))


class _Patches:
    """What the patches of the phantom read, each channel relative to the open air around them."""

    def __init__(
        self, areal: FloatArray, wheel: WheelSegments, phantom: StepPhantom, pixel_spacing_mm: tuple[float, float]
    ) -> None:
        self._attenuation = np.stack([mass_attenuation_cm2_g(name, ENERGY_KEV) for name in PHANTOM_MATERIALS])
        self._areal = np.vstack([areal, np.zeros(len(PHANTOM_MATERIALS))])  # last: the open air
        self._transmission = np.exp(-self._areal @ self._attenuation)
        self._wheel, self._phantom, self._spacing = wheel, phantom, pixel_spacing_mm

    def of_the_mat(self) -> FloatArray:
        """``(P, 6)`` what one standard deviation of the mat's thickness adds, on a typical scanner."""
        weights, _ = channel_weights(BeamParameters(), self._wheel)
        mat = np.exp(-_MAT_SD_G_CM2 * self._attenuation[PHANTOM_MATERIALS.index("polyethylene")])
        thicker, usual = ((self._transmission[:-1] * each) @ weights for each in (mat, np.ones_like(mat)))
        return np.asarray(-np.log(thicker / usual))

    def nepers(self, beam: BeamParameters, stray: StraySignal) -> FloatArray:
        """``(P, 6)`` log attenuation."""
        weights, _ = channel_weights(beam, self._wheel)
        behind = weights.sum(axis=0)  # of the wheel's segment, relative to the open beam
        primary = self._transmission @ weights / behind
        signal = (1.0 - stray.glare) * primary
        if stray.glare > 0:
            signal = signal + stray.glare * self._spread(stray.glare_sigma_mm) @ primary
        if stray.scatter_to_primary > 0:
            areal = -np.log(primary[:, :1]) / HIGH_ENERGY_CM2_G
            ratio = stray.scatter_to_primary / SCATTER_REFERENCE_G_CM2 * areal
            signal = signal + self._spread(stray.scatter_sigma_mm) @ (primary * ratio)
        dark = np.tile([stray.dark_high, stray.dark_low], len(behind) // 2)
        signal = signal + dark / behind
        return np.asarray(-np.log(signal[:-1] / signal[-1]))

    def _spread(self, sigma_mm: float) -> FloatArray:
        return _spread_between_patches(self._phantom, sigma_mm, self._spacing)


@lru_cache(maxsize=16)
def _spread_between_patches(phantom: StepPhantom, sigma_mm: float, pixel_spacing_mm: tuple[float, float]) -> FloatArray:
    """``(P + 1, P + 1)``: what each patch (last: the air) receives of the signal of each when all is blurred."""
    labels, inner = phantom.labels, phantom.inner_labels
    count = len(phantom.patches_g_cm2)
    # Patch by patch where it is read, and the air everywhere.
    receivers = np.stack([*(inner == patch for patch in range(count)), labels < 0]).astype(np.float64)
    receivers /= receivers.sum(axis=(1, 2), keepdims=True)
    senders = torch.from_numpy(np.stack([*(labels == patch for patch in range(count)), labels < 0]).astype(np.float64))
    blurred = gaussian_blur(senders[None], (sigma_mm / pixel_spacing_mm[0], sigma_mm / pixel_spacing_mm[1]))[0].numpy()
    spread: FloatArray = np.einsum("rhw,shw->rs", receivers, blurred, optimize=True)
    return spread
