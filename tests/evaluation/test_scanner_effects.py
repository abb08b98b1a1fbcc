from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.scanner_effects import EFFECTS, AlteredAcquisition, cells_of, scanner_with
from dxa_monai.physics.acquisition import Acquisition


def _body() -> torch.Tensor:
    return torch.tensor([4.0, 12.0, 0.5])[None, :, None, None].expand(1, 3, 6, 8).contiguous()


def _scan(scanner: Acquisition) -> np.ndarray:
    return scanner.scan(_body(), torch.Generator().manual_seed(0))


def test_unaltered_it_scans_as_the_scanner_it_is() -> None:
    np.testing.assert_array_equal(_scan(AlteredAcquisition()), _scan(Acquisition()))


@pytest.mark.parametrize(("bits", "step"), [(14, 1), (12, 4), (8, 64)])
def test_an_export_rounds_to_the_nearest_count_that_it_knows(bits: int, step: int) -> None:
    exact = _scan(AlteredAcquisition()).astype(int)
    exported = _scan(AlteredAcquisition(export_bits=bits)).astype(int)
    assert (exported % step == 0).all()
    assert np.abs(exported - exact).max() <= step / 2


def test_an_export_of_the_thickest_pixel_stays_within_its_bits() -> None:
    scanner = AlteredAcquisition.ideal(export_bits=8, dead_columns=(0,))
    assert _scan(scanner).max() == 16384 - 64


def test_lean_tissue_of_another_material_reads_otherwise_and_a_phantom_does_not() -> None:
    muscle = AlteredAcquisition.ideal(lean_material="muscle_icru44")
    assert not np.array_equal(_scan(muscle), _scan(AlteredAcquisition.ideal()))
    plastics = ("polyethylene", "acrylic", "aluminium")
    seen = [
        scanner.scan(_body(), torch.Generator().manual_seed(0), plastics)
        for scanner in (muscle, AlteredAcquisition.ideal())
    ]
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("bits", [0, 15, 9.5])
def test_bits_that_cannot_be_are_refused(bits: float) -> None:
    with pytest.raises(InputError, match="export_bits: expected"):
        AlteredAcquisition(export_bits=bits)  # type: ignore[arg-type]


@pytest.mark.parametrize(("effect", "strength"), cells_of())
def test_every_effect_changes_its_own_fields_of_the_same_scanner(effect: str, strength: str) -> None:
    usual = scanner_with("none", "realistic", 3, 1)
    changed = scanner_with(effect, strength, 3, 1)
    assert changed.phantom_seed == usual.phantom_seed
    different = {
        field.name
        for field in dataclasses.fields(AlteredAcquisition)
        if getattr(changed.acquisition, field.name) != getattr(usual.acquisition, field.name)
    }
    assert different <= set(EFFECTS[effect].strengths[strength])


def test_a_scanner_depends_on_seed_and_number_alone() -> None:
    drawn = [scanner_with("none", "realistic", seed, number).acquisition for seed, number in ((0, 0), (0, 1), (1, 0))]
    assert len(set(drawn)) == 3
    assert scanner_with("none", "realistic", 0, 1).acquisition == drawn[1]


def test_a_wheel_is_declared_unless_that_is_the_effect() -> None:
    drum = scanner_with("thick_drum", "67 mm", 0, 0)
    assert drum.wheel.tissue == drum.acquisition.tissue_segment
    thicker = scanner_with("wheel", "3 %", 0, 0)
    assert thicker.wheel == scanner_with("none", "realistic", 0, 0).wheel
    assert thicker.acquisition.tissue_segment[0][1] == pytest.approx(1.03 * thicker.wheel.tissue[0][1])


def test_an_unknown_effect_is_refused_with_those_that_are_known() -> None:
    assert {effect for effect, _ in cells_of()} == set(EFFECTS)
    assert cells_of(["glare", "none", "glare"]) == [("glare", "0.1 %"), ("glare", "1 %"), ("none", "realistic")]
    with pytest.raises(InputError, match=r"effects: expected some of none, table, .*everything, got gravity") as caught:
        cells_of(["glare", "gravity"])
    assert all(name in str(caught.value) for name in EFFECTS)
    with pytest.raises(InputError, match="got none"):
        cells_of([])
