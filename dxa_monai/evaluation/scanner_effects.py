"""What real scanners do that an analysis does not know: effects one by one, in a few strengths, and together.

Every effect is a change of a realistic scanner (:class:`dxa_monai.physics.acquisition.Acquisition`, which has
a little of most of them) after its voltages, filters and detector were moved away from what the analysis takes for
usual. Where an effect's strength is the realistic scanner's own, its row equals that of ``none``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.perturbed import wheel_of
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.attenuation import BODY_MATERIALS, material
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.parameter_checks import whole_number
from dxa_monai.scan.format import FULL_SCALE_COUNTS

_BITS = 14


@dataclass(frozen=True)
class AlteredAcquisition(Acquisition):
    """A scanner of which more can be changed: how its counts are exported, and what lean tissue is made of.

    Attributes:
        export_bits: bits that an export keeps of the 14 of a count, the lower ones rounded away.
        lean_material: what ``lean`` is made of in the bodies that it scans.

    Raises:
        InputError: an unknown material, or a value that cannot be.
    """

    export_bits: int = _BITS
    lean_material: str = "lean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if whole_number("export_bits", self.export_bits, 1) > _BITS:
            raise InputError(f"export_bits: expected at most {_BITS}, got {self.export_bits}.")
        material(self.lean_material)

    def scan(
        self,
        areal_density: torch.Tensor,
        generator: torch.Generator,
        materials: tuple[str, ...] = BODY_MATERIALS,
    ) -> npt.NDArray[np.uint16]:
        """As :meth:`Acquisition.scan`; counts are multiples of 2 to the power of 14 - ``export_bits``."""
        made_of = tuple(self.lean_material if name == "lean" else name for name in materials)
        counts = super().scan(areal_density, generator, made_of).astype(np.int64)
        step = 2 ** (_BITS - self.export_bits)
        rounded = (counts + step // 2) // step * step
        return np.minimum(rounded, FULL_SCALE_COUNTS + 1 - step).astype(np.uint16)


@dataclass(frozen=True)
class Effect:
    """Something that a scanner does.

    Attributes:
        title: for tables and figures.
        strengths: changed fields of :class:`AlteredAcquisition` by how strong the effect is, in words.
        wheel_declared: whether the analysis is told what the changed wheel is made of.
    """

    title: str
    strengths: Mapping[str, Mapping[str, Any]]
    wheel_declared: bool = True


def _of_one(name: str, strengths: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Strengths of an effect that is one field."""
    return {label: {name: value} for label, value in strengths.items()}


_TISSUE_G_CM2 = 1.4875  # of acrylic, the realistic scanner's
_MIDDLE_COLUMN = 50  # beside the spine
_MIX: Mapping[str, Any] = {
    "pedestal_counts": (1800.0, 1790.0, 1805.0, 1790.0, 1800.0, 1795.0),
    "mat_unevenness_g_cm2": 0.02,
    "drift_low": 0.002,
    "drift_high": 0.002,
    "column_gain_sd": 0.002,
    "scatter_to_primary": 0.03,
    "scatter_fraction": 0.001,
    "dark_signal": 1e-5,
    "blur_sigma_mm": 3.0,
    "energy_shift_mm": (0.3, 0.3),
    "export_bits": 12,
}
_ALL: Mapping[str, Any] = {
    "table": (("acrylic", 0.8),),
    "table_profile": 0.05,
    "pedestal_counts": (1800.0, 1790.0, 1820.0, 1790.0, 1800.0, 1810.0),
    "mat_unevenness_g_cm2": 0.03,
    "drift_low": 0.01,
    "drift_high": 0.01,
    "column_gain_sd": 0.005,
    "scatter_to_primary": 0.05,
    "scatter_fraction": 0.01,
    "dark_signal": 1e-4,
    "blur_sigma_mm": 3.0,
    "energy_shift_mm": (1.0, 1.0),
    "passes": 3,
    "motion_mm": 1.0,
    "fan_magnification": 1.02,
    "subpixels": (2, 2),
    "dead_columns": (_MIDDLE_COLUMN,),
    "photons_per_pixel": 3e5,
    "export_bits": 10,
    "lean_material": "muscle_icru44",
}

EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {
        "none": Effect("nothing added", {"realistic": {}}),
        "table": Effect(
            "table", _of_one("table", {f"{areal} g/cm2": (("acrylic", areal),) for areal in (0.4, 0.8, 1.5)})
        ),
        "table_profile": Effect("table thicker at its sides", _of_one("table_profile", {"10 %": 0.1})),
        "narrow_table": Effect("table narrower than the field", _of_one("table_width_mm", {"500 mm": 500.0})),
        "pedestal": Effect(
            "pedestal, equal for all channels",
            _of_one("pedestal_counts", {f"{counts} counts": float(counts) for counts in (0, 200, 2700)}),
        ),
        "pedestal_of_channels": Effect(
            "pedestal differs between segments",
            _of_one(
                "pedestal_counts",
                {
                    f"{counts} counts": (1800.0, 1790.0, 1800.0 + counts, 1790.0, 1800.0, 1790.0 + counts)
                    for counts in (5, 50)
                },
            ),
        ),
        "thick_drum": Effect(
            "thick drum, declared",
            {
                "67 mm": {
                    "bone_segment": (("bone_mineral", 0.9), ("acrylic", 1.0)),
                    "tissue_segment": (("acrylic", 8.0),),
                }
            },
        ),
        "wheel": Effect(
            "tissue segment thicker than declared",
            _of_one(
                "tissue_segment",
                {f"{percent} %": (("acrylic", _TISSUE_G_CM2 * (1.0 + percent / 100.0)),) for percent in (1, 3)},
            ),
            wheel_declared=False,
        ),
        "mat": Effect(
            "uneven mat",
            _of_one("mat_unevenness_g_cm2", {f"{areal} g/cm2": areal for areal in (0.01, 0.02, 0.05)}),
        ),
        "drift": Effect(
            "drift, both energies",
            {f"{percent} %": dict.fromkeys(("drift_low", "drift_high"), percent / 100.0) for percent in (0.2, 1, 2)},
        ),
        "drift_low": Effect(
            "drift, low energy alone",
            _of_one("drift_low", {f"{percent} %": percent / 100.0 for percent in (0.2, 1, 2)}),
        ),
        "column_gains": Effect(
            "gains of columns",
            _of_one("column_gain_sd", {f"{percent} %": percent / 100.0 for percent in (0.2, 0.5, 1)}),
        ),
        "scatter": Effect(
            "scatter to primary",
            _of_one("scatter_to_primary", {f"{percent} %": percent / 100.0 for percent in (2, 5, 10)}),
        ),
        "glare": Effect(
            "glare", _of_one("scatter_fraction", {f"{percent} %": percent / 100.0 for percent in (0.1, 1)})
        ),
        "dark_signal": Effect(
            "dark signal of the open beam",
            _of_one("dark_signal", {"1e-5": 1e-5, "1e-4": 1e-4, "1e-3": 1e-3}),
        ),
        "blur": Effect("blur", _of_one("blur_sigma_mm", {f"{sigma} mm": float(sigma) for sigma in (2, 3, 5, 8)})),
        "energy_shift": Effect(
            "low energy displaced, both ways",
            _of_one("energy_shift_mm", {f"{shift} mm": (float(shift), float(shift)) for shift in (0.3, 1, 2)}),
        ),
        "motion": Effect(
            "motion between 3 passes",
            {f"{motion} mm": {"passes": 3, "motion_mm": float(motion)} for motion in (1, 3)},
        ),
        "fan": Effect("fan magnification", _of_one("fan_magnification", {"1.02": 1.02, "1.05": 1.05})),
        "subpixels": Effect("pixels average rays", _of_one("subpixels", {"4 x 4": (4, 4)})),
        "dead_column": Effect("dead column", _of_one("dead_columns", {"1": (_MIDDLE_COLUMN,)})),
        "hot_column": Effect("hot column", _of_one("hot_columns", {"1": (_MIDDLE_COLUMN,)})),
        "photons": Effect("photons a pixel", _of_one("photons_per_pixel", {"3e5": 3e5, "3e4": 3e4})),
        "export": Effect("export", _of_one("export_bits", {f"{bits} bits": bits for bits in (12, 10, 8)})),
        "muscle": Effect("lean tissue is ICRU-44 muscle", _of_one("lean_material", {"all of it": "muscle_icru44"})),
        "mix": Effect("a plausible mix", {"small": _MIX}),
        "everything": Effect("everything at once", {"moderate": _ALL}),
    }
)
"""By name. Field by field: :class:`dxa_monai.physics.acquisition_parameters.AcquisitionParameters`."""


class EffectScanner(NamedTuple):
    """A scanner with an effect, and what its owner knows of it."""

    acquisition: AlteredAcquisition
    wheel: WheelSegments
    """As declared."""
    phantom_seed: int
    """Of the noise in its scan of the step phantom."""


def scanner_with(effect: str, strength: str, seed: int, number: int) -> EffectScanner:
    """One of the scanners that have an effect.

    All effects meet the same scanners, so that what differs between their results is the effect.

    Args:
        effect: key of ``EFFECTS``.
        strength: key of its strengths.
        seed: of voltages, filters, detector and photons.
        number: of the scanner, from 0; it depends on nothing else.
    """
    rng = np.random.default_rng([seed, number])
    usual = AlteredAcquisition().perturbed(rng)
    about = EFFECTS[effect]
    changed = AlteredAcquisition.from_dict({**usual.as_dict(), **about.strengths[strength]})
    declared = changed if about.wheel_declared else usual
    return EffectScanner(changed, wheel_of(declared), int(rng.integers(2**31)))


def cells_of(effects: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Effects at each of their strengths: keys of ``EFFECTS`` and of the strengths.

    Args:
        effects: keys of ``EFFECTS``; None: all.

    Raises:
        InputError: an unknown effect, or none.
    """
    chosen = list(EFFECTS) if effects is None else list(dict.fromkeys(effects))
    unknown = [name for name in chosen if name not in EFFECTS]
    if unknown or not chosen:
        raise InputError(f"effects: expected some of {', '.join(EFFECTS)}, got {unknown[0] if unknown else 'none'}.")
    return [(name, strength) for name in chosen for strength in EFFECTS[name].strengths]
