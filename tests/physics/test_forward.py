"""The beam's equations: Beer-Lambert, hardening, gradients, blur."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dxa_monai.physics.attenuation import BODY_MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.forward import add_quantum_noise, gaussian_blur, log_attenuation, transmitted_signal

ENERGIES_KEV = np.array([40.0, 70.0, 110.0])
MU = torch.tensor(np.stack([mass_attenuation_cm2_g(name, ENERGIES_KEV) for name in BODY_MATERIALS]))
WEIGHTS = torch.tensor([[0.5, 0.1], [0.3, 0.3], [0.2, 0.6]], dtype=torch.float64)


def random_densities(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.tensor(rng.uniform(0, [20.0, 30.0, 3.0], (count, 3)))


def test_one_energy_is_beer_lambert_exactly() -> None:
    """-ln I = sum_m a_m mu_m, by hand: 10 g/cm2 fat, 12 lean, 1.5 bone mineral at 60 keV."""
    mu = torch.tensor([[0.1951], [0.2045], [0.2740]], dtype=torch.float64)
    densities = torch.tensor([[10.0, 12.0, 1.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
    nepers = log_attenuation(densities, mu, torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(nepers[:, 0], torch.tensor([4.816, 0.0], dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_equals_a_loop_over_pixels_channels_and_energies() -> None:
    densities = random_densities(5)
    signal = transmitted_signal(densities, MU, WEIGHTS)
    for pixel in range(5):
        for channel in range(2):
            expected = 0.0
            for energy in range(3):
                path = sum(float(densities[pixel, m] * MU[m, energy]) for m in range(3))
                expected += float(WEIGHTS[energy, channel]) * math.exp(-path)
            assert float(signal[pixel, channel]) == pytest.approx(expected, rel=1e-12)


def test_the_beam_hardens() -> None:
    """Attenuation grows with thickness, but ever less per g/cm2."""
    thickness = torch.linspace(0.5, 40.0, 80, dtype=torch.float64)
    for material in range(3):
        densities = torch.zeros(80, 3, dtype=torch.float64)
        densities[:, material] = thickness
        per_gram = log_attenuation(densities, MU, WEIGHTS) / thickness[:, None]
        assert (per_gram > 0).all()
        assert (per_gram.diff(dim=0) < 0).all()


def test_noise_adds_a_standard_deviation() -> None:
    signal, variance = torch.tensor([0.5, 0.5]), torch.tensor([0.04, 0.0])
    noisy = add_quantum_noise(signal, variance, torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(noisy, torch.tensor([0.3, 0.5]))


def test_noise_has_a_finite_gradient_where_nothing_arrives() -> None:
    variance = torch.zeros(3, requires_grad=True)
    add_quantum_noise(torch.zeros(3), variance, torch.ones(3)).sum().backward()
    assert variance.grad is not None
    assert torch.isfinite(variance.grad).all()


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    image = torch.zeros(1, 1, 61, 61, dtype=torch.float64)
    image[0, 0, 30, 30] = 1.0
    blurred = gaussian_blur(image, (3.0, 5.0))[0, 0]
    offsets = torch.arange(-30, 31, dtype=torch.float64)
    assert float(blurred.sum()) == pytest.approx(1.0)
    assert float((blurred.sum(1) * offsets**2).sum()) == pytest.approx(3.0**2, rel=0.01)
    assert float((blurred.sum(0) * offsets**2).sum()) == pytest.approx(5.0**2, rel=0.01)


def test_blur_equals_a_loop_with_repeated_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 1, 7, generator=generator, dtype=torch.float64)
    blurred = gaussian_blur(image, (0.0, 1.5))
    kernel = [math.exp(-0.5 * (k / 1.5) ** 2) for k in range(-6, 7)]
    for batch in range(2):
        for column in range(7):
            expected = sum(
                weight * float(image[batch, 0, 0, min(max(column + k, 0), 6)])
                for weight, k in zip(kernel, range(-6, 7), strict=True)
            ) / sum(kernel)
            assert float(blurred[batch, 0, 0, column]) == pytest.approx(expected, rel=1e-12)


def test_blur_keeps_a_constant_image() -> None:
    image = torch.full((1, 2, 9, 11), 0.7, dtype=torch.float64)
    torch.testing.assert_close(gaussian_blur(image, (4.0, 8.0)), image)
