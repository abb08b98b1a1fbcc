"""Bone mineral of a placed skeleton along the beam: a dense cortical shell around a sparse trabecular core.

Areal mineral of a group of bones in a pixel, with T the thickness of the whole bones, A the bones' surface per pixel
area, c the cortical thickness and rho densities of mineral::

    shell = min(sum of c A, T),   mineral = rho_cortical shell + rho_trabecular (T - shell)

What of the core is no bone tissue is marrow, and a share of that is fat: more in the limbs, whose marrow is yellow,
than in the trunk's.

Cortical thickness and trabecular density by group are this project's assumptions within the ranges of anatomy (long
bones' shafts 2-7 mm, vertebrae, ribs and flat bones around 0.5 mm, the base of the skull thinner than its vault;
quantitative CT of lumbar vertebrae 0.15-0.2 g/cm3 in young adults), adjusted so that the men and women of
:mod:`dxa_monai.phantom.people.population` hold about 2.7 and 2.1 kg, that ribs show 0.05-0.25 g/cm2 where they do not
cross, and that head, arms, trunk and legs share it as 18, 15, 28 and 38 % (whole-body reports: about 19, 14, 30 and
37 %). The bones hold about 0.75 g of marrow fat a gram of mineral; ICRP 89's reference people 0.8.
``docs/cohort.md`` holds the means against published ones.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from dxa_monai.mesh.geometry import face_vectors
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.skeleton.bones import (
    BONE_GROUPS,
    LONG_BONES,
    SHAFT_BEGINS,
    PlacedSkeleton,
    Skeleton,
    distance_from_ends,
)
from dxa_monai.phantom.tissue.projection import Frame, grouped_thickness_maps_cm, surface_area_map

CORTICAL_MINERAL_G_CM3 = 1.18
"""Hydroxyapatite in compact bone with its pores."""
YELLOW_MARROW_FAT_SHARE = 0.87
RED_MARROW_FAT_SHARE = 0.46
"""Fat in the volume of inactive and of active marrow: 80 and 40 % of the mass (ICRP 89) of 0.98 and 1.03 g/cm3."""


class Material(NamedTuple):
    """What a bone is made of.

    Attributes:
        cortical_mm: thickness of compact bone; for long bones at their ends, for the skull at its base and sides, for
            the hip bone in its wing.
        shaft_mm: thickness of compact bone in the middle of a long bone, in the frontal and the occipital bone, in the
            lower half of the hip bone.
        trabecular_g_cm3: mineral in the volume inside the compact bone, marrow included.
        red_marrow_share: active part of the marrow of an adult of 40 years (Cristy 1981, Phys Med Biol 26:389, as in
            ICRP 70: 70 % in spine and ribs, 48 % in the pelvis, 38 % in the skull, a quarter in the upper ends of
            humerus and femur, none in the rest of the limbs) (?).
    """

    cortical_mm: float
    shaft_mm: float
    trabecular_g_cm3: float
    red_marrow_share: float


MATERIALS: dict[str, Material] = {
    "skull": Material(0.8, 4.0, 0.37, 0.38),
    "jaw": Material(2.0, 2.0, 0.32, 0.38),
    "cervical_spine": Material(0.55, 0.55, 0.2, 0.7),
    "thoracic_spine": Material(0.5, 0.5, 0.165, 0.7),
    "lumbar_spine": Material(0.5, 0.5, 0.17, 0.7),
    "ribs": Material(0.45, 0.45, 0.12, 0.7),
    "sternum": Material(0.45, 0.45, 0.13, 0.7),
    "scapula": Material(0.75, 0.75, 0.17, 0.38),
    "clavicle": Material(1.2, 1.9, 0.2, 0.33),
    "pelvis": Material(0.38, 2.1, 0.125, 0.48),
    "sacrum": Material(0.55, 0.55, 0.14, 0.7),
    "humerus": Material(1.6, 4.8, 0.18, 0.1),
    "radius": Material(1.3, 3.3, 0.23, 0.0),
    "ulna": Material(1.3, 3.3, 0.23, 0.0),
    "hand": Material(1.1, 1.5, 0.3, 0.0),
    "femur": Material(1.5, 6.3, 0.17, 0.1),
    "patella": Material(1.2, 1.2, 0.33, 0.0),
    "tibia": Material(1.35, 4.9, 0.14, 0.0),
    "fibula": Material(0.8, 2.2, 0.16, 0.0),
    "foot": Material(0.95, 0.95, 0.22, 0.0),
}
"""By bone group."""

_VARYING = (*LONG_BONES, "skull", "pelvis")
_BASE_TO_VAULT = (0.38, 0.55)
"""Along the skull, as share of its height from below: face and base end and the vault begins between these two. The
vault is thick in front and behind and thin at the temples and the crown (Moreira-Gonzalez 2006, Plast Reconstr Surg
117:1240 (?): occipital and frontal bone thickest, temporal squama thinnest); the beam grazes the thin walls."""
_SOCKET_TO_WING = (0.40, 0.60)
"""Along a hip bone, as share of its height from below: the thick bone of ischium, pubis and socket ends and the wing,
whose middle light shines through, begins between these two (assumption)."""
_THICKNESS_STEPS = 4


class BoneMaps(NamedTuple):
    """What a placed skeleton puts into each pixel.

    Attributes:
        mineral_g_cm2: ``(H, W)`` areal density of bone mineral.
        volume_cm: ``(H, W)`` thickness of whole bones, marrow included.
        marrow_fat_cm: ``(H, W)`` thickness of the fat in the marrow, a part of ``volume_cm``.
    """

    mineral_g_cm2: FloatArray
    volume_cm: FloatArray
    marrow_fat_cm: FloatArray


def bone_maps(
    placed: PlacedSkeleton, frame: Frame, cortical_scale: float = 1.0, trabecular_scale: float = 1.0
) -> BoneMaps:
    """Mineral, volume and marrow fat of a placed skeleton.

    Args:
        placed: the skeleton in its body.
        frame: the pixel grid.
        cortical_scale: factor on the cortical thickness.
        trabecular_scale: factor on the trabecular density.
    """
    bone_cm, shell_cm = _group_maps(placed, frame)
    shell_cm = np.minimum(cortical_scale * shell_cm, bone_cm)
    core_cm = bone_cm - shell_cm
    materials = [MATERIALS[group] for group in BONE_GROUPS]
    trabecular = trabecular_scale * np.array([material.trabecular_g_cm3 for material in materials])
    # What is not bone tissue in the core is marrow, a mixture of red and yellow.
    red = np.array([material.red_marrow_share for material in materials])
    fat_share = red * RED_MARROW_FAT_SHARE + (1.0 - red) * YELLOW_MARROW_FAT_SHARE
    marrow_fat = (1.0 - trabecular / CORTICAL_MINERAL_G_CM3) * fat_share
    return BoneMaps(
        CORTICAL_MINERAL_G_CM3 * shell_cm.sum(axis=0) + np.tensordot(trabecular, core_cm, axes=1),
        bone_cm.sum(axis=0),
        np.tensordot(marrow_fat, core_cm, axes=1),
    )


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
        if skeleton.bone_names[bone].startswith("hip_bone"):
            height = (centres[:, 2] - centres[:, 2].min()) / np.ptp(centres[:, 2])
            share[rows] = np.interp(height, _SOCKET_TO_WING, [1.0, 0.0])
            continue
        share[rows] = np.interp(distance_from_ends(centres), SHAFT_BEGINS, [0.0, 1.0])
    return share
