from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pytest

from dxa_monai.phantom.body.affine import along_bone
from dxa_monai.phantom.body.model import BodyModel, PosedBody, Positioning
from dxa_monai.phantom.body.table import fit_positioning
from dxa_monai.phantom.people.coefficients import COEFFICIENTS
from dxa_monai.phantom.skeleton.bone_mineral import CORTICAL_MINERAL_G_CM3, MATERIALS
from dxa_monai.phantom.skeleton.bones import BONE_GROUPS, PlacedSkeleton, load_skeleton
from dxa_monai.phantom.skeleton.placed import bone_maps, place_skeleton
from dxa_monai.phantom.tissue.projection import Frame, centre_frame, thickness_map_cm

BODY_REGION_OF_GROUP = {
    "skull": "head", "jaw": "head",
    "cervical_spine": "spine", "thoracic_spine": "spine", "lumbar_spine": "spine",
    "ribs": "ribs", "sternum": "ribs", "scapula": "ribs", "clavicle": "ribs",
    "pelvis": "pelvis", "sacrum": "pelvis",
    "humerus": "arm", "radius": "arm", "ulna": "arm", "hand": "arm",
    "femur": "leg", "patella": "leg", "tibia": "leg", "fibula": "leg", "foot": "leg",
}  # fmt: skip
"""The region of a whole-body report to which a bone group belongs by anatomy."""

# sex, age, stature cm, volume l, muscle
PERSONS = {
    "thin woman": ("F", 30, 165.0, 48.0, 0.4),
    "average woman": ("F", 45, 162.0, 70.0, 0.4),
    "average man": ("M", 40, 176.0, 82.0, 0.55),
    "obese man": ("M", 50, 175.0, 115.0, 0.2),
}
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Subject:
    body: PosedBody
    placed: PlacedSkeleton
    frame: Frame


@pytest.fixture(scope="module")
def subjects(body_model: BodyModel) -> dict[str, Subject]:
    found = {}
    for name, person in PERSONS.items():
        phenotype = body_model.solve(*person)
        body = body_model.supine(phenotype, fit_positioning(body_model, phenotype, Positioning()))
        found[name] = Subject(body, place_skeleton(body, body_model), centre_frame(body.vertices_m))
    return found


def bone_volumes_m3(vertices: np.ndarray) -> np.ndarray:
    skeleton = load_skeleton()
    a, b, c = np.moveaxis(vertices[skeleton.faces], 1, 0)
    return np.bincount(skeleton.bone_of_face, (np.cross(a, b) * c).sum(axis=1) / 6.0)


def test_asset_is_the_one_its_licence_names() -> None:
    data = resources.files("dxa_monai.phantom") / "data"
    text = (data / "skeleton_LICENSE.txt").read_text(encoding="utf-8")
    recorded = re.search(r"SHA-256 of skeleton.npz: ([0-9a-f]{64})", text)
    assert recorded
    assert recorded[1] == hashlib.sha256((data / "skeleton.npz").read_bytes()).hexdigest()
    provenance = json.loads(load_skeleton().provenance)
    assert provenance["source"] in text
    assert re.fullmatch("[0-9a-f]{64}", provenance["source_meshes_sha256"])
    assert "MIT License" in text
    assert "Redistribution and use" in text


def test_every_bone_is_watertight_and_faces_outwards() -> None:
    skeleton = load_skeleton()
    for bone, name in enumerate(skeleton.bone_names):
        faces = skeleton.faces[skeleton.bone_of_face == bone]
        assert (skeleton.bone_of_vertex[faces] == bone).all(), name
        edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        there, count = np.unique(edges, axis=0, return_counts=True)
        assert (count == 1).all(), name
        assert np.array_equal(there, np.unique(edges[:, ::-1], axis=0)), name
    assert (bone_volumes_m3(skeleton.vertices_m) > 0.1e-6).all()


def test_left_bones_mirror_right_bones() -> None:
    skeleton = load_skeleton()
    right = [name for name in skeleton.bone_names if name.endswith("_right")]
    assert len(right) == 52
    for name in right:
        left = skeleton.vertices_of(name.replace("_right", "_left"))
        assert np.array_equal(MIRROR * skeleton.vertices_of(name), left)


