"""From what a scanner wrote to what a scanner without zero, stray signal and failures would have written."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.correction import ScanCorrection, find_correction
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.stray import StraySignal
from dxa_monai.scan.format import FULL_SCALE_NEPERS, SCAN_SHAPE
from tests.lying_bodies import lying_bodies, scanned
from tests.sharp_scanner import sharp_scanner

EVERYTHING: dict[str, Any] = {
    "pedestal_counts": (1800.0, 1790.0, 1810.0, 1790.0, 1800.0, 1780.0),
    "drift_low": 0.005,
    "drift_high": 0.005,
    "column_gain_sd": 0.002,
    "mat_unevenness_g_cm2": 0.0,
    "scatter_to_primary": 0.02,
    "scatter_fraction": 0.002,
    "dark_signal": 2e-5,
    "energy_shift_mm": (0.0, 0.5),
    "dead_columns": (54, 90),
    "blur_sigma_mm": 0.0,
    "subpixels": (1, 1),
}
MODEL = ScannerModel(
    source="phantom",
    photons_per_pixel=2.6e6,
    stray=StraySignal(
        # Behind table and mat, of which 14 % of the beam are stopped; those scatter nothing here.
        dark_high=2e-5 / 0.87,
        dark_low=2e-5 / 0.86,
        glare=0.002,
        scatter_to_primary=0.02,
    ),
)
BLURRED = dataclasses.replace(
    MODEL, stray=dataclasses.replace(MODEL.stray, blur_rows=0.01, blur_columns=0.05), source="phantom"
)
PLAIN = ScannerModel(source="phantom", photons_per_pixel=2.6e6)
AIR = torch.zeros(1, 3, *SCAN_SHAPE)


@pytest.fixture(scope="module")
def raw() -> torch.Tensor:
    """``(2, 6, 150, 109)`` of a scanner that does everything; do not write into it."""
    return scanned(Acquisition(**EVERYTHING))


@pytest.fixture(scope="module")
def clean() -> torch.Tensor:
    """The same bodies, each pixel by itself and without noise, above the air and behind the model's wheel, nepers."""
    sharp = sharp_scanner(table=Acquisition().table, mat=Acquisition().mat)
    above = (sharp.forward(lying_bodies()) - sharp.forward(AIR)) * FULL_SCALE_NEPERS
    return above + torch.from_numpy(MODEL.wheel_nepers)[:, None, None]


def corrected(raw: torch.Tensor, model: ScannerModel = MODEL, **arguments: Any) -> torch.Tensor:
    """``(6, H, W)`` nepers."""
    return find_correction(raw, model, **arguments).apply(raw[None])[0] * FULL_SCALE_NEPERS


