from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from dxa_monai.analysis.bone import decompose, find_bone
from dxa_monai.analysis.channel_agreement import channel_misfit_nepers
from dxa_monai.analysis.flags import Flag, FlagName
from dxa_monai.analysis.landmark_finder import FLAGS as LANDMARK_FLAGS
from dxa_monai.analysis.landmarks import landmarks_from_points
from dxa_monai.analysis.metal import metal_flags
from dxa_monai.analysis.quality import (
    MISFIT_NEPERS,
    arm_flags,
    field_flags,
    landmark_flags,
    limb_flags,
    tissue_flags,
)
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.correction import find_correction
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import SCAN_SHAPE, channels_first, pixel_area_cm2
from tests.analysis.points import IMAGE_SHAPE, plain_points

ROWS, COLUMNS = SCAN_SHAPE
BLOCK = (slice(20, 130), slice(25, 85))


@pytest.fixture(scope="module")
def model() -> ScannerModel:
    return calibrate_with_phantom(StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0)))


def block(fat: float = 5.0, lean: float = 10.0, bone: float = 0.0, where: tuple[slice, slice] = BLOCK) -> torch.Tensor:
    areal = torch.zeros(1, 3, ROWS, COLUMNS)
    areal[0, :, where[0], where[1]] = torch.tensor([fat, lean, bone])[:, None, None]
    return areal


def scan(areal: torch.Tensor, acquisition: Acquisition | None = None) -> torch.Tensor:
    counts = (acquisition or Acquisition()).scan(areal, torch.Generator().manual_seed(1))[0]
    return torch.from_numpy(channels_first(counts))


def corrected(raw: torch.Tensor, model: ScannerModel) -> torch.Tensor:
    return find_correction(raw, model).apply(raw[None])[0]


def of_field(areal: torch.Tensor, model: ScannerModel) -> dict[str, Flag]:
    raw = scan(areal)
    correction = find_correction(raw, model)
    raw = correction.apply(raw[None])[0]
    body = find_bone(raw[None], model).body[0, 0].numpy()
    return {flag.name: flag for flag in field_flags(raw, body, correction, pixel_area_cm2())}


def of_tissue(areal: torch.Tensor, model: ScannerModel, analysed_by: ScannerModel | None = None) -> dict[str, Flag]:
    analysed_by = analysed_by or model
    raw = corrected(scan(areal), analysed_by)
    masks = find_bone(raw[None], analysed_by)
    density = decompose(raw[None], analysed_by, masks)[0].numpy()
    found = tissue_flags(raw, density, masks.body[0, 0].numpy(), masks.bone[0, 0].numpy(), analysed_by)
    return {flag.name: flag for flag in found}


def test_a_block_of_tissue_in_air_is_not_flagged(model: ScannerModel) -> None:
    assert of_field(block(), model) == {}
    assert of_tissue(block(), model) == {}


def test_nothing_in_the_field(model: ScannerModel) -> None:
    assert of_field(torch.zeros(1, 3, ROWS, COLUMNS), model)["empty_scan"].fatal


def test_only_an_arm(model: ScannerModel) -> None:
    flags = of_field(block(2.0, 4.0, where=(slice(40, 90), slice(50, 62))), model)
    assert list(flags) == ["not_a_whole_body"]
    assert flags["not_a_whole_body"].fatal


def test_little_air_is_said_but_not_fatal(model: ScannerModel) -> None:
    flags = of_field(block(where=(slice(0, ROWS), slice(0, 100))), model)
    assert {"little_open_air", "limb_out_of_field"} == set(flags)
    assert not any(flag.fatal for flag in flags.values())


