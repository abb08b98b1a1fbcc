"""Tissues fill the body exactly, hit their targets, and regions cover the body once."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.joints import trunk_axes
from dxa_monai.phantom.body.model import BodyModel, PosedBody
from dxa_monai.phantom.body.positioning import Positioning
from dxa_monai.phantom.body.table import fit_positioning
from dxa_monai.phantom.people.population import Person, sample_person
from dxa_monai.phantom.skeleton.bone_mineral import BoneMaps
from dxa_monai.phantom.tissue.fat_shell import FatShell
from dxa_monai.phantom.tissue.maps import (
    BONE_MINERAL_DENSITY_G_CM3,
    FAT_DENSITY_G_CM3,
    TissueMaps,
    body_volume_l,
    compose,
)
from dxa_monai.phantom.tissue.projection import Frame, centre_frame, surface_area_map
from dxa_monai.scan.regions import Region, regional_totals


class Subject(NamedTuple):
    person: Person
    body: PosedBody
    frame: Frame
    bones: BoneMaps
    maps: TissueMaps


class Bench(NamedTuple):
    model: BodyModel
    smoothing: object

    def subject(self, person: Person, positioning: Positioning | None = None) -> Subject:
        phenotype = self.model.solve(
            person.sex,
            person.age_years,
            person.height_cm,
            body_volume_l(person),
            person.muscle,
            person.proportions,
            person.local_changes,
        )
        positioning = fit_positioning(self.model, phenotype, positioning or Positioning())
        body = self.model.supine(phenotype, positioning)
        frame = centre_frame(body.vertices_m, positioning.shift_mm)
        # A stand-in for the skeleton: rods along spine and limbs, with about a real skeleton's mineral.
        mineral = rods(body, frame)
        bones = BoneMaps(mineral, 1.9 * mineral, 0.7 * mineral)
        maps = compose(person, body, self.model, self.smoothing, frame, bones)
        return Subject(person, body, frame, bones, maps)


def rods(body: PosedBody, frame: Frame) -> np.ndarray:
    z, x = frame.pixel_centres_m()
    mineral = np.zeros(frame.shape)
    pieces = [("spine05", "head")]
    for side in "LR":
        pieces += [(f"upperarm01.{side}", f"wrist.{side}"), (f"upperleg01.{side}", f"foot.{side}")]
    for start, end in pieces:
        first, last = body.joints_m[start][[0, 2]], body.joints_m[end][[0, 2]]
        along = last - first
        point = np.stack(np.broadcast_arrays(x[None, :], z[:, None]), axis=-1) - first
        share = np.clip(point @ along / (along @ along), 0.0, 1.0)
        distance = np.linalg.norm(point - share[..., None] * along, axis=-1)
        mineral[distance < 0.018] = 1.2
    return mineral


@pytest.fixture(scope="module")
def bench() -> Bench:
    model = BodyModel()
    return Bench(model, mesh.smoothing_matrix(model.faces, len(model.vertex_part)))


@pytest.fixture(scope="module")
def subjects(bench: Bench) -> list[Subject]:
    """Twelve adults as drawn, thin and heavy, and one at each end of body fat."""
    people = [sample_person(index, seed=5) for index in range(12)]
    lean = next(person for person in people if person.sex == "M")
    fat = next(person for person in people if person.sex == "F")
    people += [replace(lean, fat_fraction=0.10, visceral_fat_kg=0.5), replace(fat, fat_fraction=0.52)]
    return [bench.subject(person) for person in people]


def totals(subject: Subject) -> dict[str, float]:
    maps = subject.maps
    return regional_totals(maps.areal_density_g_cm2, maps.region_map, subject.frame.pixel_area_cm2)


def test_tissues_and_air_fill_every_pixel(subjects: list[Subject]) -> None:
    for subject in subjects:
        maps = subject.maps
        filled = maps.volume_cm.sum(axis=0) + maps.air_cm
        assert np.abs(filled - maps.thickness_cm).max() < 1e-12
        assert maps.volume_cm.min() >= 0.0
        assert maps.air_cm.min() >= 0.0


def test_areal_density_is_volume_times_density(subjects: list[Subject]) -> None:
    for subject in subjects:
        density = [FAT_DENSITY_G_CM3, subject.person.lean_density_g_cm3, BONE_MINERAL_DENSITY_G_CM3]
        for tissue, rho, volume in zip(subject.maps.areal_density_g_cm2, density, subject.maps.volume_cm, strict=True):
            np.testing.assert_allclose(tissue, rho * volume, rtol=1e-6, atol=1e-12)
        assert subject.maps.areal_density_g_cm2.dtype == np.float32


def test_thickness_is_the_volume_of_the_body(bench: Bench, subjects: list[Subject]) -> None:
    for subject in subjects:
        litres = subject.maps.thickness_cm.sum() * subject.frame.pixel_area_cm2 / 1000.0
        assert litres == pytest.approx(bench.model.volume_l(subject.body.vertices_m), rel=2e-3)


def test_fat_fraction_is_hit(subjects: list[Subject]) -> None:
    for subject in subjects:
        assert totals(subject)["total_fat_percent"] == pytest.approx(100.0 * subject.person.fat_fraction, abs=0.01)


def test_mass_is_near_its_target(subjects: list[Subject]) -> None:
    for subject in subjects:
        # The stand-in skeleton's mineral differs from the expected one more than a real skeleton's.
        assert totals(subject)["total_mass_g"] == pytest.approx(1000.0 * subject.person.mass_kg, rel=0.02)


def test_air_of_lungs_and_bowel_is_hit(subjects: list[Subject]) -> None:
    for subject in subjects:
        litres = subject.maps.air_cm.sum() * subject.frame.pixel_area_cm2 / 1000.0
        assert litres == pytest.approx(subject.person.air_l, rel=0.01)


def test_bone_follows_its_scale(bench: Bench, subjects: list[Subject]) -> None:
    subject = subjects[0]
    arguments = (subject.body, bench.model, bench.smoothing, subject.frame, subject.bones)
    mineral = [
        compose(replace(subject.person, bmd_scale=scale), *arguments).areal_density_g_cm2[2].sum()
        for scale in (0.8, 1.0)
    ]
    assert mineral[0] / mineral[1] == pytest.approx(0.8, rel=5e-3)  # bones at the skin are cut


def test_same_skin_can_hold_different_fat(bench: Bench, subjects: list[Subject]) -> None:
    """The maps' fat follows the person's fraction, not the surface: composition is no function of shape."""
    subject = subjects[0]
    arguments = (subject.body, bench.model, bench.smoothing, subject.frame, subject.bones)
    fat = []
    for shift in (-0.05, 0.05):
        person = replace(subject.person, fat_fraction=subject.person.fat_fraction + shift)
        maps = compose(person, *arguments)
        np.testing.assert_array_equal(maps.thickness_cm, subject.maps.thickness_cm)
        fat.append(maps.areal_density_g_cm2[0].sum() / maps.areal_density_g_cm2.sum())
    assert fat[1] - fat[0] == pytest.approx(0.10, abs=1e-3)


def test_every_body_pixel_has_one_region_and_the_background_no_mass(subjects: list[Subject]) -> None:
    for subject in subjects:
        maps = subject.maps
        body = maps.thickness_cm > 0.0
        np.testing.assert_array_equal(maps.region_map != Region.BACKGROUND, body)
        assert not maps.areal_density_g_cm2[:, ~body].any()
        assert set(np.unique(maps.region_map)) == {int(region) for region in Region}
        assert maps.region_map.dtype == np.uint8


def test_regions_add_up_to_the_total(subjects: list[Subject]) -> None:
    for subject in subjects:
        found = totals(subject)
        whole = subject.maps.areal_density_g_cm2.astype(np.float64).sum(axis=(1, 2)) * subject.frame.pixel_area_cm2
        for tissue, expected in zip(("fat", "lean", "bmc"), whole, strict=True):
            parts = sum(found[f"{name}_{tissue}_g"] for name in ("head", "arms", "legs", "trunk"))
            assert parts == pytest.approx(expected, rel=1e-12)
            assert found[f"total_{tissue}_g"] == pytest.approx(expected, rel=1e-12)


def test_left_is_at_higher_columns_and_head_at_lower_rows(subjects: list[Subject]) -> None:
    for subject in subjects:
        regions = subject.maps.region_map
        place = {region: np.argwhere(regions == region).mean(axis=0) for region in Region}
        assert place[Region.LEFT_ARM][1] > place[Region.SPINE][1] > place[Region.RIGHT_ARM][1]
        assert place[Region.LEFT_LEG][1] > place[Region.PELVIS][1] > place[Region.RIGHT_LEG][1]
        rows = [place[region][0] for region in (Region.HEAD, Region.SPINE, Region.PELVIS, Region.LEFT_LEG)]
        assert rows == sorted(rows)


def test_regional_shares_are_human(subjects: list[Subject]) -> None:
    """Wide limits about DXA reference data: legs hold a third of the lean mass, arms a tenth, the trunk about half."""
    for subject in subjects:
        found = totals(subject)
        for region, lowest, highest in (("trunk", 0.38, 0.60), ("legs", 0.25, 0.42), ("arms", 0.05, 0.16)):
            assert lowest < found[f"{region}_lean_g"] / found["total_lean_g"] < highest
        for region, lowest, highest in (("trunk", 0.33, 0.68), ("legs", 0.20, 0.52), ("arms", 0.05, 0.20)):
            assert lowest < found[f"{region}_fat_g"] / found["total_fat_g"] < highest


def test_texture_is_reproducible_and_personal(bench: Bench, subjects: list[Subject]) -> None:
    subject = subjects[0]
    arguments = (subject.body, bench.model, bench.smoothing, subject.frame, subject.bones)
    again = compose(subject.person, *arguments).areal_density_g_cm2
    other = compose(replace(subject.person, index=99), *arguments).areal_density_g_cm2
    np.testing.assert_array_equal(again, subject.maps.areal_density_g_cm2)
    assert np.abs(other[0] - again[0]).max() > 0.05
    assert other[0].sum() == pytest.approx(again[0].sum(), rel=1e-4)


def test_repositioned_person_has_the_same_totals(bench: Bench, subjects: list[Subject]) -> None:
    first = subjects[0]
    moved = Positioning(left_arm_abduction_deg=14.0, right_leg_abduction_deg=7.0, longitudinal_shift_mm=6.0)
    second = bench.subject(first.person, moved)
    assert np.abs(second.maps.areal_density_g_cm2 - first.maps.areal_density_g_cm2).max() > 0.5
    assert totals(second)["total_mass_g"] == pytest.approx(totals(first)["total_mass_g"], rel=5e-3)
    assert totals(second)["total_fat_g"] == pytest.approx(totals(first)["total_fat_g"], rel=5e-3)


def test_inner_surface_shrinks_with_the_factor_and_the_solver_finds_it(bench: Bench, subjects: list[Subject]) -> None:
    subject = subjects[1]
    axes = trunk_axes(subject.body.joints_m)
    shell = FatShell(subject.person, subject.body, bench.model, axes, bench.smoothing)
    volumes = [shell.volume_l(factor) for factor in (0.0, 0.5, 1.0, 2.0)]
    assert volumes[0] == pytest.approx(0.0, abs=1e-9)
    assert volumes == sorted(volumes)
    wanted = 0.5 * (volumes[1] + volumes[2])
    assert shell.volume_l(shell.solve(wanted)) == pytest.approx(wanted, rel=1e-3)


def test_shell_volume_is_about_area_times_depth_when_thin(bench: Bench, subjects: list[Subject]) -> None:
    subject = subjects[0]
    axes = trunk_axes(subject.body.joints_m)
    shell = FatShell(subject.person, subject.body, bench.model, axes, bench.smoothing)
    depth = np.linalg.norm(shell.inner_vertices_m(0.01) - subject.body.vertices_m, axis=1)
    area = surface_area_map(
        bench.model.closed_vertices(subject.body.vertices_m), bench.model.closed_faces, subject.frame
    )
    area_cm2 = area.sum() * subject.frame.pixel_area_cm2
    faces = bench.model.closed_faces
    corners = bench.model.closed_vertices(subject.body.vertices_m)[faces]
    weight = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face_depth = np.append(depth, np.zeros(faces.max() + 1 - len(depth)))[faces].mean(axis=1)
    mean_depth_cm = 100.0 * np.average(face_depth, weights=weight)
    assert shell.volume_l(0.01) == pytest.approx(area_cm2 * mean_depth_cm / 1000.0, rel=0.05)
