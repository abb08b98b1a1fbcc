from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from dxa_monai.analysis.composition import METHODS, QUANTITIES, REPORTED_REGIONS, BodyComposition, analyse_scan
from dxa_monai.analysis.landmarks import Landmarks
from dxa_monai.errors import InputError
from dxa_monai.evaluation.agreement import dice
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import SCAN_SHAPE, channels_first, pixel_area_cm2
from dxa_monai.scan.regions import regional_totals
from dxa_monai.scan.truth import load_truth
from tests.analysis.cohort import cohort_rows, raw_scan


@pytest.fixture(scope="module")
def model() -> ScannerModel:
    return calibrate_with_phantom(StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def analysed(model: ScannerModel) -> BodyComposition:
    return analyse_scan(torch.from_numpy(raw_scan()), model)


def test_totals_agree_with_the_truth(analysed: BodyComposition) -> None:
    truth = load_truth(cohort_rows()[0])
    true = regional_totals(truth.areal_density_g_cm2, truth.region_map, pixel_area_cm2(truth.pixel_spacing_mm))
    assert not analysed.refused
    assert analysed.totals["total_mass_g"] == pytest.approx(true["total_mass_g"], rel=0.005)
    assert analysed.totals["total_fat_g"] == pytest.approx(true["total_fat_g"], abs=3000.0)
    assert analysed.totals["total_lean_g"] == pytest.approx(true["total_lean_g"], abs=3000.0)
    assert analysed.totals["total_bmc_g"] == pytest.approx(true["total_bmc_g"], rel=0.15)
    assert analysed.totals["total_bmd_g_cm2"] == pytest.approx(true["total_bmd_g_cm2"], rel=0.08)
    assert dice(analysed.region_map > 0, truth.region_map > 0) > 0.98


def test_every_region_and_quantity_is_reported_and_parts_add_up(analysed: BodyComposition) -> None:
    totals = analysed.totals
    assert list(totals) == [f"{region}_{quantity}" for region in REPORTED_REGIONS for quantity in QUANTITIES]
    for quantity in ("fat_g", "lean_g", "bmc_g", "mass_g", "bone_area_cm2"):
        trunk = sum(totals[f"{region}_{quantity}"] for region in ("ribs", "spine", "pelvis"))
        assert totals[f"trunk_{quantity}"] == pytest.approx(trunk)
        parts = sum(totals[f"{region}_{quantity}"] for region in ("head", "trunk", "arms", "legs"))
        assert totals[f"total_{quantity}"] == pytest.approx(parts)


def test_nothing_of_the_body_is_left_out(analysed: BodyComposition) -> None:
    everything = analysed.areal_density_g_cm2.astype(np.float64).sum() * pixel_area_cm2()
    assert analysed.totals["total_mass_g"] == pytest.approx(everything, rel=1e-6)


def test_edited_landmarks_move_mass_and_keep_the_total(analysed: BodyComposition, model: ScannerModel) -> None:
    found = analysed.landmarks
    assert found is not None
    lower = {name: (found.point(name)[0] + 3.0, found.point(name)[1]) for name in ("right_neck", "left_neck")}
    edited = analyse_scan(torch.from_numpy(raw_scan()), model, landmarks=dataclasses.replace(found, **lower))
    assert edited.landmarks_given
    assert edited.totals["head_mass_g"] > analysed.totals["head_mass_g"] + 100.0
    assert edited.totals["total_fat_g"] == pytest.approx(analysed.totals["total_fat_g"])


def test_haze_that_a_network_leaves_is_no_body(analysed: BodyComposition, model: ScannerModel) -> None:
    """As above small people's heads: some cap of half a g/cm2, which makes the head look like shoulders."""
    hazy = raw_scan().copy()
    top = int(np.flatnonzero(analysed.region_map.any(axis=1))[0])
    half_a_gram = 0.1 / model.full_scale_nepers
    hazy[:, top - 9 : top + 1, 48:58] += half_a_gram
    hazy = torch.from_numpy(hazy)
    assert analyse_scan(hazy, model).totals != pytest.approx(analysed.totals, rel=0.02)
    predicted = analyse_scan(hazy, model, predicted=True)
    assert not predicted.refused
    for name in ("total_mass_g", "total_fat_g", "head_mass_g", "arms_lean_g"):
        assert predicted.totals[name] == pytest.approx(analysed.totals[name], rel=0.02)


def test_landmarks_of_another_image_are_refused(analysed: BodyComposition, model: ScannerModel) -> None:
    assert isinstance(analysed.landmarks, Landmarks)
    other = dataclasses.replace(analysed.landmarks, image_shape=(200, 109))
    with pytest.raises(InputError, match="landmarks' image shape"):
        analyse_scan(torch.from_numpy(raw_scan()), model, landmarks=other)


def test_a_polygon_around_the_image_holds_the_whole_body(analysed: BodyComposition, model: ScannerModel) -> None:
    rows, columns = SCAN_SHAPE
    around = [(-0.5, -0.5), (-0.5, columns - 0.5), (rows - 0.5, columns - 0.5), (rows - 0.5, -0.5)]
    found = analyse_scan(torch.from_numpy(raw_scan()), model, polygons={"everything": around})
    for quantity in QUANTITIES:
        assert found.totals[f"everything_{quantity}"] == pytest.approx(analysed.totals[f"total_{quantity}"], rel=1e-5)


def test_a_larger_pixel_holds_more(analysed: BodyComposition, model: ScannerModel) -> None:
    wider = analyse_scan(torch.from_numpy(raw_scan()), model, (13.26, 6.06))
    assert wider.totals["total_mass_g"] == pytest.approx(1.02 * analysed.totals["total_mass_g"], rel=1e-3)


def test_a_refused_scan_has_no_numbers(model: ScannerModel) -> None:
    air = Acquisition().scan(torch.zeros(1, 3, *SCAN_SHAPE), torch.Generator().manual_seed(0))[0]
    found = analyse_scan(torch.from_numpy(channels_first(air)), model)
    assert found.refused
    assert found.totals == {}
    assert [flag.name for flag in found.flags] == ["empty_scan"]


def test_half_a_body_has_no_numbers(model: ScannerModel) -> None:
    raw = raw_scan()
    raw[:, :75] = raw[:, :1]  # head and trunk gone
    found = analyse_scan(torch.from_numpy(raw), model)
    assert found.refused
    assert found.totals == {}
    assert "not_a_whole_body" in [flag.name for flag in found.flags]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(4))