@pytest.mark.parametrize(
    ("where", "edge"),
    [
        ((slice(20, 130), slice(0, 60)), "patient's right"),
        ((slice(20, 130), slice(60, COLUMNS)), "patient's left"),
        ((slice(0, 120), slice(25, 85)), "head"),
        ((slice(30, ROWS), slice(25, 85)), "feet"),
    ],
)
def test_the_edge_that_a_limb_crosses_is_named(where: tuple[slice, slice], edge: str, model: ScannerModel) -> None:
    flags = of_field(block(where=where), model)
    assert list(flags) == ["limb_out_of_field"]
    assert edge in flags["limb_out_of_field"].sentence


def test_thick_is_a_warning_in_places_and_fatal_everywhere(model: ScannerModel) -> None:
    in_places = block()
    in_places[0, 1, 60:70, 40:60] = 55.0
    flags = of_field(in_places, model)
    assert list(flags) == ["too_thick"]
    assert not flags["too_thick"].fatal
    assert of_field(block(0.0, 60.0), model)["too_thick"].fatal


def test_metal_is_placed_and_bone_is_not_metal(model: ScannerModel) -> None:
    with_bone = block()
    with_bone[0, 2, 70:100, 50:56] = 2.5
    assert "metal" not in of_tissue(with_bone, model)
    with_metal = with_bone.clone()
    with_metal[0, 2, 80:83, 60:64] = 12.0
    assert "row 81, column 6" in of_tissue(with_metal, model)["metal"].sentence


def limb(mineral: float = 1.0) -> torch.Tensor:
    """A forearm beside the block: two bones along it, of as much mineral everywhere."""
    areal = block() + block(1.0, 3.0, where=(slice(40, 100), slice(8, 15)))
    areal[0, 2, 40:100, [9, 10, 13]] = mineral
    return areal


METAL = {
    "a ring": (slice(95, 96), slice(9, 10), 3.5),
    "a bracelet": (slice(85, 86), slice(8, 15), 3.5),
    "a thin bracelet": (slice(85, 86), slice(8, 15), 2.5),
    "a chain": (slice(30, 31), slice(40, 60), 3.5),
    "a button": (slice(60, 61), slice(50, 52), 5.0),
    "a wide watch": (slice(82, 85), slice(8, 15), 7.0),
}


@pytest.mark.parametrize("name", METAL)
def test_metal_of_a_row_or_a_pixel_is_told_with_its_place(name: str, model: ScannerModel) -> None:
    rows, columns, mineral = METAL[name]
    areal = limb()
    areal[0, 2, rows, columns] += mineral
    row = (rows.start + rows.stop - 1) / 2
    sentence = of_tissue(areal, model)["metal"].sentence
    assert f"around row {row:.0f}, column " in sentence
    column = float(sentence.split("column ")[1].split(" ")[0])
    assert columns.start - 1 <= column <= columns.stop


@pytest.mark.parametrize("photons", [1e5, 3e6])
@pytest.mark.parametrize("mineral", [0.5, 2.5])
def test_bones_and_noise_are_no_metal(mineral: float, photons: float, model: ScannerModel) -> None:
    of_so_many = dataclasses.replace(model, photons_per_pixel=photons)
    raw = corrected(scan(limb(mineral), Acquisition(photons_per_pixel=photons)), of_so_many)
    masks = find_bone(raw[None], of_so_many)
    density = decompose(raw[None], of_so_many, masks)[0].numpy()
    assert metal_flags(raw, density, masks.body[0, 0].numpy(), of_so_many) == []


def test_a_wrong_model_of_the_scanner_is_no_metal(model: ScannerModel) -> None:
    nominal = dataclasses.replace(ScannerModel(), photons_per_pixel=model.photons_per_pixel)
    assert "metal" not in of_tissue(limb(), model, nominal)


@pytest.mark.parametrize(("fat", "lean", "gain"), [(14.0, 1.0, 0.96), (0.5, 14.5, 1.04)])
def test_r_beyond_fat_or_beyond_lean_has_no_numbers(fat: float, lean: float, gain: float, model: ScannerModel) -> None:
    raw = corrected(scan(block(fat, lean)), model)
    raw[[1, 3, 5]] *= gain
    masks = find_bone(raw[None], model)
    density = decompose(raw[None], model, masks)[0].numpy()
    found = tissue_flags(raw, density, masks.body[0, 0].numpy(), masks.bone[0, 0].numpy(), model)
    flags = {flag.name: flag for flag in found}
    assert flags["implausible_r"].fatal


