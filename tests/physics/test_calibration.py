"""Algebra of the calibrated stacks, R, the air level and the body mask."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.calibration import (
    STACKS,
    above_air,
    air_level,
    body_mask,
    calibrated_stacks,
    r_image,
    stack_indices,
)
from dxa_monai.transforms.geometric import FieldGeometry, move_in_field
from tests.lying_bodies import SCANNERS, lying_bodies, scanned

ONE_COUNT = 1.0 / 16383.0
each_scanner = pytest.mark.parametrize("acquisition", SCANNERS.values(), ids=SCANNERS)


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
    acquisition = Acquisition.ideal(photons_per_pixel=photons_per_pixel)
    raw = acquisition.forward(density, torch.Generator().manual_seed(0))
    mask = body_mask(raw)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, disc.expand(8, 1, 150, 109))


@pytest.mark.parametrize("zero", [0.0, 0.12])
def test_mask_threshold_is_in_nepers_above_the_air(zero: float) -> None:
    raw = torch.full((1, 6, 1, 6), zero)
    raw[0, :2, 0, 3:] += torch.tensor([0.1, 0.3, 0.5]) / 12.0
    assert body_mask(raw, threshold_nepers=0.2)[0, 0, 0, 3:].tolist() == [False, True, True]
    assert body_mask(raw, threshold_nepers=0.2, full_scale_nepers=6.0)[0, 0, 0, 3:].tolist() == [False, False, True]


def air_of(raw: torch.Tensor, areal_density: torch.Tensor) -> torch.Tensor:
    """``(B, 6, 1, 1)``: the mean of each channel where nothing lies within 10 pixels, to keep scatter out."""
    near = torch.nn.functional.max_pool2d(areal_density.sum(1, keepdim=True), 21, 1, 10)
    air = (near == 0).to(raw)
    return (raw * air).sum((2, 3), keepdim=True) / air.sum((2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("acquisition", "counts"),
    [
        (Acquisition.ideal(), 1.0),  # cut off at 0 counts
        (Acquisition(), 3.0),
        (Acquisition(photons_per_pixel=1e5), 3.0),
        (Acquisition(drift_low=0.01, drift_high=0.01), 15.0),
        (Acquisition(pedestal_counts=(1500, 1700, 1600, 1900, 1400, 2000)), 3.0),
        (Acquisition(hot_columns=(4, 60), dead_columns=(90,)), 3.0),
        (Acquisition(table_width_mm=600.0), 5.0),
    ],
    ids=["ideal", "realistic", "few_photons", "drift", "pedestals", "failed_columns", "narrow_table"],
)
def test_air_level_is_what_open_air_reads(acquisition: Acquisition, counts: float) -> None:
    raw = scanned(acquisition)
    level = air_level(raw)
    assert level.shape == (2, 6, 1, 1)
    failed = {*acquisition.hot_columns, *acquisition.dead_columns}
    kept = [column for column in range(10, 99) if column not in failed]
    expected = air_of(raw[..., kept], lying_bodies()[..., kept])
    assert (level - expected).abs().max() < counts * ONE_COUNT


@each_scanner
def test_air_level_of_a_batch_is_that_of_its_scans(acquisition: Acquisition) -> None:
    raw = scanned(acquisition)
    each = torch.cat([air_level(scan[None]) for scan in raw])
    torch.testing.assert_close(air_level(raw), each, rtol=0.0, atol=0.1 * ONE_COUNT)
    assert torch.equal(body_mask(raw), torch.cat([body_mask(scan[None]) for scan in raw]))


@each_scanner
def test_air_level_of_a_moved_scan_is_that_of_the_scan(acquisition: Acquisition) -> None:
    raw = scanned(acquisition)
    moved = torch.stack([move_in_field(scan, FieldGeometry(4.0, -0.01, 0.08, 1.05)) for scan in raw])
    assert (air_level(moved) - air_level(raw)).abs().max() < 3 * ONE_COUNT


@each_scanner
def test_a_scan_of_nothing_is_all_air(acquisition: Acquisition) -> None:
    counts = acquisition.scan(torch.zeros(1, 3, 150, 109), torch.Generator().manual_seed(0))
    raw = torch.from_numpy(counts / 16383.0).movedim(-1, 1)
    torch.testing.assert_close(air_level(raw), raw.mean((2, 3), keepdim=True), rtol=0.0, atol=0.1 * ONE_COUNT)
    assert not body_mask(raw).any()


def test_without_air_the_level_is_that_of_what_attenuates_least() -> None:
    cropped = scanned(Acquisition())[:, :, 40:60, 45:65]
    mean = cropped.mean(1, keepdim=True)
    lowest, low = (torch.quantile(mean.flatten(1), share, dim=1) for share in (0.0, 0.1))
    level = air_level(cropped).mean(1).flatten()
    assert ((level >= lowest) & (level <= low)).all()
    assert body_mask(cropped).any()


def test_air_level_has_no_gradient_and_half_precision_is_raised() -> None:
    raw = scanned(Acquisition())
    assert not air_level(raw.clone().requires_grad_()).requires_grad
    half = raw.half()
    assert air_level(half).dtype == torch.float32
    assert (air_level(half) - air_level(raw)).abs().max() < 1e-4  # half precision has 11 bits
    assert (body_mask(half) != body_mask(raw)).sum() < 100


def test_the_mask_does_not_depend_on_the_scanner() -> None:
    """One body on two scanners: pixels of its edge differ, where blur and scatter decide."""
    ideal, realistic = (body_mask(scanned(acquisition)) for acquisition in SCANNERS.values())
    outline = torch.nn.functional.max_pool2d(ideal.float(), 3, 1, 1) != 1 - torch.nn.functional.max_pool2d(
        1 - ideal.float(), 3, 1, 1
    )
    assert (ideal != realistic).flatten(1).sum(1).max() < 60
    assert not ((ideal != realistic) & ~outline).any()
    assert ideal.flatten(1).sum(1).min() > 3000


def test_an_output_is_judged_by_the_level_of_its_target() -> None:
    target = scanned(Acquisition())
    level = air_level(target)
    nothing = torch.zeros_like(target)
    assert not body_mask(nothing, level=level).any()
    assert body_mask(target + 0.05 / 12.0, level=level).all()
    torch.testing.assert_close(above_air(target + 0.01, level), above_air(target) + 0.01)


@each_scanner
def test_above_air_keeps_what_the_wheel_attenuates(acquisition: Acquisition) -> None:
    raw = scanned(acquisition)
    level, of_above = air_level(raw), air_level(above_air(raw))
    assert of_above[:, :2].abs().max() < 1e-6
    for segment in (1, 2):
        wheel = level[:, 2 * segment : 2 * segment + 2] - level[:, :2]
        assert (wheel * 12.0 > 0.1).all()
        torch.testing.assert_close(of_above[:, 2 * segment : 2 * segment + 2], wheel, rtol=0.0, atol=1e-6)


def test_r_above_air_does_not_depend_on_the_zero() -> None:
    thick = body_mask(scanned(Acquisition.ideal()), 1.0)
    of_ideal = r_image(above_air(scanned(Acquisition.ideal())))[thick]
    raw = scanned(Acquisition())
    diluted, of_realistic = r_image(raw)[thick], r_image(above_air(raw))[thick]
    assert (of_realistic - of_ideal).abs().mean() < 0.012
    assert (diluted - of_ideal).abs().mean() > 0.05
    assert of_ideal.min() > 1.1


@pytest.mark.parametrize("shape", [(6, 4, 4), (1, 3, 4, 4), (1, 4, 4, 6)])
def test_refuses_another_shape(shape: tuple[int, ...]) -> None:
    for function in (calibrated_stacks, r_image, body_mask, above_air):
        with pytest.raises(InputError, match=r"raw: expected shape \(B, 6, H, W\), got"):
            function(torch.zeros(shape))
    with pytest.raises(InputError, match=r"raw: expected shape \(B, C, H, W\), got"):
        air_level(torch.zeros(6, 4, 4))
