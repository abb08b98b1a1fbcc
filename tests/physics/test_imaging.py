"""Scatter, and two energies out of step. (Glare and blur: test_acquisition.)"""

from __future__ import annotations

import pytest
import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.imaging import add_scatter, displaced
from tests.physics.test_acquisition import uniform


@pytest.mark.parametrize(("areal_density", "ratio"), [(20.0, 0.08), (10.0, 0.04), (30.0, 0.12)])
def test_scatter_to_primary_of_a_uniform_slab(areal_density: float, ratio: float) -> None:
    slab = uniform(0, areal_density, 0, (60, 120))
    primary = torch.exp(-12 * Acquisition.ideal().forward(slab))
    both = torch.exp(-12 * Acquisition.ideal(scatter_to_primary=0.08).forward(slab))
    measured = (both / primary - 1.0)[0, :, 30, 60]
    torch.testing.assert_close(measured, torch.full_like(measured, ratio), rtol=1e-6, atol=0)


def test_the_table_does_not_count_as_body() -> None:
    slab = uniform(0, 20, 0, (20, 20))
    table = {"table": (("acrylic", 5.0),)}
    primary = torch.exp(-12 * Acquisition.ideal(**table).forward(slab))
    both = torch.exp(-12 * Acquisition.ideal(scatter_to_primary=0.08, **table).forward(slab))
    torch.testing.assert_close(both / primary, torch.full_like(both, 1.08))
    air = Acquisition.ideal(scatter_to_primary=0.08, **table).forward(uniform(0, 0, 0))
    torch.testing.assert_close(air, Acquisition.ideal(**table).forward(uniform(0, 0, 0)))


def test_scatter_of_a_point_has_its_mass_and_spread() -> None:
    """Signal 0.5 behind 10 g/cm2, ratio 0.2 at 20: 0.05 in all, spread by 2 rows and 4 columns."""
    images = torch.full((1, 1, 41, 61), 0.5, dtype=torch.float64)
    body = torch.zeros(1, 1, 41, 61, dtype=torch.float64)
    body[0, 0, 20, 30] = 10.0
    added = (add_scatter(images, body, 0.2, (2.0, 4.0)) - images)[0, 0]
    assert float(added.sum()) == pytest.approx(0.05)
    rows, columns = torch.arange(41.0) - 20, torch.arange(61.0) - 30
    assert float((added.sum(1) * rows**2).sum() / added.sum()) == pytest.approx(4.0, rel=0.01)
    assert float((added.sum(0) * columns**2).sum() / added.sum()) == pytest.approx(16.0, rel=0.01)


def test_scatter_adds_its_own_noise() -> None:
    """Relative variance of n photons is 1/n: with 10 % more photons of the same energies it is 1.1 times smaller."""
    slab = uniform(0, 20, 0, (200, 200))
    acquisition = Acquisition.ideal(photons_per_pixel=1e6)
    scattering = Acquisition.ideal(photons_per_pixel=1e6, scatter_to_primary=0.1)
    without, with_it = (
        each.forward(slab, torch.Generator().manual_seed(0)).var(dim=(2, 3)) for each in (acquisition, scattering)
    )
    torch.testing.assert_close(without / with_it, torch.full_like(without, 1.1), rtol=0.01, atol=0)


@pytest.mark.parametrize("shift_mm", [(0.5, -1.0), (3.0, 2.0), (-13.0, 9.09)])
def test_low_energy_is_displaced_against_high_energy(shift_mm: tuple[float, float]) -> None:
    """The centroid of a Gaussian bump."""
    rows, columns = torch.arange(60, dtype=torch.float64), torch.arange(80, dtype=torch.float64)
    bump = torch.exp(-0.5 * ((rows[:, None] - 30) / 3) ** 2 - 0.5 * ((columns - 40) / 4) ** 2)
    density = torch.zeros(1, 3, 60, 80, dtype=torch.float64)
    density[0, 1] = 8.0 * bump
    raw = Acquisition.ideal(energy_shift_mm=shift_mm, tissue_segment=(), bone_segment=()).forward(density)[0]
    assert torch.equal(raw[0::2], Acquisition.ideal(tissue_segment=(), bone_segment=()).forward(density)[0, 0::2])
    weight = raw / raw.sum(dim=(1, 2), keepdim=True)
    centre = torch.stack(((weight.sum(2) * rows).sum(1), (weight.sum(1) * columns).sum(1)), dim=1)
    for high, low in ((0, 1), (2, 3), (4, 5)):
        moved = (centre[low] - centre[high]) * torch.tensor([13.0, 6.06])
        assert moved.tolist() == pytest.approx(shift_mm, abs=0.01)


def test_whole_pixels_are_moved_exactly_and_edges_go_on() -> None:
    images = torch.rand(1, 2, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    moved = displaced(images, (2.0, -1.0))
    torch.testing.assert_close(moved[:, :, 2:, :-1], images[:, :, :-2, 1:])
    torch.testing.assert_close(moved[:, :, 0, :-1], images[:, :, 0, 1:])
    torch.testing.assert_close(moved[:, :, 2:, -1], images[:, :, :-2, -1])
    torch.testing.assert_close(displaced(images, (0.0, 1000.0)), images[..., :1].expand_as(images))


def test_interpolation_equals_catmull_and_roms_formula() -> None:
    """Half a pixel: (-1, 9, 9, -1) / 16 of the logarithms."""
    logarithm = torch.tensor([0.0, -1.0, -3.0, -2.0, 0.5, 1.0], dtype=torch.float64)
    moved = torch.log(displaced(torch.exp(logarithm).reshape(1, 1, 1, 6), (0.0, 0.5))).flatten()
    for pixel in (2, 3, 4):
        expected = (-logarithm[pixel - 2] + 9 * logarithm[pixel - 1] + 9 * logarithm[pixel] - logarithm[pixel + 1]) / 16
        assert float(moved[pixel]) == pytest.approx(float(expected))


def test_nothing_left_to_take_the_logarithm_of_stays_finite() -> None:
    raw = Acquisition.ideal(energy_shift_mm=(1.0, 1.0)).forward(
        uniform(0, 1e5, 0, (4, 4)).float(), torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(raw, torch.ones_like(raw))
