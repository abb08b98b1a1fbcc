"""Place the skeleton inside a posed body: limbs by joints, head and trunk by joints and by the skin around them.

Limb bones are moved by one affine map each: joint to joint along the bone, by the frame's size across it. Pelvis, skull
and shoulder blades are scaled as wholes; vertebrae, ribs and breastbone follow a curved column that lies at a fixed
depth under the skin of the back, so that neighbours stay joined.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dxa_monai.phantom.body.affine import Affine
from dxa_monai.phantom.body.asymmetry import SYMMETRIC, Asymmetry
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import BodyModel, PosedBody
from dxa_monai.phantom.skeleton.bone_mineral import BoneMaps, bone_maps
from dxa_monai.phantom.skeleton.bones import BONE_GROUPS, PlacedSkeleton, Skeleton, load_skeleton
from dxa_monai.phantom.skeleton.limb_bones import place_limbs
from dxa_monai.phantom.skeleton.trunk_bones import place_trunk

__all__ = [
    "BONE_GROUPS",
    "BoneMaps",
    "PlacedSkeleton",
    "Skeleton",
    "bone_maps",
    "load_skeleton",
    "place_skeleton",
]


def place_skeleton(
    body: PosedBody, model: BodyModel, frame_scale: float = 1.0, asymmetry: Asymmetry | None = None
) -> PlacedSkeleton:
    """Put the skeleton into a posed body.

    Args:
        body: skin, joints and lean surface of one person.
        model: the body model that made it (which vertices belong to trunk and head).
        frame_scale: thickness of the bones across their axes against the average of a person of this length, about
            0.9 .. 1.1.
        asymmetry: how the limbs' bones differ between the sides; default: not at all.

    Returns:
        All bones in the body's coordinates.
    """
    skeleton = load_skeleton()
    to_trunk = _trunk_coordinates(body)
    joints = dict(zip(body.joints_m, to_trunk(np.array(list(body.joints_m.values()))), strict=True))
    size = _size(joints, skeleton)
    vertices = np.empty_like(skeleton.vertices_m)
    placed = place_trunk(
        skeleton,
        to_trunk(body.vertices_m),
        to_trunk(body.lean_vertices_m),
        model.vertex_part,
        model.faces,
        joints,
        size,
        size * frame_scale,
        vertices,
    )
    placed |= place_limbs(skeleton, joints, placed, size * frame_scale, asymmetry or SYMMETRIC, vertices)
    back = to_trunk.inverse()
    return PlacedSkeleton(back(vertices), {name: back(joint) for name, joint in placed.items()}, skeleton)


def _trunk_coordinates(body: PosedBody) -> Affine:
    """Origin between the hip joints, z towards the base of the neck in the coronal plane, y unchanged."""
    origin = (body.joints_m["upperleg01.L"] + body.joints_m["upperleg01.R"]) / 2.0
    up = body.joints_m["neck01"] - origin
    sine, cosine = np.array([up[0], up[2]]) / np.hypot(up[0], up[2])
    linear = np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
    return Affine(linear, -linear @ origin)


def _size(joints_m: dict[str, FloatArray], skeleton: Skeleton) -> float:
    """Length of legs and trunk against the skeleton at rest."""
    rest, top = skeleton.joints_m, skeleton.vertices_of("vertebra_T1")[:, 2].max()
    chain = ["upperleg01", "lowerleg01", "foot"]
    legs = sum(
        float(np.linalg.norm(joints_m[f"{lower}.{side}"] - joints_m[f"{upper}.{side}"]))
        for side in "LR"
        for upper, lower in pairwise(chain)
    )
    rest_leg = np.linalg.norm(rest["knee"] - rest["hip"]) + np.linalg.norm(rest["ankle"] - rest["knee"])
    return (legs / 2.0 + float(joints_m["neck01"][2])) / float(rest_leg + top - rest["hip"][2])
