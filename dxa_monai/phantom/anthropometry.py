"""Fifteen tape-measure girths, volumes and the surface area of a body in the T-pose.

The measures are those of the paper's Table 3 (arXiv 2206.06663), which come from a commercial 3-D scanner whose exact
landmarks are not published; the levels used here are stated at :func:`measure`. A girth is the perimeter of the convex
hull of a plane section: a tape does not follow hollows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numba
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dxa_monai.errors import InputError
from dxa_monai.phantom import mesh
from dxa_monai.phantom.mesh import FloatArray, IntArray
from dxa_monai.phantom.surface import PART_NAMES
from dxa_monai.scan.measures import ANTHROPOMETRY_15

if TYPE_CHECKING:
    from dxa_monai.phantom.body import BodyModel, PosedBody

MEASURES = ANTHROPOMETRY_15
"""Names and order of the measures."""

_BICEP_LEVEL = 0.5
_THIGH_LEVEL = 1.0 / 3.0
_CALF_LEVELS = np.linspace(0.15, 0.5, 15)
_HIP_LEVELS = np.linspace(-0.15, 0.15, 15)
_WAIST_LEVELS = np.linspace(0.25, 0.5, 15)


def girth_cm(
    vertices_m: FloatArray, faces: IntArray, origin_m: FloatArray, normal: FloatArray, nearest: bool = False
) -> float:
    """Length of a tape pulled tight around the section of a surface with a plane.

    Args:
        vertices_m: ``(V, 3)``.
        faces: ``(F, 3)``.
        origin_m: a point of the plane.
        normal: the plane's normal, of any length.
        nearest: measure only the closed curve of the section whose middle is nearest to ``origin_m`` (one thigh, where
            the plane also meets the other) instead of a tape around everything.

    Returns:
        Perimeter of the convex hull in cm.

    Raises:
        InputError: the plane misses the surface.
    """
    normal = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    height = (vertices_m - origin_m) @ normal
    starts, ends, edges = _section(vertices_m, faces, height)
    if len(starts) == 0:
        raise InputError(f"girth_cm: expected a plane that cuts the surface, got origin {origin_m}, normal {normal}.")
    points = starts
    if nearest:
        curve = _curves(edges)
        middles = [points[curve == index].mean(axis=0) for index in range(curve.max() + 1)]
        closest = int(np.argmin(np.linalg.norm(np.array(middles) - origin_m, axis=1)))
        points, ends = points[curve == closest], ends[curve == closest]
    across = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    across /= np.linalg.norm(across)
    plane = np.column_stack([across, np.cross(normal, across)])
    flat = np.concatenate([points, ends]) @ plane
    return 100.0 * _hull_perimeter(flat[np.lexsort((flat[:, 1], flat[:, 0]))])


def volume_l(vertices_m: FloatArray, faces: IntArray) -> float:
    """Volume inside a closed outward surface, in litres."""
    return 1000.0 * mesh.enclosed_volume_m3(vertices_m, faces)


def measure(body: PosedBody, model: BodyModel) -> dict[str, float]:
    """All ``MEASURES`` of a body in the T-pose.

    - bicep: across the upper arm's axis, half-way from the shoulder to the elbow joint.
    - thigh: across the thigh's axis, a third of the way from the hip to the knee joint, below the gluteal fold.
    - calf: the largest girth across the shank's axis, 15 to 50 % of the way from the knee to the ankle joint.
    - hip: the largest horizontal girth of trunk and legs around the buttocks, within 15 % of the distance from the hip
      to the shoulder joints above and below the hip joints.
    - waist: the smallest horizontal girth of the trunk between ribs and iliac crest, 25 to 50 % of that distance above
      the hip joints.
    - surface area: the closed skin, without eyes and mouth.
    - volumes: arms are cut from the trunk at the shoulder, legs at the groin, along the lines where the skin begins to
      follow the limb's bones, and closed by flat fans. The torso is the total without arms, legs and head (the head
      ends below the chin).

    Args:
        body: T-pose of a person.
        model: the model that made it.

    Returns:
        Measures by name, in the order of ``MEASURES``.
    """
    vertices = model.closed_vertices(body.vertices_m)
    joints = body.joints_m

    def skin_of(*parts: str) -> IntArray:
        wanted = [PART_NAMES.index(part) for part in parts]
        return model.closed_faces[np.isin(model.closed_face_part, wanted)]

    def limb_girths(part: str, start: str, end: str, levels: Iterable[float]) -> list[float]:
        faces, axis = skin_of(part), joints[end] - joints[start]
        return [girth_cm(vertices, faces, joints[start] + level * axis, axis, nearest=True) for level in levels]

    hip = (joints["upperleg01.L"] + joints["upperleg01.R"]) / 2.0
    shoulder = (joints["upperarm01.L"] + joints["upperarm01.R"]) / 2.0

    def trunk_girths(faces: IntArray, levels: Iterable[float]) -> list[float]:
        up = np.array([0.0, 0.0, 1.0])
        return [girth_cm(vertices, faces, hip + level * (shoulder - hip), up) for level in levels]

    part_volume_l = {
        name: volume_l(vertices, model.part_faces[model.part_of_face == part]) for part, name in enumerate(PART_NAMES)
    }
    measures = {
        "hip_circumference_cm": max(trunk_girths(skin_of("trunk", "left_leg", "right_leg"), _HIP_LEVELS)),
        "waist_circumference_cm": min(trunk_girths(skin_of("trunk"), _WAIST_LEVELS)),
        "whole_body_surface_area_cm2": 1e4 * mesh.surface_area_m2(vertices, model.closed_faces),
        "torso_volume_l": part_volume_l["trunk"],
        "total_volume_l": sum(part_volume_l.values()),
    }
    for side, suffix in (("left", "L"), ("right", "R")):
        arm, leg = f"{side}_arm", f"{side}_leg"
        bicep = limb_girths(arm, f"upperarm01.{suffix}", f"lowerarm01.{suffix}", [_BICEP_LEVEL])
        thigh = limb_girths(leg, f"upperleg01.{suffix}", f"lowerleg01.{suffix}", [_THIGH_LEVEL])
        calf = limb_girths(leg, f"lowerleg01.{suffix}", f"foot.{suffix}", _CALF_LEVELS)
        measures[f"bicep_{side}_circumference_cm"] = bicep[0]
        measures[f"thigh_{side}_circumference_cm"] = thigh[0]
        measures[f"calf_{side}_circumference_cm"] = max(calf)
        measures[f"arm_{side}_volume_l"] = part_volume_l[arm]
        measures[f"leg_{side}_volume_l"] = part_volume_l[leg]
    return {name: measures[name] for name in MEASURES}


@numba.njit(cache=True)
def _section(vertices, faces, height):  # type: ignore[no-untyped-def]
    """Where the surface ``height = 0`` cuts the faces: ``(S, 3)`` starts and ends of segments, ``(S, 2)`` edges cut.

    An edge is named by its two vertices as one number, so that segments of neighbouring faces share a name.
    """
    segments = 0
    for face in range(faces.shape[0]):
        above = 0
        for corner in range(3):
            above += height[faces[face, corner]] > 0.0
        segments += 0 < above < 3
    ends = np.empty((2, segments, 3))
    edges = np.empty((segments, 2), dtype=np.int64)
    count = 0
    for face in range(faces.shape[0]):
        found = 0
        for corner in range(3):
            first = min(faces[face, corner], faces[face, (corner + 1) % 3])
            second = max(faces[face, corner], faces[face, (corner + 1) % 3])
            if (height[first] > 0.0) != (height[second] > 0.0):
                fraction = height[first] / (height[first] - height[second])
                for k in range(3):
                    ends[found, count, k] = vertices[first, k] + fraction * (vertices[second, k] - vertices[first, k])
                edges[count, found] = first * vertices.shape[0] + second
                found += 1
        count += found == 2
    return ends[0], ends[1], edges


def _curves(edges: IntArray) -> IntArray:
    """``(S,)`` number of the connected curve that each segment of a section belongs to."""
    names, node = np.unique(edges.ravel(), return_inverse=True)
    node = node.reshape(-1, 2)
    links = coo_matrix((np.ones(len(node)), (node[:, 0], node[:, 1])), shape=(len(names), len(names)))
    return connected_components(links, directed=False)[1][node[:, 0]]


@numba.njit(cache=True)
def _hull_perimeter(points):  # type: ignore[no-untyped-def]
    """Perimeter of the convex hull of ``(N, 2)`` points sorted by x, then y (Andrew's monotone chain)."""
    perimeter = 0.0
    chain = np.empty(points.shape[0] + 1, dtype=np.int64)
    for sign in (1.0, -1.0):  # lower, then upper hull
        length = 0
        for index in range(points.shape[0]):
            while length >= 2:
                origin, last = points[chain[length - 2]], points[chain[length - 1]]
                turn = (last[0] - origin[0]) * (points[index, 1] - origin[1])
                turn -= (last[1] - origin[1]) * (points[index, 0] - origin[0])
                if sign * turn > 0.0:
                    break
                length -= 1
            chain[length] = index
            length += 1
        for index in range(1, length):
            step = points[chain[index]] - points[chain[index - 1]]
            perimeter += np.sqrt(step[0] * step[0] + step[1] * step[1])
    return perimeter
