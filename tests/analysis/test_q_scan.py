"""The second reader, on slabs whose every gram is known, and beside the first on a body."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dxa_monai.analysis.bone import Masks, decompose, find_bone
from dxa_monai.analysis.q_scan import read_q
from dxa_monai.errors import InputError
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import CHANNELS
from tests.analysis.test_bone import noisy_scan, thigh
from tests.sharp_scanner import sharp_scanner

MARROW = 0.6


def slabs(model: ScannerModel, areal: torch.Tensor) -> torch.Tensor:
    """``(1, 6, H, W)`` what the model's scanner reads behind areal densities, without noise."""
    attenuation, weights, _ = model.tensors(torch.float64, torch.device("cpu"))
    signal = torch.exp(-torch.einsum("bmhw,me->bhwe", areal.double(), attenuation)) @ weights
    return (-torch.log(signal) / model.full_scale_nepers).movedim(-1, 1).float()


def bars(mineral_g_cm2: float, fat: float, lean: float) -> tuple[torch.Tensor, Masks]:
    """A slab with a bar of bone, and masks that know where it is."""
    areal = torch.zeros(1, 3, 24, 30)
    areal[:, 0, 2:-2, 2:-2], areal[:, 1, 2:-2, 2:-2] = fat, lean
    bone = torch.zeros(1, 1, 24, 30, dtype=torch.bool)
    bone[..., 6:18, 12:18] = True
    areal[:, 2:][bone] = mineral_g_cm2
    areal[:, :1][bone] += MARROW * mineral_g_cm2
    return areal, Masks(areal.sum(dim=1, keepdim=True) > 0, bone, torch.zeros_like(areal[:, :1]))


@pytest.mark.parametrize(("fat", "lean"), [(0.0, 12.0), (3.0, 3.0), (4.0, 16.0), (18.0, 12.0), (25.0, 2.0)])
@pytest.mark.parametrize("mineral", [0.1, 0.8, 2.0])
def test_slabs_are_read_as_by_the_first_reader(fat: float, lean: float, mineral: float) -> None:
    """Soft tissue as it is, and what lies behind bone as with Newton's method: both carry on the same fat."""
    model = ScannerModel()
    areal, masks = bars(mineral, fat, lean)
    raw = slabs(model, areal)
    reading = read_q(raw, model, masks)
    found = reading.areal_density_g_cm2
    assert (reading.k_ratio, reading.d0_ratio) == pytest.approx((1.0, 1.0), abs=2e-3)
    soft = masks.body & ~masks.hidden
    for number in range(2):
        assert (found - areal)[:, number][soft[:, 0]].abs().max() < 0.15
    difference = (found - decompose(raw, model, masks))[masks.bone.expand_as(found)]
    assert difference.abs().max() < 0.15
    assert found[:, 2:][soft].count_nonzero() == 0
    assert found[~masks.body.expand_as(found)].count_nonzero() == 0


def test_both_readers_agree_on_a_noisy_thigh() -> None:
    acquisition = sharp_scanner(photons_per_pixel=3e6)
    model = calibrate_with_phantom(StepPhantom().scan(acquisition, torch.Generator().manual_seed(0)))
    raw = noisy_scan(thigh(), acquisition)
    masks = find_bone(raw, model)
    first = decompose(raw, model, masks).sum(dim=(0, 2, 3))
    second = read_q(raw, model, masks).areal_density_g_cm2.sum(dim=(0, 2, 3))
    assert second.tolist() == pytest.approx(first.tolist(), rel=0.06)


def test_a_wheel_that_is_not_the_calibrated_one_shows_in_its_ratios() -> None:
    """One per cent more of the tissue segment at both energies leaves k; at low energy alone it is 1 % of k."""
    model = ScannerModel()
    areal, masks = bars(0.8, 4.0, 16.0)
    raw = slabs(model, areal)
    for channels, k in ((("tissue_low",), 1.01), (("tissue_low", "tissue_high"), 1.0)):
        changed = raw.clone()
        for name in channels:
            segment, air = CHANNELS.index(name), CHANNELS.index(name.replace("tissue", "air"))
            changed[:, segment] += 0.01 * (raw[:, segment] - raw[:, air])
        assert read_q(changed, model, masks).k_ratio == pytest.approx(k, abs=1e-3)


def test_a_wheel_without_tissue_segment_is_refused() -> None:
    model = dataclasses.replace(ScannerModel(), wheel=WheelSegments(tissue=()))
    areal, masks = bars(0.8, 4.0, 16.0)
    with pytest.raises(InputError, match="method q_scan: expected a wheel with a tissue segment"):
        read_q(slabs(model, areal), model, masks)
