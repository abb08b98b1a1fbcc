from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pytest

from dxa_monai.phantom.body.positioning import (
    HAND_UNDER_THIGH_SHARE,
    NO_SCATTER,
    POSITIONING_SD,
    Positioning,
    moved,
    sample_hand_under_thigh,
    sample_positioning,
)


def test_equal_generators_give_equal_positions() -> None:
    assert sample_positioning(np.random.default_rng(5)) == sample_positioning(np.random.default_rng(5))
    assert sample_positioning(np.random.default_rng(5)) != sample_positioning(np.random.default_rng(6))


def test_scatter_is_about_the_centre_and_never_beyond_two_deviations() -> None:
    rng = np.random.default_rng(0)
    centre = Positioning(left_arm_abduction_deg=20.0, lateral_shift_mm=10.0)
    samples = [asdict(sample_positioning(rng, centre)) for _ in range(400)]
    for field in fields(Positioning):
        values = np.array([sample[field.name] for sample in samples])
        middle, deviation = getattr(centre, field.name), getattr(POSITIONING_SD, field.name)
        assert np.abs(values - middle).max() <= 2 * deviation + 1e-12, field.name
        assert values.mean() == pytest.approx(middle, abs=0.2 * deviation), field.name
        assert values.std() == pytest.approx(0.95 * deviation, rel=0.15), field.name


def test_a_hand_lies_under_a_thigh_now_and_then() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_hand_under_thigh(rng) for _ in range(2000)]
    under = [each for each in drawn if each != NO_SCATTER]
    assert len(under) / len(drawn) == pytest.approx(HAND_UNDER_THIGH_SHARE, abs=0.02)
    turned = np.array([[each.left_forearm_abduction_deg, each.right_forearm_abduction_deg] for each in under])
    assert (turned <= 0.0).all()
    assert ((turned < 0.0).sum(axis=1) == 1).all()
    assert (turned < 0.0).any(axis=0).all()


def test_moving_by_nothing_changes_nothing() -> None:
    assert moved(Positioning(), NO_SCATTER) == Positioning()
    assert moved(Positioning(), Positioning()).left_arm_abduction_deg == 24.0


def test_sides() -> None:
    positioning = Positioning(left_plantarflexion_deg=11.0, right_plantarflexion_deg=12.0)
    assert positioning.side("L", "plantarflexion") == 11.0
    assert positioning.side("R", "plantarflexion") == 12.0
