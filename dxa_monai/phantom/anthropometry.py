"""Tape-measure girths, volumes and the surface area of a body in the T-pose.

``HOW`` says how each of :data:`dxa_monai.scan.measures.BODY_MEASURES` is taken. The paper's own (Table 3 of arXiv
2206.06663) come from a commercial 3-D scanner whose exact landmarks are not published; the levels used here are stated
at each entry. A girth is the perimeter of the convex hull of a plane section: a tape does not follow hollows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from dxa_monai.compiled import compiled
from dxa_monai.errors import InputError
from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.body.surface import PART_NAMES
from dxa_monai.scan.measures import BODY_MEASURES

if TYPE_CHECKING:
    from dxa_monai.phantom.body.model import BodyModel, PosedBody


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


class Standing:
    """What measures are taken on: skin, joints and parts of a body in the T-pose.

    Args:
        body: T-pose of a person.
        model: the model that made it.
    """

    def __init__(self, body: PosedBody, model: BodyModel) -> None:
        self.model = model
        self.vertices_m = model.closed_vertices(body.vertices_m)
        self.joints_m = body.joints_m
        self._skins: dict[tuple[str, ...], IntArray] = {}

    def skin(self, *parts: str) -> IntArray:
        """``(F, 3)`` faces of the closed skin of some of ``PART_NAMES``."""
        if parts not in self._skins:
            wanted = [PART_NAMES.index(part) for part in parts]
            self._skins[parts] = self.model.closed_faces[np.isin(self.model.closed_face_part, wanted)]
        return self._skins[parts]

    @cached_property
    def part_volume_l(self) -> dict[str, float]:
        """Volumes by part.

        Arms are cut from the trunk at the shoulder, legs at the groin, along the lines where the skin begins to follow
        the limb's bones, and closed by flat fans; the head ends below the chin.
        """
        faces, part_of_face = self.model.part_faces, self.model.part_of_face
        return {name: volume_l(self.vertices_m, faces[part_of_face == part]) for part, name in enumerate(PART_NAMES)}


Way = Callable[[Standing], float]
_SIDES = ("left", "right")


def _limb_girth(
    standing: Standing,
    side: str,
    limb: str,
    between: tuple[str, str],
    levels: Collection[float],
    choose: Callable[[Iterable[float]], float],
) -> float:
    skin = standing.skin(f"{side}_{limb}")
    start, end = (standing.joints_m[f"{joint}.{side[0].upper()}"] for joint in between)
    axis = end - start
    return choose(girth_cm(standing.vertices_m, skin, start + level * axis, axis, nearest=True) for level in levels)


def _girths(
    measure: str,
    limb: str,
    between: tuple[str, str],
    levels: Collection[float],
    choose: Callable[[Iterable[float]], float] = max,
) -> dict[str, Way]:
    """Of either side, one of the girths across the axis between two joints, at these parts of the way."""
    how = partial(_limb_girth, limb=limb, between=between, levels=levels, choose=choose)
    return {measure.format(side=side): partial(how, side=side) for side in _SIDES}


def _trunk_girth(
    standing: Standing, parts: Sequence[str], levels: Collection[float], choose: Callable[[Iterable[float]], float]
) -> float:
    """One of the horizontal girths at these parts of the way from the hip to the shoulder joints."""
    joints, skin, up = standing.joints_m, standing.skin(*parts), np.array([0.0, 0.0, 1.0])
    hip = (joints["upperleg01.L"] + joints["upperleg01.R"]) / 2.0
    shoulder = (joints["upperarm01.L"] + joints["upperarm01.R"]) / 2.0
    return choose(girth_cm(standing.vertices_m, skin, hip + level * (shoulder - hip), up) for level in levels)


def _part_volume(standing: Standing, part: str) -> float:
    return standing.part_volume_l[part]


def _volumes(measure: str, limb: str) -> dict[str, Way]:
    return {measure.format(side=side): partial(_part_volume, part=f"{side}_{limb}") for side in _SIDES}


HOW: dict[str, Way] = {
    # Across the upper arm's axis, half-way from the shoulder to the elbow joint.
    **_girths("bicep_{side}_circumference_cm", "arm", ("upperarm01", "lowerarm01"), levels=[0.5]),
    # The largest girth across the forearm's axis, 10 to 50 % of the way from the elbow to the wrist joint: a tape finds
    # it by moving down the relaxed, straight forearm from below the elbow.
    **_girths("forearm_{side}_circumference_cm", "arm", ("lowerarm01", "wrist"), levels=np.linspace(0.1, 0.5, 9)),
    # Across the thigh's axis, a third of the way from the hip to the knee joint, below the gluteal fold.
    **_girths("thigh_{side}_circumference_cm", "leg", ("upperleg01", "lowerleg01"), levels=[1.0 / 3.0]),
    # The largest girth across the shank's axis, 15 to 50 % of the way from the knee to the ankle joint.
    **_girths("calf_{side}_circumference_cm", "leg", ("lowerleg01", "foot"), levels=np.linspace(0.15, 0.5, 15)),
    # The largest horizontal girth of trunk and legs around the buttocks, within 15 % of the distance from the hip to
    # the shoulder joints above and below the hip joints.
    "hip_circumference_cm": partial(
        _trunk_girth, parts=("trunk", "left_leg", "right_leg"), levels=np.linspace(-0.15, 0.15, 15), choose=max
    ),
    # The smallest horizontal girth of the trunk between ribs and iliac crest, 25 to 50 % of that distance above the
    # hip joints.
    "waist_circumference_cm": partial(_trunk_girth, parts=("trunk",), levels=np.linspace(0.25, 0.5, 15), choose=min),
    # The closed skin, without eyes and mouth.
    "whole_body_surface_area_cm2": lambda standing: (
        1e4 * mesh.surface_area_m2(standing.vertices_m, standing.model.closed_faces)
    ),
    **_volumes("arm_{side}_volume_l", "arm"),
    **_volumes("leg_{side}_volume_l", "leg"),
    # The total without arms, legs and head.
    "torso_volume_l": partial(_part_volume, part="trunk"),
    "total_volume_l": lambda standing: sum(standing.part_volume_l.values()),
}
"""How each of ``BODY_MEASURES`` is taken."""


def check_names(how: Collection[str], listed: Collection[str]) -> None:
    """Refuse a measure that is listed and cannot be taken, or is taken and not listed.

    Raises:
        InputError: the names differ.
    """
    unknown, unlisted = sorted(set(listed).difference(how)), sorted(set(how).difference(listed))
    if unknown or unlisted:
        raise InputError(
            "body measures: expected the same names in BODY_MEASURES (dxa_monai/scan/measures.py) and in HOW "
            f"(dxa_monai/phantom/anthropometry.py), got {', '.join(unknown) or 'none'} in the first alone and "
            f"{', '.join(unlisted) or 'none'} in the second alone."
        )


check_names(HOW, BODY_MEASURES)


def measure(body: PosedBody, model: BodyModel, names: Iterable[str] = BODY_MEASURES) -> dict[str, float]:
    """The measures of a body in the T-pose, as ``HOW`` takes them.

    Args:
        body: T-pose of a person.
        model: the model that made it.
        names: which; default: all.

    Returns:
        Measures by name, in the order of ``names``.
    """
    standing = Standing(body, model)
    return {name: HOW[name](standing) for name in names}


@compiled
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
    return np.unique(_joined(node, len(names))[node[:, 0]], return_inverse=True)[1]


@compiled
def _joined(links, count):  # type: ignore[no-untyped-def]
    """``(count,)`` for each node the smallest node that ``(L, 2)`` links lead to."""
    root = np.arange(count)
    for index in range(links.shape[0]):
        ends = [links[index, 0], links[index, 1]]
        for side in range(2):
            while root[ends[side]] != ends[side]:
                root[ends[side]] = root[root[ends[side]]]
                ends[side] = root[ends[side]]
        root[max(ends)] = min(ends)
    for node in range(count):  # a root is smaller than what it was given to, so its own root is known by now
        root[node] = root[root[node]]
    return root


@compiled
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
