"""A person's skin as a closed triangle mesh: the anny body model, solved for stature and volume, posed for the scan.

anny [1]_ is an open (Apache 2.0, offline) parametric body. Its vertices are multilinear in the phenotype parameters, so
that for one person everything but ``height`` and ``weight`` is folded once into six corner shapes; solving and posing
then cost a few milliseconds. Posing is this project's own (:mod:`dxa_monai.phantom.pose`), from anny's rest pose.

Axes: metres, x towards the person's left, y towards the back, z towards the head.

Not modelled: the flattening of back, buttocks and thighs on the table, breathing, clothes.

.. [1] Bregier et al., "Human Mesh Modeling for Anny Body", 2025, arXiv:2511.03589.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.phantom import mesh
from dxa_monai.phantom.mesh import FloatArray, IntArray
from dxa_monai.phantom.pose import Posing, pose_supine, pose_t, rotation_about, skin
from dxa_monai.phantom.positioning import Positioning, sample_positioning
from dxa_monai.phantom.surface import PART_NAMES, BodySurface, part_of_bone
from dxa_monai.phantom.table import fit_positioning

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

LOCAL_CHANGES = (
    "buttocks-volume-incr",
    "head-fat-incr",
    "measure-bust-circ-incr",
    "measure-calf-circ-incr",
    "measure-hips-circ-incr",
    "measure-lowerarm-length-incr",
    "measure-lowerleg-height-incr",
    "measure-neck-circ-incr",
    "measure-shoulder-dist-incr",
    "measure-thigh-circ-incr",
    "measure-upperarm-circ-incr",
    "measure-upperarm-length-incr",
    "measure-upperleg-height-incr",
    "measure-waist-circ-incr",
    "stomach-pregnant-incr",
    "torso-scale-depth-incr",
    "torso-scale-horiz-incr",
    "torso-vshape-incr",
)
"""anny's local shape changes that a Phenotype may use, -1 .. 1 each, 0 = none; about +-0.3 is a natural range."""

# anny's own mapping of age in years to its age parameter (data/shape_calibration of anny 0.6.2).
_AGE_YEARS = (16.0, 18.0, 64.0, 110.0)
_ANNY_AGE = (0.67, 0.77, 0.83, 1.0)

# anny's internal surfaces, by the labels of its texture segmentation.
_CAVITIES = (
    "mouth_cavity", "tongue", "eye_cavity.L", "eye_cavity.R", "eye_front.L", "eye_front.R", "eye_back.L", "eye_back.R",
)  # fmt: skip

_WEIGHT_ANCHORS = (0.0, 0.5, 1.0)
_HEIGHT_ANCHORS = (0.0, 1.0)
_HEIGHT_BOUNDS = (0.0, 0.8)
_WEIGHT_BOUNDS = (0.0, 1.4)
_HEIGHT_TOLERANCE_M = 1e-5
_VOLUME_TOLERANCE = 1e-4


class UnreachableBody(ValueError):
    """No anny body of this sex, age and build has the stature and volume asked for."""


@dataclass(frozen=True)
class Phenotype:
    """anny's parameters of one adult.

    Attributes:
        sex: "F" or "M".
        age: anny's age parameter (:func:`anny_age` of years).
        height: anny's height parameter; 0 .. 1 spans far more than human adults.
        weight: anny's weight parameter, 0 .. 1, linearly extrapolated above 1 for obesity.
        muscle: 0 .. 1; obesity is high weight with low muscle.
        proportions: 0 (ideal) .. 1 (uncommon).
        local_changes: name and value of local shape changes, names from ``LOCAL_CHANGES``.
    """

    sex: str
    age: float
    height: float
    weight: float
    muscle: float = 0.5
    proportions: float = 0.5
    local_changes: tuple[tuple[str, float], ...] = ()


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


def anny_age(age_years: float) -> float:
    """anny's age parameter of an adult: 0.77 at 18 years, 0.83 at 64, 1.0 at 110, linear between.

    Raises:
        InputError: younger than 16 or older than 110 years.
    """
    if not _AGE_YEARS[0] <= age_years <= _AGE_YEARS[-1]:
        raise InputError(f"age_years: expected 16 .. 110, got {age_years}.")
    return float(np.interp(age_years, _AGE_YEARS, _ANNY_AGE))


