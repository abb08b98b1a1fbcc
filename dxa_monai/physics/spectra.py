"""Spectra of the X-ray tube, before any filter.

The table ``data/spectra.npz`` holds tungsten-anode spectra (anode angle 12 degrees, 1 keV bins, 60 to 150 kVp) computed
with SpekPy [1], model 'casim'; ``scripts/build_spectra.py`` writes it and ``data/spectra_source.txt`` says the version,
settings and licence (MIT).

References:
    [1] Poludniowski, Omar, Bujila, Andreo: SpekPy v2.0, a software toolkit for modeling x-ray tube spectra. Med Phys
        48, 3630 (2021). doi:10.1002/mp.14945
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError

FloatArray = npt.NDArray[np.float64]

TABLE_PATH = Path(__file__).parent / "data" / "spectra.npz"


class _Table(NamedTuple):
    energy_kev: FloatArray  # (E,) bin centres
    kvp: FloatArray  # (V,) whole numbers, step 1
    fluence: FloatArray  # (V, E)
    provenance: dict[str, object]


@lru_cache(maxsize=1)
def _table() -> _Table:
    with np.load(TABLE_PATH, allow_pickle=False) as stored:
        arrays = [stored[name].astype(np.float64) for name in ("energy_kev", "kvp", "fluence")]
        provenance = json.loads(str(stored["provenance"]))
    for array in arrays:
        array.setflags(write=False)
    return _Table(arrays[0], arrays[1], arrays[2], provenance)


def energy_kev() -> FloatArray:
    """Centres of the energy bins of every spectrum, ``(E,)``: 10.5, 11.5, ... 149.5 keV (read-only)."""
    return _table().energy_kev


def kvp_range() -> tuple[float, float]:
    """Lowest and highest tube voltage of the table."""
    kvp = _table().kvp
    return float(kvp[0]), float(kvp[-1])


def provenance() -> dict[str, object]:
    """Software, version and settings that made the table."""
    return dict(_table().provenance)


def tube_spectrum(kvp: float) -> FloatArray:
    """Unfiltered spectrum of a tungsten tube.

    Between whole numbers of kVp the two neighbouring spectra are mixed linearly: the characteristic lines stay at their
    energies (they would move if the energy axis were stretched), and fluence and mean energy grow steadily with kVp.

    Args:
        kvp: tube voltage, 60 to 150.

    Returns:
        Photons per keV, cm2 and mAs at 1 m in each bin of :func:`energy_kev`, ``(E,)``; zero in bins that begin at or
        above the voltage.

    Raises:
        InputError: the voltage is outside the table.
    """
    lowest, highest = kvp_range()
    if not lowest <= kvp <= highest:
        raise InputError(f"kvp: expected {lowest:g} to {highest:g}, got {kvp}.")
    table = _table()
    below = min(int(kvp - lowest), len(table.kvp) - 2)
    share_above = kvp - table.kvp[below]
    return np.asarray((1.0 - share_above) * table.fluence[below] + share_above * table.fluence[below + 1])
