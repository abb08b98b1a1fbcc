"""Algebra of the calibrated stacks, R and the body mask."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.calibration import STACKS, body_mask, calibrated_stacks, r_image, stack_indices

ONE_COUNT = 1.0 / 16383.0


def naive_stacks(raw: torch.Tensor) -> torch.Tensor:
    """The table of paper/reference_facts.md, pixel by pixel, number by number."""
    batch, _, rows, columns = raw.shape
    stacks = torch.empty(batch, 9, 3, rows, columns, dtype=raw.dtype)

    def clip(value: float) -> float:
        return min(max(value, ONE_COUNT), 1.0)

    for b in range(batch):
        for i in range(rows):
            for j in range(columns):
                air_high, air_low, bone_high, bone_low, tissue_high, tissue_low = raw[b, :, i, j].tolist()
                images = {}
                for energy, a, bone, tissue in (
                    ("high", air_high, bone_high, tissue_high),
                    ("low", air_low, bone_low, tissue_low),
                ):
                    cb, ct = bone - a, tissue - a
                    images[energy] = {
                        "air": (a, bone + cb, tissue + ct),
                        "bone": (a + cb, bone + cb, tissue + cb),
                        "tissue": (a + ct, bone + ct, tissue + ct),
                    }
                for index, name in enumerate(STACKS):
                    segment, kind = name.split("_")
                    for k in range(3):
                        high, low = (clip(images[energy][segment][k]) for energy in ("high", "low"))
                        stacks[b, index, k, i, j] = {"r": low / high, "high": high, "low": low}[kind]
    return stacks


def test_order_of_the_stacks() -> None:
    assert STACKS == (
        "air_r",
        "air_high",
        "air_low",
        "bone_r",
        "bone_high",
        "bone_low",
        "tissue_r",
        "tissue_high",
        "tissue_low",
    )
    assert stack_indices("r") == (0, 3, 6)
    assert stack_indices("high") == (1, 4, 7)
    assert stack_indices("low") == (2, 5, 8)
    with pytest.raises(InputError, match="kind: expected one of r, high, low, got 'mid'"):
        stack_indices("mid")


def test_a_pixel_worked_out_by_hand() -> None:
    """High: A .20, B .25, T .32 (cB .05, cT .12). Low: A .26, B .34, T .40 (cB .08, cT .14)."""
    raw = torch.tensor([0.20, 0.26, 0.25, 0.34, 0.32, 0.40], dtype=torch.float64).reshape(1, 6, 1, 1)
    expected = torch.tensor(
        [
            [0.26 / 0.20, 0.42 / 0.30, 0.54 / 0.44],
            [0.20, 0.30, 0.44],
            [0.26, 0.42, 0.54],
            [0.34 / 0.25, 0.42 / 0.30, 0.48 / 0.37],
            [0.25, 0.30, 0.37],
            [0.34, 0.42, 0.48],
            [0.40 / 0.32, 0.48 / 0.37, 0.54 / 0.44],
            [0.32, 0.37, 0.44],
            [0.40, 0.48, 0.54],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(calibrated_stacks(raw)[0, :, :, 0, 0], expected)


def test_pixels_that_are_clipped_by_hand() -> None:
    """Open beam: A 0 becomes one count. Thick: T + cT of the low energy, 1.2, becomes 1."""
    air = torch.tensor([0.0, 0.0, 0.05, 0.08, 0.12, 0.14], dtype=torch.float64)
    thick = torch.tensor([0.6, 0.8, 0.65, 0.88, 0.75, 1.0], dtype=torch.float64)
    stacks = calibrated_stacks(torch.stack((air, thick), dim=1).reshape(1, 6, 1, 2))[0, :, :, 0]
    assert stacks[1, 0, 0] == ONE_COUNT  # air_high, air image
    assert stacks[0, 0, 0] == 1.0  # air_r: one count over one count
    assert stacks[2, 2, 1] == 1.0  # air_low, tissue image of the thick pixel
    assert float(stacks[0, 2, 1]) == pytest.approx(1.0 / 0.9)


def test_equals_the_naive_loop() -> None:
    raw = torch.rand(2, 6, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(calibrated_stacks(raw), naive_stacks(raw))


def test_a_batch_equals_its_elements() -> None:
    raw = torch.rand(3, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    each = torch.cat([calibrated_stacks(scan[None]) for scan in raw])
    assert torch.equal(calibrated_stacks(raw), each)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.001, "random"])
def test_is_finite_and_within_its_range(value: float | str) -> None:
    raw = torch.rand(1, 6, 8, 8, generator=torch.Generator().manual_seed(2))
    if isinstance(value, float):
        raw = torch.full_like(raw, value)
    raw.requires_grad_()
    stacks = calibrated_stacks(raw)
    high_low = stacks[:, [*stack_indices("high"), *stack_indices("low")]]
    r = stacks[:, list(stack_indices("r"))]
    assert high_low.min() >= ONE_COUNT * (1 - 1e-6)
    assert high_low.max() <= 1.0
    assert r.min() >= ONE_COUNT * (1 - 1e-6)
    assert r.max() <= 16383.0 * (1 + 1e-6)
    stacks.sum().backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


def test_gradients_are_right() -> None:
    """Away from the clips, where the function is smooth."""
    spread = torch.rand(1, 6, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    base = torch.tensor([0.2, 0.25, 0.3, 0.35, 0.4, 0.45], dtype=torch.float64).reshape(1, 6, 1, 1)
    raw = (base + 0.02 * spread).requires_grad_()
    assert torch.autograd.gradcheck(calibrated_stacks, raw)
    assert torch.autograd.gradcheck(r_image, raw)


def test_half_precision_is_raised() -> None:
    assert calibrated_stacks(torch.rand(1, 6, 2, 2).to(torch.bfloat16)).dtype == torch.float32
    assert r_image(torch.rand(1, 6, 2, 2).half()).dtype == torch.float32


def test_r_image_is_the_first_image_of_the_first_stack() -> None:
    raw = torch.rand(2, 6, 5, 4, generator=torch.Generator().manual_seed(4))
    assert r_image(raw).shape == (2, 1, 5, 4)
    assert torch.equal(r_image(raw)[:, 0], calibrated_stacks(raw)[:, STACKS.index("air_r"), 0])


@pytest.mark.parametrize("photons_per_pixel", [3e5, 3e6])
def test_mask_finds_a_disc_in_noise(photons_per_pixel: float) -> None:
    rows, columns = torch.meshgrid(torch.arange(150.0), torch.arange(109.0), indexing="ij")
    disc = (rows - 70) ** 2 + (columns - 50) ** 2 < 30**2
    density = torch.zeros(8, 3, 150, 109)
    density[:, 1, disc] = 0.3
    acquisition = Acquisition(photons_per_pixel=photons_per_pixel)
    raw = acquisition.forward(density, torch.Generator().manual_seed(0))
    mask = body_mask(raw)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, disc.expand(8, 1, 150, 109))


def test_mask_threshold_is_in_nepers() -> None:
    raw = torch.zeros(1, 6, 1, 3)
    raw[0, :2, 0] = torch.tensor([0.1, 0.3, 0.5]) / 12.0
    assert body_mask(raw, threshold_nepers=0.2)[0, 0, 0].tolist() == [False, True, True]
    assert body_mask(raw, threshold_nepers=0.2, full_scale_nepers=6.0)[0, 0, 0].tolist() == [False, False, True]


@pytest.mark.parametrize("shape", [(6, 4, 4), (1, 3, 4, 4), (1, 4, 4, 6)])
def test_refuses_another_shape(shape: tuple[int, ...]) -> None:
    for function in (calibrated_stacks, r_image, body_mask):
        with pytest.raises(InputError, match=r"raw: expected shape \(B, 6, H, W\), got"):
            function(torch.zeros(shape))
