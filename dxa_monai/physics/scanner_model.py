"""A calibrated model of one scanner: what its channels would read behind given areal densities.

A lab calibrates once: it scans a step phantom, and :func:`calibrate_with_phantom` fits the parameters of
:mod:`dxa_monai.physics.beam_model` to the patches' means. Without a phantom, :mod:`dxa_monai.analysis.scan_calibration`
reads the wheel segments in people's scans.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import least_squares

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.physics.attenuation import BODY_MATERIALS, MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.beam_model import ENERGY_KEV, KVP_RANGE, PRIOR_SD, BeamParameters, WheelSegments, channel_weights
from dxa_monai.physics.calibration import MASK_THRESHOLD_NEPERS, body_mask
from dxa_monai.physics.step_phantom import PHANTOM_MATERIALS, StepPhantom
from dxa_monai.scan.format import FULL_SCALE_COUNTS, FULL_SCALE_NEPERS

FloatArray = npt.NDArray[np.float64]

_MODEL_ERROR_NEPERS = 3e-4
"""How well Kramers' law can describe a real beam at best; keeps very precise patches from outweighing all others."""
_MAX_NEPERS = 9.5  # beyond, few photons are left and the logarithm is biased


@dataclass(frozen=True)
class ScannerModel:
    """A scanner as the analysis sees it.

    Attributes:
        beam: fitted parameters of the beam.
        photons_per_pixel: photons behind the filters, from the noise in the open air.
        wheel: what the segments are made of.
        source: "nominal", "phantom" or "scan": what it was calibrated with.
        residual_nepers: root mean square of what the fit leaves.
        full_scale_nepers: what a raw value of 1 means.
    """

    beam: BeamParameters = field(default_factory=BeamParameters)
    photons_per_pixel: float = 1e6
    wheel: WheelSegments = field(default_factory=WheelSegments)
    source: str = "nominal"
    residual_nepers: float = 0.0
    full_scale_nepers: float = FULL_SCALE_NEPERS

    @cached_property
    def _weights(self) -> tuple[FloatArray, FloatArray]:
        return channel_weights(self.beam, self.wheel)

    @property
    def signal_weights(self) -> FloatArray:
        """``(E, 6)`` what each energy adds to each channel's signal without a body."""
        return self._weights[0]

    @property
    def variance_weights(self) -> FloatArray:
        """``(E, 6)`` what each energy adds to the signal's variance, times photons per pixel."""
        return self._weights[1]

    @cached_property
    def _tensors(self) -> dict[tuple[torch.dtype, str], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        return {}

    def tensors(self, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(3, E)`` attenuation of the body's materials, ``(E, 6)`` signal weights, ``(E, 6)`` variance weights
        of a pixel. Kept for the next call: do not write into them."""
        key = (dtype, str(device))
        if key not in self._tensors:
            coefficients = np.stack([mass_attenuation_cm2_g(name, ENERGY_KEV) for name in BODY_MATERIALS])
            arrays = (coefficients, self.signal_weights, self.variance_weights / self.photons_per_pixel)
            # What is made in inference mode may not be used with a gradient later.
            with torch.inference_mode(False):
                first, second, third = (torch.tensor(array, dtype=dtype, device=device) for array in arrays)
            self._tensors[key] = (first, second, third)
        return self._tensors[key]

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold; :meth:`from_dict` undoes it."""
        stored = dataclasses.asdict(self)
        stored["wheel"] = {name: [list(layer) for layer in layers] for name, layers in stored["wheel"].items()}
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], source: str = "scanner model") -> ScannerModel:
        """A model from :meth:`as_dict`'s form.

        Raises:
            InputError: names or values that cannot be; ``source`` (a path) begins the sentence.
        """
        try:
            wheel = {
                name: tuple((str(layer), float(areal)) for layer, areal in layers)
                for name, layers in stored["wheel"].items()
            }
            beam = {str(name): float(value) for name, value in stored["beam"].items()}
            numbers = {name: float(stored[name]) for name in ("photons_per_pixel", "residual_nepers")}
            model = cls(
                beam=BeamParameters(**beam),
                wheel=WheelSegments(**wheel),
                source=str(stored["source"]),
                full_scale_nepers=float(stored["full_scale_nepers"]),
                **numbers,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{source}: expected a model as the calibration writes it, got {error!r}.") from error
        layers = [layer for segment in dataclasses.astuple(model.wheel) for layer in segment]
        unknown = [name for name, _ in layers if name not in MATERIALS]
        if unknown:
            raise InputError(f"{source}: expected materials among {', '.join(MATERIALS)}, got '{unknown[0]}'.")
        values = [*model.beam.as_vector(), *(areal for _, areal in layers), model.residual_nepers]
        positive = [model.photons_per_pixel, model.full_scale_nepers]
        if not np.isfinite([*values, *positive]).all() or min(values) < 0 or min(positive) <= 0:
            raise InputError(f"{source}: expected finite numbers from 0, photons and full scale above, got {stored}.")
        lowest, highest = KVP_RANGE
        if not lowest <= model.beam.kvp_low < model.beam.kvp_high <= highest:
            raise InputError(
                f"{source}: expected tube voltages kvp_low < kvp_high from {lowest:g} to {highest:g}, "
                f"got {model.beam.kvp_low:g} and {model.beam.kvp_high:g}."
            )
        return model


def write_scanner_model(model: ScannerModel, path: str | Path) -> None:
    """Write a model as JSON, to a temporary name first."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(model.as_dict(), indent=2) + "\n", encoding="utf-8")


def read_scanner_model(path: str | Path) -> ScannerModel:
    """Read what :func:`write_scanner_model` wrote.

    Raises:
        InputError: no such file, no JSON, or not a model.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a scanner model, got no such file.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON file, got {error}.") from error
    return ScannerModel.from_dict(stored, str(path))


def calibrate_with_phantom(
    raw: torch.Tensor,
    phantom: StepPhantom | None = None,
    wheel: WheelSegments | None = None,
    full_scale_nepers: float = FULL_SCALE_NEPERS,
) -> ScannerModel:
    """Fit a scanner from a scan of the step phantom.

    Args:
        raw: ``(6, H, W)`` scan of the phantom in [0, 1].
        phantom: its layout.
        wheel: what the segments are made of.
        full_scale_nepers: what a raw value of 1 means.

    Raises:
        InputError: the scan does not show the phantom.
    """
    phantom = StepPhantom() if phantom is None else phantom
    wheel = WheelSegments() if wheel is None else wheel
    if tuple(raw.shape) != (6, *phantom.shape):
        raise InputError(f"step phantom: expected shape (6, {phantom.shape[0]}, {phantom.shape[1]}), got {raw.shape}.")
    mean, error = phantom.patch_statistics(raw * full_scale_nepers)
    used = mean < _MAX_NEPERS
    used[-1, :2] = False  # the open beam itself, cut off at 0 counts
    areal = np.vstack([phantom.patches_g_cm2, np.zeros(len(PHANTOM_MATERIALS))])
    attenuation = np.stack([mass_attenuation_cm2_g(name, ENERGY_KEV) for name in PHANTOM_MATERIALS])
    transmission = np.exp(-areal @ attenuation)
    with np.errstate(invalid="ignore"):  # a constant scan has no correlation: NaN, which is not 0.9 either
        correlation = np.corrcoef(areal.sum(axis=1), mean[:, 0])[0, 1]
    if not correlation >= 0.9:
        raise InputError("step phantom: expected patches whose attenuation rises with their mass, got another object.")
    sigma = np.hypot(error, _MODEL_ERROR_NEPERS)

    def residuals(steps: FloatArray) -> FloatArray:
        signal, _ = channel_weights(stepped_parameters(steps), wheel)
        return np.concatenate([((-np.log(transmission @ signal) - mean) / sigma)[used], steps])

    beam = stepped_parameters(least_squares(residuals, np.zeros(len(PRIOR_SD.as_vector()))).x)
    left = (-np.log(transmission @ channel_weights(beam, wheel)[0]) - mean)[used]
    model = ScannerModel(beam, 1.0, wheel, "phantom", float(np.sqrt((left**2).mean())), full_scale_nepers)
    return dataclasses.replace(model, photons_per_pixel=photons_from_open_air(raw, model))


def photons_from_open_air(raw: torch.Tensor, model: ScannerModel) -> float:
    """Photons per pixel and channel, from how much the wheel segments' channels vary in the open air.

    Args:
        raw: ``(6, H, W)`` any scan of the scanner in [0, 1].
        model: the scanner, its photons not yet known.

    Raises:
        InputError: fewer than 100 pixels of open air.
    """
    air = open_air(raw, model.full_scale_nepers)
    if int(air.sum()) < 100:
        raise InputError(f"scan: expected at least 100 pixels of open air around the body, got {int(air.sum())}.")
    nepers = raw[2:, air].double().numpy() * model.full_scale_nepers
    expected = model.variance_weights.sum(axis=0)[2:] / model.signal_weights.sum(axis=0)[2:] ** 2
    # One count of 14 bits is as wide as the noise of a few million photons.
    rounding = (model.full_scale_nepers / FULL_SCALE_COUNTS) ** 2 / 12.0
    measured = np.maximum(nepers.var(axis=1, ddof=1) - rounding, 1e-12)
    return float(np.exp(np.mean(np.log(expected / measured))))


def open_air(raw: torch.Tensor, full_scale_nepers: float = FULL_SCALE_NEPERS) -> torch.Tensor:
    """``(H, W)`` bool: pixels two away from anything that attenuates. ``raw`` is ``(6, H, W)``."""
    body = body_mask(raw[None], MASK_THRESHOLD_NEPERS, full_scale_nepers).float()
    return torch.nn.functional.max_pool2d(body, 5, stride=1, padding=2)[0, 0] == 0


def stepped_parameters(steps: FloatArray) -> BeamParameters:
    """Parameters that many prior standard deviations from the default, none of them negative."""
    values = BeamParameters().as_vector() + np.asarray(steps) * PRIOR_SD.as_vector()
    return BeamParameters.from_vector(np.maximum(values, 0.0))
