from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import ellipe

from dxa_monai.errors import InputError
from dxa_monai.phantom.anthropometry import HOW, _curves, check_names, girth_cm, measure, volume_l
from dxa_monai.phantom.body.model import PART_NAMES, BodyModel, Phenotype, PosedBody
from dxa_monai.scan.measures import BODY_MEASURES

ORIGIN = np.zeros(3)
UP = np.array([0.0, 0.0, 1.0])


def arrays(solid: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(solid.vertices, dtype=np.float64), np.asarray(solid.faces, dtype=np.int64)


def ellipsoid(x: float, y: float, z: float) -> tuple[np.ndarray, np.ndarray]:
    solid = trimesh.creation.icosphere(subdivisions=5, radius=1.0)
    solid.apply_scale([x, y, z])
    return arrays(solid)


def ellipse_perimeter(a: float, b: float) -> float:
    a, b = max(a, b), min(a, b)
    return 4 * a * ellipe(1 - (b / a) ** 2)


@pytest.mark.parametrize("tilt_deg", [0.0, 30.0])
def test_girth_and_volume_of_a_cylinder(tilt_deg: float) -> None:
    sections, radius, length = 40, 0.07, 0.5
    solid = trimesh.creation.cylinder(radius=radius, height=length, sections=sections)
    turn = trimesh.transformations.rotation_matrix(np.deg2rad(tilt_deg), [1.0, 0.4, 0.2], point=[0.0, 1.0, 0.0])
    solid.apply_transform(turn)
    vertices, faces = arrays(solid)
    origin, axis = turn[:3, :3] @ [0, 0, 0.1] + turn[:3, 3], turn[:3, :3] @ UP
    polygon_cm = 100 * sections * 2 * radius * np.sin(np.pi / sections)
    assert girth_cm(vertices, faces, origin, 3 * axis) == pytest.approx(polygon_cm, rel=1e-9)
    polygon_area = sections / 2 * radius**2 * np.sin(2 * np.pi / sections)
    assert volume_l(vertices, faces) == pytest.approx(1000 * polygon_area * length, rel=1e-9)


def test_girth_of_an_ellipsoid_at_any_height() -> None:
    vertices, faces = ellipsoid(0.2, 0.12, 0.4)
    for z in (0.0, 0.13, -0.3):
        scale = np.sqrt(1 - (z / 0.4) ** 2)
        expected = 100 * ellipse_perimeter(0.2 * scale, 0.12 * scale)
        assert girth_cm(vertices, faces, np.array([5.0, 5.0, z]), UP) == pytest.approx(expected, rel=2e-3)


def test_a_tape_bridges_hollows() -> None:
    first, faces = ellipsoid(0.1, 0.1, 0.3)
    vertices = np.concatenate([first, first + np.array([0.5, 0.0, 0.0])])
    both = np.concatenate([faces, faces + len(first)])
    around_both_cm = 100 * (2 * np.pi * 0.1 + 2 * 0.5)
    assert girth_cm(vertices, both, ORIGIN, UP) == pytest.approx(around_both_cm, rel=2e-3)


def test_nearest_curve_of_several() -> None:
    thin, faces = ellipsoid(0.1, 0.1, 0.3)
    thick, _ = ellipsoid(0.2, 0.2, 0.3)
    vertices = np.concatenate([thin, thick + np.array([0.5, 0.0, 0.0])])
    both = np.concatenate([faces, faces + len(thin)])
    for x, radius in ((0.05, 0.1), (0.45, 0.2)):
        girth = girth_cm(vertices, both, np.array([x, 0.0, 0.0]), UP, nearest=True)
        assert girth == pytest.approx(200 * np.pi * radius, rel=2e-3)


@pytest.mark.parametrize("seed", range(20))
def test_curves_are_the_connected_components_of_the_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, rng.integers(1, 60), size=(30, 2))
    links = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(60, 60))
    expected = connected_components(links, directed=False)[1][edges[:, 0]]
    found = _curves(edges)
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)
    assert set(found) == set(range(found.max() + 1))


def test_a_plane_that_misses_is_told() -> None:
    vertices, faces = ellipsoid(0.1, 0.1, 0.1)
    with pytest.raises(InputError, match="expected a plane that cuts"):
        girth_cm(vertices, faces, np.array([0.0, 0.0, 1.0]), UP)


