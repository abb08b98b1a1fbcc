"""Turns the arms and legs of a standing body, from points of its surface alone: no mesh, no skeleton.

A person who is scanned once may stand otherwise the next time: arms lower, further forward, legs further apart. Here
space is bent about the shoulders, the elbows and the hips, and the surface with it: it stays closed and smooth, and no
point needs to know to which limb it belongs. Joints lie where they lie in people: lengths are parts of the stature.

Axes as of all bodies: metres, x towards the person's left, y towards the back, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SHOULDER_HEIGHT, SHOULDER_HALF_WIDTH = 0.791, 0.106
ELBOW_DISTANCE = 0.157
"""From the shoulder joint."""
HIP_HEIGHT, HIP_HALF_WIDTH = 0.50, 0.05
"""In statures; those of shoulder and elbow are means of 24 adults of the virtual cohort, with standard deviations of
0.006, 0.011 and 0.004."""

LOWEST_ARM_DEG = 40.0
"""Arms further below the horizontal are not told from the flanks with certainty, and are left where they are."""
_FLANK_DEG = 70.0  # below the horizontal: where the trunk begins, seen from the shoulder
_ABOVE = (42.0, 90.0)  # degrees from the arm's axis: up to the first all turns with the arm, from the second nothing
_BELOW = (0.6, 0.95)  # the same below the arm, as parts of the angle from arm to flank
_FAR, _ARM = 0.25, 0.12  # statures from the shoulder: hands and forearms, arms without the shoulder
_FEWEST_POINTS = 8
_SEEN_POINTS = 4096  # of a cloud, to find the arms
_ROUNDS = 4
_MOST_WIDER = (0.95, 1.05)
_STEP_M = 1e-3


@dataclass(frozen=True)
class LimbTurns:
    """How the limbs of one side are turned, in degrees.

    Attributes:
        arm_below: the arm is lowered to so far below the horizontal; one that is lower already stays.
        arm_forward: and so far forward.
        elbow: the forearm is bent further down by.
        leg: the leg is turned outwards by.
    """

    arm_below: float = 0.0
    arm_forward: float = 0.0
    elbow: float = 0.0
    leg: float = 0.0


class Arm(NamedTuple):
    """An arm as it was found.

    Attributes:
        shoulder_m: ``(3,)``.
        direction: ``(3,)``, unit vector to the hand.
        below_deg: how far below the horizontal it points.
    """

    shoulder_m: FloatArray
    direction: FloatArray
    below_deg: float


def find_arm(points_m: FloatArray, side: int) -> Arm | None:
    """The arm of a standing body; None if there is none that is clear of the trunk (``LOWEST_ARM_DEG``).

    A line is put through the points around the direction of the hand, and the shoulder lies on it,
    ``SHOULDER_HALF_WIDTH`` statures from the middle of the body.

    Args:
        points_m: ``(P, 3)`` spread evenly over the surface, the middle of the body at x = 0 and the floor at z = 0.
        side: 1 for the left, -1 for the right arm.
    """
    stature = float(points_m[:, 2].max())
    towards = np.array([float(side), 1.0, 1.0])
    points = points_m * towards / stature
    shoulder, direction = np.array([SHOULDER_HALF_WIDTH, 0.0, SHOULDER_HEIGHT]), np.array([1.0, 0.0, 0.0])
    for _ in range(_ROUNDS):
        across, up = (points - shoulder)[:, 0], (points - shoulder)[:, 2]
        distance, elevation = np.hypot(across, up), np.degrees(np.arctan2(up, across))
        far = (across > 0.0) & (distance > _FAR) & (elevation > -_FLANK_DEG) & (elevation < 30.0)
        if far.sum() < _FEWEST_POINTS:
            return None
        hand = np.median(points[far & (distance > np.quantile(distance[far], 0.6))], axis=0) - shoulder
        along = np.degrees(np.arctan2(hand[2], hand[0]))
        arm = points[(np.abs(elevation - along) < 12.0) & (distance > _ARM)]
        if len(arm) < _FEWEST_POINTS:
            return None
        middle = arm.mean(axis=0)
        direction = np.linalg.svd(arm - middle, full_matrices=False)[2][0]
        if abs(direction[0]) < np.cos(np.radians(_FLANK_DEG)):
            return None
        shoulder = middle + (SHOULDER_HALF_WIDTH - middle[0]) / direction[0] * direction
        direction = direction * np.sign(direction[0])
    below = float(-np.degrees(np.arcsin(np.clip(direction[2], -1.0, 1.0))))
    if below > LOWEST_ARM_DEG:
        return None
    return Arm(shoulder * towards * stature, direction * towards, below)


def arms_of(cloud: FloatArray) -> dict[int, Arm | None]:
    """The arms of a body's cloud ``(7, P)``, by side (1 left, -1 right), from some of its points: :func:`find_arm`."""
    points = _placed(cloud[:3].T)
    return {side: find_arm(points[:_SEEN_POINTS], side) for side in (1, -1)}