def test_every_bone_has_group_region_and_material() -> None:
    skeleton = load_skeleton()
    assert set(skeleton.group_of_bone) == set(range(len(BONE_GROUPS)))
    assert set(BODY_REGION_OF_GROUP) == set(MATERIALS) == set(BONE_GROUPS)
    group = dict(zip(skeleton.bone_names, np.array(BONE_GROUPS)[skeleton.group_of_bone], strict=True))
    assert group["vertebra_T4"] == "thoracic_spine"
    assert group["rib_03_left"] == "ribs"
    assert group["index_distal_right"] == "hand"
    count = {name: sum(group[bone] == name for bone in group) for name in BONE_GROUPS}
    assert [count[f"{part}_spine"] for part in ("cervical", "thoracic", "lumbar")] == [7, 12, 5]
    assert count["ribs"] == 24


def test_along_bone_carries_ends_to_ends_and_keeps_cross_sections() -> None:
    rng = np.random.default_rng(0)
    rest, ends, rest_side, side = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), *rng.normal(size=(2, 3))
    carry = along_bone((rest[0], rest[1]), rest_side, (ends[0], ends[1]), side, 0.8)
    np.testing.assert_allclose(carry(rest), ends, atol=1e-12)
    axis = rest[1] - rest[0]
    across = np.cross(axis, rest_side)
    moved = carry.linear @ across
    assert np.linalg.norm(moved) == pytest.approx(0.8 * np.linalg.norm(across))
    assert moved @ (ends[1] - ends[0]) == pytest.approx(0.0, abs=1e-12)
    assert moved @ side == pytest.approx(0.0, abs=1e-12)
    assert np.linalg.det(carry.linear) > 0
    np.testing.assert_allclose(carry.inverse()(carry(rest)), rest, atol=1e-12)