def test_finer_triangles_change_nothing() -> None:
    solid = trimesh.creation.icosphere(subdivisions=2, radius=0.3)
    coarse, fine = arrays(solid), arrays(solid.subdivide())
    plane = np.array([0.0, 0.0, 0.07]), np.array([0.3, 0.1, 1.0])
    assert girth_cm(*fine, *plane) == pytest.approx(girth_cm(*coarse, *plane), rel=1e-9)
    assert volume_l(*fine) == pytest.approx(volume_l(*coarse), rel=1e-12)


@pytest.fixture(scope="module")
def standing(body_model: BodyModel, lean_woman: Phenotype) -> PosedBody:
    return body_model.t_pose(lean_woman)


@pytest.fixture(scope="module")
def measures(body_model: BodyModel, standing: PosedBody) -> dict[str, float]:
    return measure(standing, body_model)


def moved(body: PosedBody, matrix: np.ndarray) -> PosedBody:
    return PosedBody(
        body.vertices_m @ matrix.T,
        {name: matrix @ joint for name, joint in body.joints_m.items()},
        body.lean_vertices_m @ matrix.T,
    )


def test_names_order_and_plausible_size(measures: dict[str, float]) -> None:
    assert tuple(measures) == BODY_MEASURES
    # A woman of 168 cm and 56 l (about 57 kg).
    plausible = {
        "bicep_left_circumference_cm": (21, 30),
        "forearm_left_circumference_cm": (20, 26),
        "calf_left_circumference_cm": (31, 40),
        "hip_circumference_cm": (88, 105),
        "thigh_left_circumference_cm": (45, 60),
        "waist_circumference_cm": (60, 80),
        "whole_body_surface_area_cm2": (15500, 17500),
        "arm_left_volume_l": (1.5, 3.5),
        "leg_left_volume_l": (8, 13),
        "torso_volume_l": (22, 33),
        "total_volume_l": (55.5, 56.5),
    }
    for name, (low, high) in plausible.items():
        assert low < measures[name] < high, name


# The average man and woman of 507 active adults, and the range of their forearms, arm stretched and palm up:
# G. Heinz et al., J. Stat. Educ. 11(2), 2003.
@pytest.mark.parametrize(
    ("sex", "height_cm", "volume_l", "low_cm", "high_cm"), [("M", 178.0, 75.0, 22, 33), ("F", 165.0, 60.0, 19, 31)]
)
def test_forearms_are_as_thick_as_those_of_people(
    body_model: BodyModel, sex: str, height_cm: float, volume_l: float, low_cm: float, high_cm: float
) -> None:
    def forearm_cm(litres: float) -> float:
        body = body_model.t_pose(body_model.solve(sex, 30, height_cm, litres))
        return measure(body, body_model, ["forearm_left_circumference_cm"])["forearm_left_circumference_cm"]

    assert low_cm < forearm_cm(volume_l) < high_cm
    assert forearm_cm(volume_l) > 1.02 * forearm_cm(0.9 * volume_l)


@pytest.mark.parametrize("widest", [0.1, 0.25, 0.4])
def test_a_forearm_is_measured_where_it_is_widest_below_the_elbow(widest: float) -> None:
    """On an ellipsoid between elbow and wrist, in whichever direction the arm points."""
    vertices, faces = ellipsoid(0.05, 0.04, 0.3)
    turn = trimesh.transformations.rotation_matrix(0.9, [0.3, 1.0, 0.2])[:3, :3]
    length = 0.25
    elbow, wrist = np.array([0.0, 0.0, -widest * length]), np.array([0.0, 0.0, (1.0 - widest) * length])
    body = PosedBody(vertices @ turn.T, {"lowerarm01.L": turn @ elbow, "wrist.L": turn @ wrist}, vertices)
    arm = np.full(len(faces), PART_NAMES.index("left_arm"))
    model = SimpleNamespace(closed_vertices=lambda points: points, closed_faces=faces, closed_face_part=arm)
    (girth,) = measure(body, model, ["forearm_left_circumference_cm"]).values()
    assert girth == pytest.approx(100 * ellipse_perimeter(0.05, 0.04), rel=2e-3)


def test_a_measure_that_is_listed_or_taken_alone_is_told() -> None:
    check_names(HOW, BODY_MEASURES)
    listed = (*BODY_MEASURES, "neck_circumference_cm")
    with pytest.raises(InputError, match=r"got neck_circumference_cm in the first alone and none in the second alone"):
        check_names(HOW, listed)
    with pytest.raises(InputError, match=r"got none in the first alone and total_volume_l in the second alone"):
        check_names(HOW, [name for name in BODY_MEASURES if name != "total_volume_l"])