@dataclass(frozen=True)
class RestShape:
    """A person standing with arms and legs slightly spread, and the same person at anny weight 0.

    Attributes:
        vertices_m, lean_vertices_m: ``(V, 3)``.
        heads_m, lean_heads_m: ``(J, 3)`` joints.
    """

    vertices_m: FloatArray
    heads_m: FloatArray
    lean_vertices_m: FloatArray
    lean_heads_m: FloatArray


class BodyModel:
    """anny as plain arrays: a mesh with a skeleton and shapes, closed and divided into parts.

    One person at a time, always the same operations in the same order, so that equal input gives equal bytes. Loading
    takes some seconds (about a minute the first time on a machine, when anny fills its own cache).

    Attributes:
        surface: topology (:class:`dxa_monai.phantom.surface.BodySurface`); its arrays are also reachable here.
        faces: ``(F, 3)`` anny's triangles, cavities included.
        closed_faces: ``(G, 3)`` the watertight outer surface, indices into :meth:`closed_vertices`.
        vertex_part, face_part, closed_face_part: index into ``PART_NAMES``.
        part_faces, part_of_face: each part closed by itself, indices into :meth:`closed_vertices`.
        bone_names: anny's bones in order.
        bone_of_vertex: ``(V,)`` the bone with the largest skinning weight.
    """

    def __init__(self) -> None:
        # Imported here: anny and torch are needed to build the model, not to use its results.
        import anny
        import torch
        from anny.face_segmentation import get_face_segmentation_mask

        source = anny.Anny(local_changes=list(LOCAL_CHANGES), skinning_method="lbs")
        self._anny = source
        self.bone_names = tuple(source.bone_labels)
        self._bone_index = {name: index for index, name in enumerate(self.bone_names)}
        self._parents = np.array(source.bone_parents, dtype=np.int64)
        self._weights = source.vertex_bone_weights.numpy().astype(np.float64)
        self._weights /= self._weights.sum(axis=1, keepdims=True)
        self._bones = source.vertex_bone_indices.numpy().astype(np.int64)
        vertex_count, bone_count = len(self._weights), len(self.bone_names)
        # Vertices and joints side by side in one float32 basis: a person's corners are one matrix product.
        self._template = torch.cat([source.template_vertices, source.template_bone_heads]).numpy().reshape(1, -1)
        basis = torch.cat([source.blendshapes, source.bone_heads_blendshapes], dim=1)
        self._basis = basis.reshape(len(basis), -1).numpy().astype(np.float32)
        self._split = vertex_count, bone_count

        self.bone_of_vertex = self._bones[np.arange(vertex_count), self._weights.argmax(axis=1)]
        part_of_bones = np.array([part_of_bone(name) for name in self.bone_names], dtype=np.int64)
        self.surface = BodySurface(
            source.faces.numpy().astype(np.int64),
            get_face_segmentation_mask(source, list(_CAVITIES)).numpy(),
            part_of_bones[self.bone_of_vertex],
        )
        self.faces = self.surface.faces
        self.closed_faces = self.surface.closed_faces
        self.vertex_part = self.surface.vertex_part
        self.face_part = self.surface.face_part
        self.closed_face_part = self.surface.closed_face_part
        self.part_faces = self.surface.part_faces
        self.part_of_face = self.surface.part_of_face
        self.closed_vertices = self.surface.closed_vertices
        self._all_vertices = np.arange(vertex_count)
        self._remembered: tuple[Phenotype, FloatArray] | None = None

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
            age_years: 16 .. 110.
            height_cm: stature.
            volume_l: volume of the body.
            muscle, proportions, local_changes: see :class:`Phenotype`.

        Raises:
            UnreachableBody: stature or volume outside what the model can do for this build.
            InputError: unknown sex or local change, age outside 16 .. 110.
        """
        person = Phenotype(sex, anny_age(age_years), 0.0, 0.0, muscle, proportions, tuple(local_changes))
        corners = self._corners(person)
        asked = f"{sex}, {age_years:.0f} years, {height_cm:.1f} cm, {volume_l:.1f} l, muscle {muscle:.2f}"

        def at(weight: float) -> tuple[float, float]:
            """The height parameter that gives the stature at this weight, and the volume's relative excess."""
            height = self._height_for_stature(corners, weight, height_cm / 100.0)
            if not _HEIGHT_BOUNDS[0] <= height <= _HEIGHT_BOUNDS[1]:
                raise UnreachableBody(f"{asked}: expected anny's height within {_HEIGHT_BOUNDS}, got {height:.2f}.")
            return height, self.volume_l(self._shape(corners, height, weight)) / volume_l - 1.0

        low, high = _WEIGHT_BOUNDS
        (height, excess_low), (_, excess_high) = at(low), at(high)
        if excess_low > 0.0 or excess_high < 0.0:
            raise UnreachableBody(
                f"{asked}: expected a volume of {volume_l * (1.0 + excess_low):.1f} .. "
                f"{volume_l * (1.0 + excess_high):.1f} l for this stature and build."
            )
        weight, excess, kept_side = low, excess_low, 0
        while abs(excess) > _VOLUME_TOLERANCE:
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
        """The person standing in anny's rest pose, and at anny weight 0."""
        corners = self._corners(phenotype)
        vertex_count = self._split[0]
        shape = self._shape(corners, phenotype.height, phenotype.weight)
        lean = self._shape(corners, phenotype.height, 0.0)
        return RestShape(shape[:vertex_count], shape[vertex_count:], lean[:vertex_count], lean[vertex_count:])

    def t_pose(self, phenotype: Phenotype) -> PosedBody:
        """Standing, arms straight sideways, legs slightly apart; feet on z = 0, pelvis above x = y = 0."""
        rest = self.rest(phenotype)
        posing = self.posing(rest)
        pose_t(posing)
        body = self._posed(rest, posing)
        root = body.joints_m[self.bone_names[0]]
        return _moved(body, np.eye(3), np.array([-root[0], -root[1], -body.vertices_m[:, 2].min()]))

    def supine(self, phenotype: Phenotype, positioning: Positioning | None = None) -> PosedBody:
        """Lying on the table as ``positioning`` says; the middle of the bounding box in x and z is the origin.

        The lateral and longitudinal shift are not applied to the vertices: pass ``positioning.shift_mm`` to
        :func:`dxa_monai.phantom.projection.centre_frame`.
        """
        positioning = Positioning() if positioning is None else positioning
        rest = self.rest(phenotype)
        posing = self.posing(rest)
        pose_supine(posing, positioning)
        turn = rotation_about(np.array([0.0, 1.0, 0.0]), positioning.body_rotation_deg)
        body = _moved(self._posed(rest, posing), turn, np.zeros(3))
        centre = (body.vertices_m.min(axis=0) + body.vertices_m.max(axis=0)) / 2.0
        return _moved(body, np.eye(3), np.array([-centre[0], 0.0, -centre[2]]))

    def fit_positioning(self, phenotype: Phenotype, positioning: Positioning) -> Positioning:
        """Arms clear of the body, everybody inside the field: :func:`dxa_monai.phantom.table.fit_positioning`."""
        return fit_positioning(self, phenotype, positioning)

    def volume_l(self, vertices_m: FloatArray) -> float:
        """Volume of the closed surface."""
        return 1000.0 * mesh.enclosed_volume_m3(self.closed_vertices(vertices_m), self.closed_faces)

    def posing(self, rest: RestShape) -> Posing:
        """The person's skeleton at rest, ready to be turned."""
        return Posing(rest.heads_m, self._parents, self._bone_index)

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
        skin(vertices_m, self._weights, self._bones, rotations, offsets, chosen, out)

    def _posed(self, rest: RestShape, posing: Posing) -> PosedBody:
        rotations, joints = posing.transforms()
        vertices, lean = np.empty_like(rest.vertices_m), np.empty_like(rest.vertices_m)
        self._skin(rest.vertices_m, rest.heads_m, rotations, joints, self._all_vertices, vertices)
        # The lean person's joints are put where this person's are, or every limb would seem to have moved by fat.
        self._skin(rest.lean_vertices_m, rest.lean_heads_m, rotations, joints, self._all_vertices, lean)
        return PosedBody(vertices, dict(zip(self.bone_names, joints, strict=True)), lean)

    def _corners(self, phenotype: Phenotype) -> FloatArray:
        """``(6, (V + J) * 3)``: vertices and joints at anny weight 0, 0.5, 1 (rows by weight) x height 0, 1."""
        build = replace(phenotype, height=0.0, weight=0.0)
        if self._remembered is None or self._remembered[0] != build:
            corners = self._coefficients(build) @ self._basis
            self._remembered = build, corners.astype(np.float64) + self._template
        return self._remembered[1]

    def _coefficients(self, build: Phenotype) -> FloatArray:
        """``(6, K)`` float32 blend shape coefficients of the corners."""
        import torch
        from anny.models.phenotype import phenotype_blendshape_weights

        if build.sex not in ("F", "M"):
            raise InputError(f"sex: expected F or M, got {build.sex}.")
        values = {
            "gender": 1.0 if build.sex == "F" else 0.0,
            "age": build.age,
            "muscle": build.muscle,
            "proportions": build.proportions,
        }
        rows = [
            [{**values, "weight": weight, "height": height}[label] for label in self._anny.phenotype_labels]
            for weight in _WEIGHT_ANCHORS
            for height in _HEIGHT_ANCHORS
        ]
        shapes = phenotype_blendshape_weights(
            torch.tensor(rows, dtype=self._anny.dtype),
            self._anny.phenotype_labels,
            self._anny.anchors,
            self._anny.stacked_phenotype_blend_shapes_mask,
            extrapolate=False,
        )
        local = np.zeros(2 * len(LOCAL_CHANGES))
        for name, value in build.local_changes:
            if name not in LOCAL_CHANGES:
                raise InputError(f"local_changes: expected names from LOCAL_CHANGES, got {name}.")
            # anny holds two shapes a change: one for positive, one for negative values.
            local[2 * self._anny.local_change_labels.index(name) + (value < 0)] = abs(value)
        phenotype = (shapes @ self._anny.phenotype_blendshape_projection).numpy()
        return np.column_stack([phenotype, np.tile(local, (len(rows), 1))]).astype(np.float32)

    def _shape(self, corners: FloatArray, height: float, weight: float) -> FloatArray:
        """``(V + J, 3)`` rest vertices and joints; linear in height, piecewise linear in weight."""
        shares = np.outer(_weight_shares(weight), [1.0 - height, height]).ravel()
        return (shares @ corners).reshape(-1, 3)

    def _height_for_stature(self, corners: FloatArray, weight: float, stature_m: float) -> float:
        """anny's height parameter at which the rest body's vertical extent is ``stature_m``."""
        z = corners.reshape(len(corners), -1, 3)[:, : self._split[0], 2].reshape(3, 2, -1)
        short, tall = np.einsum("w,whv->hv", _weight_shares(weight), z)
        low, high = 0.0, 1.0
        stature_low, stature_high = np.ptp(short), np.ptp(tall)
        # The extent is convex and piecewise linear in height (the extreme vertices may change): secant steps converge.
        while True:
            height = low + (stature_m - stature_low) * (high - low) / (stature_high - stature_low)
            stature = np.ptp((1.0 - height) * short + height * tall)
            if abs(stature - stature_m) < _HEIGHT_TOLERANCE_M:
                return float(height)
            low, stature_low, high, stature_high = high, stature_high, height, stature


def _weight_shares(weight: float) -> FloatArray:
    """Shares of the three weight anchors; above the last anchor the last piece goes on."""
    lower, middle, upper = _WEIGHT_ANCHORS
    if weight < middle:
        share = (weight - lower) / (middle - lower)
        return np.array([1.0 - share, share, 0.0])
    share = (weight - middle) / (upper - middle)
    return np.array([0.0, 1.0 - share, share])


def _moved(body: PosedBody, rotation: FloatArray, shift_m: FloatArray) -> PosedBody:
    return PosedBody(
        body.vertices_m @ rotation.T + shift_m,
        {name: rotation @ joint + shift_m for name, joint in body.joints_m.items()},
        body.lean_vertices_m @ rotation.T + shift_m,
    )
