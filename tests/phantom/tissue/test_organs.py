"""Lungs, heart, diaphragm, liver and bowel gas lie where a radiograph of the trunk shows them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.phantom.body.joints import LUNG_APEX_LEVEL
from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.tissue.organs import (
    BOWEL_PLACES,
    HEART_CENTRE,
    Organs,
    TrunkGrid,
    bowel_gas_profile,
    lung_profile,
    visceral_fat_profile,
)

GRID = TrunkGrid(*np.broadcast_arrays(np.linspace(-1.2, 1.2, 241)[None, :], np.linspace(1.2, -0.2, 141)[:, None]))
AVERAGE = Organs(0.0, 0.03, 1.0, 0.0, np.full(len(BOWEL_PLACES), 1.0 / len(BOWEL_PLACES)), np.zeros((8, 2)))


def sides(profile: np.ndarray) -> tuple[float, float]:
    return float(profile[GRID.left > 0.0].sum()), float(profile[GRID.left < 0.0].sum())


def test_the_right_lung_is_the_larger_one() -> None:
    """55 to 45 in published volumes."""
    left, right = sides(lung_profile(AVERAGE, GRID))
    assert 0.40 < left / (left + right) < 0.48


def test_lungs_end_at_apex_diaphragm_and_ribs() -> None:
    lungs = lung_profile(AVERAGE, GRID)
    assert lungs[GRID.level >= LUNG_APEX_LEVEL].max() == 0.0
    assert lungs[GRID.level < 0.58].sum() < 0.01 * lungs.sum()  # the recess ends near the twelfth rib
    assert lungs[np.abs(GRID.left) > 0.74].max() == 0.0
    assert lungs.min() >= 0.0


def test_the_liver_stands_under_a_higher_dome_than_the_stomach() -> None:
    lungs = lung_profile(replace(AVERAGE, heart_scale=0.01), GRID)
    column = {side: np.abs(GRID.left[0] - place).argmin() for side, place in (("left", 0.4), ("right", -0.4))}
    half = {side: GRID.level[lungs[:, index] > 0.5 * lungs[:, index].max(), 0].min() for side, index in column.items()}
    assert 0.015 < half["right"] - half["left"] < 0.045


def test_the_heart_takes_air_on_the_left() -> None:
    without = lung_profile(replace(AVERAGE, heart_scale=0.01), GRID)
    taken = without - lung_profile(AVERAGE, GRID)
    assert taken.min() > -1e-12
    left, right = sides(taken)
    assert 0.6 < left / (left + right) < 0.95
    row = np.abs(GRID.level[:, 0] - HEART_CENTRE[1]).argmin()
    breadth = np.ptp(GRID.left[0][taken[row] > 1e-6])
    chest = np.ptp(GRID.left[0][without[row] > 0.0])
    assert 0.38 < breadth / chest < 0.56  # the cardiothoracic ratio


def test_mediastinum_is_a_bright_band_between_the_lungs() -> None:
    lungs = lung_profile(AVERAGE, GRID)
    row = np.abs(GRID.level[:, 0] - 1.0).argmin()
    middle, beside = np.abs(GRID.left[0]).argmin(), np.abs(GRID.left[0] - 0.35).argmin()
    assert lungs[row, middle] < 0.35 * lungs[row, beside]


def test_visceral_fat_leaves_the_liver_out() -> None:
    fat = visceral_fat_profile(AVERAGE, GRID)
    upper = GRID.level > 0.5
    left, right = sides(np.where(upper, fat, 0.0))
    assert right < 0.85 * left
    assert GRID.level.ravel()[fat.argmax()] == pytest.approx(0.36, abs=0.05)


def test_gas_lies_in_the_abdomen_by_its_shares() -> None:
    share = np.zeros(len(BOWEL_PLACES))
    share[1] = 1.0
    gas = bowel_gas_profile(replace(AVERAGE, gas_share=share), GRID)
    centre = (gas * GRID.left).sum() / gas.sum(), (gas * GRID.level).sum() / gas.sum()
    assert centre == pytest.approx(BOWEL_PLACES[1], abs=0.01)
    assert bowel_gas_profile(AVERAGE, GRID)[GRID.level > 0.7].max() == 0.0


def test_organs_are_the_persons_own() -> None:
    one, other = sample_person(0, 5), sample_person(1, 5)
    assert Organs.of(one).heart_scale == Organs.of(one).heart_scale
    assert Organs.of(one).heart_scale != Organs.of(other).heart_scale
    assert Organs.of(one).gas_share.sum() == pytest.approx(1.0)
