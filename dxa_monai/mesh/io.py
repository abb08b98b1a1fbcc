"""A 3D body scan from a file, in metres and in the axes of this project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.mesh.geometry import bounds, face_areas
from dxa_monai.mesh.limits import MAX_FILE_BYTES
from dxa_monai.mesh.parse import MESH_ENDINGS, read_triangles

__all__ = ["MESH_ENDINGS", "METRES_PER_UNIT", "STATURE_M", "BodyMesh", "load_mesh"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

METRES_PER_UNIT = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
STATURE_M = (0.5, 2.5)
"""Heights that a body can have: from a newborn to well above the tallest adults."""

MAX_EXTENT_M = 100.0
MIN_AREA_M2 = 1e-6
"""Limits of what can be computed with: beyond them are damaged coordinates and faces that are mere lines."""

AXES = ("x", "y", "z", "-x", "-y", "-z")
MAX_STEP_M = 1e-3
"""Between neighbouring numbers of single precision at a body's place; beyond, its skin becomes a staircase."""

_FACING_OF_UP = {"z": "-y", "y": "z", "-y": "-z", "-z": "y"}
"""Where a person is taken to face: x stays left to right, and with y up it is glTF's convention."""


@dataclass(frozen=True, eq=False)
class BodyMesh:
    """The surface of a person.

    Attributes:
        vertices_m: ``(V, 3)`` float64, metres; x towards the person's left, y towards the back, z up.
        faces: ``(F, 3)`` int64, corners counter-clockwise seen from outside.
        source: where it came from, for messages.
        unit: of the source, one of ``METRES_PER_UNIT``.
        unit_inferred: whether the unit was taken from the height instead of stated.
        up_axis, facing: axes of the source that point up and to where the person faces.
        mends: what :func:`dxa_monai.mesh.repair.repaired` changed, a phrase each.
    """

    vertices_m: FloatArray
    faces: IntArray
    source: str = "mesh"
    unit: str = "m"
    unit_inferred: bool = False
    up_axis: str = "z"
    facing: str = "-y"
    mends: tuple[str, ...] = ()

    @cached_property
    def face_areas_m2(self) -> FloatArray:
        """``(F,)`` area of each face."""
        return face_areas(self.vertices_m, self.faces)

    @cached_property
    def bounds_m(self) -> FloatArray:
        """``(2, 3)`` smallest and largest coordinates of the faces; vertices without a face do not count."""
        return bounds(self.vertices_m, self.faces)

    @property
    def height_m(self) -> float:
        """Extent along z."""
        return float(self.bounds_m[1, 2] - self.bounds_m[0, 2])


