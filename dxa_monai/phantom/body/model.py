"""A person's skin as a closed triangle mesh: the anny body model, solved for stature and volume, posed for the scan.

Shapes come from anny (:mod:`dxa_monai.phantom.body.anny_shapes`), posing is this project's own
(:mod:`dxa_monai.phantom.body.pose`), from anny's rest pose.

Axes: metres, x towards the person's left, y towards the back, z towards the head.

Not modelled: the flattening of back, buttocks and thighs on the table, breathing, clothes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.anny_shapes import LOCAL_CHANGES, AnnyShapes, Phenotype, anny_age
from dxa_monai.phantom.body.asymmetry import SYMMETRIC, Asymmetry, LimbFlesh, bend_trunk
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.body.pose import T_POSE, Posing, Standing, pose_standing, pose_supine, rotation_about, skin
from dxa_monai.phantom.body.positioning import Positioning, sample_positioning
from dxa_monai.phantom.body.surface import PART_NAMES, BodySurface, part_of_bone

__all__ = [
    "LOCAL_CHANGES",
    "PART_NAMES",
    "BodyModel",
    "Phenotype",
    "PosedBody",
    "Positioning",
    "UnreachableBody",
    "anny_age",
    "sample_positioning",
]

_HEIGHT_BOUNDS = (0.0, 0.8)
_WEIGHT_BOUNDS = (0.0, 1.4)
_VOLUME_TOLERANCE = 1e-4
_MAX_STEPS = 50


class UnreachableBody(ValueError):
    """No anny body of this sex, age and build has the stature and volume asked for."""


@dataclass(frozen=True)
class PosedBody:
    """One person in one pose.

    Attributes:
        vertices_m: ``(V, 3)`` float64 vertices of ``BodyModel.faces``.
        joints_m: posed joint positions ``(3,)`` by anny bone name.
        lean_vertices_m: ``(V, 3)`` the same person at anny weight 0 with the same joint positions: where the skin would
            be with hardly any fat. ``vertices_m - lean_vertices_m`` is the direction and extent of the fat shell.
    """

    vertices_m: FloatArray
    joints_m: dict[str, FloatArray]
    lean_vertices_m: FloatArray


@dataclass(frozen=True)
class RestShape:
    """A person standing with arms and legs slightly spread, and the same person at anny weight 0.

    Attributes:
        vertices_m, lean_vertices_m: ``(V, 3)``.
        heads_m, lean_heads_m: ``(J, 3)`` joints.
        asymmetry: how the trunk is carried; the limbs' part is in the vertices.
    """

    vertices_m: FloatArray
    heads_m: FloatArray
    lean_vertices_m: FloatArray
    lean_heads_m: FloatArray
    asymmetry: Asymmetry = SYMMETRIC


class BodyModel:
    """anny as plain arrays: a mesh with a skeleton and shapes, closed and divided into parts.

    One person at a time, always the same operations in the same order, so that equal input gives equal bytes. Loading
    takes some seconds (about a minute the first time on a machine, when anny fills its own cache).

    Attributes:
        surface: topology (:class:`dxa_monai.phantom.body.surface.BodySurface`); its arrays are also reachable here.
        faces: ``(F, 3)`` anny's triangles, cavities included.
        closed_faces: ``(G, 3)`` the watertight outer surface, indices into :meth:`closed_vertices`.
        vertex_part, face_part, closed_face_part: index into ``PART_NAMES``.
        part_faces, part_of_face: each part closed by itself, indices into :meth:`closed_vertices`.
        bone_names: anny's bones in order.
        bone_of_vertex: ``(V,)`` the bone with the largest skinning weight.
    """

    def __init__(self) -> None:
        self._shapes = AnnyShapes()
        self.bone_names = self._shapes.bone_names
        self._bone_index = {name: index for index, name in enumerate(self.bone_names)}
        self._rested: tuple[Phenotype, RestShape] | None = None
        self._all_vertices = np.arange(self._shapes.vertex_count)
        self.bone_of_vertex = self._shapes.bones[self._all_vertices, self._shapes.weights.argmax(axis=1)]
        self._flesh = LimbFlesh(self._shapes.weights, self._shapes.bones, self._bone_index)
        part_of_bones = np.array([part_of_bone(name) for name in self.bone_names], dtype=np.int64)
        self.surface = BodySurface(self._shapes.faces, self._shapes.inner, part_of_bones[self.bone_of_vertex])
        self.faces = self.surface.faces
        self.closed_faces = self.surface.closed_faces
        self.vertex_part = self.surface.vertex_part
        self.face_part = self.surface.face_part
        self.closed_face_part = self.surface.closed_face_part
        self.part_faces = self.surface.part_faces
        self.part_of_face = self.surface.part_of_face
        self.closed_vertices = self.surface.closed_vertices

    def solve(
        self,
        sex: str,
        age_years: float,
        height_cm: float,
        volume_l: float,
        muscle: float = 0.5,
        proportions: float = 0.5,
        local_changes: tuple[tuple[str, float], ...] = (),
    ) -> Phenotype:
        """The person of this build with the given stature and volume, both of the rest pose.

        Stature is the vertical extent of the rest body, matched to 0.1 mm; volume that of the closed surface, matched
        to 0.01 %. Height is linear in anny's parameter at a given weight, volume is bracketed and cut by the Illinois
        variant of regula falsi.

        Args:
            sex: "F" or "M".
            age_years: 4 .. 110.
            height_cm: stature.
            volume_l: volume of the body.
            muscle, proportions, local_changes: see :class:`Phenotype`.

        Raises:
            UnreachableBody: stature or volume outside what the model can do for this build.
            InputError: unknown sex or local change, age outside 4 .. 110, stature or volume not positive.
        """
        if not (height_cm > 0.0 and volume_l > 0.0):
            raise InputError(f"solve: expected a stature and a volume above 0, got {height_cm} cm and {volume_l} l.")
        person = Phenotype(sex, anny_age(age_years), 0.0, 0.0, muscle, proportions, tuple(local_changes))
        corners = self._shapes.corners(person)
        asked = f"{sex}, {age_years:.0f} years, {height_cm:.1f} cm, {volume_l:.1f} l, muscle {muscle:.2f}"

        def at(weight: float) -> tuple[float, float]:
            """The height parameter that gives the stature at this weight, and the volume's relative excess."""
            height = self._shapes.height_for_stature(corners, weight, height_cm / 100.0)
            if not _HEIGHT_BOUNDS[0] <= height <= _HEIGHT_BOUNDS[1]:
                raise UnreachableBody(f"{asked}: expected anny's height within {_HEIGHT_BOUNDS}, got {height:.2f}.")
            return height, self.volume_l(self._shapes.shape(corners, height, weight)[0]) / volume_l - 1.0

        low, high = _WEIGHT_BOUNDS
        (height, excess_low), (_, excess_high) = at(low), at(high)
        if excess_low > 0.0 or excess_high < 0.0:
            raise UnreachableBody(
                f"{asked}: expected a volume of {volume_l * (1.0 + excess_low):.1f} .. "
                f"{volume_l * (1.0 + excess_high):.1f} l for this stature and build."
            )
        weight, excess, kept_side = low, excess_low, 0
        for _ in range(_MAX_STEPS):
            if abs(excess) <= _VOLUME_TOLERANCE:
                break
            weight = (low * excess_high - high * excess_low) / (excess_high - excess_low)
            height, excess = at(weight)
            # Illinois: an end kept twice in a row counts half, so that both ends close in.
            if excess > 0.0:
                high, excess_high = weight, excess
                excess_low *= 0.5 if kept_side < 0 else 1.0
                kept_side = -1
            else:
                low, excess_low = weight, excess
                excess_high *= 0.5 if kept_side > 0 else 1.0
                kept_side = 1
        return replace(person, height=height, weight=weight)

    def rest(self, phenotype: Phenotype) -> RestShape:
        """The person in anny's rest pose, and at anny weight 0. The last one is remembered: write nothing there."""
        if self._rested is not None and self._rested[0] == phenotype:
            return self._rested[1]
        corners = self._shapes.corners(phenotype)
        vertices, heads = self._shapes.shape(corners, phenotype.height, phenotype.weight)
        lean, lean_heads = self._shapes.shape(corners, phenotype.height, 0.0)
        asymmetry = phenotype.asymmetry
        if asymmetry != SYMMETRIC:
            vertices = self._flesh.differ(vertices, heads, asymmetry)
            lean = self._flesh.differ(lean, lean_heads, asymmetry)
        self._rested = phenotype, RestShape(vertices, heads, lean, lean_heads, asymmetry)
        return self._rested[1]

    def t_pose(self, phenotype: Phenotype) -> PosedBody:
        """Standing, arms straight sideways, legs slightly apart; feet on z = 0, pelvis above x = y = 0."""
        return self.standing(phenotype, T_POSE)

    def standing(self, phenotype: Phenotype, standing: Standing) -> PosedBody:
        """Standing as ``standing`` says; feet on z = 0, pelvis above x = y = 0."""
        rest = self.rest(phenotype)
        posing = self.posing(rest)
        pose_standing(posing, standing)
        body = self._posed(rest, posing)
        root = body.joints_m[self.bone_names[0]]
        return _moved(body, np.eye(3), np.array([-root[0], -root[1], -body.vertices_m[:, 2].min()]))

    def supine(self, phenotype: Phenotype, positioning: Positioning | None = None) -> PosedBody:
        """Lying on the table as ``positioning`` says; the middle of the bounding box in x and z is the origin.

        The lateral and longitudinal shift are not applied to the vertices: pass ``positioning.shift_mm`` to
        :func:`dxa_monai.phantom.tissue.projection.centre_frame`.
        """
        positioning = Positioning() if positioning is None else positioning
        rest = self.rest(phenotype)
        posing = self.posing(rest)
        pose_supine(posing, positioning)
        turn = rotation_about(np.array([0.0, 1.0, 0.0]), positioning.body_rotation_deg)
        body = _moved(self._posed(rest, posing), turn, np.zeros(3))
        centre = (body.vertices_m.min(axis=0) + body.vertices_m.max(axis=0)) / 2.0
        return _moved(body, np.eye(3), np.array([-centre[0], 0.0, -centre[2]]))

    def volume_l(self, vertices_m: FloatArray) -> float:
        """Volume of the closed surface."""
        return 1000.0 * mesh.enclosed_volume_m3(self.closed_vertices(vertices_m), self.closed_faces)

    def posing(self, rest: RestShape) -> Posing:
        """The person's skeleton at rest but for the bend of the trunk, ready to be turned."""
        posing = Posing(rest.heads_m, self._shapes.parents, self._bone_index)
        bend_trunk(posing, rest.asymmetry)
        return posing

    def skinned(self, rest: RestShape, posing: Posing, vertices: IntArray, out: FloatArray) -> None:
        """Write the posed positions of some vertices (indices) of ``rest`` to their rows of ``out`` ``(V, 3)``."""
        rotations, joints = posing.transforms()
        self._skin(rest.vertices_m, rest.heads_m, rotations, joints, vertices, out)

    def _skin(
        self,
        vertices_m: FloatArray,
        heads_m: FloatArray,
        rotations: FloatArray,
        joints_m: FloatArray,
        chosen: IntArray,
        out: FloatArray,
    ) -> None:
        offsets = joints_m - np.einsum("jab,jb->ja", rotations, heads_m)
        skin(vertices_m, self._shapes.weights, self._shapes.bones, rotations, offsets, chosen, out)

    def _posed(self, rest: RestShape, posing: Posing) -> PosedBody:
        rotations, joints = posing.transforms()
        vertices, lean = np.empty_like(rest.vertices_m), np.empty_like(rest.vertices_m)
        self._skin(rest.vertices_m, rest.heads_m, rotations, joints, self._all_vertices, vertices)
        # The lean person's joints are put where this person's are, or every limb would seem to have moved by fat.
        self._skin(rest.lean_vertices_m, rest.lean_heads_m, rotations, joints, self._all_vertices, lean)
        return PosedBody(vertices, dict(zip(self.bone_names, joints, strict=True)), lean)


def _moved(body: PosedBody, rotation: FloatArray, shift_m: FloatArray) -> PosedBody:
    return PosedBody(
        body.vertices_m @ rotation.T + shift_m,
        {name: rotation @ joint + shift_m for name, joint in body.joints_m.items()},
        body.lean_vertices_m @ rotation.T + shift_m,
    )
