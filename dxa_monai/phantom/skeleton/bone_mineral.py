"""Bone mineral of a placed skeleton along the beam: a dense cortical shell around a sparse trabecular core.

Areal mineral of a group of bones in a pixel, with T the thickness of the whole bones, A the bones' surface per pixel
area, c the cortical thickness and rho densities of mineral::

    shell = min(sum of c A, T),   mineral = rho_cortical shell + rho_trabecular (T - shell)

Cortical thickness and trabecular density by group are this project's assumptions within the ranges of anatomy (long
bones' shafts 2-8 mm, vertebrae and flat bones up to about 1 mm, the base of the skull thinner than its vault;
quantitative CT of lumbar vertebrae 0.15-0.2 g/cm3 in young adults), adjusted so that the men and women of
:mod:`dxa_monai.phantom.people.population` hold about 2.7 and 2.1 kg on bone areas of about 2250 and 1850 cm2, with
areal peaks of about 4 g/cm2 in the skull. Head, arms, trunk and legs share it as 17, 13, 33 and 37 % (whole-body
reports: about 19, 14, 30 and 37 %). ``docs/cohort.md`` holds the means against published ones.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from dxa_monai.mesh.geometry import face_vectors
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.skeleton.bones import BONE_GROUPS, PlacedSkeleton, Skeleton
from dxa_monai.phantom.tissue.projection import Frame, grouped_thickness_maps_cm, surface_area_map, thickness_map_cm

CORTICAL_MINERAL_G_CM3 = 1.18
"""Hydroxyapatite in compact bone with its pores."""


class Material(NamedTuple):
    """What a bone is made of.

    Attributes:
        cortical_mm: thickness of compact bone; for long bones at their ends, for the skull at its base and sides.
        shaft_mm: thickness of compact bone in the middle of a long bone, in the frontal and the occipital bone.
        trabecular_g_cm3: mineral in the volume inside the compact bone, marrow included.
    """

    cortical_mm: float
    shaft_mm: float
    trabecular_g_cm3: float


MATERIALS: dict[str, Material] = {
    "skull": Material(0.66, 3.6, 0.32),
    "jaw": Material(2.0, 2.0, 0.32),
    "cervical_spine": Material(0.72, 0.72, 0.29),
    "thoracic_spine": Material(0.75, 0.75, 0.24),
    "lumbar_spine": Material(0.78, 0.78, 0.25),
    "ribs": Material(1.04, 1.04, 0.24),
    "sternum": Material(0.72, 0.72, 0.2),
    "scapula": Material(1.08, 1.08, 0.24),
    "clavicle": Material(1.8, 2.76, 0.27),
    "pelvis": Material(1.4, 1.4, 0.22),
    "sacrum": Material(0.9, 0.9, 0.2),
    "humerus": Material(2.56, 7.0, 0.36),
    "radius": Material(2.21, 5.07, 0.44),
    "ulna": Material(2.21, 5.07, 0.44),
    "hand": Material(1.56, 1.95, 0.59),
    "femur": Material(2.22, 8.31, 0.35),
    "patella": Material(1.2, 1.2, 0.33),
    "tibia": Material(1.99, 7.02, 0.28),
    "fibula": Material(0.96, 2.64, 0.19),
    "foot": Material(1.32, 1.32, 0.4),
}
"""By bone group."""

_SHAFT = ("clavicle", "humerus", "radius", "ulna", "femur", "tibia", "fibula")
_VARYING = (*_SHAFT, "skull")
_BASE_TO_VAULT = (0.38, 0.55)
"""Along the skull, as share of its height from below: face and base end and the vault begins between these two. The
vault is thick in front and behind and thin at the temples and the crown (Moreira-Gonzalez 2006, Plast Reconstr Surg
117:1240 (?): occipital and frontal bone thickest, temporal squama thinnest); the beam grazes the thin walls."""
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
        steps = range(_THICKNESS_STEPS + 1) if name in _VARYING else range(1)
        for step in steps:
            chosen = (group_of_face == group) & ((shaft_step == step) | (name not in _VARYING))
            faces = skeleton.faces[chosen]
            share = step / _THICKNESS_STEPS
            thickness_mm = (1.0 - share) * material.cortical_mm + share * material.shaft_mm
            first, last = int(faces.min()), int(faces.max())
            shells.append(_Shell(group, thickness_mm / 10.0, first, last, np.ascontiguousarray(faces - first)))
    return tuple(shells)


def _shaft_share(skeleton: Skeleton) -> FloatArray:
    """``(F,)`` 0 at the ends of a bone, 1 along its shaft; of the skull 1 where its vault faces front or back."""
    share = np.empty(len(skeleton.faces))
    for bone in range(len(skeleton.bone_names)):
        rows = skeleton.bone_of_face == bone
        triangles = skeleton.vertices_m[skeleton.faces[rows]]
        centres = triangles.mean(axis=1)
        if skeleton.bone_names[bone] == "skull":
            height = (centres[:, 2] - centres[:, 2].min()) / np.ptp(centres[:, 2])
            normals = face_vectors(skeleton.vertices_m, skeleton.faces[rows])
            facing = normals[:, 1] ** 2 / np.square(normals).sum(axis=1)
            share[rows] = np.interp(height, _BASE_TO_VAULT, [0.0, 1.0]) * facing
            continue
        axis = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)[2][0]
        along = centres @ axis
        from_end = np.minimum(along - along.min(), along.max() - along) / np.ptp(along)
        share[rows] = np.interp(from_end, _SHAFT_BEGINS, [0.0, 1.0])
    return share
