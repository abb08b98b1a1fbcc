"""Signal that did not come straight through its pixel is taken off: equation (1) of the module, undone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dxa_monai.physics.forward import gaussian_blur
from dxa_monai.physics.stray import HIGH_ENERGY_CM2_G, SCATTER_REFERENCE_G_CM2, StraySignal, primary_signal
from dxa_monai.scan.format import PIXEL_SPACING_MM

ROWS, COLUMNS = 60, 50
WHEEL = torch.tensor([1.0, 1.0, 0.7, 0.5, 0.6, 0.45], dtype=torch.float64)
"""Share of the beam behind each segment."""
PARTS = {
    "dark signal": StraySignal(dark_high=2e-5, dark_low=1e-5),
    "much dark signal": StraySignal(dark_high=1e-3, dark_low=2e-3),
    "glare": StraySignal(glare=0.01),
    "scatter": StraySignal(scatter_to_primary=0.05),
    "blur": StraySignal(blur_rows=0.01, blur_columns=0.05),
}
ALL = StraySignal(
    dark_high=2e-5, dark_low=1e-5, glare=0.005, scatter_to_primary=0.03, blur_rows=0.01, blur_columns=0.05
)


def thickness(most_nepers: float = 6.9) -> torch.Tensor:
    """``(1, 1, H, W)`` nepers of a smooth body that starts to rise four pixels from the field's sides."""
    rows, columns = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
    inside = np.clip(1.0 - (rows / 0.8) ** 2 - (columns / 0.8) ** 2, 0.0, None)
    return torch.from_numpy(most_nepers * inside)[None, None]


def primary(most_nepers: float = 6.9) -> torch.Tensor:
    """``(1, 6, H, W)``, down to about exp(-6.9) = 1e-3; low energy attenuates a tenth more than high."""
    share = torch.tensor([0.9, 1.0] * 3, dtype=torch.float64)[None, :, None, None]
    return torch.exp(-thickness(most_nepers) * share)


def read(clean: torch.Tensor, stray: StraySignal) -> torch.Tensor:
    """S of equation (1), each channel relative to what it reads in the air far from the body."""
    spacing = PIXEL_SPACING_MM

    def spread(image: torch.Tensor, sigma_mm: float) -> torch.Tensor:
        return gaussian_blur(image, (sigma_mm / spacing[0], sigma_mm / spacing[1]))

    density = -torch.log(clean[:, :1]) / HIGH_ENERGY_CM2_G
    signal = (1.0 - stray.glare) * clean + stray.glare * spread(clean, stray.glare_sigma_mm)
    signal = signal + spread(
        clean * density * stray.scatter_to_primary / SCATTER_REFERENCE_G_CM2, stray.scatter_sigma_mm
    )
    rows, columns = stray.blur_rows, stray.blur_columns
    padded = torch.nn.functional.pad(signal, (1, 1, 1, 1), mode="replicate")
    signal = (
        (1.0 - 2.0 * rows - 2.0 * columns) * signal
        + rows * (padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1])
        + columns * (padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2])
    )
    dark = (torch.tensor([stray.dark_high, stray.dark_low] * 3, dtype=torch.float64) / WHEEL)[None, :, None, None]
    signal = signal + dark
    return signal / signal[..., air()].mean(dim=-1)[..., None, None]


def air() -> torch.Tensor:
    return thickness()[0, 0] == 0


def undone(signal: torch.Tensor, stray: StraySignal) -> torch.Tensor:
    return primary_signal(signal, WHEEL, stray, air(), PIXEL_SPACING_MM)


@pytest.mark.parametrize("name", [*PARTS, "all"])
def test_primary_signal_is_recovered_to_one_per_cent(name: str) -> None:
    stray = ALL if name == "all" else PARTS[name]
    clean = primary()
    assert clean[:, 1].min() < 1.05e-3
    signal = read(clean, stray)
    before, after = ((each / clean - 1.0).abs().amax() for each in (signal, undone(signal, stray)))
    assert after < 0.01
    assert before > 2.0 * after


@pytest.mark.parametrize("name", [*PARTS, "all"])
def test_open_air_stays_one(name: str) -> None:
    stray = ALL if name == "all" else PARTS[name]
    found = undone(read(primary(), stray), stray)
    torch.testing.assert_close(found[..., air()].mean(dim=-1), torch.ones(1, 6, dtype=torch.float64), atol=1e-3, rtol=0)


def test_nothing_to_take_off_is_the_same_signal() -> None:
    signal = primary()
    assert StraySignal().none
    assert undone(signal, StraySignal()) is signal
    assert not any(stray.none for stray in PARTS.values())


def test_a_spread_without_a_share_is_nothing() -> None:
    assert dataclasses.replace(StraySignal(), glare_sigma_mm=200.0, scatter_sigma_mm=60.0).none


@pytest.mark.parametrize("name", [*PARTS, "all"])
def test_input_is_not_changed(name: str) -> None:
    stray = ALL if name == "all" else PARTS[name]
    signal = read(primary(), stray)
    before = signal.clone()
    undone(signal, stray)
    assert torch.equal(signal, before)


def test_batch_equals_its_elements() -> None:
    batch = torch.cat([read(primary(most), ALL) for most in (3.0, 5.0, 6.9)])
    together = undone(batch, ALL)
    for number, each in enumerate(batch):
        torch.testing.assert_close(together[number], undone(each[None], ALL)[0])


def test_a_dark_signal_larger_than_all_there_is_leaves_the_least_signal() -> None:
    signal = torch.full((1, 6, ROWS, COLUMNS), 1e-5, dtype=torch.float64)
    found = undone(signal, StraySignal(dark_high=1e-3, dark_low=1e-3))
    assert torch.isfinite(torch.log(found)).all()
    assert found.min() >= 6e-6


@pytest.mark.parametrize("name", [*PARTS, "all"])
def test_without_open_air_numbers_stay_finite(name: str) -> None:
    stray = ALL if name == "all" else PARTS[name]
    nowhere = torch.zeros(ROWS, COLUMNS, dtype=torch.bool)
    found = primary_signal(read(primary(), stray), WHEEL, stray, nowhere, PIXEL_SPACING_MM)
    assert torch.isfinite(found).all()


def test_it_is_differentiable() -> None:
    signal = read(primary(2.0), ALL)[..., 20:25, 20:24].clone().requires_grad_()
    some_air = torch.zeros(5, 4, dtype=torch.bool)
    some_air[0] = True
    assert torch.autograd.gradcheck(lambda values: primary_signal(values, WHEEL, ALL, some_air, (13.0, 6.06)), signal)