def load_mesh(
    path: str | os.PathLike[str],
    unit: str | None = None,
    up_axis: str = "z",
    facing: str | None = None,
    max_bytes: int = MAX_FILE_BYTES,
    announce: bool = True,
) -> BodyMesh:
    """Read a body scan (PLY, OBJ, STL, GLB, glTF) of any topology.

    Axes are stated, never guessed: by glTF's rule y is up, but many programs write other axes to every format. Whether
    the result is a standing person facing forwards is the business of :func:`dxa_monai.mesh.checks.checked`.

    Args:
        path: the file.
        unit: "m", "cm", "mm" or "inch". None: the only one in which the body's height is within ``STATURE_M``; a
            printed line says which.
        up_axis: axis of the file that points from the feet to the head, such as "y" or "-z".
        facing: axis of the file towards which the person faces. None: "-y" with z up (the virtual cohort), "z" with y
            up (glTF); the same turned over with "-z" and "-y". With x up it must be stated.
        max_bytes: largest file that is read.
        announce: print the line about an inferred unit.

    Returns:
        The mesh, its vertices in the file's order.

    Raises:
        InputError: unknown unit, axes that do not fit each other, a file that :func:`read_triangles` refuses, a height
            outside ``STATURE_M`` or one that fits two units, a width over ``MAX_EXTENT_M``, faces without area, or a
            body so far from the origin that single precision has rounded it by more than ``MAX_STEP_M``.
    """
    turn = _rotation(up_axis, facing)
    if unit is not None and unit not in METRES_PER_UNIT:
        raise InputError(f"unit: expected one of {', '.join(METRES_PER_UNIT)} or none, got {unit!r}.")
    raw, faces = read_triangles(path, max_bytes)
    vertices = raw @ turn.T
    with np.errstate(over="ignore"):
        extents = np.diff(bounds(vertices, faces), axis=0)[0]
    fitting = _units_that_fit(float(extents[2])) if unit is None else [unit]
    if len(fitting) != 1 or not _is_stature(extents[2] * METRES_PER_UNIT[fitting[0]]):
        raise InputError(_height_sentence(str(path), unit, fitting, extents, up_axis))
    metres = METRES_PER_UNIT[fitting[0]]
    if extents.max() * metres > MAX_EXTENT_M:
        raise InputError(
            f"{path}: expected a body of at most {MAX_EXTENT_M:g} m across, got {extents.max() * metres:.4g} m."
        )
    with np.errstate(over="ignore"):
        step = float(np.spacing(np.float32(np.abs(raw).max()))) * metres
    if step > MAX_STEP_M and np.array_equal(raw, raw.astype(np.float32)):  # not what was computed in double
        raise InputError(
            f"{path}: expected a body near the origin, got one {np.abs(raw).max() * metres / 1e3:.0f} km away, where "
            f"coordinates in single precision lie {1e3 * step:.1f} mm apart: move it before it is saved."
        )
    if unit is None and announce:
        print(f"{path}: unit {fitting[0]} taken from the height of {extents[2]:.4g} ({extents[2] * metres:.3f} m).")
    mesh = BodyMesh(
        vertices_m=vertices * metres,
        faces=faces,
        source=str(path),
        unit=fitting[0],
        unit_inferred=unit is None,
        up_axis=up_axis,
        facing=facing or _FACING_OF_UP[up_axis],
    )
    if mesh.face_areas_m2.sum() < MIN_AREA_M2:
        raise InputError(f"{path}: expected faces with an area, got {len(faces)} without.")
    return mesh


def _is_stature(height_m: float) -> bool:
    return STATURE_M[0] <= height_m <= STATURE_M[1]


def _units_that_fit(height: float) -> list[str]:
    return [unit for unit, metres in METRES_PER_UNIT.items() if _is_stature(height * metres)]


def _height_sentence(source: str, unit: str | None, fitting: list[str], extents: FloatArray, up_axis: str) -> str:
    size = " x ".join(f"{extent:.4g}" for extent in extents)
    found = f"a height of {extents[2]:.4g} along {up_axis} (extents left to right, front to back, up: {size})"
    expected = f"a height of {STATURE_M[0]} to {STATURE_M[1]} m"
    if unit is not None:
        return f"{source}: expected {expected}, got {found} in {unit}: state another unit or up_axis."
    if fitting:
        return (
            f"{source}: expected {expected} in one unit, got {found}, which fits {' and '.join(fitting)}: state unit."
        )
    units = ", ".join(METRES_PER_UNIT)
    return (
        f"{source}: expected {expected} in one of {units}, got {found}, which fits none: state unit or another up_axis."
    )


def _rotation(up_axis: str, facing: str | None) -> FloatArray:
    """``(3, 3)`` matrix whose rows are this project's x, y, z in the file's axes."""
    if up_axis not in AXES:
        raise InputError(f"up_axis: expected one of {', '.join(AXES)}, got {up_axis!r}.")
    facing = facing if facing is not None else _FACING_OF_UP.get(up_axis)
    others = [axis for axis in AXES if axis[-1] != up_axis[-1]]
    if facing not in others:
        raise InputError(f"facing: expected one of {', '.join(others)} with up_axis {up_axis!r}, got {facing!r}.")
    up, back = _unit_vector(up_axis), -_unit_vector(facing)
    return np.stack([np.cross(back, up), back, up])


def _unit_vector(axis: str) -> FloatArray:
    vector = np.zeros(3)
    vector["xyz".index(axis[-1])] = -1.0 if axis.startswith("-") else 1.0
    return vector
