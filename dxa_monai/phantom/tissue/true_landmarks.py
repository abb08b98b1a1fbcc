"""Where the landmarks of :mod:`dxa_monai.analysis.landmarks` truly lie, from the posed body that was scanned.

Trunk and hips are those of the region map's own definition (:mod:`dxa_monai.phantom.tissue.region_map`): the same axes,
levels and oblique lines. Neck line, top of the shoulder and armpit lie where the skin of head or arm meets that of the
trunk. Elbow and wrist are joints, and give rows; a fingertip is the hand's lowest point. The columns of an arm's cut
and the slope of the line between the legs, which no point of the body defines, run where the truth's region map parts
arm from body and leg from leg, by the fit with which the analysis passes between what it sees.
"""

from __future__ import annotations

import numpy as np

from dxa_monai.analysis.arm_landmarks import AXILLA_SHARE, ELBOW_SHARE, UPPER_ARM_SHARE, fitted_polyline
from dxa_monai.analysis.landmarks import ARM_POINTS, LANDMARK_NAMES, SIDES
from dxa_monai.phantom.body.joints import ILIAC_CREST_LEVEL, TrunkAxes, trunk_axes
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import PosedBody
from dxa_monai.phantom.body.surface import PART_NAMES, BodySurface
from dxa_monai.phantom.tissue.projection import Frame
from dxa_monai.phantom.tissue.region_map import CROTCH_DROP_SHARE, SPINE_HALF_WIDTH_SHARE
from dxa_monai.scan.format import Array
from dxa_monai.scan.regions import Region

_CREST_PER_HIP = 1.2
"""Distance of the pelvis line's two points over that of the hip joints, as the analysis has it."""
_UPPER_ARM = (UPPER_ARM_SHARE - AXILLA_SHARE) / (ELBOW_SHARE - AXILLA_SHARE)
"""From the armpit to the elbow, as the analysis has it."""
_LEAST_ROWS = 0.5
"""Between two points of an arm's cut, however it is bent."""


def true_landmarks(body: PosedBody, surface: BodySurface, region_map: Array, frame: Frame) -> FloatArray:
    """The landmarks of one scan.

    Args:
        body: the posed body.
        surface: its topology.
        region_map: ``(H, W)`` truth of the whole body, before a condition took anything from it.
        frame: the pixel grid.

    Returns:
        ``(L, 2)`` (row, column) of each of ``LANDMARK_NAMES`` in pixels, centres at integers. Of a body in the field
        they are those of :func:`dxa_monai.analysis.landmarks.landmarks_from_points`.
    """
    points = _trunk_points(body, surface, frame)
    for side in SIDES:
        cut = _arm_cut(body, surface, region_map, frame, side)
        points |= {f"{side}_{name}": point for name, point in zip(ARM_POINTS, cut, strict=True)}
    points["between_feet"] = _between_feet(body, region_map, frame, points["crotch"])
    return np.array([points[name] for name in LANDMARK_NAMES])


def _pixels(points_m: FloatArray, frame: Frame) -> FloatArray:
    """``(N, 2)`` (row, column), pixel centres at integers, of ``(N, 3)`` points."""
    return frame.to_pixels(points_m)[:, [1, 0]] - 0.5


def _on_trunk(axes: TrunkAxes, left_m: float, level: float) -> FloatArray:
    """``(3,)`` point at a distance to the left of the trunk's axis and a level along it."""
    x, z = axes.origin_m[[0, 2]] + level * axes.length_m * axes.up + left_m * np.array([axes.up[1], -axes.up[0]])
    return np.array([x, 0.0, z])