def test_odd_images_are_flagged_never_a_crash(seed: int, method: str, model: ScannerModel) -> None:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.rand(6, *SCAN_SHAPE, generator=generator) ** (1 + 3 * seed)
    found = analyse_scan(raw, model, method=method)
    assert found.flags
    assert found.refused or np.isfinite(list(found.totals.values())).all()


def test_another_shape_is_refused(model: ScannerModel) -> None:
    with pytest.raises(InputError, match="expected shape"):
        analyse_scan(torch.zeros(5, 150, 109), model)


def test_the_second_reader_agrees_and_tells_both(model: ScannerModel, analysed: BodyComposition) -> None:
    found = analyse_scan(torch.from_numpy(raw_scan()), model, method="q_scan")
    assert (analysed.method, analysed.other) == ("newton", None)
    assert found.other is not None
    assert found.method == "q_scan"
    assert found.flags == analysed.flags
    np.testing.assert_array_equal(found.region_map, analysed.region_map)
    for name, percent in (("total_fat_g", 4.0), ("total_lean_g", 3.0), ("total_bmc_g", 6.0)):
        assert found.other.totals[name] == analysed.totals[name]
        assert 0.0 < abs(found.totals[name] / analysed.totals[name] - 1.0) < percent / 100.0
    assert (found.other.k_ratio, found.other.d0_ratio) == pytest.approx((1.0, 1.0), abs=0.01)


def test_an_unknown_method_is_refused(model: ScannerModel) -> None:
    with pytest.raises(InputError, match=r"^method: expected one of newton, q_scan, got 'magic'\.$"):
        analyse_scan(torch.from_numpy(raw_scan()), model, method="magic")


def test_scan_is_not_changed(model: ScannerModel) -> None:
    raw = torch.from_numpy(raw_scan())
    before = raw.clone()
    results = [analyse_scan(raw, model) for _ in range(2)]
    assert torch.equal(raw, before)
    for first, second in pairwise(results):
        assert first.totals == second.totals
