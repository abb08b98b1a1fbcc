"""Bone mineral of a placed skeleton along the beam: a dense cortical shell around a sparse trabecular core.

Areal mineral of a group of bones in a pixel, with T the thickness of the whole bones, A the bones' surface per pixel
area, c the cortical thickness and rho densities of mineral::

    shell = min(sum of c A, T),   mineral = rho_cortical shell + rho_trabecular (T - shell)

Cortical thickness and trabecular density by group are this project's assumptions within the ranges of anatomy (long
bones' shafts 2-7 mm, vertebrae and flat bones below 1 mm; quantitative CT of lumbar vertebrae 0.15-0.2 g/cm3 in young
adults), adjusted so that men and women of average size hold about 2.7 and 2.1 kg, shared between head, arms, trunk and
legs as in whole-body reports (about 19, 14, 30 and 37 %).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from dxa_monai.phantom.bones import BONE_GROUPS, PlacedSkeleton, Skeleton
from dxa_monai.phantom.mesh import FloatArray, IntArray
from dxa_monai.phantom.projection import Frame, grouped_thickness_maps_cm, surface_area_map, thickness_map_cm

CORTICAL_MINERAL_G_CM3 = 1.18
"""Hydroxyapatite in compact bone with its pores."""


class Material(NamedTuple):
    """What a bone is made of.

    Attributes:
        cortical_mm: thickness of compact bone; for long bones at their ends.
        shaft_mm: thickness of compact bone in the middle of a long bone.
        trabecular_g_cm3: mineral in the volume inside the compact bone, marrow included.
    """

    cortical_mm: float
    shaft_mm: float
    trabecular_g_cm3: float


MATERIALS: dict[str, Material] = {
    "skull": Material(1.7, 1.7, 0.22),
    "jaw": Material(2.0, 2.0, 0.35),
    "cervical_spine": Material(0.6, 0.6, 0.25),
    "thoracic_spine": Material(0.65, 0.65, 0.22),
    "lumbar_spine": Material(0.65, 0.65, 0.22),
    "ribs": Material(0.85, 0.85, 0.20),
    "sternum": Material(0.6, 0.6, 0.15),
    "scapula": Material(0.9, 0.9, 0.18),
    "clavicle": Material(1.5, 2.3, 0.20),
    "pelvis": Material(1.0, 1.0, 0.17),
    "sacrum": Material(0.5, 0.5, 0.12),
    "humerus": Material(2.0, 5.8, 0.25),
    "radius": Material(1.7, 3.9, 0.30),
    "ulna": Material(1.7, 3.9, 0.30),
    "hand": Material(1.2, 1.5, 0.40),
    "femur": Material(1.9, 7.1, 0.26),
    "patella": Material(1.0, 1.0, 0.25),
    "tibia": Material(1.7, 6.0, 0.21),
    "fibula": Material(0.8, 2.2, 0.14),
    "foot": Material(1.1, 1.1, 0.30),
}
"""By bone group."""

_SHAFT = ("clavicle", "humerus", "radius", "ulna", "femur", "tibia", "fibula")
_SHAFT_BEGINS = (0.10, 0.34)
"""Along a long bone, as share of its length from either end: compact bone thickens between these two."""
_THICKNESS_STEPS = 4


def bone_mineral_map(
    placed: PlacedSkeleton, frame: Frame, cortical_scale: float = 1.0, trabecular_scale: float = 1.0
) -> FloatArray:
    """Areal density of bone mineral, ``(H, W)`` g/cm2.

    Args:
        placed: the skeleton in its body.
        frame: the pixel grid.
        cortical_scale: factor on the cortical thickness.
        trabecular_scale: factor on the trabecular density.
    """
    bone_cm, shell_cm = _group_maps(placed, frame)
    shell_cm = np.minimum(cortical_scale * shell_cm, bone_cm)
    trabecular = trabecular_scale * np.array([MATERIALS[group].trabecular_g_cm3 for group in BONE_GROUPS])
    return CORTICAL_MINERAL_G_CM3 * shell_cm.sum(axis=0) + np.tensordot(trabecular, bone_cm - shell_cm, axes=1)


def bone_volume_map(placed: PlacedSkeleton, frame: Frame) -> FloatArray:
    """Mean thickness of whole bones, marrow included, in each pixel, ``(H, W)`` cm."""
    return np.maximum(thickness_map_cm(placed.vertices_m, placed.faces, frame), 0.0)


def _group_maps(placed: PlacedSkeleton, frame: Frame) -> tuple[FloatArray, FloatArray]:
    """Thickness of whole bones and of their compact shells, both ``(G, H, W)`` cm in the order of ``BONE_GROUPS``."""
    bone_cm = grouped_thickness_maps_cm(placed.vertices_m, placed.faces, placed.group_of_face, len(BONE_GROUPS), frame)
    shell_cm = np.zeros_like(bone_cm)
    for shell in _shells(placed.skeleton):
        vertices = placed.vertices_m[shell.first_vertex : shell.last_vertex + 1]
        shell_cm[shell.group] += shell.thickness_cm * surface_area_map(vertices, shell.faces, frame)
    return np.maximum(bone_cm, 0.0), shell_cm


class _Shell(NamedTuple):
    """Faces of one bone group with the same cortical thickness, as indices into a range of the vertices."""

    group: int
    thickness_cm: float
    first_vertex: int
    last_vertex: int
    faces: IntArray


@cache
def _shells(skeleton: Skeleton) -> tuple[_Shell, ...]:
    group_of_face = skeleton.group_of_bone[skeleton.bone_of_face]
    shaft_step = np.rint(_THICKNESS_STEPS * _shaft_share(skeleton)).astype(np.int64)
    shells = []
    for group, name in enumerate(BONE_GROUPS):
        material = MATERIALS[name]
        steps = range(_THICKNESS_STEPS + 1) if name in _SHAFT else range(1)
        for step in steps:
            chosen = (group_of_face == group) & ((shaft_step == step) | (name not in _SHAFT))
            faces = skeleton.faces[chosen]
            share = step / _THICKNESS_STEPS
            thickness_mm = (1.0 - share) * material.cortical_mm + share * material.shaft_mm
            first, last = int(faces.min()), int(faces.max())
            shells.append(_Shell(group, thickness_mm / 10.0, first, last, np.ascontiguousarray(faces - first)))
    return tuple(shells)


def _shaft_share(skeleton: Skeleton) -> FloatArray:
    """``(F,)`` 0 at the ends of a bone, 1 along its shaft."""
    share = np.empty(len(skeleton.faces))
    for bone in range(len(skeleton.bone_names)):
        rows = skeleton.bone_of_face == bone
        centres = skeleton.vertices_m[skeleton.faces[rows]].mean(axis=1)
        axis = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)[2][0]
        along = centres @ axis
        from_end = np.minimum(along - along.min(), along.max() - along) / np.ptp(along)
        share[rows] = np.interp(from_end, _SHAFT_BEGINS, [0.0, 1.0])
    return share
