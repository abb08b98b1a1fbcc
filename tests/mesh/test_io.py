from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.mesh.io import METRES_PER_UNIT, BodyMesh, load_mesh
from tests.mesh.shapes import box, file_bytes, joined, moved, sphere

AXES = ("x", "y", "z", "-x", "-y", "-z")


def write(mesh: BodyMesh, path: Path) -> Path:
    path.write_bytes(file_bytes(mesh, path.suffix[1:]))
    return path


def axis(name: str) -> np.ndarray:
    vector = np.zeros(3)
    vector["xyz".index(name[-1])] = -1.0 if name[0] == "-" else 1.0
    return vector


def corners(mesh: BodyMesh) -> np.ndarray:
    """``(F, 3, 3)`` coordinates of the faces: the same surface whatever the numbering."""
    return mesh.vertices_m[mesh.faces]


@pytest.mark.parametrize("ending", [".ply", ".obj", ".stl", ".glb"])
@pytest.mark.parametrize("unit", METRES_PER_UNIT)
def test_formats_and_units_give_the_same_body(ending: str, unit: str, tmp_path: Path) -> None:
    original = box()
    path = write(moved(original, scale=1.0 / METRES_PER_UNIT[unit]), tmp_path / f"body{ending}")
    mesh = load_mesh(path, unit=unit)
    np.testing.assert_allclose(corners(mesh), corners(original), atol=1e-6)
    assert len(mesh.vertices_m) == 8
    assert (mesh.unit, mesh.unit_inferred, mesh.source) == (unit, False, str(path))


def test_vertices_keep_their_order_in_indexed_formats(tmp_path: Path) -> None:
    original = sphere(subdivisions=2)
    for ending in (".ply", ".obj", ".glb"):
        mesh = load_mesh(write(original, tmp_path / f"body{ending}"), unit="m")
        np.testing.assert_allclose(mesh.vertices_m, original.vertices_m, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, original.faces)


@pytest.mark.parametrize(
    ("unit", "height"), [("m", 1.7), ("cm", 170.0), ("mm", 1700.0), ("inch", 40.0), ("inch", 25.0)]
)
def test_unit_is_inferred_from_the_height_and_told(
    unit: str, height: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(box((0.3 * height, 0.2 * height, height)), tmp_path / "body.ply")
    mesh = load_mesh(path)
    assert (mesh.unit, mesh.unit_inferred) == (unit, True)
    assert mesh.height_m == pytest.approx(height * METRES_PER_UNIT[unit], rel=1e-6)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert f"{path}: unit {unit} taken from the height" in printed


def test_a_stated_unit_or_a_quiet_reader_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(box(), tmp_path / "body.ply")
    load_mesh(path, unit="m")
    load_mesh(path, announce=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("height", "unit", "sentence"),
    [
        (70.0, None, "in one unit, got a height of 70 along z .* fits cm and inch: state unit"),
        (9.0, None, "in one of m, cm, mm, inch, got a height of 9 .* fits none"),
        (1.7, "mm", "0.5 to 2.5 m, got a height of 1.7 .* in mm: state another unit"),
        (1.7, "feet", "unit: expected one of m, cm, mm, inch or none, got 'feet'"),
    ],
)
def test_a_height_that_fits_no_or_two_units_is_refused(
    height: float, unit: str | None, sentence: str, tmp_path: Path
) -> None:
    path = write(box((0.3 * height, 0.2 * height, height)), tmp_path / "body.ply")
    with pytest.raises(InputError, match=sentence):
        load_mesh(path, unit=unit)


def test_vertices_without_a_face_do_not_change_the_height(tmp_path: Path) -> None:
    stray = BodyMesh(np.array([[0.0, 0.0, 900.0]]), np.empty((0, 3), dtype=np.int64))
    mesh = load_mesh(write(joined(box(), stray), tmp_path / "body.ply"))
    assert mesh.unit == "m"
    assert mesh.height_m == pytest.approx(1.7)
    assert len(mesh.vertices_m) == 9


@pytest.mark.parametrize(
    ("up", "facing"), [pair for pair in itertools.permutations(AXES, 2) if pair[0][-1] != pair[1][-1]]
)
def test_every_pair_of_axes_comes_back(up: str, facing: str, tmp_path: Path) -> None:
    """The only rotation that takes z to the file's up and -y to where the person faces there."""
    original = moved(box(), x=0.1, y=0.2, z=0.3)
    back = -axis(facing)
    left = np.cross(back, axis(up))
    in_file = original.vertices_m @ np.stack([left, back, axis(up)])
    assert np.linalg.det(np.stack([left, back, axis(up)])) == pytest.approx(1.0)
    path = write(BodyMesh(in_file, original.faces), tmp_path / "body.ply")
    mesh = load_mesh(path, unit="m", up_axis=up, facing=facing)
    np.testing.assert_allclose(mesh.vertices_m, original.vertices_m, atol=1e-6)
    assert (mesh.up_axis, mesh.facing) == (up, facing)


@pytest.mark.parametrize(("up", "facing"), [("z", "-y"), ("y", "z"), ("-y", "-z"), ("-z", "y")])
def test_facing_by_default_keeps_x(up: str, facing: str, tmp_path: Path) -> None:
    path = write(sphere(subdivisions=1), tmp_path / "body.ply")
    by_default = load_mesh(path, unit="m", up_axis=up)
    assert by_default.facing == facing
    np.testing.assert_allclose(by_default.vertices_m[:, 0], sphere(subdivisions=1).vertices_m[:, 0], atol=1e-6)
    stated = load_mesh(path, unit="m", up_axis=up, facing=facing)
    np.testing.assert_array_equal(by_default.vertices_m, stated.vertices_m)


@pytest.mark.parametrize(
    ("up", "facing", "sentence"),
    [
        ("up", None, "up_axis: expected one of x, y, z, -x, -y, -z, got 'up'"),
        ("x", None, "facing: expected one of y, z, -y, -z with up_axis 'x', got None"),
        ("z", "-z", "facing: expected one of x, y, -x, -y with up_axis 'z', got '-z'"),
    ],
)
def test_axes_that_do_not_fit_are_refused(up: str, facing: str | None, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        load_mesh(write(box(), tmp_path / "body.ply"), up_axis=up, facing=facing)


def test_damaged_coordinates_and_flat_faces_are_refused(tmp_path: Path) -> None:
    far = box()
    far.vertices_m[0, 0] = -1e30
    with pytest.raises(InputError, match="at most 100 m across, got 1e\\+30 m"):
        load_mesh(write(far, tmp_path / "far.ply"), unit="m")
    (tmp_path / "line.obj").write_text("v 0 0 0\nv 0 0 1\nv 0 0 1.7\nf 1 2 3\nf 1 1 3\n")
    with pytest.raises(InputError, match="expected faces with an area, got 2 without"):
        load_mesh(tmp_path / "line.obj", unit="m")


@pytest.mark.parametrize(("place_m", "taken"), [(3_000.0, True), (500_000.0, False)])
def test_a_body_that_single_precision_has_rounded_is_refused(place_m: float, taken: bool, tmp_path: Path) -> None:
    path = tmp_path / "body.stl"
    path.write_bytes(file_bytes(moved(box(), place_m), "stl"))
    if taken:
        assert load_mesh(path, "m").height_m == pytest.approx(1.7, abs=1e-3)
    else:
        with pytest.raises(InputError, match=r"near the origin, got one 500 km away, .* 31.2 mm apart"):
            load_mesh(path, "m")
