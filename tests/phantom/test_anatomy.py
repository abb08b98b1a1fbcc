"""What a radiographer looks for in a scan: collar bones, rib cage, pelvis, hips, skull, and fat about the waist.

Bounds come from anatomy, wide enough for every body of the cohort and narrow enough for the faults they once had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from dxa_monai.phantom.body.joints import ILIAC_CREST_LEVEL, LOWEST_RIB_LEVEL, trunk_axes
from dxa_monai.phantom.body.model import BodyModel, PosedBody, Positioning
from dxa_monai.phantom.body.table import fit_positioning
from dxa_monai.phantom.people.coefficients import COEFFICIENTS
from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.phantom.skeleton.bone_mineral import bone_maps
from dxa_monai.phantom.skeleton.bones import PlacedSkeleton
from dxa_monai.phantom.skeleton.placed import place_skeleton
from dxa_monai.phantom.tissue.projection import Frame, centre_frame
from dxa_monai.scan.regions import Region

# sex, age, stature cm, volume l, muscle
PERSONS = {
    "thin woman": ("F", 30, 165.0, 48.0, 0.4),
    "average woman": ("F", 45, 162.0, 70.0, 0.4),
    "obese woman": ("F", 50, 162.0, 100.0, 0.1),
    "average man": ("M", 40, 176.0, 82.0, 0.55),
    "obese man": ("M", 50, 175.0, 115.0, 0.2),
}
SIDES = (("left", 1.0, "L"), ("right", -1.0, "R"))


@dataclass(frozen=True)
class Subject:
    sex: str
    body: PosedBody
    placed: PlacedSkeleton
    frame: Frame

    def bone(self, *names: str) -> np.ndarray:
        return np.concatenate([self.placed.vertices_m[self.placed.skeleton.select(name)] for name in names])

    def ribs(self) -> np.ndarray:
        return self.bone(*(name for name in self.placed.bone_names if name.startswith("rib_")))


Maker = Callable[[str, Positioning], Subject]


@pytest.fixture(scope="module")
def make(body_model: BodyModel) -> Maker:
    def made(name: str, positioning: Positioning) -> Subject:
        phenotype = body_model.solve(*PERSONS[name])
        body = body_model.supine(phenotype, fit_positioning(body_model, phenotype, positioning))
        frame_scale = COEFFICIENTS["frame_mean"].of(PERSONS[name][0])
        placed = place_skeleton(body, body_model, frame_scale)
        return Subject(PERSONS[name][0], body, placed, centre_frame(body.vertices_m))

    return made


@pytest.fixture(scope="module", params=PERSONS)
def subject(request: pytest.FixtureRequest, make: Maker) -> Subject:
    return make(request.param, Positioning())


def ends(bone_m: np.ndarray, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """Middle and outer end of a bone that lies across the body."""
    outwards = sign * bone_m[:, 0]
    return bone_m[outwards < outwards.min() + 0.01].mean(axis=0), bone_m[outwards > outwards.max() - 0.01].mean(axis=0)


def test_collar_bones_rise_from_the_breastbone_to_the_shoulder(subject: Subject) -> None:
    notch = subject.bone("sternum")[:, 2].max()
    for side, sign, _ in SIDES:
        inner, outer = ends(subject.bone(f"clavicle_{side}"), sign)
        assert 3.0 < np.rad2deg(np.arctan2(outer[2] - inner[2], np.abs(outer[0] - inner[0]))) < 25.0
        assert abs(inner[2] - notch) < 0.015
        acromion = subject.bone(f"scapula_{side}")[:, 2].max()
        assert abs(outer[2] - acromion) < 0.02


def test_shoulder_blades_lie_behind_the_ribs(subject: Subject) -> None:
    ribs, spine = subject.ribs(), subject.bone("vertebra_T5")[:, 0].mean()
    for side, sign, _ in SIDES:
        inner_border = (sign * (subject.bone(f"scapula_{side}")[:, 0] - spine)).min()
        cage = (sign * (ribs[:, 0] - spine)).max()
        assert 0.05 < inner_border < cage - 0.015


def test_rib_cage_is_as_wide_as_an_adults(subject: Subject) -> None:
    # Outer breadth of the bony cage: about 24-26 cm in women, 27-30 cm in men.
    lowest, highest = (0.21, 0.28) if subject.sex == "F" else (0.25, 0.32)
    assert lowest < np.ptp(subject.ribs()[:, 0]) < highest


def test_iliac_crests_lie_level_with_the_fourth_lumbar_vertebra_or_the_disc_below(subject: Subject) -> None:
    crests = subject.bone("hip_bone_left", "hip_bone_right")[:, 2].max()
    assert subject.bone("vertebra_L5")[:, 2].mean() < crests < subject.bone("vertebra_L4")[:, 2].max()
    lumbar = subject.bone("vertebra_L1")[:, 2].max() - subject.bone("sacrum")[:, 2].max()
    assert 0.155 < lumbar < 0.205


def femur_axes(subject: Subject, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along the neck (outwards) and the shaft (downwards), and the middle of the femoral head."""
    femur, hip = subject.bone(f"femur_{side}"), subject.placed.joints_m[f"hip_{side}"]
    distance = np.linalg.norm(femur - hip, axis=1)
    head = femur[distance < 0.028].mean(axis=0)
    neck = femur[(distance > 0.026) & (distance < 0.036)].mean(axis=0) - hip
    share = (femur[:, 2].max() - femur[:, 2]) / np.ptp(femur[:, 2])
    upper, lower = (femur[np.abs(share - level) < 0.05].mean(axis=0) for level in (0.25, 0.6))
    return neck / np.linalg.norm(neck), (lower - upper) / np.linalg.norm(lower - upper), head


