"""Random effects as they are drawn: sizes, spread, correlation, and what is left alone."""

from __future__ import annotations

import math

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.disturbance import Disturbance, draw_disturbance

MAT = (("polyethylene", 0.15),)


def drawn(acquisition: Acquisition, batch: int = 400, shape: tuple[int, int] = (60, 50), seed: int = 0) -> Disturbance:
    return draw_disturbance(acquisition, batch, shape, torch.Generator().manual_seed(seed))


def test_without_amplitudes_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    quiet = Acquisition.ideal(mat=MAT, passes=3, table=(("acrylic", 1.0),))
    nothing = draw_disturbance(quiet, 2, (5, 4), generator)
    assert (nothing.motion_mm, nothing.mat_g_cm2, nothing.row_gain, nothing.column_gain) == (None,) * 4
    assert torch.equal(generator.get_state(), before)
    draw_disturbance(Acquisition.ideal(motion_mm=5.0), 2, (5, 4), generator)  # one pass: nothing to move against
    assert torch.equal(generator.get_state(), before)


def test_drift_has_its_spread_and_correlation_in_each_energy() -> None:
    """Rows of 13 mm; at a distance of 130 mm the correlation is exp(-1)."""
    acquisition = Acquisition.ideal(drift_high=0.01, drift_low=0.03, drift_correlation_mm=130.0)
    gain = drawn(acquisition, batch=2000).row_gain
    assert gain is not None
    drift = torch.log(gain)
    for energy, expected in enumerate((0.01, 0.03)):
        each = drift[:, energy]
        assert float(each.mean()) == pytest.approx(0.0, abs=0.05 * expected)
        torch.testing.assert_close(each.std(0), torch.full((60,), expected, dtype=torch.float64), rtol=0.1, atol=0)
        for distance, correlation in ((10, math.exp(-1)), (5, math.exp(-0.25)), (30, 0.0)):
            measured = (each[:, :-distance] * each[:, distance:]).mean() / expected**2
            assert float(measured) == pytest.approx(correlation, abs=0.05)
    assert abs(float((drift[:, 0] * drift[:, 1]).mean())) < 0.05 * 0.01 * 0.03 * 20  # independent


def test_the_mat_has_its_spread_and_correlation_along_both_axes() -> None:
    """In mm, so over fewer rows than columns."""
    acquisition = Acquisition.ideal(mat=MAT, mat_unevenness_g_cm2=0.02, mat_correlation_mm=60.0)
    mat = drawn(acquisition).mat_g_cm2
    assert mat is not None
    assert mat.shape == (400, 60, 50)
    assert float(mat.std()) == pytest.approx(0.02, rel=0.05)
    assert float(mat[:, 0, 0].std()) == pytest.approx(0.02, rel=0.15)  # at the edge as in the middle
    for axis, spacing_mm in ((1, 13.0), (2, 6.06)):
        length = mat.shape[axis]
        measured = (mat.narrow(axis, 0, length - 4) * mat.narrow(axis, 4, length - 4)).mean() / 0.02**2
        assert float(measured) == pytest.approx(math.exp(-((4 * spacing_mm / 60.0) ** 2)), abs=0.05)


def test_column_gains_are_independent() -> None:
    gain = drawn(Acquisition.ideal(column_gain_sd=0.005), batch=2000).column_gain
    assert gain is not None
    assert float(torch.log(gain).std()) == pytest.approx(0.005, rel=0.02)
    neighbours = torch.log(gain[:, 1:]) * torch.log(gain[:, :-1])
    assert abs(float(neighbours.mean())) < 0.02 * 0.005**2


def test_the_first_pass_lies_still_and_later_ones_move() -> None:
    motion = drawn(Acquisition.ideal(passes=3, motion_mm=4.0), batch=4000).motion_mm
    assert motion is not None
    assert motion.shape == (4000, 3, 2)
    assert not motion[:, 0].any()
    torch.testing.assert_close(motion[:, 1:].std(0), torch.full((2, 2), 4.0, dtype=torch.float64), rtol=0.05, atol=0)


def test_a_draw_depends_on_the_generator_alone() -> None:
    acquisition = Acquisition(column_gain_sd=0.01, passes=2, motion_mm=1.0)
    first, again, other = (drawn(acquisition, 2, seed=seed) for seed in (0, 0, 1))
    for name in ("motion_mm", "mat_g_cm2", "row_gain", "column_gain"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_a_long_correlation_is_one_number_for_all() -> None:
    gain = drawn(Acquisition.ideal(drift_low=0.01, drift_correlation_mm=1e7)).row_gain
    assert gain is not None
    assert float(gain[:, 1].std(dim=1).max()) < 1e-5
    assert float(torch.log(gain[:, 1, 0]).std()) == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize(
    ("disturbance", "message"),
    [
        (Disturbance(motion_mm=torch.zeros(1, 2)), r"disturbance.motion_mm: expected shape \(1, 1, 2\), got \(1, 2\)"),
        (Disturbance(mat_g_cm2=torch.zeros(1, 4, 5)), r"disturbance.mat_g_cm2: expected shape \(1, 5, 4\)"),
        (Disturbance(row_gain=torch.ones(1, 5)), r"disturbance.row_gain: expected shape \(1, 2, 5\)"),
        (Disturbance(column_gain=torch.ones(2, 4)), r"disturbance.column_gain: expected shape \(1, 4\)"),
    ],
)
def test_refuses_what_does_not_fit_the_scan(disturbance: Disturbance, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Acquisition.ideal(mat=MAT).forward(torch.zeros(1, 3, 5, 4), disturbance=disturbance)
