"""A scanner calibrated from people's scans alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dxa_monai.analysis.scan_calibration import calibrate_with_scan, nominal_scanner
from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.decomposition import decompose_bone, decompose_soft
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import PIXEL_SPACING_MM
from tests.sharp_scanner import clean

SHAPE = (90, 109)


def torso(fat_share: float, half_depth_cm: float = 10.0) -> torch.Tensor:
    """``(1, 3, H, W)``: an ellipsoid of soft tissue, uneven in fat, with a spine and thigh bones."""
    rows = (torch.arange(SHAPE[0]) - SHAPE[0] / 2.0 + 0.5) * PIXEL_SPACING_MM[0] / 10.0
    columns = (torch.arange(SHAPE[1]) - SHAPE[1] / 2.0 + 0.5) * PIXEL_SPACING_MM[1] / 10.0
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    total = 2.0 * half_depth_cm * (1.0 - (y / 50.0) ** 2 - (x / 20.0) ** 2).clamp_min(0.0).sqrt()
    share = (fat_share + 0.1 * torch.sin(y / 12.0) + 0.08 * torch.cos(x / 5.0)).clamp(0.03, 0.8)
    mineral = 1.2 * ((x.abs() < 1.8) & (y < 20.0)) + 1.5 * ((x.abs() - 9.0).abs() < 1.2) * (y > 22.0)
    return torch.stack([share * total, (1.0 - share) * total, mineral * (total > 3.0)])[None]


def scanned(acquisition: Acquisition, areal: torch.Tensor, seed: int) -> torch.Tensor:
    counts = acquisition.scan(areal, torch.Generator().manual_seed(seed)).astype(np.float32)
    return torch.from_numpy(counts).movedim(-1, 1) / 16383.0


def another_scanner(seed: int) -> Acquisition:
    """Without scatter, which cannot be seen through the wheel."""
    return Acquisition(scatter_to_primary=0.0).perturbed(np.random.default_rng(seed))


def worst_error(model: ScannerModel, acquisition: Acquisition) -> tuple[float, float]:
    """Largest error of fat or lean in g/cm2 for 2 to 25 g/cm2 of soft tissue, and of bone mineral in per cent."""
    total, share = np.meshgrid([2.0, 5.0, 10.0, 15.0, 20.0, 25.0], [0.1, 0.3, 0.5])
    areal = torch.tensor(np.stack([share * total, (1.0 - share) * total, 0.0 * total]))[None]
    quiet = dataclasses.replace(model, photons_per_pixel=1e12)
    soft = (decompose_soft(clean(acquisition, areal, model), quiet) - areal[:, :2]).abs().max()
    areal[:, 2] = torch.tensor([0.5, 1.0, 2.0])[:, None]
    bone = decompose_bone(clean(acquisition, areal, model), areal[:, :1], quiet)[:, 2] / areal[:, 2] - 1.0
    return float(soft), 100.0 * float(bone.abs().max())


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_one_scan_calibrates_far_better_than_the_nominal_values(seed: int) -> None:
    acquisition = another_scanner(seed)
    model = calibrate_with_scan(scanned(acquisition, torso(0.25), seed)[0])
    soft, bone = worst_error(model, acquisition)
    nominal_soft, nominal_bone = worst_error(ScannerModel(), acquisition)
    assert soft < 0.6 < 1.5 < nominal_soft
    assert bone < 8.0 < nominal_bone
    assert model.source == "scan"
    assert 0 < model.residual_nepers < 0.01
    assert model.photons_per_pixel == pytest.approx(acquisition.photons_per_pixel * np.exp(-0.15), rel=0.08)


def test_several_scans_are_better_than_one() -> None:
    errors = []
    for seed in (0, 1, 2, 3):
        acquisition = another_scanner(seed)
        raw = torch.cat([scanned(acquisition, torso(0.15 + 0.1 * n, 7.0 + 1.5 * n), 10 * seed + n) for n in range(4)])
        errors.append([worst_error(calibrate_with_scan(part), acquisition)[0] for part in (raw[:1], raw)])
    one, several = np.array(errors).mean(axis=0)
    assert several < one


def test_one_scan_with_and_without_a_batch_dimension_is_the_same() -> None:
    raw = scanned(another_scanner(0), torso(0.25), 0)
    assert calibrate_with_scan(raw) == calibrate_with_scan(raw[0])


def test_order_of_scans_does_not_matter() -> None:
    acquisition = another_scanner(1)
    raw = torch.cat([scanned(acquisition, torso(share), n) for n, share in enumerate((0.15, 0.4))])
    first, second = calibrate_with_scan(raw), calibrate_with_scan(raw.flip(0))
    np.testing.assert_allclose(first.beam.as_vector(), second.beam.as_vector(), rtol=1e-4)


def test_nominal_scanner_has_the_photons_of_the_scans() -> None:
    acquisition = dataclasses.replace(Acquisition(), photons_per_pixel=7e5)
    model = nominal_scanner(scanned(acquisition, torso(0.25), 0))
    assert model.beam == ScannerModel().beam
    assert model.photons_per_pixel == pytest.approx(7e5 * np.exp(-0.15), rel=0.1)


def test_dark_signal_is_seen_through_the_wheel() -> None:
    acquisition = dataclasses.replace(another_scanner(0), dark_signal=3e-4)
    raw = torch.cat([scanned(acquisition, torso(0.15 + 0.1 * n, 8.0 + 2.0 * n), n) for n in range(4)])
    model = calibrate_with_scan(raw)
    assert model.stray.dark_low == pytest.approx(3e-4, rel=0.3)
    assert worst_error(model, acquisition)[0] < 1.2


def test_displacement_of_the_energies_is_that_of_all_scans() -> None:
    acquisition = dataclasses.replace(another_scanner(0), energy_shift_mm=(0.0, 0.2))
    raw = torch.cat([scanned(acquisition, torso(0.15 + 0.1 * n), n) for n in range(4)])
    assert calibrate_with_scan(raw).energy_shift_mm[1] == pytest.approx(0.2, abs=0.05)


def test_a_scan_without_a_body_is_refused() -> None:
    with pytest.raises(InputError, match="soft tissue without bone"):
        calibrate_with_scan(scanned(Acquisition(), torch.zeros(1, 3, *SHAPE), 0))


def test_a_scan_without_air_is_refused() -> None:
    rough = 4.0 + 3.0 * torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="open air"):
        calibrate_with_scan(scanned(Acquisition(), rough, 0))
