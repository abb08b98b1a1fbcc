from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.energy_ratio import FAT_LEAN_DISTANCE
from dxa_monai.physics.beam_model import BeamParameters
from dxa_monai.physics.calibration import above_air, air_level, calibrated_stacks, stack_indices
from dxa_monai.physics.forward import log_attenuation
from dxa_monai.physics.scanner_model import ScannerModel, write_scanner_model
from dxa_monai.physics.soft_tissue_window import SoftTissueWindow, soft_tissue_window
from dxa_monai.scan.format import FULL_SCALE_NEPERS, HIGH_CHANNELS, LOW_CHANNELS
from tests.sharp_scanner import sharp_scanner


def slab(fat_g_cm2: float, lean_g_cm2: float) -> torch.Tensor:
    """What the virtual scanner reads behind an even slab, above its air, ``(1, 6, 1, 1)``."""
    areal = torch.zeros(1, 3, 30, 30, dtype=torch.float64)
    areal[:, 0, 10:20, 10:20] = fat_g_cm2
    areal[:, 1, 10:20, 10:20] = lean_g_cm2
    scan = sharp_scanner().forward(areal)
    return above_air(scan, air_level(scan))[..., 14:15, 14:15]


def of_model(fat_g_cm2: float, lean_g_cm2: float) -> torch.Tensor:
    """What the nominal model itself reads there."""
    attenuation, weights, _ = ScannerModel().tensors(torch.float64, torch.device("cpu"))
    areal = torch.tensor([[fat_g_cm2, lean_g_cm2, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    body, air = log_attenuation(areal, attenuation, weights)
    return ((body - air[[0, 1] * 3]) / FULL_SCALE_NEPERS).reshape(1, 6, 1, 1)


def ratios(above: torch.Tensor) -> torch.Tensor:
    return above[:, list(LOW_CHANNELS)] / above[:, list(HIGH_CHANNELS)]


@pytest.mark.parametrize("g_cm2", [3.0, 12.0, 25.0, 40.0])
def test_pure_fat_and_pure_lean_lie_at_the_ends(g_cm2: float) -> None:
    window = soft_tissue_window(None)
    for end, above in enumerate((of_model(g_cm2, 0.0), of_model(0.0, g_cm2))):
        nepers = above[:, HIGH_CHANNELS[:1]] * FULL_SCALE_NEPERS
        torch.testing.assert_close(window.of_channels(nepers)[end], ratios(above), atol=1e-3, rtol=0.0)
        images = calibrated_stacks(above)[:, list(stack_indices("r"))]
        torch.testing.assert_close(window.of_images(nepers)[end], images, atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("g_cm2", [3.0, 12.0, 25.0, 40.0])
def test_the_virtual_scanner_is_near_the_nominal_window(g_cm2: float) -> None:
    """It has another beam than the nominal model, as a real one has: its window is as wide within a twelfth."""
    found = [ratios(slab(g_cm2, 0.0)), ratios(slab(0.0, g_cm2))]
    expected = [ratios(of_model(g_cm2, 0.0)), ratios(of_model(0.0, g_cm2))]
    torch.testing.assert_close(found[1] - found[0], expected[1] - expected[0], atol=0.0, rtol=1 / 12)


def test_a_mixture_lies_between() -> None:
    shares = []
    for lean in (0.0, 5.0, 10.0, 15.0, 20.0):
        above = of_model(20.0 - lean, lean)
        fat, pure_lean = soft_tissue_window(None).of_channels(above[:, HIGH_CHANNELS[:1]] * FULL_SCALE_NEPERS)
        shares.append(float(((ratios(above) - fat) / (pure_lean - fat))[0, 0]))
    np.testing.assert_allclose(shares, [0.0, 0.25, 0.5, 0.75, 1.0], atol=0.04)


def test_the_constant_window_is_that_of_a_body_and_the_distance_shrinks_with_thickness() -> None:
    """The default of the loss is checked against the scanner: it is the distance behind 12 g/cm2, mid-thick tissue."""
    nepers = torch.linspace(0.5, 7.0, 14).reshape(1, 1, 1, -1)
    fat, lean = soft_tissue_window(None).of_channels(nepers)
    distance = (lean - fat)[0, 0, 0]
    assert (distance.diff() < 0).all()
    assert float(distance[-1]) < FAT_LEAN_DISTANCE < float(distance[0])
    assert np.interp(2.1, nepers.flatten(), distance) == pytest.approx(FAT_LEAN_DISTANCE, abs=0.003)


def test_beyond_the_table_its_ends_count() -> None:
    window = soft_tissue_window(None)
    for outside, inside in ((-3.0, 0.1), (50.0, 9.0)):
        first, second = (
            torch.cat(window.of_channels(torch.full((1, 1, 1, 1), nepers))) for nepers in (outside, inside)
        )
        torch.testing.assert_close(first, second, atol=1e-4, rtol=0.0)


def test_the_window_has_no_gradient_and_takes_the_type_of_the_scan() -> None:
    nepers = torch.full((2, 1, 3, 3), 2.0, requires_grad=True)
    fat, lean = soft_tissue_window(None).of_channels(nepers)
    assert not fat.requires_grad
    assert lean.dtype == torch.float32
    assert lean.shape == (2, 3, 3, 3)


def test_a_scanner_of_its_own_has_a_window_of_its_own_from_a_file_too(tmp_path: Path) -> None:
    nominal, nepers = ScannerModel(), torch.full((1, 1, 1, 1), 3.0)
    other = dataclasses.replace(nominal, beam=dataclasses.replace(nominal.beam, kvp_low=nominal.beam.kvp_low + 15))
    write_scanner_model(other, tmp_path / "scanner.json")
    first, second = (soft_tissue_window(each).of_channels(nepers)[1] for each in (None, str(tmp_path / "scanner.json")))
    assert float(second[0, 0]) < float(first[0, 0]) - 0.005
    torch.testing.assert_close(SoftTissueWindow(other).of_channels(nepers)[1], second)


def test_a_scanner_that_does_not_tell_fat_from_lean_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from dxa_monai.physics import soft_tissue_window as module

    monkeypatch.setattr(module, "BODY_MATERIALS", ("lean", "fat", "bone_mineral"))
    with pytest.raises(InputError, match="expected a scanner on which R of lean tissue lies above that of fat"):
        SoftTissueWindow(ScannerModel())


def test_a_file_that_is_no_scanner_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scanner.json").write_text(json.dumps({"beam": dataclasses.asdict(BeamParameters())}))
    with pytest.raises(InputError, match=r"scanner\.json: scanner model: expected beam, "):
        soft_tissue_window(str(tmp_path / "scanner.json"))
