"""Making room on the table: arms clear of the trunk and hips, everybody inside the scan field, as an operator would.

The table is narrow (66 cm). Arms are first moved out until they are clear of the trunk and thighs in the projection,
but never beyond the field; where a person is too wide for both, the field wins and the arms overlap the trunk, as on
real scans of large people. Tall people's toes are pulled up until head and feet are inside.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dxa_monai.phantom.body.anny_shapes import Phenotype
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import BodyModel, RestShape
from dxa_monai.phantom.body.pose import SIDES, pose_supine, pose_supine_arm
from dxa_monai.phantom.body.positioning import NO_SCATTER, Positioning
from dxa_monai.phantom.body.surface import PART_NAMES
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE

ARM_CLEARANCE_M = 0.010
"""Free space wanted between arm and body: about one and a half pixels."""

_SPARE_PIXELS = 1.5  # at each edge; the frame itself insists on one
_BIN_M = 0.026  # rows in which arm and body are compared, wide enough to hold vertices of both
_AXILLA = 0.5  # share of the upper arm, from the shoulder, that may touch the trunk
_BINS = 90
_MAX_STEPS = 6
_PROJECTIONS = 30
_GOOD_ENOUGH_M = 0.001
_OBSTACLES = ("trunk", "left_leg", "right_leg")
_ARM_ANGLES = ("arm_abduction", "forearm_abduction")
_ANGLE_BOUNDS_DEG = (-12.0, 40.0)


def fit_positioning(
    model: BodyModel, phenotype: Phenotype, positioning: Positioning, arm_scatter: Positioning = NO_SCATTER
) -> Positioning:
    """The positioning nearest to the one wanted with arms clear of the body and the whole body inside the field.

    Only arm and forearm abduction and plantarflexion change. What cannot be had stays wanting: a person too wide or too
    tall for the field still is (:func:`dxa_monai.phantom.tissue.projection.centre_frame` then refuses), and the arms of
    a person nearly as wide as the field overlap the trunk.

    Args:
        model: the body model.
        phenotype: the person.
        positioning: the positioning wanted.
        arm_scatter: what the arms' angles are off by once there is room, since nobody lies with just that gap: the
            arms may then touch the body, but the field still wins. The rest of it does not count.
    """
    rest = model.rest(phenotype)
    posing = model.posing(rest)
    pose_supine(posing, positioning)
    vertices = np.empty_like(rest.vertices_m)
    model.skinned(rest, posing, np.arange(len(vertices)), vertices)
    positioning = _shorten(model, rest, positioning, vertices)
    half_width_m = PIXEL_SPACING_MM[1] / 1000.0 * (SCAN_SHAPE[1] / 2.0 - _SPARE_PIXELS)
    half_width_m -= abs(positioning.lateral_shift_mm) / 1000.0
    # Rotating the body in the table's plane moves the hands, about 0.1 m below its middle, sideways.
    half_width_m -= 0.1 * abs(np.sin(np.deg2rad(positioning.body_rotation_deg)))
    for side, sign in SIDES:
        positioning = _fit_arm(model, rest, positioning, side, sign, vertices, half_width_m, ARM_CLEARANCE_M)
        off = _arm_angles(side, np.array([arm_scatter.side(side, name) for name in _ARM_ANGLES]))
        if any(off.values()):
            off = {name: getattr(positioning, name) + value for name, value in off.items()}
            positioning = replace(positioning, **off)
            positioning = _fit_arm(model, rest, positioning, side, sign, vertices, half_width_m, None)
    return positioning


def _shorten(model: BodyModel, rest: RestShape, positioning: Positioning, vertices: FloatArray) -> Positioning:
    """Pull the toes up until the body is short enough; ``vertices`` follow."""
    room_m = PIXEL_SPACING_MM[0] / 1000.0 * (SCAN_SHAPE[0] - 2.0 * _SPARE_PIXELS)
    room_m -= 2.0 * abs(positioning.longitudinal_shift_mm) / 1000.0
    legs = np.flatnonzero(model.vertex_part >= PART_NAMES.index("left_leg"))
    for _ in range(_MAX_STEPS):
        excess_m = np.ptp(vertices[:, 2]) - room_m
        flexion = positioning.left_plantarflexion_deg, positioning.right_plantarflexion_deg
        if excess_m <= 0.0 or max(flexion) <= 0.0:
            break
        # The forefoot is about 0.15 m long: this many degrees shorten the body by the excess, and a little more.
        ease_deg = np.rad2deg(excess_m / 0.15) + 1.0
        positioning = replace(
            positioning,
            left_plantarflexion_deg=float(max(min(flexion[0], max(flexion) - ease_deg), 0.0)),
            right_plantarflexion_deg=float(max(min(flexion[1], max(flexion) - ease_deg), 0.0)),
        )
        posing = model.posing(rest)
        pose_supine(posing, positioning)
        model.skinned(rest, posing, legs, vertices)
    return positioning


def _fit_arm(
    model: BodyModel,
    rest: RestShape,
    positioning: Positioning,
    side: str,
    sign: float,
    vertices: FloatArray,
    half_width_m: float,
    clearance_m: float | None,
) -> Positioning:
    """Fit the two angles of one arm; ``vertices`` hold the body in the positioning wanted.

    With ``clearance_m`` None nothing but the field moves the arm.
    """
    arm = np.flatnonzero(model.vertex_part == PART_NAMES.index("left_arm" if side == "L" else "right_arm"))
    obstacles = np.flatnonzero(np.isin(model.vertex_part, [PART_NAMES.index(name) for name in _OBSTACLES]))
    top_m = float(vertices[:, 2].max())
    body_edge = _edge(sign * vertices[obstacles, 0], top_m - vertices[obstacles, 2])

    angles = np.array([positioning.side(side, name) for name in _ARM_ANGLES])
    best, best_cost = angles, np.inf
    for _ in range(_MAX_STEPS):
        posing = model.posing(rest)
        pose_supine_arm(posing, replace(positioning, **_arm_angles(side, angles)), side, sign)
        model.skinned(rest, posing, arm, vertices)
        outwards, depth = sign * vertices[arm, 0], top_m - vertices[arm, 2]
        upper_arm = -posing.vector(f"upperarm01.{side}", f"lowerarm01.{side}", f"upperarm01.{side}")[2]
        shoulder = top_m - posing.joint(f"upperarm01.{side}")[2]
        # How far each row lies below the shoulder: the upper arm's and the forearm's share of it are the lever arms
        # with which the two angles move the row sideways.
        below = (np.arange(_BINS) + 0.5) * _BIN_M - shoulder
        levers = np.stack([np.clip(below, 0.0, upper_arm), np.maximum(below - upper_arm, 0.0)], axis=1)
        wanted = -np.inf if clearance_m is None else clearance_m + body_edge + _edge(-outwards, depth)
        lack = np.where(below > _AXILLA * upper_arm, wanted, -np.inf)
        reach = np.where(below > 0.0, _edge(outwards, depth) - half_width_m, -np.inf)
        cost = 10.0 * max(reach.max(), 0.0) + max(lack.max(), 0.0)
        improved = best_cost - cost
        if improved > 0.0:
            best, best_cost = angles, cost
        if cost < _GOOD_ENOUGH_M or improved < _GOOD_ENOUGH_M:
            break
        angles = np.clip(angles + np.rad2deg(_correction(levers, lack, reach)), *_ANGLE_BOUNDS_DEG)
    return replace(positioning, **_arm_angles(side, best))


def _arm_angles(side: str, angles_deg: FloatArray) -> dict[str, float]:
    prefix = "left" if side == "L" else "right"
    return {f"{prefix}_{name}_deg": float(angle) for name, angle in zip(_ARM_ANGLES, angles_deg, strict=True)}


def _edge(outwards: FloatArray, depth: FloatArray) -> FloatArray:
    """``(bins,)`` largest ``outwards`` in each row; -inf where no vertex lies."""
    edge = np.full(_BINS, -np.inf)
    np.maximum.at(edge, np.clip((depth / _BIN_M).astype(np.int64), 0, _BINS - 1), outwards)
    return edge


def _correction(levers: FloatArray, lack: FloatArray, reach: FloatArray) -> FloatArray:
    """Changes of the two angles (radians) that push every row out by its lack but none beyond the field.

    Kaczmarz' projections onto the most violated constraint, in turns of body and field; the second half of the steps
    serves the field alone, which prevails where both cannot be had.
    """
    change = np.zeros(2)
    squared = np.maximum((levers**2).sum(axis=1), 1e-4)
    for step in range(2 * _PROJECTIONS):
        moved = levers @ change
        row = int(np.argmax(lack - moved))
        if step < _PROJECTIONS and lack[row] > moved[row]:
            change = change + levers[row] / squared[row] * (lack[row] - moved[row])
            moved = levers @ change
        row = int(np.argmax(reach + moved))
        if reach[row] + moved[row] > 0.0:
            change = change - levers[row] / squared[row] * (reach[row] + moved[row])
    return change