def with_limbs_turned(cloud: FloatArray, left: LimbTurns, right: LimbTurns) -> FloatArray:
    """The cloud of a body whose limbs are turned, with the volume that it had.

    Bending space loses up to a hundredth of the volume below a shoulder; people keep theirs. So the whole body is made
    wider and deeper by what is missing, some tenths of a percent.

    Args:
        cloud: ``(7, P)`` of :func:`dxa_monai.mesh.points.point_cloud`: pieces of the surface, in random order.
        left: of the left arm and leg.
        right: of the right ones.

    Returns:
        ``(7, P)``: places, unit normals and areas of the same pieces, the floor at z = 0, the middle of the surface
        over x = y = 0.
    """
    points, normals, areas = _placed(cloud[:3].T), cloud[3:6].T, cloud[6]
    arms = arms_of(cloud)
    stature = float(points[:, 2].max())

    def bent(places: FloatArray) -> FloatArray:
        for side, turn in ((1, left), (-1, right)):
            places = _with_leg(_with_arm(places, arms[side], turn, side, stature), turn.leg, side, stature)
        return places

    # a small parallelogram in each piece goes where the piece goes: its sides span the new area
    first = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    corners = [points, points + _STEP_M * first, points + _STEP_M * np.cross(normals, first)]
    moved, one, other = np.split(bent(np.concatenate(corners)), 3)
    vectors = areas[:, None] * np.cross(one - moved, other - moved) / _STEP_M**2
    # of an open surface, whose volume is none, hardly anything is made up for
    wider = np.sqrt(np.clip((points * normals).sum(axis=1) @ areas / (moved * vectors).sum(), *_MOST_WIDER))
    moved, vectors = moved * np.array([wider, wider, 1.0]), vectors * np.array([wider, wider, wider**2])
    new_areas = np.linalg.norm(vectors, axis=1)
    middle = new_areas @ moved / new_areas.sum()
    moved = moved - np.array([middle[0], middle[1], moved[:, 2].min()])
    new_normals = vectors / np.maximum(new_areas, np.finfo(np.float64).tiny)[:, None]
    return np.concatenate([moved.T, new_normals.T, new_areas[None]])


def _placed(points_m: FloatArray) -> FloatArray:
    """Points ``(P, 3)`` of a body moved so that its middle lies at x = 0 and the floor at z = 0."""
    low, high = points_m.min(axis=0), points_m.max(axis=0)
    return points_m - np.array([(low[0] + high[0]) / 2.0, 0.0, low[2]])


def _with_arm(places: FloatArray, arm: Arm | None, turn: LimbTurns, side: int, stature: float) -> FloatArray:
    if arm is None or turn.arm_below <= arm.below_deg:
        return places
    below, forward = np.radians(turn.arm_below), np.radians(turn.arm_forward)
    target = np.array([side * np.cos(below) * np.cos(forward), -np.cos(below) * np.sin(forward), -np.sin(below)])
    from_shoulder = places - arm.shoulder_m
    along = from_shoulder @ arm.direction
    distance = np.maximum(np.linalg.norm(from_shoulder, axis=1), 1e-9)
    angle = np.degrees(np.arccos(np.clip(along / distance, -1.0, 1.0)))
    is_below = from_shoulder[:, 2] < along * arm.direction[2]
    to_flank = _FLANK_DEG - arm.below_deg
    whole, nothing = (np.where(is_below, _BELOW[end] * to_flank, _ABOVE[end]) for end in (0, 1))
    share = _smooth((nothing - angle) / (nothing - whole)) * (side * places[:, 0] > 0.0)
    held = share > 0.0
    axis = np.cross(arm.direction, target)
    sine = float(np.linalg.norm(axis))
    by = share[held] * np.arctan2(sine, arm.direction @ target)
    turned = arm.shoulder_m + _rotated(from_shoulder[held], axis / max(sine, 1e-9), by)
    from_elbow = turned - arm.shoulder_m - ELBOW_DISTANCE * stature * target
    beyond = _smooth((from_elbow @ target / stature + 0.02) / 0.04)
    bend = share[held] * beyond * np.radians(turn.elbow)
    moved = places.copy()
    moved[held] = turned - from_elbow + _rotated(from_elbow, np.array([0.0, float(side), 0.0]), bend)
    return moved


def _with_leg(places: FloatArray, outwards_deg: float, side: int, stature: float) -> FloatArray:
    hip = np.array([side * HIP_HALF_WIDTH, 0.0, HIP_HEIGHT]) * stature
    lower = _smooth((HIP_HEIGHT - places[:, 2] / stature) / 0.08)
    of_this_side = _smooth(side * places[:, 0] / stature / 0.02)
    angle = lower * of_this_side * np.radians(outwards_deg)
    held = angle != 0.0
    moved = places.copy()
    moved[held] = hip + _rotated(places[held] - hip, np.array([0.0, -float(side), 0.0]), angle[held])
    return moved


def _rotated(vectors: FloatArray, axis: FloatArray, angle: FloatArray) -> FloatArray:
    """Vectors ``(P, 3)`` turned about a unit vector by ``(P,)`` radians (Rodrigues)."""
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = (vectors @ axis)[:, None] * axis
    return cosine * vectors + sine * np.cross(axis, vectors) + (1.0 - cosine) * along


def _smooth(part: FloatArray) -> FloatArray:
    """0 below 0, 1 above 1, and a smooth step between."""
    inside = np.clip(part, 0.0, 1.0)
    return np.asarray(inside**2 * (3.0 - 2.0 * inside))
