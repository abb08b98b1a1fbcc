"""Implants, amputation, jewellery, another's arm and a cut-off head: what the scan shows and what the truth says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.phantom.body.model import BodyModel
from dxa_monai.phantom.cohort import generate_cohort
from dxa_monai.phantom.conditions import CONDITIONS, LASTING, Scene, apply_conditions, check_conditions
from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.phantom.skeleton.placed import place_skeleton
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.regions import Region
from dxa_monai.scan.truth import load_truth

pytestmark = pytest.mark.usefixtures("forked_workers")

PERSON = sample_person(2, 5)


@pytest.fixture(scope="module")
def alone(body_model: BodyModel) -> Scene:
    simulator = Simulator(model=body_model)
    body, frame, _ = simulator._lie_down(PERSON, simulator.phenotype(PERSON), 0)
    assert body is not None
    assert frame is not None
    visit = simulator.scan(PERSON, body, frame, 0)
    joints = body.joints_m | place_skeleton(body, body_model, PERSON.frame_scale).joints_m
    return Scene.of(visit.tissue, joints, frame)


def changed(alone: Scene, name: str, seed: int = 0) -> Scene:
    return CONDITIONS[name](alone, np.random.default_rng(seed))


@pytest.mark.parametrize("name", CONDITIONS)
def test_tissues_still_fill_what_there_is(alone: Scene, name: str) -> None:
    tissue = changed(alone, name).tissue
    filled = tissue.volume_cm.sum(axis=0) + tissue.air_cm
    np.testing.assert_allclose(filled, tissue.thickness_cm, atol=1e-9)
    assert tissue.areal_density_g_cm2.dtype == np.float32
    assert not tissue.areal_density_g_cm2[:, tissue.region_map == Region.BACKGROUND].any()


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_leaves_its_input_alone_and_repeats(alone: Scene, name: str) -> None:
    before = alone.tissue.areal_density_g_cm2.copy()
    first, second = changed(alone, name, 3), changed(alone, name, 3)
    np.testing.assert_array_equal(alone.tissue.areal_density_g_cm2, before)
    np.testing.assert_array_equal(first.foreign_g_cm2, second.foreign_g_cm2)


@pytest.mark.parametrize(("name", "cm3"), [("hip_implant", (25.0, 90.0)), ("knee_implant", (8.0, 60.0))])
def test_an_implant_is_metal_in_place_of_tissue(alone: Scene, name: str, cm3: tuple[float, float]) -> None:
    scene = changed(alone, name)
    metal_cm = alone.tissue.thickness_cm - scene.tissue.thickness_cm
    volume = metal_cm.sum() * alone.frame.pixel_area_cm2
    assert cm3[0] < volume < cm3[1]
    np.testing.assert_allclose(scene.foreign_g_cm2[2], 11.0 * metal_cm, atol=1e-4)
    assert not scene.foreign_g_cm2[:2].any()
    sides = [(alone.tissue.region_map[metal_cm > 0.1] == code).sum() for code in (Region.LEFT_LEG, Region.RIGHT_LEG)]
    assert min(sides) == 0
    assert max(sides) > 5


def test_an_amputated_leg_ends_below_the_knee(alone: Scene) -> None:
    legs = [
        (changed(alone, "amputation").tissue.region_map == code).sum() / (alone.tissue.region_map == code).sum()
        for code in (Region.LEFT_LEG, Region.RIGHT_LEG)
    ]
    assert max(legs) == 1.0
    assert 0.5 < min(legs) < 0.9


def test_jewellery_lies_on_the_skin_and_takes_nothing(alone: Scene) -> None:
    scene = changed(alone, "jewellery")
    assert scene.tissue is alone.tissue
    grams = scene.foreign_g_cm2[2].sum() * alone.frame.pixel_area_cm2
    assert 5.0 < grams < 60.0


@pytest.mark.parametrize("seed", range(4))
def test_anothers_arm_enters_from_an_edge(alone: Scene, seed: int) -> None:
    scene = changed(alone, "arm_of_another", seed)
    foreign = scene.foreign_g_cm2.sum(axis=(0, 1))
    columns = np.flatnonzero(foreign)
    assert columns.min() == 0 or columns.max() == len(foreign) - 1
    assert 0.1 < len(columns) / len(foreign) < 0.34
    assert scene.tissue is alone.tissue


def test_a_cut_off_head_is_out_of_the_truth_too(alone: Scene) -> None:
    scene = changed(alone, "head_cut_off")
    head = [(each.tissue.region_map == Region.HEAD).sum() for each in (alone, scene)]
    assert 0.1 < head[1] / head[0] < 0.75
    assert (scene.tissue.region_map[0] == Region.HEAD).any()
    whole = [(each.tissue.region_map == Region.PELVIS).sum() for each in (alone, scene)]
    assert whole[0] == whole[1]


def test_shares_are_met_and_lasting_conditions_last(alone: Scene) -> None:
    shares = dict.fromkeys(CONDITIONS, 0.3)
    people = [sample_person(index, 5) for index in range(60)]
    drawn = [[apply_conditions(alone, person, visit, shares)[1] for visit in (0, 1)] for person in people]
    for name in CONDITIONS:
        found = np.array([[name in visit for visit in visits] for visits in drawn])
        assert 0.15 < found.mean() < 0.45, name
        assert (found[:, 0] == found[:, 1]).all() == (name in LASTING), name


def test_shares_are_checked() -> None:
    assert check_conditions({"jewellery": 0.5, "amputation": 0.0}) == {"jewellery": 0.5}
    for wrong in ({"pacemaker": 0.1}, {"jewellery": 1.5}, {"jewellery": True}):
        with pytest.raises(InputError, match="conditions: expected"):
            check_conditions(wrong)


def test_a_cohort_tells_who_has_what(tmp_path: Path) -> None:
    shares = {"jewellery": 1.0}
    manifest = generate_cohort(2, tmp_path / "c", 5, 1, False, progress=False, conditions=shares)
    for row in read_manifest(manifest):
        assert row["conditions"] == "jewellery"
        assert np.load(row["truth"])["foreign_g_cm2"].shape == load_truth(row).areal_density_g_cm2.shape
    with pytest.raises(InputError, match="same conditions"):
        generate_cohort(2, tmp_path / "c", 5, 1, False, progress=False)
