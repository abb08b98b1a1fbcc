"""The skeleton at rest: 132 watertight bones with names, sides and joint centres, and what a placed skeleton is.

The bones are those of the Rajagopal full-body model (doi:10.1109/TBME.2016.2586891), prepared by
``scripts/build_skeleton.py``; their licence lies beside the asset. Axes as for bodies: metres, x left, y back, z up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from dxa_monai.mesh.geometry import vertex_normals
from dxa_monai.phantom.body.mesh import FloatArray, IntArray

ASSET = "skeleton.npz"

BONE_GROUPS = (
    "skull", "jaw", "cervical_spine", "thoracic_spine", "lumbar_spine", "ribs", "sternum", "scapula", "clavicle",
    "pelvis", "sacrum", "humerus", "radius", "ulna", "hand", "femur", "patella", "tibia", "fibula", "foot",
)  # fmt: skip
"""What bones are made of and reported by: bones of one group share their material."""

THICKENING_MM = {
    "cervical_spine": 0.8, "thoracic_spine": 1.0, "lumbar_spine": 1.8, "ribs": 0.8, "sternum": 0.8, "clavicle": 1.5,
    "humerus": 2.7, "radius": 2.1, "ulna": 2.1, "hand": 1.9, "femur": 3.4, "tibia": 3.2, "fibula": 0.6, "foot": 2.0,
    "pelvis": 0.4,
}  # fmt: skip
"""How far the surfaces of the source's bones lie too deep, by group: decimation cuts the round shafts' corners, and the
source's shafts are slim. Widths meant at mid-shaft, men and women, in mm: femur 28 and 26, humerus 22 and 20, tibia 27
and 24, radius 15 and 13 (general anatomy); volume of the whole skeleton 6.6 and 4.8 l, which is bone and marrow of
ICRP 89 (5.5 and 4.0 kg of bone of 1.92 g/cm3, 3.65 and 2.7 kg of marrow)."""

END_THICKENING = 0.6
"""The same at a long bone's ends, as share of that at its shaft: the source's joints are as wide as real ones."""
LONG_BONES = ("clavicle", "humerus", "radius", "ulna", "femur", "tibia", "fibula")
SHAFT_BEGINS = (0.10, 0.34)
"""Along a long bone, as share of its length from either end: the shaft, and its thick compact bone, begins between
these two."""

_GROUP_BY_NAME = (
    (r"vertebra_C", "cervical_spine"), (r"vertebra_T", "thoracic_spine"), (r"vertebra_L", "lumbar_spine"),
    (r"rib_", "ribs"), (r"hip_bone", "pelvis"), (r"talus|foot|toes", "foot"),
    (r"scaphoid|lunate|triquetrum|pisiform|trapez|capitate|hamate|metacarpal|thumb|index|middle|ring|little", "hand"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The skeleton in its neutral pose: upright, arms hanging, palms forward, about 1.70 m tall.

    Attributes:
        vertices_m: ``(V, 3)`` float64.
        faces: ``(F, 3)`` int64, outward; each bone is watertight.
        bone_names: ``(B)`` names; paired bones end in ``_right`` or ``_left`` and are mirror images.
        bone_of_vertex, bone_of_face: ``(V,)``, ``(F,)`` index into ``bone_names``.
        group_of_bone: ``(B,)`` index into ``BONE_GROUPS``.
        joints_m: right joint centres by name: hip, knee, ankle, toe_base, shoulder, elbow, radial_head, wrist.
        provenance: where the asset comes from, JSON.
    """

    vertices_m: FloatArray
    faces: IntArray
    bone_names: tuple[str, ...]
    bone_of_vertex: IntArray
    bone_of_face: IntArray
    group_of_bone: IntArray
    joints_m: dict[str, FloatArray]
    provenance: str

    def vertices_of(self, *names: str) -> FloatArray:
        """``(v, 3)`` vertices of some bones."""
        return self.vertices_m[self.select(*names)]

    def select(self, *names: str) -> slice:
        """The rows of ``vertices_m`` that belong to bones which follow each other in the file."""
        bones = [self.bone_names.index(name) for name in names]
        low = int(np.searchsorted(self.bone_of_vertex, min(bones)))
        return slice(low, int(np.searchsorted(self.bone_of_vertex, max(bones), side="right")))


