"""Writes the table of X-ray tube spectra that ``dxa_monai.physics.spectra`` reads: ``python -m scripts.build_spectra``.

Needs spekpy (requirements-dev.txt). The same spekpy gives the same bytes; takes about half a minute.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import spekpy

from dxa_monai.files import atomic_path
from dxa_monai.physics.spectra import TABLE_PATH

ANODE_ANGLE_DEG = 12.0
PHYSICS_MODEL = "casim"
ENERGY_BIN_KEV = 1.0
FOCUS_DISTANCE_CM = 100.0
TUBE_LOAD_MAS = 1.0
MIN_KVP, MAX_KVP = 60, 150
MIN_ENERGY_KEV = 10
"""Bins below are left out: the tube's own window and any filter of a DXA scanner absorb them."""
SIGNIFICANT_DIGITS = 6
"""Rounding keeps the last bits of another processor's arithmetic out of the file."""

SOURCE_TEXT = """\
spectra.npz: unfiltered spectra of a tungsten-anode X-ray tube.

Made by scripts/build_spectra.py with SpekPy {version} (https://bitbucket.org/spekpy/spekpy_release), which is
Copyright (c) 2019 Robert Bujila and Gavin Poludniowski and published under the MIT License. The table holds numbers
that SpekPy computed, none of its code.

Settings: {settings}

Arrays: energy_kev (centres of 1 keV bins), kvp (tube voltages), fluence (kvp x energy; photons per keV, cm2 and mAs at
1 m from the focus, no filter, no air), provenance (these settings as JSON).

References:
  Poludniowski, Omar, Bujila, Andreo: SpekPy v2.0 - a software toolkit for modeling x-ray tube spectra.
    Med Phys 48, 3630 (2021). doi:10.1002/mp.14945
  Bujila, Omar, Poludniowski: A validation of SpekPy. Phys Med 75, 44 (2020). doi:10.1016/j.ejmp.2020.04.026
"""


def provenance() -> dict[str, object]:
    """What the table was made with."""
    return {
        "software": "spekpy",
        "version": spekpy.__version__,
        "physics_model": PHYSICS_MODEL,
        "anode": "W",
        "anode_angle_deg": ANODE_ANGLE_DEG,
        "energy_bin_kev": ENERGY_BIN_KEV,
        "distance_cm": FOCUS_DISTANCE_CM,
        "tube_load_mas": TUBE_LOAD_MAS,
        "filters": [],
        "unit": "photons / (keV cm2 mAs) at 1 m",
    }


def unfiltered_fluence(kvp: int, energy_kev: np.ndarray) -> np.ndarray:
    """Fluence of one tube voltage on the table's energies ``(E,)``, zero above the voltage; rounded as in the table."""
    tube = spekpy.Spek(
        kvp=float(kvp),
        th=ANODE_ANGLE_DEG,
        targ="W",
        physics=PHYSICS_MODEL,
        dk=ENERGY_BIN_KEV,
        z=FOCUS_DISTANCE_CM,
        mas=TUBE_LOAD_MAS,
    )
    centres, fluence = tube.get_spectrum()
    row = np.zeros_like(energy_kev)
    # At a whole number of kV the centres are half-integers, so they fall on the table's energies exactly.
    inside = np.isin(energy_kev, centres)
    row[inside] = fluence[np.isin(centres, energy_kev)]
    scale = 10.0 ** (SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(np.where(row > 0, row, 1.0))))
    return (np.round(row * scale) / scale).astype(np.float32)


def build(table_path: Path = TABLE_PATH) -> None:
    """Write the table and the text that says where it comes from."""
    energy_kev = np.arange(MIN_ENERGY_KEV + 0.5, MAX_KVP, ENERGY_BIN_KEV)
    kvp = np.arange(MIN_KVP, MAX_KVP + 1)
    settings = provenance()
    with atomic_path(table_path) as path:
        np.savez(
            path,
            energy_kev=energy_kev.astype(np.float32),
            kvp=kvp.astype(np.int32),
            fluence=np.stack([unfiltered_fluence(int(voltage), energy_kev) for voltage in kvp]),
            provenance=np.array(json.dumps(settings, sort_keys=True)),
        )
    with atomic_path(table_path.with_name("spectra_source.txt")) as path:
        listed = "; ".join(f"{key} = {value}" for key, value in settings.items())
        path.write_text(SOURCE_TEXT.format(version=settings["version"], settings=listed), encoding="utf-8")


if __name__ == "__main__":
    build()
    print(f"wrote {TABLE_PATH} ({TABLE_PATH.stat().st_size} bytes)")
