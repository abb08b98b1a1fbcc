"""The numbers that describe a scanner, each with its unit and source, checked where they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from dxa_monai.errors import InputError
from dxa_monai.physics import spectra
from dxa_monai.physics.attenuation import Layers, material
from dxa_monai.physics.parameter_checks import (
    ANY,
    FRACTION,
    FROM_ZERO,
    POSITIVE,
    Range,
    layers,
    number,
    numbers,
    whole_number,
    whole_numbers,
)
from dxa_monai.physics.response import Phase, Response, detector_response
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_COUNTS, FULL_SCALE_NEPERS, PIXEL_SPACING_MM, SEGMENTS

IDEAL: Mapping[str, Any] = MappingProxyType(
    {
        "bone_segment": (("bone_mineral", 0.9), ("acrylic", 1.0)),
        "tissue_segment": (("acrylic", 8.0),),
        "scatter_fraction": 0.0,
        "blur_sigma_mm": 0.0,
        "table": (),
        "mat": (),
        "table_profile": 0.0,
        "table_width_mm": None,
        "mat_unevenness_g_cm2": 0.0,
        "pedestal_counts": 0.0,
        "scatter_to_primary": 0.0,
        "dark_signal": 0.0,
        "energy_shift_mm": (0.0, 0.0),
        "drift_low": 0.0,
        "drift_high": 0.0,
        "column_gain_sd": 0.0,
        "dead_columns": (),
        "hot_columns": (),
        "passes": 1,
        "motion_mm": 0.0,
        "fan_magnification": 1.0,
        "subpixels": (1, 1),
    }
)
"""A scanner without table, zero, scatter, blur, drift or motion, and with a thick tissue segment."""


@dataclass(frozen=True)
class AcquisitionParameters:
    """A dual-energy scanner in numbers. Values are checked at construction; lists (from JSON) become tuples.

    Filtration, wheel, detector, table and electronics of the commercial scanners are not public: what has no source
    below is an assumption. Rows lie along the body, columns across it; pairs are (rows, columns).

    Attributes:
        kvp_low: tube voltage of the low-energy phase, 60 to 150. 100 and 140: service manual of the QDR-4500.
        kvp_high: tube voltage of the high-energy phase.
        filters_low: (material, thickness in mm) layers in the low-energy beam.
        filters_high: the same for the high-energy beam. Copper takes its soft part away; without it fat and lean are
            only 0.03 apart in R.
        air_segment: (material, g/cm2) layers of the wheel's empty segment, the reference of all channels.
        bone_segment: layers of the bone-like segment.
        tissue_segment: layers of the tissue-like segment.
        detector_material: scintillator. Every photon that interacts in it deposits its whole energy.
        detector_thickness_mm: its thickness.
        photons_per_pixel: photons per pixel and channel behind the filters, before wheel segment, body and detector.
        full_scale_nepers: log attenuation at which a raw value is 1. The signal is floored there.
        scatter_fraction: part of the detected signal, 0 to below 1, that arrives spread by ``scatter_sigma_mm`` (as
            veiling glare does) instead of in its own pixel. The open beam stays 1.
        scatter_sigma_mm: standard deviation of that spread.
        blur_sigma_mm: standard deviation of the blur by focal spot and detector aperture.
        pixel_spacing_mm: distance between rows and between columns; matters for what is given in mm only.
        table: (material, g/cm2) layers of the table, in the beam everywhere. The open beam without it stays the
            reference, so air above it reads more than 0.
        mat: layers of the mat on the table.
        table_profile: relative increase of the table's areal density from the middle column to the outermost ones, a
            parabola.
        table_width_mm: beyond this width, centred on the field, lies neither table nor mat; None: they fill the field.
        mat_unevenness_g_cm2: standard deviation of a smooth random field that is added to the mat (0 at least in all).
        mat_correlation_mm: distance at which that field's correlation has fallen to 1/e.
        pedestal_counts: counts of 14 bits that the electronics add to the log attenuation of each channel (in the order
            of :data:`dxa_monai.scan.format.CHANNELS`), or one number for all.
        scatter_to_primary: scattered over primary signal behind 20 g/cm2 of body, in proportion to the body's areal
            density elsewhere; the table's scatter is left out.
        scatter_spread_mm: standard deviation of the scattered signal's spread.
        dark_signal: signal without X-rays in every channel, as a share of the open beam, 0 to below 1.
        energy_shift_mm: how far the low-energy channels see the scene displaced towards higher rows and columns.
        drift_low: standard deviation of the low-energy signal's slow relative gain along rows (of its logarithm).
        drift_high: the same at high energy.
        drift_correlation_mm: distance at which the drift's correlation has fallen to 1/e.
        column_gain_sd: standard deviation of the relative gain of each detector column (of its logarithm), the same in
            all rows and channels.
        dead_columns: columns, from 0, that read no signal.
        hot_columns: columns that read the open beam's signal, whatever lies there.
        passes: side-by-side bands of columns in which the scan is made, one after the other.
        motion_mm: standard deviation, along rows and along columns, of the body's displacement in each later pass.
        fan_magnification: factor by which the body appears wider across columns, about the middle of each pass; the
            areal density along a ray stays.
        subpixels: parts of a pixel whose signals (not attenuations) are averaged.

    Raises:
        InputError: an unknown material, or a value that cannot be.
    """

    kvp_low: float = 100.0
    kvp_high: float = 140.0
    filters_low: Layers = (("aluminium", 4.0),)
    filters_high: Layers = (("aluminium", 4.0), ("copper", 2.5))
    air_segment: Layers = ()
    bone_segment: Layers = (("bone_mineral", 0.9), ("acrylic", 1.1486))
    tissue_segment: Layers = (("acrylic", 1.4875),)
    detector_material: str = "cadmium_tungstate"
    detector_thickness_mm: float = 3.0
    photons_per_pixel: float = 3e6
    full_scale_nepers: float = FULL_SCALE_NEPERS
    scatter_fraction: float = 0.0
    scatter_sigma_mm: float = 50.0
    blur_sigma_mm: float = 2.0
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
    table: Layers = (("acrylic", 0.6),)
    mat: Layers = (("polyethylene", 0.15),)
    table_profile: float = 0.02
    table_width_mm: float | None = None
    mat_unevenness_g_cm2: float = 0.01
    mat_correlation_mm: float = 150.0
    pedestal_counts: float | tuple[float, ...] = (1800.0, 1790.0) * 3
    scatter_to_primary: float = 0.01
    scatter_spread_mm: float = 30.0
    dark_signal: float = 0.0
    energy_shift_mm: tuple[float, float] = (0.0, 0.0)
    drift_low: float = 0.001
    drift_high: float = 0.001
    drift_correlation_mm: float = 500.0
    column_gain_sd: float = 0.0
    dead_columns: tuple[int, ...] = ()
    hot_columns: tuple[int, ...] = ()
    passes: int = 1
    motion_mm: float = 0.0
    fan_magnification: float = 1.0
    subpixels: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name in ("filters_low", "filters_high", *(f"{segment}_segment" for segment in SEGMENTS), "table", "mat"):
            keep(name, layers(name, getattr(self, name)))
        material(self.detector_material)
        lowest, highest = spectra.kvp_range()
        voltage = Range(f"a tube voltage from {lowest:g} to {highest:g}", lowest, highest)
        for allowed, names in (
            (voltage, ("kvp_low", "kvp_high")),
            (POSITIVE, ("detector_thickness_mm", "photons_per_pixel", "full_scale_nepers", "fan_magnification")),
            (POSITIVE, ("scatter_sigma_mm", "scatter_spread_mm", "mat_correlation_mm", "drift_correlation_mm")),
            (FRACTION, ("scatter_fraction", "dark_signal")),
            (FROM_ZERO, ("blur_sigma_mm", "table_profile", "mat_unevenness_g_cm2", "scatter_to_primary")),
            (FROM_ZERO, ("drift_low", "drift_high", "column_gain_sd", "motion_mm")),
        ):
            for name in names:
                keep(name, number(name, getattr(self, name), allowed))
        if not self.kvp_low < self.kvp_high:
            raise InputError(f"kvp_low: expected less than kvp_high ({self.kvp_high:g}), got {self.kvp_low:g}.")
        if self.table_width_mm is not None:
            keep("table_width_mm", number("table_width_mm", self.table_width_mm, POSITIVE))
        if self.mat_unevenness_g_cm2 > 0 and not sum(areal for _, areal in self.mat) > 0:
            raise InputError(f"mat_unevenness_g_cm2: expected 0 without a mat, got {self.mat_unevenness_g_cm2:g}.")
        keep("pixel_spacing_mm", numbers("pixel_spacing_mm", self.pixel_spacing_mm, 2, POSITIVE))
        keep("energy_shift_mm", numbers("energy_shift_mm", self.energy_shift_mm, 2, ANY))
        counts: Any = self.pedestal_counts
        counts = (counts,) * len(CHANNELS) if isinstance(counts, int | float) else counts
        allowed = Range(f"counts from 0 to {FULL_SCALE_COUNTS - 1}", 0.0, FULL_SCALE_COUNTS - 1.0)
        keep("pedestal_counts", numbers("pedestal_counts", counts, len(CHANNELS), allowed))
        for name in ("dead_columns", "hot_columns"):
            keep(name, whole_numbers(name, getattr(self, name), 0))
        both = sorted(set(self.dead_columns) & set(self.hot_columns))
        if both:
            raise InputError(f"hot_columns: expected columns that are not dead, got {both[0]}.")
        keep("passes", whole_number("passes", self.passes, 1))
        keep("subpixels", whole_numbers("subpixels", self.subpixels, 1, count=2))

    def as_dict(self) -> dict[str, Any]:
        """The parameters as JSON can hold them (tuples as lists); :meth:`from_dict` undoes it."""
        return {field.name: _as_json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, parameters: Mapping[str, Any]) -> Self:
        """A scanner from a record of :meth:`as_dict`.

        Names that the record lacks have the values of ``IDEAL`` where that has one, not the defaults: a record that
        does not name an effect was written before there was any, and its scans are without it. What ``IDEAL`` does not
        name has its default.

        Raises:
            InputError: an unknown name, or a value that cannot be.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise InputError(f"acquisition: expected parameters among {', '.join(known)}, got '{unknown[0]}'.")
        return cls(**{**IDEAL, **parameters})

    def response(self) -> Response:
        """Energies, the body's attenuation coefficients and the detector weights of this scanner, without the table.

        Raises:
            InputError: nothing passes the filters and segments.
        """
        return detector_response(
            Phase(self.kvp_high, self.filters_high),
            Phase(self.kvp_low, self.filters_low),
            tuple(getattr(self, f"{segment}_segment") for segment in SEGMENTS),
            self.detector_material,
            self.detector_thickness_mm,
        )

    def in_pixels(self, length_mm: float) -> tuple[float, float]:
        """A length as numbers of rows and of columns."""
        return length_mm / self.pixel_spacing_mm[0], length_mm / self.pixel_spacing_mm[1]


def _as_json(value: Any) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value