def test_another_scanner_is_noticed_by_channels_that_disagree(model: ScannerModel) -> None:
    nominal = dataclasses.replace(ScannerModel(), photons_per_pixel=model.photons_per_pixel)
    assert "scanner_mismatch" in of_tissue(block(), model, nominal)


def test_misfit_does_not_grow_with_noise(model: ScannerModel) -> None:
    soft = np.zeros(SCAN_SHAPE, dtype=bool)
    soft[BLOCK] = True
    areal = block()
    misfits = []
    for photons in (3e5, 3e6):
        of_so_many = dataclasses.replace(model, photons_per_pixel=photons)
        raw = corrected(scan(areal, Acquisition(photons_per_pixel=photons)), of_so_many)
        misfits.append(channel_misfit_nepers(raw, areal[0].numpy(), soft, of_so_many))
    assert abs(misfits[0] - misfits[1]) < MISFIT_NEPERS


def test_landmark_flags_are_told_in_words_and_missing_landmarks_are_fatal() -> None:
    (guessed,) = landmark_flags(("neck_guessed", "feet_out_of_field"), found=True)
    assert guessed.name == "landmarks_guessed"
    assert not guessed.fatal
    assert LANDMARK_FLAGS["neck_guessed"] in guessed.sentence
    assert landmark_flags(("feet_out_of_field",), found=True) == []  # told by the body's edge already
    (missing,) = landmark_flags(("no_head",), found=False)
    assert (missing.name, missing.fatal) == ("not_a_whole_body", True)
    assert {guessed.name, missing.name} <= set(get_args(FlagName))


@pytest.mark.parametrize(
    ("limb", "left_g", "right_g", "told"),
    [
        ("leg", 9000.0, 8500.0, ()),
        ("leg", 7500.0, 1e4, ("The left leg holds 75 % of the mass of the right one",)),
        ("leg", 0.0, 1e4, ("The left leg holds 0 % of the mass of the right one",)),
        ("arm", 3000.0, 1200.0, ("The right arm holds 40 % of the mass of the left one",)),
        ("arm", 2500.0, 3000.0, ()),
    ],
)
def test_a_limb_that_holds_much_less_than_the_other_is_told(
    limb: str, left_g: float, right_g: float, told: tuple[str, ...]
) -> None:
    flags = limb_flags({f"left_{limb}_mass_g": left_g, f"right_{limb}_mass_g": right_g})
    assert all(flag.name == "limbs_differ" and not flag.fatal for flag in flags)
    assert tuple(flag.sentence.split(":")[0] for flag in flags) == told


def test_without_totals_no_limb_is_judged() -> None:
    assert limb_flags({}) == []


@pytest.mark.parametrize(("gap", "told"), [((), True), (("right",), True), (("right", "left"), False)])
def test_arms_without_air_beside_the_trunk_are_told(gap: tuple[str, ...], told: bool) -> None:
    landmarks = landmarks_from_points(plain_points(), IMAGE_SHAPE)
    silhouette = np.ones(IMAGE_SHAPE, dtype=bool)
    columns = np.arange(IMAGE_SHAPE[1])
    for side in gap:
        for (row, column), (lower, beside) in pairwise(landmarks.arm_cut(side)[1:]):
            for line in np.arange(int(row), int(lower) + 2):
                middle = np.interp(line, (row, lower), (column, beside))
                silhouette[line, np.abs(columns - middle) < 2.0] = False
    flags = arm_flags(landmarks, silhouette)
    assert [flag.name for flag in flags] == ["arms_touch"] * told
    if told:
        assert ("right arm" in flags[0].sentence) == ("right" not in gap)
        assert "% of the left arm's" in flags[0].sentence