def test_volumes_add_up_but_for_the_head(
    body_model: BodyModel, standing: PosedBody, measures: dict[str, float]
) -> None:
    assert measures["total_volume_l"] == pytest.approx(body_model.volume_l(standing.vertices_m), rel=1e-12)
    parts = [name for name in measures if name.endswith("_volume_l") and name != "total_volume_l"]
    assert len(parts) == len(PART_NAMES) - 1
    head = measures["total_volume_l"] - sum(measures[name] for name in parts)
    assert 2.5 < head < 5.0


def test_a_symmetric_body_has_equal_sides(measures: dict[str, float]) -> None:
    for name in BODY_MEASURES:
        if "_left_" in name:
            assert measures[name] == pytest.approx(measures[name.replace("_left_", "_right_")], rel=1e-4), name


def test_scaling_laws(body_model: BodyModel, standing: PosedBody, measures: dict[str, float]) -> None:
    larger = measure(moved(standing, 1.1 * np.eye(3)), body_model)
    power = {"cm": 1, "cm2": 2, "l": 3}
    for name in BODY_MEASURES:
        assert larger[name] == pytest.approx(1.1 ** power[name.rsplit("_", 1)[1]] * measures[name], rel=1e-9), name


def test_turning_about_the_long_axis_changes_nothing(
    body_model: BodyModel, standing: PosedBody, measures: dict[str, float]
) -> None:
    turn = trimesh.transformations.rotation_matrix(0.7, UP)[:3, :3]
    turned = measure(moved(standing, turn), body_model)
    assert turned == pytest.approx(measures, rel=1e-9)


def test_mirroring_swaps_left_and_right(body_model: BodyModel, standing: PosedBody) -> None:
    # Make the left side larger first, so that a swap shows.
    stretched = standing.vertices_m * np.where(standing.vertices_m[:, :1] > 0, 1.1, 1.0)
    uneven = PosedBody(stretched, standing.joints_m, standing.lean_vertices_m)
    before = measure(uneven, body_model)
    assert before["arm_left_volume_l"] > 1.05 * before["arm_right_volume_l"]

    mirror = np.diag([-1.0, 1.0, 1.0])
    swap = {".L": ".R", ".R": ".L"}
    joints = {name[:-2] + swap.get(name[-2:], name[-2:]): mirror @ p for name, p in uneven.joints_m.items()}
    other_side = np.array([PART_NAMES.index(_other(name)) for name in PART_NAMES])
    model = SimpleNamespace(
        closed_vertices=body_model.closed_vertices,
        closed_faces=body_model.closed_faces[:, ::-1],
        closed_face_part=other_side[body_model.closed_face_part],
        part_faces=body_model.part_faces[:, ::-1],
        part_of_face=other_side[body_model.part_of_face],
    )
    after = measure(PosedBody(stretched @ mirror, joints, standing.lean_vertices_m), model)
    for name in BODY_MEASURES:
        assert after[name] == pytest.approx(before[_other(name)], rel=1e-9), name


def _other(name: str) -> str:
    return name.replace("left", "#").replace("right", "left").replace("#", "right")


def test_finer_triangles_change_no_measure(
    body_model: BodyModel, standing: PosedBody, measures: dict[str, float]
) -> None:
    vertices = body_model.closed_vertices(standing.vertices_m)
    faces = np.concatenate([body_model.closed_faces, body_model.part_faces])
    fine_vertices, fine_faces, children = trimesh.remesh.subdivide(vertices, faces, return_index=True)
    parent = np.empty(len(fine_faces), dtype=np.int64)
    for face, own in children.items():
        parent[own] = face
    label = np.concatenate([body_model.closed_face_part, body_model.part_of_face])[parent]
    closed = parent < len(body_model.closed_faces)
    model = SimpleNamespace(
        closed_vertices=lambda points: points,
        closed_faces=fine_faces[closed].astype(np.int64),
        closed_face_part=label[closed],
        part_faces=fine_faces[~closed].astype(np.int64),
        part_of_face=label[~closed],
    )
    finer = measure(PosedBody(np.asarray(fine_vertices), standing.joints_m, standing.lean_vertices_m), model)
    assert finer == pytest.approx(measures, rel=1e-9)
