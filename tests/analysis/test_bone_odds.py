"""Odds of bone against integrals written out, and what neighbours do to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import expon, norm

from dxa_monai.analysis.bone_odds import bone_level, bone_posterior, log_odds, with_neighbours


@pytest.mark.parametrize("mineral", [-0.3, 0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("noise", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("mean", [0.2, 0.45])
def test_odds_are_the_ratio_of_the_two_likelihoods(mineral: float, noise: float, mean: float) -> None:
    def joint(true: float) -> float:
        return float(norm.pdf(mineral, true, noise) * expon.pdf(true, scale=mean))

    near = max(mineral, 0.0)
    bone, _ = quad(joint, 0.0, near + 12.0 * noise + 0.01, points=[near], limit=200)
    expected = math.log(bone / norm.pdf(mineral, 0.0, noise))
    found = log_odds(torch.tensor([mineral], dtype=torch.float64), torch.tensor([noise], dtype=torch.float64), mean)
    # Above some twenty, a pixel is bone whatever its neighbours say.
    assert float(found) == pytest.approx(expected, abs=1e-4) or min(float(found), expected) > 15.0


@pytest.mark.parametrize("mineral", [-0.3, 0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("noise", [0.05, 0.2, 0.6])
@pytest.mark.parametrize(("mean", "share"), [(0.2, 0.7), (0.45, 0.2)])
def test_posterior_is_that_of_the_integrals(mineral: float, noise: float, mean: float, share: float) -> None:
    def joint(true: float, power: int) -> float:
        return float(true**power * norm.pdf(mineral, true, noise) * expon.pdf(true, scale=mean))

    near = max(mineral, 0.0)
    bone, first = (
        quad(joint, 0.0, near + 12.0 * noise + 0.01, args=(power,), points=[near], limit=200)[0] for power in (0, 1)
    )
    none = (1.0 - share) * norm.pdf(mineral, 0.0, noise)
    given = (torch.tensor([value], dtype=torch.float64) for value in (mineral, noise, mean, share))
    probability, expected = bone_posterior(*given)
    assert float(probability) == pytest.approx(share * bone / (share * bone + none), abs=1e-6)
    assert float(expected) == pytest.approx(first / bone, rel=1e-5, abs=1e-6)


def test_odds_rise_with_mineral_and_are_finite() -> None:
    mineral = torch.linspace(-40.0, 40.0, 8001)
    for noise in (0.0, 0.1, 3.0):
        odds = log_odds(mineral, torch.full_like(mineral, noise), 0.45)
        assert odds.isfinite().all()
        assert (odds.diff() >= -1e-4).all()


def test_without_coupling_each_pixel_decides_for_itself() -> None:
    odds = torch.randn(2, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    body = torch.rand(odds.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    torch.testing.assert_close(with_neighbours(odds, body, 0.0), torch.tanh(0.5 * odds) * body)


def test_neighbours_outvote_a_doubtful_pixel_but_not_a_thin_bone() -> None:
    odds = torch.full((1, 1, 15, 15), -2.0)
    odds[..., 7, 7] = 1.5
    body = torch.ones_like(odds, dtype=torch.bool)
    assert (with_neighbours(odds, body, 1.0) < 0).all()
    odds[..., 7, :] = 8.0
    found = with_neighbours(odds, body, 1.0)
    assert (found[..., 7, :] > 0).all()
    assert (found[..., :6, :] < 0).all()
    assert (found[..., 9:, :] < 0).all()


def test_air_says_nothing() -> None:
    odds = torch.full((1, 1, 9, 9), 1.0)
    body = torch.zeros_like(odds, dtype=torch.bool)
    body[..., 4, 4] = True
    alone = with_neighbours(odds, body, 1.0)
    assert float(alone[0, 0, 4, 4]) == pytest.approx(math.tanh(0.5))
    assert alone.count_nonzero() == 1


def test_level_is_one_without_bone_and_rises_with_its_density() -> None:
    weight = torch.ones(2, 1, 60, 40)
    assert float((bone_level(torch.zeros_like(weight), weight, 0.0 * weight) - 1.0).abs().max()) == 0.0
    bone = torch.zeros_like(weight)
    bone[:, :, 10:50, 10:30] = torch.tensor([1.0, 2.0])[:, None, None, None]
    level = bone_level(bone, 0.0 * weight, weight).flatten()
    assert 0.5 < float(level[0]) < 1.0 < float(level[1])


def test_noise_does_not_raise_the_level() -> None:
    rng = np.random.default_rng(0)
    bone = np.zeros((1, 1, 150, 109))
    bone[..., 30:110, 30:70] = 1.4
    weight = torch.ones(bone.shape, dtype=torch.float64)
    quiet = bone_level(torch.from_numpy(bone), 0.0 * weight, weight)
    noisy = bone_level(torch.from_numpy(bone + rng.normal(0.0, 0.5, bone.shape)), 0.5 * weight, weight)
    assert float(noisy) == pytest.approx(float(quiet), rel=0.03)