def _trunk_points(body: PosedBody, surface: BodySurface, frame: Frame) -> dict[str, FloatArray]:
    axes = trunk_axes(body.joints_m)
    x, _, z = body.vertices_m[surface.trunk_edges["head"]].T
    neck = np.polyfit(*axes.coordinates(x, z), 1)  # level = neck[0] * left + neck[1]
    x, _, z = body.vertices_m[surface.vertex_part == PART_NAMES.index("head")].T
    half_head_m = float(np.ptp(axes.coordinates(x, z)[0]) / 2.0)

    left_m, levels = axes.coordinates(axes.spine_m[:, 0], axes.spine_m[:, 2])
    along = np.linspace(ILIAC_CREST_LEVEL, neck[1], 50)
    spine = np.polyfit(along, np.interp(along, levels, left_m), 1)  # left = spine[0] * level + spine[1]
    at_neck, at_crest = float(np.polyval(spine, neck[1])), float(np.polyval(spine, ILIAC_CREST_LEVEL))

    places = {"crotch": (0.0, -CROTCH_DROP_SHARE)}
    for side, sign in (("right", -1.0), ("left", 1.0)):
        hip_m, spine_m = sign * axes.hip_half_width_m, sign * SPINE_HALF_WIDTH_SHARE * axes.length_m
        for name, beside_m in (("neck", sign * half_head_m), ("spine_upper", spine_m)):
            places[f"{side}_{name}"] = (at_neck + beside_m, float(np.polyval(neck, at_neck + beside_m)))
        places[f"{side}_spine_lower"] = (at_crest + spine_m, ILIAC_CREST_LEVEL)
        places[f"{side}_crest"] = (at_crest + _CREST_PER_HIP * hip_m, ILIAC_CREST_LEVEL)
        places[f"{side}_hip"] = (hip_m, 0.0)
    return {name: _pixels(_on_trunk(axes, *place)[None], frame)[0] for name, place in places.items()}


def _arm_cut(body: PosedBody, surface: BodySurface, region_map: Array, frame: Frame, side: str) -> FloatArray:
    """``(6, 2)`` (row, column) of ``ARM_POINTS``; the left arm's are found in the mirrored image."""
    part, letter = f"{side}_arm", side[0].upper()
    edge = _pixels(body.vertices_m[surface.trunk_edges[part]], frame)
    skin = _pixels(body.vertices_m[surface.vertex_part == PART_NAMES.index(part)], frame)
    joints = np.stack([body.joints_m[f"lowerarm01.{letter}"], body.joints_m[f"wrist.{letter}"]])
    elbow, wrist = _pixels(joints, frame)[:, 0]
    axilla = edge[edge[:, 0].argmax()]
    shoulder = edge[edge[:, 0].argmin()]
    wanted = [axilla[0], axilla[0] + _UPPER_ARM * (elbow - axilla[0]), elbow, wrist, float(skin[:, 0].max())]
    knots = np.array(wanted)
    for index in range(1, len(knots)):
        knots[index] = max(knots[index], knots[index - 1] + _LEAST_ROWS)

    code = Region.RIGHT_ARM if side == "right" else Region.LEFT_ARM
    last = region_map.shape[1] - 1
    mirrored = side == "left"
    image = region_map[:, ::-1] if mirrored else region_map
    rows, low, high = _between(image == code, (image != code) & (image != Region.BACKGROUND), knots[0], knots[-1])
    start = last - axilla[1] if mirrored else axilla[1]
    columns = fitted_polyline(rows, low, high, knots, float(start))
    columns = last - columns if mirrored else columns
    return np.vstack([shoulder, np.column_stack([knots, columns])])


def _between(first: Array, second: Array, top: float, bottom: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows with both, and the columns between the last pixel of the one and the first of the other (its edge)."""
    inside = (np.arange(len(first)) > top) & (np.arange(len(first)) <= bottom)
    rows = np.flatnonzero(first.any(axis=1) & second.any(axis=1) & inside)
    low = first.shape[1] - 1 - first[rows, ::-1].argmax(axis=1) + 0.5
    return rows.astype(np.float64), low.astype(np.float64), second[rows].argmax(axis=1) - 0.5


def _between_feet(body: PosedBody, region_map: Array, frame: Frame, crotch: FloatArray) -> FloatArray:
    bottom = float(_pixels(body.vertices_m, frame)[:, 0].max())
    rows, low, high = _between(region_map == Region.RIGHT_LEG, region_map == Region.LEFT_LEG, crotch[0], bottom)
    along, beside = rows - crotch[0], 0.5 * (low + high) - crotch[1]
    slope = float((along * beside).sum() / max(float((along**2).sum()), 1e-9))
    return np.array([bottom, crotch[1] + slope * (bottom - crotch[0])])