def without_mixing(correction: ScanCorrection, raw: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The scans here are made pixel by pixel: no pixel is a mean."""
    monkeypatch.setattr("dxa_monai.physics.correction._MIXED_SHARE", 0.0)
    return correction.apply(raw[None])[0] * FULL_SCALE_NEPERS


def test_a_scan_with_everything_is_that_of_the_sharp_scanner(
    raw: torch.Tensor, clean: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thin and thick: behind 15 g/cm2 all of it together takes away 0.1 nepers."""
    for scan, expected, areal in zip(raw, clean, lying_bodies(), strict=True):
        found = without_mixing(find_correction(scan, MODEL), scan, monkeypatch)
        thickness = areal.sum(dim=0)
        inner = torch.nn.functional.avg_pool2d((thickness > 1.0).float()[None], 5, 1, 2)[0] > 0.99
        for lowest, highest in ((1.0, 5.0), (5.0, 10.0), (10.0, 15.0), (15.0, 25.0)):
            where = inner & (thickness >= lowest) & (thickness < highest)
            difference = (found - expected)[:2, where]
            uncorrected = (scan * FULL_SCALE_NEPERS - expected)[:2, where]
            assert difference.mean(dim=1).abs().max() < 4e-3
            assert uncorrected.mean(dim=1).abs().max() > 1.0


@pytest.mark.parametrize("model", [PLAIN, MODEL, BLURRED], ids=["no stray", "stray", "blurred"])
def test_open_air_reads_what_the_model_says(model: ScannerModel, raw: torch.Tensor) -> None:
    """0 in the air segment, and the wheel's attenuation in the others."""
    for scan in raw:
        correction = find_correction(scan, model)
        air = torch.from_numpy(correction.zero.air)
        found = correction.apply(scan[None])[0] * FULL_SCALE_NEPERS
        np.testing.assert_allclose(found[:, air].mean(dim=1).numpy(), model.wheel_nepers, atol=5e-4)


def test_a_clean_scan_is_hardly_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not cut off: half of its air reads less than 0."""
    scan = sharp_scanner().forward(lying_bodies()[:1].double(), torch.Generator().manual_seed(0))[0].float()
    wheel = sharp_scanner().forward(AIR)[0].mean(dim=(1, 2)).double().numpy() * FULL_SCALE_NEPERS
    correction = find_correction(scan, PLAIN, wheel_nepers=wheel - np.tile(wheel[:2], 3))
    assert not correction.zero.cut_off
    difference = without_mixing(correction, scan, monkeypatch) - scan * FULL_SCALE_NEPERS
    assert difference.mean(dim=(1, 2)).abs().max() < 1e-4
    assert difference.abs().max() < 1e-3


@pytest.mark.parametrize("model", [PLAIN, MODEL, BLURRED], ids=["no stray", "stray", "blurred"])
def test_a_batch_equals_its_elements(model: ScannerModel, raw: torch.Tensor) -> None:
    correction = find_correction(raw[0], model)
    together = correction.apply(raw)
    for number in range(len(raw)):
        torch.testing.assert_close(together[number], correction.apply(raw[number : number + 1])[0])


@pytest.mark.parametrize("model", [PLAIN, BLURRED], ids=["no stray", "blurred"])
def test_apply_is_differentiable(model: ScannerModel, raw: torch.Tensor) -> None:
    """Against a difference quotient along a random direction."""
    correction = find_correction(raw[0], model)
    start = raw[:1].double()
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.randn(start.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = start.clone().requires_grad_()
    (correction.apply(leaf) * weight).sum().backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
    step = 1e-7
    ends = [(correction.apply(start + sign * step * direction) * weight).sum() for sign in (1.0, -1.0)]
    quotient = float(ends[0] - ends[1]) / (2.0 * step)
    # At the limits of the logarithm and of the mixed pixels the slope jumps; few pixels lie within a step of them.
    assert float((leaf.grad * direction).sum()) == pytest.approx(quotient, rel=1e-2, abs=1.0)


def test_correction_of_a_target_takes_another_image_through_it(raw: torch.Tensor) -> None:
    """As a network's output: the target's zero is subtracted, whatever the output reads in its air."""
    correction = find_correction(raw[0], PLAIN)
    target, other = correction.apply(raw[:1]), correction.apply(raw[:1] + 0.01)
    air = torch.from_numpy(correction.zero.air)
    difference = (other - target)[0, :, air]
    torch.testing.assert_close(difference, torch.full_like(difference, 0.01), atol=1e-5, rtol=0)


def test_dead_columns_are_filled_from_beside_them(raw: torch.Tensor, clean: torch.Tensor) -> None:
    correction = find_correction(raw[0], MODEL)
    assert correction.dead_columns == (54, 90)
    found = correction.apply(raw[:1])[0] * FULL_SCALE_NEPERS
    # Beside the spine's edge the line between the neighbours is not what lies there, but near.
    assert (found - clean[0])[:2, :, [54, 90]].mean(dim=1).abs().max() < 0.1
    assert raw[0, 0, :, 54].min() == 1.0


def test_displaced_energies_are_moved_back(raw: torch.Tensor) -> None:
    correction = find_correction(raw[0], MODEL)
    assert correction.energy_shift_mm[1] == pytest.approx(0.5, abs=0.1)
    assert correction.measured_shift.columns_mm == correction.energy_shift_mm[1]


def test_declared_zero_is_subtracted_as_it_is(raw: torch.Tensor) -> None:
    counts = (1000.0, 1001.0, 1002.0, 1003.0, 1004.0, 1005.0)
    correction = find_correction(raw[0], PLAIN, zero_counts=counts)
    assert correction.zero_declared
    expected = torch.tensor(counts)[:, None, None].expand(6, *SCAN_SHAPE) / 16383.0 * FULL_SCALE_NEPERS
    torch.testing.assert_close(correction.zero_image_nepers, expected)
    assert correction.zero.enough_air  # and what the air says is known beside it
    assert not find_correction(raw[0], PLAIN).zero_declared


@pytest.mark.parametrize("counts", [(0.0,) * 5, (0.0,) * 7, (-1.0, *(0.0,) * 5), (16384.0, *(0.0,) * 5), ("a",) * 6])
def test_a_zero_that_cannot_be_is_refused(counts: Any, raw: torch.Tensor) -> None:
    with pytest.raises(InputError, match="zero_counts: expected"):
        find_correction(raw[0], MODEL, zero_counts=counts)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value: float, raw: torch.Tensor) -> None:
    broken = raw[0].clone()
    broken[3, 70, 50] = value
    with pytest.raises(InputError, match=r"raw: expected finite numbers .* with 1 that are not finite"):
        find_correction(broken, MODEL)


@pytest.mark.parametrize("shape", [(0, 109), (150, 0), (1, 109), (150, 1), (1, 1)])
def test_lines_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="raw: expected finite numbers in two or more rows and columns"):
        find_correction(torch.zeros(6, *shape), MODEL)


@pytest.mark.parametrize("shape", [(2, 2), (3, 109), (150, 2), (30, 20)])
@pytest.mark.parametrize("model", [PLAIN, BLURRED], ids=["no stray", "blurred"])
def test_small_images_give_finite_numbers(shape: tuple[int, int], model: ScannerModel) -> None:
    raw = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(corrected(raw, model)).all()


@pytest.mark.parametrize("model", [PLAIN, BLURRED], ids=["no stray", "blurred"])
def test_without_open_air_numbers_stay_finite(model: ScannerModel) -> None:
    noise = torch.rand(6, *SCAN_SHAPE, generator=torch.Generator().manual_seed(0))
    correction = find_correction(noise, model)
    assert not correction.zero.enough_air
    assert torch.isfinite(correction.apply(noise[None])).all()


def test_saturated_pixels_are_marked() -> None:
    raw = scanned(Acquisition(**{**EVERYTHING, "dead_columns": ()}))[0]
    raw[0, 70, 50] = 1.0
    raw[1, 71, 50] = 1.0
    raw[4, 72, 50] = 1.0  # of another segment
    saturated = find_correction(raw, MODEL).saturated
    assert torch.nonzero(saturated).tolist() == [[70, 50], [71, 50]]


def test_nothing_is_measured_beside_a_table() -> None:
    raw = scanned(Acquisition(table_width_mm=600.0, subpixels=(1, 1)))[0]
    correction = find_correction(raw, PLAIN)
    first, stop = correction.zero.table_columns
    assert 0 < first < 10
    found = correction.apply(raw[None])[0] * FULL_SCALE_NEPERS
    beside = torch.cat([found[..., : first - 1], found[..., stop + 1 :]], dim=-1)
    wheel = torch.from_numpy(PLAIN.wheel_nepers).float()[:, None, None].expand_as(beside)
    torch.testing.assert_close(beside, wheel)


def test_neither_scan_nor_correction_is_changed(raw: torch.Tensor) -> None:
    before = raw.clone()
    correction = find_correction(raw[0], BLURRED)
    zero = correction.zero_image_nepers.clone()
    first, second = correction.apply(raw), correction.apply(raw)
    assert torch.equal(first, second)
    assert torch.equal(raw, before)
    assert torch.equal(correction.zero_image_nepers, zero)


def test_a_pixel_on_a_slope_is_taken_for_a_mean() -> None:
    """0.5 nepers a column: -ln mean exp(-y) lies 0.5^2 / 24 below the mean of y, of which 0.7 are added."""
    raw = torch.zeros(1, 6, 150, 109, dtype=torch.float64)
    raw[..., 40:60] = 0.5 * torch.arange(20, dtype=torch.float64) / FULL_SCALE_NEPERS
    raw[..., 60:] = raw[..., 59:60]
    correction = dataclasses.replace(
        find_correction(torch.zeros(6, *SCAN_SHAPE), PLAIN), wheel_nepers=np.zeros(6), dead_columns=()
    )
    added = (correction.apply(raw) - raw)[0, 0, 75] * FULL_SCALE_NEPERS
    torch.testing.assert_close(added[45:55], torch.full((10,), 0.7 * 0.25 / 24.0, dtype=torch.float64))
    torch.testing.assert_close(added[:39], torch.zeros(39, dtype=torch.float64))
