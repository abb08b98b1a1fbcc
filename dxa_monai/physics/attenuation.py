"""What X-rays pass through: materials and their mass attenuation coefficients.

Element data are the Elam tables through ``xraydb`` [1]; a mixture's coefficient is the mean of its elements' by mass
fraction. 'Total' attenuation is used (photoelectric, coherent and incoherent), as for a narrow beam.

References:
    [1] Elam, Ravel, Sieber: A new atomic database for X-ray spectroscopic calculations. Radiat Phys Chem 63, 121
        (2002). doi:10.1016/S0969-806X(01)00227-4
    [2] ICRU Report 44: Tissue substitutes in radiation dosimetry and measurement (1989); compositions as tabulated by
        Hubbell & Seltzer, NISTIR 5632. doi:10.18434/T4D01F
    [3] Hodson, Skeaff, Fielding: Fatty acid composition of adipose tissue and blood in humans. Prog Lipid Res 47, 348
        (2008). doi:10.1016/j.plipres.2008.03.003
    [4] Wang, Pierson, Heymsfield: The five-level model. Am J Clin Nutr 56, 19 (1992). doi:10.1093/ajcn/56.1.19
    [5] Wang et al.: Hydration of fat-free body mass. Am J Clin Nutr 69, 833 (1999). doi:10.1093/ajcn/69.5.833
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError

FloatArray = npt.NDArray[np.float64]

MIN_ENERGY_KEV, MAX_ENERGY_KEV = 1.0, 800.0
"""Where the tables are good; a number outside is most likely in eV."""


@dataclass(frozen=True)
class Material:
    """A mixture of compounds.

    Attributes:
        parts: pairs of (chemical formula, mass fraction); the fractions are relative, they need not add up to 1.
        density_g_cm3: what turns a filter's or detector's thickness into g/cm2.
    """

    parts: tuple[tuple[str, float], ...]
    density_g_cm3: float


MATERIALS: Mapping[str, Material] = MappingProxyType(
    {
        # Triglyceride of one palmitic and two oleic acids, the two commonest acids of human fat tissue [3].
        "fat": Material((("C55H102O6", 1.0),), 0.90),
        # Fat-free soft tissue: 73.5 % water [5], protein [4] (with the little glycogen), and 0.9 % electrolytes whose
        # split is our rounding of the body's potassium, sodium, chlorine and phosphorus outside bone.
        # Density from water 0.994, protein 1.34, mineral 3.04 g/cm3.
        "lean": Material(
            (
                ("H2O", 0.735),
                ("C100H159N26O32S0.7", 0.256),
                ("K", 0.009 * 0.35),
                ("Na", 0.009 * 0.15),
                ("Cl", 0.009 * 0.20),
                ("P", 0.009 * 0.30),
            ),
            1.07,
        ),
        # Hydroxyapatite, Ca10(PO4)6(OH)2, what bone mineral content is counted in.
        "bone_mineral": Material((("Ca10P6O26H2", 1.0),), 3.16),
        "water": Material((("H2O", 1.0),), 0.998),
        "air": Material((("C", 0.000124), ("N", 0.755268), ("O", 0.231781), ("Ar", 0.012827)), 1.205e-3),  # [2]
        "acrylic": Material((("C5H8O2", 1.0),), 1.19),
        "polyethylene": Material((("CH2", 1.0),), 0.94),
        "tungsten": Material((("W", 1.0),), 19.3),
        "aluminium": Material((("Al", 1.0),), 2.699),
        "copper": Material((("Cu", 1.0),), 8.96),
        "cadmium_tungstate": Material((("CdWO4", 1.0),), 7.9),
        "caesium_iodide": Material((("CsI", 1.0),), 4.51),
        "adipose_icru44": Material(  # [2]
            (("H", 0.114), ("C", 0.598), ("N", 0.007), ("O", 0.278), ("Na", 0.001), ("S", 0.001), ("Cl", 0.001)), 0.95
        ),
        "muscle_icru44": Material(  # [2]
            (
                ("H", 0.102),
                ("C", 0.143),
                ("N", 0.034),
                ("O", 0.710),
                ("Na", 0.001),
                ("P", 0.002),
                ("S", 0.003),
                ("Cl", 0.001),
                ("K", 0.004),
            ),
            1.05,
        ),
        "cortical_bone_icru44": Material(  # [2]
            (
                ("H", 0.034),
                ("C", 0.155),
                ("N", 0.042),
                ("O", 0.435),
                ("Na", 0.001),
                ("Mg", 0.002),
                ("P", 0.103),
                ("S", 0.003),
                ("Ca", 0.225),
            ),
            1.92,
        ),
    }
)

Layers = tuple[tuple[str, float], ...]
"""Materials in a beam, each with its thickness in mm (filters) or its areal density in g/cm2 (wheel, table)."""

BODY_MATERIALS = ("fat", "lean", "bone_mineral")
"""The materials of an areal-density map ``(3, H, W)``, in its order."""


def material(name: str) -> Material:
    """The material of that name.

    Raises:
        InputError: there is none.
    """
    if name not in MATERIALS:
        raise InputError(f"material: expected one of {', '.join(sorted(MATERIALS))}, got '{name}'.")
    return MATERIALS[name]


def mass_attenuation_cm2_g(name: str, energy_kev: npt.ArrayLike) -> FloatArray:
    """Mass attenuation coefficient of a material, coherent scattering included.

    Args:
        name: a key of ``MATERIALS``.
        energy_kev: photon energies, any shape, 1 to 800 keV.

    Returns:
        Coefficients in cm2/g, of the energies' shape; a read-only array, kept for the next call.

    Raises:
        InputError: unknown material, or an energy outside the tables.
    """
    material(name)
    energies = np.asarray(energy_kev, dtype=np.float64)
    if energies.size and (energies.min() < MIN_ENERGY_KEV or energies.max() > MAX_ENERGY_KEV):
        raise InputError(
            f"energy_kev: expected {MIN_ENERGY_KEV:g} to {MAX_ENERGY_KEV:g} keV, "
            f"got {energies.min():g} to {energies.max():g}."
        )
    return _mass_attenuation(name, tuple(energies.ravel().tolist())).reshape(energies.shape)


@lru_cache(maxsize=128)
def _mass_attenuation(name: str, energies_kev: tuple[float, ...]) -> FloatArray:
    import xraydb

    energies_ev = 1e3 * np.array(energies_kev)
    coefficient, total_mass = np.zeros_like(energies_ev), 0.0
    if energies_ev.size:
        for formula, fraction in MATERIALS[name].parts:
            atoms = {element: n * xraydb.atomic_mass(element) for element, n in xraydb.chemparse(formula).items()}
            formula_mass = sum(atoms.values())
            for element, mass in atoms.items():
                share = fraction * mass / formula_mass
                coefficient += share * xraydb.mu_elam(element, energies_ev, kind="total")
            total_mass += fraction
        coefficient /= total_mass
    coefficient.setflags(write=False)
    return coefficient
