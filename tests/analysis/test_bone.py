"""Bone found in the image, on a thigh whose every gram is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dxa_monai.analysis.bone import BoneSettings, Masks, decompose, find_and_decompose, find_bone, without_specks
from dxa_monai.analysis.rib_cage import RibCage
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import PIXEL_SPACING_MM, pixel_area_cm2
from tests.sharp_scanner import sharp_scanner

AREA_CM2 = pixel_area_cm2()
ROWS, COLUMNS = 56, 50
BONE_ROWS = slice(14, 42)


def chord(radius_cm: float, across_cm: torch.Tensor) -> torch.Tensor:
    return 2.0 * (radius_cm**2 - across_cm**2).clamp_min(0.0).sqrt()


def thigh(radius_cm: float = 8.0, layer_cm: float = 1.6, cortex_cm: float = 0.45) -> torch.Tensor:
    """``(1, 3, H, W)``: a cylinder of muscle in a layer of fat, with a hollow bone whose marrow is part fat in it."""
    columns = torch.arange(COLUMNS * 20, dtype=torch.float64)
    across = (columns / 20.0 - COLUMNS / 2.0 + 0.025) * PIXEL_SPACING_MM[1] / 10.0
    shaft = 1.5
    cortex = chord(shaft, across) - chord(shaft - cortex_cm, across)
    marrow = chord(shaft - cortex_cm, across)
    mineral = 1.1 * cortex
    fat_outside = 0.92 * (chord(radius_cm, across) - chord(radius_cm - layer_cm, across))
    muscle = 1.06 * (chord(radius_cm - layer_cm, across) - chord(shaft, across))
    marrow_fat = 0.8 * mineral
    inside = torch.stack([fat_outside + marrow_fat, muscle + 0.7 * cortex + 0.4 * marrow, mineral])
    without = torch.stack([fat_outside, 1.06 * chord(radius_cm - layer_cm, across), 0.0 * mineral])
    areal = torch.zeros(3, ROWS, COLUMNS, dtype=torch.float64)
    areal[:, 6:-6] = without.reshape(3, COLUMNS, 20).mean(-1)[:, None]
    areal[:, BONE_ROWS] = inside.reshape(3, COLUMNS, 20).mean(-1)[:, None]
    return areal[None].float()


def noisy_scan(areal: torch.Tensor, acquisition: Acquisition, seed: int = 0) -> torch.Tensor:
    return acquisition.forward(areal, torch.Generator().manual_seed(seed)).clamp(0.0, 1.0)


@pytest.fixture(scope="module")
def scanner() -> tuple[Acquisition, ScannerModel]:
    acquisition = sharp_scanner(photons_per_pixel=1e6)
    return acquisition, calibrate_with_phantom(StepPhantom().scan(acquisition, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("radius_cm", "layer_cm"), [(7.0, 0.8), (8.0, 1.6), (9.5, 2.5)])
def test_grams_of_a_thigh(scanner: tuple[Acquisition, ScannerModel], radius_cm: float, layer_cm: float) -> None:
    acquisition, model = scanner
    areal = thigh(radius_cm, layer_cm)
    raw = torch.cat([noisy_scan(areal, acquisition, seed) for seed in range(4)])
    found = (
        decompose(raw, model, settings=BoneSettings(marrow_fat_per_mineral=0.8)).sum(dim=(2, 3)).mean(dim=0) * AREA_CM2
    )
    fat, lean, mineral = areal[0].sum(dim=(1, 2)) * AREA_CM2
    assert float(found[2]) == pytest.approx(float(mineral), rel=0.03)
    assert float(found[0]) == pytest.approx(float(fat), rel=0.02)
    assert float(found[1]) == pytest.approx(float(lean), rel=0.01)
    assert float(found.sum()) == pytest.approx(float(areal.sum()) * AREA_CM2, rel=0.005)


def test_bone_is_found_where_it_is(scanner: tuple[Acquisition, ScannerModel]) -> None:
    acquisition, model = scanner
    areal = thigh()
    masks = find_bone(noisy_scan(areal, acquisition), model)
    assert (masks.bone <= masks.body).all()
    is_bone = areal[:, 2:] > 0.3
    assert masks.bone[is_bone].double().mean() > 0.97
    far = torch.nn.functional.max_pool2d(is_bone.float(), 9, 1, 4) == 0
    assert masks.bone[far & masks.body].double().mean() < 0.05
    torch.testing.assert_close(masks.body.double().mean(), (areal.sum(dim=1) > 0.3).double().mean(), atol=0.02, rtol=0)


def test_boneless_limb_has_hardly_any_mineral(scanner: tuple[Acquisition, ScannerModel]) -> None:
    acquisition, model = scanner
    areal = thigh()
    areal[:, :, BONE_ROWS] = areal[:, :, 8:9]
    found = decompose(noisy_scan(areal, acquisition), model)
    with_bone = float(thigh()[:, 2].sum())
    assert abs(float(found[:, 2].sum())) < 0.05 * with_bone


def test_empty_scan_has_no_bone_and_no_mass() -> None:
    raw = sharp_scanner(photons_per_pixel=3e5).forward(torch.zeros(2, 3, 40, 30), torch.Generator().manual_seed(0))
    masks = find_bone(raw.clamp(0.0, 1.0), ScannerModel())
    assert not masks.body.any()
    assert not masks.bone.any()
    assert decompose(raw.clamp(0.0, 1.0), ScannerModel()).count_nonzero() == 0


@pytest.mark.parametrize("name", ["zero", "one", "negative", "large", "uniform", "normal"])
def test_odd_images_never_give_nan(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    raw = {
        "zero": torch.zeros(1, 6, 30, 24),
        "one": torch.ones(1, 6, 30, 24),
        "negative": -torch.ones(1, 6, 30, 24),
        "large": torch.full((1, 6, 30, 24), 50.0),
        "uniform": torch.rand(1, 6, 30, 24, generator=generator),
        "normal": torch.randn(1, 6, 30, 24, generator=generator),
    }[name].requires_grad_()
    found = decompose(raw, ScannerModel())
    assert found.isfinite().all()
    found.square().sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_batch_equals_one_by_one(scanner: tuple[Acquisition, ScannerModel]) -> None:
    acquisition, model = scanner
    raw = torch.cat([noisy_scan(thigh(radius), acquisition) for radius in (7.0, 8.0, 9.0)])
    together = decompose(raw, model)
    alone = torch.cat([decompose(one[None], model) for one in raw])
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=1e-3)


def test_mirrored_scan_has_mirrored_maps(scanner: tuple[Acquisition, ScannerModel]) -> None:
    acquisition, model = scanner
    raw = noisy_scan(thigh(), acquisition)
    masks = find_bone(raw, model)
    assert masks.ribs is not None
    ribs = RibCage(*(getattr(masks.ribs, field.name).flip(3) for field in dataclasses.fields(RibCage)))
    mirrored = Masks(masks.body.flip(3), masks.bone.flip(3), masks.lean_noise.flip(3), ribs)
    torch.testing.assert_close(
        decompose(raw.flip(3), model, mirrored), decompose(raw, model, masks).flip(3), atol=2e-3, rtol=1e-3
    )


def test_masks_of_the_target_are_used(scanner: tuple[Acquisition, ScannerModel]) -> None:
    acquisition, model = scanner
    raw = noisy_scan(thigh(), acquisition)
    masks = find_bone(raw, model)
    torch.testing.assert_close(decompose(raw, model, masks), decompose(raw, model))
    boneless = dataclasses.replace(masks, bone=torch.zeros_like(masks.bone))
    assert decompose(raw, model, boneless)[:, 2].count_nonzero() == 0
    assert decompose(raw, model, masks)[~masks.body.expand(1, 3, ROWS, COLUMNS)].count_nonzero() == 0


def test_gradient_with_masks_held_constant() -> None:
    """float64, on a small thigh whose bone is given. The fill's gradient is that of its limit: half a percent off."""
    areal = thigh().double()[:, :, 12:20, 10:40:3]
    model = ScannerModel(photons_per_pixel=1e12)
    # All six channels agree in the model's own scan; otherwise weights held constant would matter a little.
    mu, weights, _ = model.tensors(torch.float64, torch.device("cpu"))
    signal = torch.exp(-torch.einsum("bmhw,me->bhwe", areal, mu)) @ weights
    raw = (-torch.log(signal) / model.full_scale_nepers).movedim(-1, 1).requires_grad_()
    body = areal.sum(dim=1, keepdim=True) > 0.3
    masks = Masks(body, areal[:, 2:] > 0.1, torch.zeros_like(areal[:, 2:]))
    projection = torch.randn(areal.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def total(values: torch.Tensor) -> torch.Tensor:
        return (decompose(values, model, masks) * projection).sum()

    (analytic,) = torch.autograd.grad(total(raw), raw)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = torch.randn(raw.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            numeric = (total(raw + 1e-7 * direction) - total(raw - 1e-7 * direction)) / 2e-7
        assert float((analytic * direction).sum()) == pytest.approx(float(numeric), rel=5e-3)


def test_specks_are_removed_and_bodies_kept() -> None:
    mask = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    mask[..., 5:15, 5:15] = True
    speckled = mask.clone()
    speckled[..., 1, 1] = speckled[..., 17, 3:5] = True
    cleaned = without_specks(speckled)
    assert (cleaned <= speckled).all()
    assert not (cleaned & ~mask).any()
    corners = torch.zeros_like(mask)
    corners[..., [5, 5, 14, 14], [5, 14, 5, 14]] = True
    assert torch.equal(cleaned, mask & ~corners)
    assert torch.equal(without_specks(cleaned), cleaned)


def test_settings_decide() -> None:
    """Where nothing can be bone, there is none."""
    raw = noisy_scan(thigh(), sharp_scanner())
    assert not find_bone(raw, ScannerModel(), BoneSettings(prior_log_odds=-1e3)).bone.any()


def arm_against_trunk() -> tuple[torch.Tensor, slice]:
    """``(1, 3, H, W)``: a lean arm with its bone, skin to skin with a trunk five times as fat; the arm's columns."""
    arm = thigh(4.5, 0.7, 0.35)[..., 16:34]
    trunk = torch.zeros(1, 3, ROWS, 44)
    depth = (torch.arange(44.0) * 0.4 + 6.0).clamp_max(20.0)
    trunk[:, 0, 6:-6], trunk[:, 1, 6:-6] = 0.45 * depth, 0.6 * depth
    air = torch.zeros(1, 3, ROWS, 8)
    return torch.cat([air, arm, trunk, air], dim=3), slice(8, 8 + arm.shape[3])


def test_arm_against_the_trunk_keeps_its_own_fat(scanner: tuple[Acquisition, ScannerModel]) -> None:
    """Skin to skin with a trunk that has other fat, none of it is carried over."""
    acquisition, model = scanner
    areal, arm = arm_against_trunk()
    raw = torch.cat([noisy_scan(areal, acquisition, seed) for seed in range(3)])
    fat, _, mineral = (decompose(raw, model) - areal)[..., arm].sum(dim=(2, 3)).mean(dim=0) * AREA_CM2
    true_fat, _, true_mineral = areal[0, ..., arm].sum(dim=(1, 2)) * AREA_CM2
    assert abs(float(fat)) < 0.08 * float(true_fat)
    assert abs(float(mineral)) < 0.08 * float(true_mineral)


def test_masks_and_maps_in_one_are_those_of_two_calls(scanner: tuple[Acquisition, ScannerModel]) -> None:
    acquisition, model = scanner
    raw = noisy_scan(thigh(), acquisition)
    masks, areal = find_and_decompose(raw, model)
    assert torch.equal(masks.bone, find_bone(raw, model).bone)
    torch.testing.assert_close(areal, decompose(raw, model, masks), atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize(("above", "beside"), [(4, 0), (0, 6), (8, 2)])
def test_more_air_changes_nothing(scanner: tuple[Acquisition, ScannerModel], above: int, beside: int) -> None:
    acquisition, model = scanner
    areal = thigh()
    wider = torch.nn.functional.pad(areal, (beside, 0, above, 0))
    shifted = noisy_scan(wider, acquisition)
    raw = shifted[:, :, above:, beside:]
    masks, wide = find_bone(raw, model), find_bone(shifted, model)
    assert torch.equal(wide.bone[:, :, above:, beside:], masks.bone)
    assert not wide.body[:, :, :above].any()
    torch.testing.assert_close(wide.lean_noise[:, :, above:, beside:], masks.lean_noise)