@dataclass(frozen=True, eq=False)
class PlacedSkeleton:
    """A skeleton inside one posed body.

    Attributes:
        vertices_m: ``(V, 3)`` float64 in the body's coordinates.
        joints_m: where the joint centres came to lie, ``hip_right`` and so on.
        skeleton: the skeleton at rest, with faces and names.
    """

    vertices_m: FloatArray
    joints_m: dict[str, FloatArray]
    skeleton: Skeleton

    @property
    def faces(self) -> IntArray:
        """``(F, 3)`` triangles."""
        return self.skeleton.faces

    @property
    def bone_names(self) -> tuple[str, ...]:
        """Names of the bones."""
        return self.skeleton.bone_names

    @property
    def bone_of_face(self) -> IntArray:
        """``(F,)`` index into ``bone_names``."""
        return self.skeleton.bone_of_face

    @property
    def group_of_face(self) -> IntArray:
        """``(F,)`` index into ``BONE_GROUPS``."""
        return self.skeleton.group_of_bone[self.skeleton.bone_of_face]


def group_of(bone_name: str) -> str:
    """The member of ``BONE_GROUPS`` to which a bone belongs."""
    for pattern, group in _GROUP_BY_NAME:
        if re.match(pattern, bone_name):
            return group
    return re.sub(r"_(right|left)$", "", bone_name)


@cache
def load_skeleton() -> Skeleton:
    """The skeleton at rest, read once per process."""
    with (resources.files("dxa_monai.phantom") / "data" / ASSET).open("rb") as file:
        asset = dict(np.load(file, allow_pickle=False))
    names = tuple(str(name) for name in asset["bone_names"])
    faces, bone_of_vertex = asset["faces"].astype(np.int64), asset["bone_of_vertex"].astype(np.int64)
    return Skeleton(
        vertices_m=_thickened(asset["vertices_m"].astype(np.float64), faces, bone_of_vertex, names),
        faces=faces,
        bone_names=names,
        bone_of_vertex=bone_of_vertex,
        bone_of_face=asset["bone_of_face"].astype(np.int64),
        group_of_bone=np.array([BONE_GROUPS.index(group_of(name)) for name in names]),
        joints_m={str(n): joint for n, joint in zip(asset["joint_names"], asset["joints_m"], strict=True)},
        provenance=str(asset["provenance"]),
    )


def distance_from_ends(points_m: FloatArray) -> FloatArray:
    """``(n,)`` distance to the nearer end of a long bone along its principal axis, as share of its length, 0 to 0.5."""
    axis = np.linalg.svd(points_m - points_m.mean(axis=0), full_matrices=False)[2][0]
    along = points_m @ axis
    share: FloatArray = np.minimum(along - along.min(), along.max() - along) / np.ptp(along)
    return share


def _thickened(vertices_m: FloatArray, faces: IntArray, bone_of_vertex: IntArray, names: tuple[str, ...]) -> FloatArray:
    """Every bone's surface moved outwards by its group's ``THICKENING_MM``; left bones stay the right ones' mirrors."""
    outwards = vertex_normals(vertices_m, faces) / 1000.0
    thick = vertices_m.copy()
    for bone, name in enumerate(names):
        rows, group = bone_of_vertex == bone, group_of(name)
        depth_mm = np.full(int(rows.sum()), THICKENING_MM.get(group, 0.0))
        if group in LONG_BONES:
            shaft = np.interp(distance_from_ends(vertices_m[rows]), SHAFT_BEGINS, [0.0, 1.0])
            depth_mm *= END_THICKENING + (1.0 - END_THICKENING) * shaft
        thick[rows] += depth_mm[:, None] * outwards[rows]
    for bone, name in enumerate(names):
        if name.endswith("_left"):
            right = names.index(name.replace("_left", "_right"))
            thick[bone_of_vertex == bone] = thick[bone_of_vertex == right] * [-1.0, 1.0, 1.0]
    return thick
