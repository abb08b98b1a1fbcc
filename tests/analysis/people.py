"""Virtual people whose landmarks are sought: truth maps with noise as a decomposition leaves it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dxa_monai.phantom.simulate import Simulator

SPACING_MM = (13.0, 6.06)
COHORT_SEED = 3
PEOPLE = (0, 1, 5, 8)
CHILDREN = (0, 1)


class Scanned(NamedTuple):
    density: np.ndarray
    body: np.ndarray
    regions: np.ndarray


@lru_cache(maxsize=1)
def scanned_people() -> tuple[Scanned, ...]:
    """Four people of a small cohort; do not write into the arrays."""
    simulator = Simulator()
    return tuple(_scanned(simulator, index) for index in PEOPLE)


@lru_cache(maxsize=1)
def scanned_children() -> tuple[Scanned, ...]:
    """Children of 7 and 10 years; do not write into the arrays."""
    simulator = Simulator()
    return tuple(_scanned(simulator, index, 1.0) for index in CHILDREN)


def _scanned(simulator: Simulator, index: int, children_share: float = 0.0) -> Scanned:
    tissue = simulator.simulate_person(index, COHORT_SEED, children_share).visits[0].tissue
    density = tissue.areal_density_g_cm2.astype(np.float64)
    rng = np.random.default_rng(index)
    body = density.sum(axis=0) > 0.05
    exchanged = rng.normal(size=body.shape)  # the noise of fat and lean is all but opposite
    density[0] += 1.5 * exchanged
    density[1] -= 1.45 * exchanged
    density[2] += 0.12 * rng.normal(size=body.shape)
    density[:, ~body] = 0.0
    for array in (density, body):
        array.setflags(write=False)
    return Scanned(density, body, tissue.region_map)
