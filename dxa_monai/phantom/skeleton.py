"""Place the skeleton inside a posed body: limbs by joints, head and trunk by joints and by the skin around them.

Limb bones are moved by one affine map each: joint to joint along the bone, by the frame's size across it. Pelvis, skull
and shoulder blades are scaled as wholes; vertebrae, ribs and breastbone follow a curved column that lies at a fixed
depth under the skin of the back, so that neighbours stay joined.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dxa_monai.phantom.body import BodyModel, PosedBody
from dxa_monai.phantom.bone_mineral import bone_mineral_map, bone_volume_map
from dxa_monai.phantom.bones import BONE_GROUPS, PlacedSkeleton, Skeleton, load_skeleton
from dxa_monai.phantom.limb_bones import Affine, place_limbs
from dxa_monai.phantom.mesh import FloatArray
from dxa_monai.phantom.trunk_bones import place_trunk

__all__ = [
    "BONE_GROUPS",
    "PlacedSkeleton",
    "Skeleton",
    "bone_mineral_map",
    "bone_volume_map",
    "load_skeleton",
    "place_skeleton",
]

REST_STATURE_M = 1.70
"""Stature of the model that the bones were taken from."""


def place_skeleton(body: PosedBody, model: BodyModel, frame_scale: float = 1.0) -> PlacedSkeleton:
    """Put the skeleton into a supine or standing body.

    Args:
        body: skin, joints and lean surface of one person.
        model: the body model that made it (which vertices belong to trunk and head).
        frame_scale: thickness of the bones across their axes against a person of this length, about 0.9 .. 1.1.

    Returns:
        All bones in the body's coordinates.
    """
    skeleton = load_skeleton()
    to_local = _trunk_frame(body)
    from_local = to_local.inverse()
    vertices, joints = np.empty_like(skeleton.vertices_m), {}
    local_joints = {name: to_local(joint) for name, joint in body.joints_m.items()}
    size = _size(local_joints, skeleton)
    trunk = place_trunk(
        skeleton, to_local(body.vertices_m), to_local(body.lean_vertices_m), local_joints, model, size, frame_scale, vertices
    )
    joints |= place_limbs(skeleton, local_joints, trunk, size, size * frame_scale, vertices)
    return PlacedSkeleton(from_local(vertices), {name: from_local(joint) for name, joint in joints.items()}, skeleton)
