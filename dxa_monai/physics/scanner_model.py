"""A calibrated model of one scanner: what its channels would read behind given areal densities.

A lab calibrates once: it scans a step phantom (:mod:`dxa_monai.physics.phantom_calibration`). Without a phantom,
:mod:`dxa_monai.analysis.scan_calibration` reads the wheel segments in people's scans.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.input_files import read_json
from dxa_monai.physics.attenuation import BODY_MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.beam_model import ENERGY_KEV, KVP_RANGE, BeamParameters, WheelSegments, channel_weights
from dxa_monai.physics.parameter_checks import ANY, FRACTION, FROM_ZERO, POSITIVE, number, numbers
from dxa_monai.physics.stray import StraySignal
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_COUNTS, FULL_SCALE_NEPERS

FloatArray = npt.NDArray[np.float64]

_LATER = ("stray", "rounding_nepers", "energy_shift_mm", "zero_counts")
"""What models before 0.6 do not hold."""
_NUMBERS = {
    "photons_per_pixel": POSITIVE,
    "residual_nepers": FROM_ZERO,
    "full_scale_nepers": POSITIVE,
    "rounding_nepers": FROM_ZERO,
}
_STRAY = {"glare": FRACTION}


@dataclass(frozen=True)
class ScannerModel:
    """A scanner as the analysis sees it.

    Attributes:
        beam: fitted parameters of the beam.
        photons_per_pixel: photons behind the filters, from the noise in the open air.
        wheel: what the segments are made of.
        source: "nominal", "phantom" or "scan": what it was calibrated with.
        residual_nepers: root mean square of what the fit leaves, weighted by the photons.
        full_scale_nepers: what a raw value of 1 means.
        stray: signal that has not come straight through a pixel; only a step phantom tells of it.
        rounding_nepers: distance between the values that the export knows, one count of 14 bits by default.
        energy_shift_mm: how far the low-energy image lies displaced along rows and columns.
        zero_counts: what the six channels read in the open air of the scans that it was calibrated with; None: not
            known. Every scan's zero is found in its own air; this one is for comparison.
    """

    beam: BeamParameters = field(default_factory=BeamParameters)
    photons_per_pixel: float = 1e6
    wheel: WheelSegments = field(default_factory=WheelSegments)
    source: str = "nominal"
    residual_nepers: float = 0.0
    full_scale_nepers: float = FULL_SCALE_NEPERS
    stray: StraySignal = field(default_factory=StraySignal)
    rounding_nepers: float = FULL_SCALE_NEPERS / FULL_SCALE_COUNTS
    energy_shift_mm: tuple[float, float] = (0.0, 0.0)
    zero_counts: tuple[float, ...] | None = None

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
    def wheel_nepers(self) -> FloatArray:
        """``(6,)`` attenuation of each channel's segment of the wheel; 0 for the air segment's."""
        signal = self.signal_weights.sum(axis=0)
        return np.asarray(-np.log(signal / np.tile(signal[:2], len(signal) // 2)))

    @property
    def variance_per_photon(self) -> FloatArray:
        """``(6,)`` relative variance of each channel in the open air, times photons per pixel."""
        return np.asarray(self.variance_weights.sum(axis=0) / self.signal_weights.sum(axis=0) ** 2)

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
        stored["zero_counts"] = None if self.zero_counts is None else list(self.zero_counts)
        stored["energy_shift_mm"] = list(self.energy_shift_mm)
        stored["wheel"] = {name: [list(layer) for layer in layers] for name, layers in stored["wheel"].items()}
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], source: str = "scanner model") -> ScannerModel:
        """A model from :meth:`as_dict`'s form; what one made before 0.6 does not hold has its default (none of it).

        Raises:
            InputError: names or values that cannot be, a name missing or too many, or filters and a wheel that let
                nothing through; ``source`` (a path) begins the sentence.
        """
        try:
            model = cls._of_names(stored)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{source}: expected a model as the calibration writes it, got {error!r}.") from error
        lowest, highest = KVP_RANGE
        if not lowest <= model.beam.kvp_low < model.beam.kvp_high <= highest:
            raise InputError(
                f"{source}: expected tube voltages kvp_low < kvp_high from {lowest:g} to {highest:g}, "
                f"got {model.beam.kvp_low:g} and {model.beam.kvp_high:g}."
            )
        with np.errstate(all="ignore"):
            reached = bool(np.isfinite(model.wheel_nepers).all())
        if not reached:
            raise InputError(f"{source}: expected filters and a wheel that let signal through, got ones that do not.")
        return model

    @classmethod
    def _of_names(cls, stored: Mapping[str, Any]) -> ScannerModel:
        """A model of numbers, each under its name; the error does not say where they are from."""
        defaults = cls().as_dict()
        _refuse_other_names("scanner model", stored, defaults, _LATER)
        stored = {**{name: defaults[name] for name in _LATER}, **stored}
        for part in ("beam", "wheel", "stray"):
            _refuse_other_names(part, stored[part], defaults[part])
        if not isinstance(stored["source"], str):
            raise InputError(f"source: expected what it was calibrated with, got {stored['source']!r}.")
        stray = {name: number(name, value, _STRAY.get(name, FROM_ZERO)) for name, value in stored["stray"].items()}
        rows_mm, columns_mm = numbers("energy_shift_mm", stored["energy_shift_mm"], 2, ANY)
        zero = stored["zero_counts"]
        return cls(
            beam=BeamParameters(**{name: number(name, value, FROM_ZERO) for name, value in stored["beam"].items()}),
            wheel=WheelSegments(**stored["wheel"]),
            source=stored["source"],
            stray=StraySignal(**stray),
            energy_shift_mm=(rows_mm, columns_mm),
            zero_counts=None if zero is None else numbers("zero_counts", zero, len(CHANNELS), FROM_ZERO),
            **{name: number(name, stored[name], allowed) for name, allowed in _NUMBERS.items()},
        )


def write_scanner_model(model: ScannerModel, path: str | Path) -> None:
    """Write a model as JSON, to a temporary name first."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(model.as_dict(), indent=2) + "\n", encoding="utf-8")


def read_scanner_model(path: str | Path) -> ScannerModel:
    """Read what :func:`write_scanner_model` wrote.

    Raises:
        InputError: no such file, no JSON, or not a model.
    """
    stored = read_json(path, "a scanner model")
    return ScannerModel.from_dict(stored, str(path))


def _refuse_other_names(part: str, named: Any, expected: Mapping[str, Any], optional: Collection[str] = ()) -> None:
    if not isinstance(named, Mapping):
        raise InputError(f"{part}: expected {', '.join(expected)}, got {named!r:.60}.")
    if set(named) | set(optional) != set(expected):
        raise InputError(f"{part}: expected {', '.join(expected)}, got {', '.join(map(str, named)) or 'none'}.")
