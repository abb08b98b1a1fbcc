"""The blur of a scanner by the edges of the step phantom."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dxa_monai.physics.phantom_blur import MOST_BLUR, phantom_blur
from dxa_monai.physics.step_phantom import PHANTOM_MATERIALS, StepPhantom
from dxa_monai.scan.format import FULL_SCALE_NEPERS
from tests.sharp_scanner import sharp_scanner

PHANTOM = StepPhantom()


def signal(noise: bool = False) -> torch.Tensor:
    """``(1, 6, H, W)`` behind the phantom, pixel by pixel."""
    generator = torch.Generator().manual_seed(0) if noise else None
    raw = sharp_scanner().forward(PHANTOM.areal_density().double(), generator, PHANTOM_MATERIALS)
    return torch.exp(-raw * FULL_SCALE_NEPERS)


def shared(image: torch.Tensor, rows: float, columns: float) -> torch.Tensor:
    """Each pixel gives these shares to each of its neighbours above and below, and to each left and right."""
    across, along = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    along[:, 1] = torch.tensor([rows, -2.0 * rows, rows])
    across[1] = torch.tensor([columns, -2.0 * columns, columns])
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return image + F.conv2d(padded, (along + across).expand(6, 1, 3, 3), groups=6)


def found(image: torch.Tensor) -> tuple[float, float]:
    return phantom_blur(-torch.log(image[0]), PHANTOM)


@pytest.mark.parametrize("shares", [(0.02, 0.0), (0.0, 0.08), (0.01, 0.1), (0.05, 0.05)])
@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
def test_shares_of_both_axes_are_found(shares: tuple[float, float], noise: bool) -> None:
    assert found(shared(signal(noise), *shares)) == pytest.approx(shares, abs=3e-3)


@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
def test_a_sharp_scanner_has_none(noise: bool) -> None:
    assert found(signal(noise)) == (0.0, 0.0)


def test_an_edge_inside_a_pixel_is_no_blur() -> None:
    """Mixed pixels on one side of an edge: half of what lies left lies in the pixel right of it."""
    image = signal()
    mixed = image.clone()
    mixed[..., 1:] = 0.5 * image[..., 1:] + 0.5 * image[..., :-1]
    assert found(mixed) == (0.0, 0.0)


def test_a_strong_blur_is_told_as_the_most_that_is_undone() -> None:
    """A share of 1/4 to each side twice over."""
    image = signal()
    for _ in range(3):
        image = shared(image, 0.0, 0.3)
    assert found(image)[1] == MOST_BLUR


def test_nothing_but_air_shows_no_blur() -> None:
    assert phantom_blur(torch.zeros(6, *PHANTOM.shape), PHANTOM) == (0.0, 0.0)


def test_another_size_of_the_phantom() -> None:
    larger = StepPhantom((200, 140))
    raw = sharp_scanner().forward(larger.areal_density().double(), None, PHANTOM_MATERIALS)
    image = shared(torch.exp(-raw * FULL_SCALE_NEPERS), 0.0, 0.05)
    assert phantom_blur(-torch.log(image[0]), larger) == pytest.approx((0.0, 0.05), abs=3e-3)
