"""A pixel that holds two things averages their signals."""

from __future__ import annotations

import math

import pytest
import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.subpixels import pixel_parts
from tests.physics.test_acquisition import body, uniform


@pytest.mark.parametrize("parts", [(2, 2), (1, 4), (3, 1), (4, 5)])
def test_the_mean_of_all_parts_is_the_map_and_nothing_is_negative(parts: tuple[int, int]) -> None:
    density = body(2).double()
    all_parts = [part for _, part in pixel_parts(density, parts)]
    assert len(all_parts) == parts[0] * parts[1]
    assert all((part >= 0).all() for part in all_parts)
    torch.testing.assert_close(torch.stack(all_parts).mean(0), density)
    assert all(not part[density == 0].any() for part in all_parts)


def test_a_row_by_hand() -> None:
    """(4, 8, 0) in two parts: interpolated (4, 5), (7, 6), (2, 0), times 4/4.5, 8/6.5, 0."""
    density = torch.tensor([4.0, 8.0, 0.0], dtype=torch.float64).reshape(1, 1, 1, 3)
    (first_number, first), (second_number, second) = pixel_parts(density, (1, 2))
    assert (first_number, second_number) == (0, 1)
    assert first.flatten().tolist() == pytest.approx([4 * 4 / 4.5, 7 * 8 / 6.5, 0.0])
    assert second.flatten().tolist() == pytest.approx([5 * 4 / 4.5, 6 * 8 / 6.5, 0.0])


def test_a_mixed_pixel_reads_less_by_the_analytic_amount() -> None:
    """The signal is the mean of exp, not exp of the mean: -ln mean(exp(-n)) of the two parts' nepers n.

    Two pixels of 10 and 20 g/cm2: the parts are 10 and 12.5, times 10/11.25, and 17.5 and 20, times 20/18.75.
    """
    density = torch.zeros(1, 3, 1, 2, dtype=torch.float64)
    density[0, 1, 0] = torch.tensor([10.0, 20.0])
    whole, parts = (12 * Acquisition.ideal(subpixels=n).forward(density)[0, :, 0] for n in ((1, 1), (1, 2)))

    def nepers(lean: float) -> torch.Tensor:
        return 12 * Acquisition.ideal().forward(uniform(0, lean, 0))[0, :, 0, 0]

    for pixel, (one, other) in enumerate(((10 * 10 / 11.25, 12.5 * 10 / 11.25), (17.5 * 20 / 18.75, 20 * 20 / 18.75))):
        expected = -torch.log((torch.exp(-nepers(one)) + torch.exp(-nepers(other))) / 2)
        torch.testing.assert_close(parts[:, pixel], expected)
        # About half of the variance of the nepers within the pixel.
        lower = (nepers(other) - nepers(one)) ** 2 / 8
        torch.testing.assert_close(whole[:, pixel] - parts[:, pixel], lower, rtol=0.1, atol=0)
    assert math.isclose(float(whole[0, 0]), float(nepers(10.0)[0]), rel_tol=1e-9)


def test_nothing_changes_in_a_uniform_image() -> None:
    density = uniform(6, 14, 1, (5, 6))
    torch.testing.assert_close(
        Acquisition.ideal(subpixels=(3, 2)).forward(density), Acquisition.ideal().forward(density)
    )


def test_empty_pixels_have_a_finite_gradient() -> None:
    density = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    density[0, :, 1, 1] = 3.0
    density.requires_grad_()
    Acquisition.ideal(subpixels=(2, 2)).forward(density).sum().backward()
    assert density.grad is not None
    assert torch.isfinite(density.grad).all()
    assert (density.grad > 0).all()