def test_femoral_head_sits_in_the_acetabulum_and_the_neck_lies_in_the_image(subject: Subject) -> None:
    for side, sign, _ in SIDES:
        hip = subject.placed.joints_m[f"hip_{side}"]
        socket = subject.bone(f"hip_bone_{side}")
        reach = np.linalg.norm(socket - hip, axis=1)
        wall = socket[reach < 0.035]
        assert len(wall) > 5
        # The socket's wall stands above and on the inner side of the head.
        assert wall[:, 2].max() > hip[2] + 0.01
        assert (sign * (wall[:, 0] - hip[0])).min() < -0.01
        neck, shaft, head = femur_axes(subject, side)
        assert np.linalg.norm(head - hip) < 0.015
        assert sign * neck[0] > 0.0
        assert 112.0 < 180.0 - np.rad2deg(np.arccos(neck @ shaft)) < 142.0
        # With the legs turned inwards the neck leaves the plane of the image by less than its anteversion of 17 deg.
        assert abs(np.rad2deg(np.arctan2(neck[1], sign * neck[0]))) < 12.0


def test_thigh_and_shank_turn_inwards_with_the_foot(make: Maker) -> None:
    straight = Positioning(left_leg_rotation_deg=0.0, left_foot_rotation_deg=0.0)
    turned = Positioning(left_leg_rotation_deg=12.0, left_foot_rotation_deg=10.0)
    before, after = (make("average woman", positioning) for positioning in (straight, turned))
    rest = before.placed.skeleton
    for bone in ("femur_left", "tibia_left"):
        near_knee = np.abs(rest.vertices_of(bone)[:, 2] - rest.joints_m["knee"][2]) < 0.03
        x = np.where(near_knee, rest.vertices_of(bone)[:, 0], np.nan)
        outermost, innermost = np.nanargmax(x), np.nanargmin(x)
        angle = []
        for subject in (before, after):
            hinge = subject.bone(bone)[outermost] - subject.bone(bone)[innermost]
            angle.append(np.rad2deg(np.arctan2(-hinge[1], hinge[0])))
        assert angle[1] - angle[0] == pytest.approx(12.0, abs=3.0)


def test_skull_has_no_areal_peaks_that_bone_does_not_have(subject: Subject) -> None:
    mineral = bone_maps(subject.placed, subject.frame).mineral_g_cm2
    skull = subject.bone("skull")
    z, x = subject.frame.pixel_centres_m()
    head = mineral[z > skull[:, 2].min()]
    # Whole-body reports give heads 2.1 to 2.3 g/cm2 on average.
    assert head.max() < 4.3
    bone = head[head > 0.3]
    assert 1.6 < bone.mean() < 2.5
    # Where the beam grazes the vault's thin side walls it meets at most 2.6 times what it meets in the middle.
    vault = mineral[(z > skull[:, 2].mean() + 0.02) & (z < skull[:, 2].max() - 0.03)]
    middle = vault[:, np.abs(x - skull[:, 0].mean()) < 0.02]
    assert vault.max() < 2.6 * np.median(middle)


def test_the_waist_of_the_obese_keeps_its_lean_tissue(body_model: BodyModel) -> None:
    simulator = Simulator(model=body_model)
    people = [sample_person(index, seed=5) for index in range(150)]
    obese = [person for person in people if 32.0 < person.bmi_kg_m2 < 42.0][:7]
    assert {person.sex for person in obese} == {"F", "M"}
    ratios = []
    for person in obese:
        posed, frame, _ = simulator._lie_down(person, simulator.phenotype(person), 0)
        assert posed is not None
        assert frame is not None
        visit = simulator.scan(person, posed, frame, 0)
        z, x = frame.pixel_centres_m()
        _, level = trunk_axes(posed.joints_m).coordinates(x[None, :], z[:, None])
        lean = np.where(visit.tissue.region_map >= Region.RIBS, visit.tissue.areal_density_g_cm2[1], 0.0)
        waist = lean[(level >= ILIAC_CREST_LEVEL) & (level < LOWEST_RIB_LEVEL)].sum()
        hips = lean[(level >= 0.05) & (level < 0.30)].sum()
        per_level = (waist / (LOWEST_RIB_LEVEL - ILIAC_CREST_LEVEL)) / (hips / 0.25)
        assert per_level > 0.45
        ratios.append(visit.totals["android_fat_percent"] / visit.totals["gynoid_fat_percent"])
    # Percent fat about the waist against the hips: near 1 in women, 1.2 in men (Imboden 2017, PLoS One 12:e0175110).
    assert 0.9 < np.mean(ratios) < 1.4