@pytest.mark.parametrize("name", PERSONS)
def test_joints_coincide(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    skeleton, joints, vertices = subject.placed.skeleton, subject.placed.joints_m, subject.placed.vertices_m
    for side, suffix in (("left", "L"), ("right", "R")):
        for joint, bone in (("shoulder", "upperarm01"), ("elbow", "lowerarm01"), ("wrist", "wrist"),
                            ("knee", "lowerleg01"), ("ankle", "foot")):  # fmt: skip
            apart = np.linalg.norm(joints[f"{joint}_{side}"] - subject.body.joints_m[f"{bone}.{suffix}"])
            # The shoulder is raised above the body model's joint, which lies too deep.
            assert apart < (0.035 if joint == "shoulder" else 0.02), (joint, side)
        # The head of the femur is the sphere around the centre of the acetabulum.
        hip = joints[f"hip_{side}"]
        femur, pelvis = (vertices[skeleton.select(f"{bone}_{side}")] for bone in ("femur", "hip_bone"))
        head = femur[np.linalg.norm(femur - hip, axis=1) < 0.035]
        assert np.linalg.norm(head.mean(axis=0) - hip) < 0.02
        assert 0.015 < np.linalg.norm(pelvis - hip, axis=1).min() < 0.035
        gap = bone_gap(femur, vertices[skeleton.select(f"tibia_{side}")])
        assert gap < 0.015, f"knee {side}"
        assert (
            bone_gap(vertices[skeleton.select(f"scapula_{side}")], vertices[skeleton.select(f"humerus_{side}")]) < 0.015
        )
        assert (
            bone_gap(vertices[skeleton.select(f"clavicle_{side}")], vertices[skeleton.select(f"scapula_{side}")])
            < 0.015
        )
        assert bone_gap(vertices[skeleton.select(f"clavicle_{side}")], vertices[skeleton.select("sternum")]) < 0.03


def bone_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Least distance between the vertices of two bones."""
    return float(np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=2)).min())


def inside(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Oracle: the surfaces behind a point, counted by their orientation, leave one over if it is inside.

    Counted with sign, so that a place where the skin overlaps itself (arm and flank) is inside too.
    """
    low, high = triangles.min(axis=1), triangles.max(axis=1)
    result = np.empty(len(points), dtype=bool)
    # A hair aside, so that no ray runs through the vertices of the midline.
    for index, (x, y, z) in enumerate(points + np.array([1.1e-6, 0.0, 1.3e-6])):
        near = np.flatnonzero((low[:, 0] <= x) & (high[:, 0] >= x) & (high[:, 1] >= y))
        near = near[(low[near, 2] <= z) & (high[near, 2] >= z)]
        a, b, c = (triangles[near, k] - [x, 0.0, z] for k in range(3))
        w = [p[:, 0] * q[:, 2] - p[:, 2] * q[:, 0] for p, q in ((b, c), (c, a), (a, b))]
        hit = ((w[0] > 0) & (w[1] > 0) & (w[2] > 0)) | ((w[0] < 0) & (w[1] < 0) & (w[2] < 0))
        area = w[0] + w[1] + w[2]
        crossing = (w[0] * a[:, 1] + w[1] * b[:, 1] + w[2] * c[:, 1])[hit] / area[hit]
        result[index] = np.sign(area[hit])[crossing > y].sum() != 0
    return result


@pytest.mark.parametrize("name", PERSONS)
def test_bones_lie_inside_the_skin(body_model: BodyModel, subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    triangles = body_model.closed_vertices(subject.body.vertices_m)[body_model.closed_faces]
    within = inside(subject.placed.vertices_m, triangles)
    assert within.mean() >= 0.98  # fingers and toes stand out by a millimetre
    skeleton = subject.placed.skeleton
    group = skeleton.group_of_bone[skeleton.bone_of_vertex]
    for trunk in ("ribs", "sternum", "thoracic_spine", "lumbar_spine", "pelvis", "sacrum"):
        assert within[group == BONE_GROUPS.index(trunk)].all(), trunk


@pytest.mark.parametrize("name", PERSONS)
def test_no_gap_from_skull_to_sacrum(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    vertices, skeleton = subject.placed.vertices_m, subject.placed.skeleton
    column = range(skeleton.select("sacrum").start, skeleton.select("vertebra_C1").stop)
    used = np.isin(skeleton.faces, column).all(axis=1) | (skeleton.bone_of_face == skeleton.bone_names.index("skull"))
    fine = Frame(subject.frame.origin_x_m, subject.frame.origin_z_m, (3.25, 6.06), (600, 109))
    filled = thickness_map_cm(vertices, skeleton.faces[used], fine).max(axis=1) > 0.1
    rows = np.flatnonzero(filled)
    assert filled[rows[0] : rows[-1] + 1].mean() > 0.98
    coarse = thickness_map_cm(vertices, skeleton.faces[used], subject.frame).max(axis=1) > 0.1
    rows = np.flatnonzero(coarse)
    assert coarse[rows[0] : rows[-1] + 1].all()


def test_vertebrae_stay_in_order(subjects: dict[str, Subject]) -> None:
    for subject in subjects.values():
        skeleton = subject.placed.skeleton
        order = ["sacrum", *(n for n in skeleton.bone_names if n.startswith("vertebra")), "skull"]
        heights = [subject.placed.vertices_m[skeleton.select(name)][:, 2].mean() for name in order]
        assert (np.diff(heights) > 0.008).all()


def test_symmetric_body_gets_symmetric_skeleton(body_model: BodyModel, subjects: dict[str, Subject]) -> None:
    placed = subjects["average man"].placed
    skeleton = placed.skeleton
    for name in skeleton.bone_names:
        if name.endswith("_right"):
            right, left = (placed.vertices_m[skeleton.select(f"{name[:-6]}_{side}")] for side in ("right", "left"))
            assert np.abs(MIRROR * right - left).max() < 0.002, name


def test_skeleton_moves_with_a_tilted_body(body_model: BodyModel, subjects: dict[str, Subject]) -> None:
    body, placed = subjects["average woman"].body, subjects["average woman"].placed
    angle, shift = np.deg2rad(4.0), np.array([0.03, 0.01, -0.05])
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    tilted = PosedBody(
        body.vertices_m @ turn.T + shift,
        {name: turn @ joint + shift for name, joint in body.joints_m.items()},
        body.lean_vertices_m @ turn.T + shift,
    )
    np.testing.assert_allclose(
        place_skeleton(tilted, body_model).vertices_m, placed.vertices_m @ turn.T + shift, atol=1e-9
    )


def test_placing_is_deterministic_and_leaves_its_input_alone(
    body_model: BodyModel, subjects: dict[str, Subject]
) -> None:
    subject = subjects["thin woman"]
    skin, rest = subject.body.vertices_m.copy(), load_skeleton().vertices_m.copy()
    again = place_skeleton(subject.body, body_model)
    assert again.vertices_m.tobytes() == subject.placed.vertices_m.tobytes()
    first, second = (bone_maps(placed, subject.frame).mineral_g_cm2 for placed in (again, subject.placed))
    assert first.tobytes() == second.tobytes()
    assert np.array_equal(subject.body.vertices_m, skin)
    assert np.array_equal(load_skeleton().vertices_m, rest)


def test_larger_frame_thickens_bones_but_keeps_joints(body_model: BodyModel, subjects: dict[str, Subject]) -> None:
    subject = subjects["average man"]
    broad = place_skeleton(subject.body, body_model, frame_scale=1.08)
    for joint in ("shoulder_left", "elbow_left", "knee_right", "wrist_right"):
        assert np.linalg.norm(broad.joints_m[joint] - subject.placed.joints_m[joint]) < 0.004
    ratio = bone_volumes_m3(broad.vertices_m) / bone_volumes_m3(subject.placed.vertices_m)
    assert (ratio > 0.99).all()
    assert ratio[broad.bone_names.index("humerus_left")] == pytest.approx(1.08**2, rel=0.01)


@pytest.mark.parametrize("name", PERSONS)
def test_volume_map_holds_the_volume_of_the_bones(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    volumes = bone_volumes_m3(subject.placed.vertices_m)
    assert (volumes > 0).all()
    total_cm3 = bone_maps(subject.placed, subject.frame).volume_cm.sum() * subject.frame.pixel_area_cm2
    assert total_cm3 == pytest.approx(1e6 * volumes.sum(), rel=2e-3)


def test_mineral_is_shell_plus_core(subjects: dict[str, Subject]) -> None:
    placed, frame = subjects["average man"].placed, subjects["average man"].frame
    volumes_cm3 = 1e6 * bone_volumes_m3(placed.vertices_m)
    densities = np.array([MATERIALS[BONE_GROUPS[group]].trabecular_g_cm3 for group in placed.skeleton.group_of_bone])
    core_only = bone_maps(placed, frame, cortical_scale=0.0).mineral_g_cm2
    assert core_only.sum() * frame.pixel_area_cm2 == pytest.approx((volumes_cm3 * densities).sum(), rel=2e-3)
    usual, sparse = bone_maps(placed, frame).mineral_g_cm2, bone_maps(placed, frame, trabecular_scale=0.0).mineral_g_cm2
    assert (usual >= sparse - 1e-12).all()
    half = bone_maps(placed, frame, cortical_scale=0.5).mineral_g_cm2
    assert half.sum() < usual.sum()
    bone_cm = bone_maps(placed, frame).volume_cm
    assert (usual <= CORTICAL_MINERAL_G_CM3 * bone_cm + 0.02).all()


@pytest.mark.parametrize(("name", "expected_g"), [("average woman", (1900, 2250)), ("average man", (2450, 2900))])
def test_bone_mineral_is_plausible_by_region(
    body_model: BodyModel, subjects: dict[str, Subject], name: str, expected_g: tuple[float, float]
) -> None:
    # The materials belong to bones as narrow for their length as the population makes them.
    frame_scale = COEFFICIENTS["frame_mean"].of(PERSONS[name][0])
    placed = place_skeleton(subjects[name].body, body_model, frame_scale)
    frame = subjects[name].frame
    total_g = bone_maps(placed, frame).mineral_g_cm2.sum() * frame.pixel_area_cm2
    assert expected_g[0] < total_g < expected_g[1]
    skeleton = placed.skeleton
    share = {}
    for region in ("head", "arm", "leg"):
        groups = [BONE_GROUPS.index(group) for group, where in BODY_REGION_OF_GROUP.items() if where == region]
        outside = ~np.isin(skeleton.group_of_bone, groups)[skeleton.bone_of_vertex]
        vertices = placed.vertices_m.copy()
        vertices[outside] = 0.0  # bones shrunk to a point hold nothing
        maps = bone_maps(PlacedSkeleton(vertices, {}, skeleton), frame)
        share[region] = maps.mineral_g_cm2.sum() * frame.pixel_area_cm2
    # Whole-body reports show about 0.19, 0.14 and 0.37.
    assert 0.16 < share["head"] / total_g < 0.21
    assert 0.13 < share["arm"] / total_g < 0.17
    assert 0.35 < share["leg"] / total_g < 0.40


@pytest.mark.parametrize(("name", "litres"), [("average woman", (3.9, 5.0)), ("average man", (5.2, 6.8))])
def test_bones_have_the_volume_and_the_marrow_of_real_ones(
    body_model: BodyModel, subjects: dict[str, Subject], name: str, litres: tuple[float, float]
) -> None:
    """ICRP 89: 4.8 and 6.6 l of bone and marrow, which holds 0.8 g of fat a gram of mineral."""
    placed = place_skeleton(subjects[name].body, body_model, COEFFICIENTS["frame_mean"].of(PERSONS[name][0]))
    maps = bone_maps(placed, subjects[name].frame)
    area_cm2 = subjects[name].frame.pixel_area_cm2
    assert litres[0] < maps.volume_cm.sum() * area_cm2 / 1000.0 < litres[1]
    fat_per_mineral = 0.9 * maps.marrow_fat_cm.sum() / maps.mineral_g_cm2.sum()
    assert 0.65 < fat_per_mineral < 0.90
    mineral_cm = maps.mineral_g_cm2 / 2.982
    assert (maps.marrow_fat_cm + mineral_cm <= maps.volume_cm + 1e-9).all()


def test_ribs_are_as_thin_as_real_ones(body_model: BodyModel, subjects: dict[str, Subject]) -> None:
    """A projected CT of a chest holds 0.05 to 0.2 g/cm2 in a rib's pixel; vertebrae are spongy to 0.15 to 0.2 g/cm3."""
    placed = subjects["average man"].placed
    skeleton, frame = placed.skeleton, subjects["average man"].frame
    vertices = placed.vertices_m.copy()
    vertices[skeleton.group_of_bone[skeleton.bone_of_vertex] != BONE_GROUPS.index("ribs")] = 0.0
    ribs = bone_maps(PlacedSkeleton(vertices, {}, skeleton), frame).mineral_g_cm2
    assert 0.05 < np.median(ribs[ribs > 0.02]) < 0.25
    for spine in ("thoracic_spine", "lumbar_spine"):
        assert 0.15 <= MATERIALS[spine].trabecular_g_cm3 <= 0.20


def test_shafts_are_as_wide_as_real_ones(body_model: BodyModel, subjects: dict[str, Subject]) -> None:
    placed = place_skeleton(subjects["average man"].body, body_model, COEFFICIENTS["frame_mean"].men)
    for bone, (lowest, highest) in {"femur": (26, 33), "tibia": (22, 31), "humerus": (19, 26)}.items():
        surface = placed.vertices_m[placed.skeleton.select(f"{bone}_left")]
        axis = np.linalg.svd(surface - surface.mean(axis=0), full_matrices=False)[2][0]
        along = surface @ axis
        middle = (along - along.min()) / np.ptp(along)
        shaft = surface[(middle > 0.38) & (middle < 0.62)]
        around = shaft - shaft.mean(axis=0)
        radius_mm = 1000.0 * np.linalg.norm(around - np.outer(around @ axis, axis), axis=1)
        assert lowest < 2.0 * np.median(radius_mm) < highest, bone
