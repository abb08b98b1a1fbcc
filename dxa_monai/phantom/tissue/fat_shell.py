"""Subcutaneous fat as the shell between the skin and an inner surface nested in it.

The inner surface is the skin moved inwards along its normals. How deep it lies at a vertex follows where the body model
puts on weight (the distance to the same person at weight 0), a thin layer that everybody has, and the person's own
distribution of fat; one factor for the whole body then sets how much fat there is. Near the middle of a limb the depth
saturates, so that the inner surface does not turn inside out.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import scipy.sparse

from dxa_monai.mesh.geometry import vertex_normals
from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.asymmetry import Asymmetry
from dxa_monai.phantom.body.joints import ILIAC_CREST_LEVEL, LOWEST_RIB_LEVEL, TrunkAxes
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import PART_NAMES, BodyModel, PosedBody
from dxa_monai.phantom.people.population import Person

LAYER_M = {"trunk": 0.007, "head": 0.008, "arm": 0.004, "leg": 0.006}
"""Depth of the layer that does not depend on where weight is put on (assumption)."""
GROWTH_SHARE = {"trunk": 1.0, "head": 0.5, "arm": 0.9, "leg": 0.9}
"""How much of the skin's displacement by weight is fat (assumption)."""
EXTREMITY_SHARE = 0.35
"""Depth on hands and feet relative to the limb's (assumption)."""
DEEPEST_SHARE = {"trunk": 0.65, "head": 0.35, "arm": 0.75, "leg": 0.75}
"""Greatest depth relative to the distance from the skin to the middle of the part."""
BREAST_SHARE = 0.6
"""Fat of a woman's breast that she has also at weight 0: its depth relative to how far it stands out (assumption)."""
BREAST_LEVELS = (0.30, 0.45, 0.80, 0.95)
"""Between the middle two of these levels of the trunk heavy breasts hang, down to the first and up to the last."""
BREAST_REACH_M = 0.03
"""Where the skin lies this far from the same person's at weight 0, the way there counts instead of the normal."""
BREAST_DEPTH = 1.6
"""Depth of a heavy breast over the way to weight 0, since some breast is left there (assumption)."""
_SMOOTHING_STEPS = 8
_SOLVER_STEPS = 8
_VOLUME_TOLERANCE = 2e-4  # of the fat; the rest goes into intramuscular fat

_LIMB_JOINTS = {"arm": ("upperarm01", "lowerarm01", "wrist", "finger3-1"), "leg": ("upperleg01", "lowerleg01", "foot")}


class FatShell:
    """The family of inner surfaces of one posed body, ordered by a factor on the depth of fat.

    Args:
        person: sex and distribution of fat.
        body: the posed body.
        model: the body model it came from.
        axes: the body's trunk axes.
        smoothing: ``mesh.smoothing_matrix`` of the model's faces.
    """

    def __init__(
        self,
        person: Person,
        body: PosedBody,
        model: BodyModel,
        axes: TrunkAxes,
        smoothing: scipy.sparse.csr_matrix,
    ) -> None:
        self._model = model
        self._vertices_m = body.vertices_m
        self._normals = vertex_normals(body.vertices_m, model.faces)
        growth = np.einsum("vi,vi->v", body.vertices_m - body.lean_vertices_m, self._normals)
        self._inwards = -self._normals
        part = [_kind(name) for name in PART_NAMES]
        layer = np.array([LAYER_M[kind] for kind in part])[model.vertex_part]
        growth_share = np.array([GROWTH_SHARE[kind] for kind in part])[model.vertex_part]
        deepest_share = np.array([DEEPEST_SHARE[kind] for kind in part])[model.vertex_part]
        middle_distance, beyond_limb = _distance_to_middle(body, model, axes)

        if person.sex == "F":
            growth, self._inwards = _through_the_breast(body, model, axes, self._normals, growth, smoothing)
        depth = np.maximum(growth, 0.0) * growth_share + layer
        if person.sex == "F":
            depth += _breast_depth(body, model, axes)
        depth *= _region_factor(body, model, axes, person.fat_depth, person.asymmetry)
        depth[beyond_limb] *= EXTREMITY_SHARE
        deepest = deepest_share * middle_distance
        for _ in range(_SMOOTHING_STEPS):
            depth = smoothing @ depth
        self._depth_m = depth
        self._deepest_m = np.maximum(deepest, 1e-4)
        self.skin_volume_l = 1000.0 * mesh.enclosed_volume_m3(
            model.closed_vertices(body.vertices_m), model.closed_faces
        )

    def inner_vertices_m(self, factor: float) -> FloatArray:
        """``(V, 3)`` inner surface where the depth of fat is ``factor`` times the body's own, before saturation."""
        depth = self._deepest_m * np.tanh(factor * self._depth_m / self._deepest_m)
        return self._vertices_m + depth[:, None] * self._inwards

    def volume_l(self, factor: float) -> float:
        """Volume between the skin and the inner surface."""
        inner = self._model.closed_vertices(self.inner_vertices_m(factor))
        return self.skin_volume_l - 1000.0 * mesh.enclosed_volume_m3(inner, self._model.closed_faces)

    def solve(self, volume_l: float) -> float:
        """The factor at which the shell holds ``volume_l`` (secant), as near as saturation lets it."""
        low, low_volume = 0.0, 0.0
        high = 1.0
        high_volume = self.volume_l(high)
        for _ in range(_SOLVER_STEPS):
            if abs(high_volume - volume_l) < _VOLUME_TOLERANCE * volume_l or high_volume - low_volume == 0.0:
                break
            guess = high + (volume_l - high_volume) * (high - low) / (high_volume - low_volume)
            guess = min(max(guess, 0.1 * high), 4.0 * high)
            low, low_volume, high = high, high_volume, guess
            high_volume = self.volume_l(high)
        return high


def _kind(part: str) -> str:
    return part.rsplit("_", 1)[-1]


def _region_factor(
    body: PosedBody, model: BodyModel, axes: TrunkAxes, fat_depth: Mapping[str, float], asymmetry: Asymmetry
) -> FloatArray:
    """``(V,)`` relative depth: constant on head, arms and legs, blended along the trunk and into the thighs."""
    _, level = axes.coordinates(body.vertices_m[:, 0], body.vertices_m[:, 2])
    upper_trunk, android, gynoid = fat_depth["upper_trunk"], fat_depth["android"], fat_depth["gynoid"]
    waist = (ILIAC_CREST_LEVEL + LOWEST_RIB_LEVEL) / 2.0
    trunk = np.interp(level, [0.0, 0.15, waist, 0.75], [gynoid, gynoid, android, upper_trunk])
    leg = np.interp(level, [-0.45, -0.1], [fat_depth["legs"], gynoid])
    choices = {
        "trunk": trunk,
        "head": np.full(len(level), fat_depth["head"]),
        "arm": np.full(len(level), fat_depth["arms"]),
        "leg": leg,
    }
    factor = np.empty(len(level))
    for index, name in enumerate(PART_NAMES):
        chosen = model.vertex_part == index
        factor[chosen] = choices[_kind(name)][chosen]
        if _kind(name) in _LIMB_JOINTS:
            factor[chosen] *= asymmetry.of(name.split("_")[0], f"{_kind(name)}_fat")
    return factor


def _breast_depth(body: PosedBody, model: BodyModel, axes: TrunkAxes) -> FloatArray:
    """``(V,)`` depth added on the chest: a share of how far the skin stands out in front of its midline."""
    left, level = axes.coordinates(body.vertices_m[:, 0], body.vertices_m[:, 2])
    front = body.vertices_m[:, 1]
    trunk = model.vertex_part == PART_NAMES.index("trunk")
    midline = trunk & (np.abs(left) < 0.015) & (front < axes.depth_m(0.75)) & (level > 0.3) & (level < 1.1)
    order = np.argsort(level[midline])
    standing_out = np.interp(level, level[midline][order], front[midline][order]) - front
    chest = trunk & (level > 0.45) & (level < 0.95) & (np.abs(left) < axes.shoulder_half_width_m)
    return np.where(chest, BREAST_SHARE * np.maximum(standing_out, 0.0), 0.0)


def _through_the_breast(
    body: PosedBody,
    model: BodyModel,
    axes: TrunkAxes,
    normals: FloatArray,
    growth: FloatArray,
    smoothing: scipy.sparse.csr_matrix,
) -> tuple[FloatArray, FloatArray]:
    """Growth ``(V,)`` and direction inwards ``(V, 3)`` with a heavy breast counted as fat right to the chest wall.

    A breast that hangs to the front and the side has skin that faces down and outwards: along its normal there is no
    chest wall, and its tissue would be taken for muscle. The way to the same person at weight 0 leads there.
    """
    left, level = axes.coordinates(body.vertices_m[:, 0], body.vertices_m[:, 2])
    on_chest = (model.vertex_part == PART_NAMES.index("trunk")) & (np.abs(left) < 1.6 * axes.shoulder_half_width_m)
    in_front = np.clip((axes.depth_m(0.6) + 0.05 - body.vertices_m[:, 1]) / 0.04, 0.0, 1.0)
    weight = np.interp(level, BREAST_LEVELS, [0.0, 1.0, 1.0, 0.0]) * on_chest * in_front
    towards = body.lean_vertices_m - body.vertices_m
    reach = np.linalg.norm(towards, axis=1)
    weight = weight * np.clip(reach / BREAST_REACH_M, 0.0, 1.0)
    inwards = weight[:, None] * towards / np.maximum(reach, 1e-6)[:, None] - (1.0 - weight)[:, None] * normals
    for _ in range(_SMOOTHING_STEPS):
        inwards = smoothing @ inwards
    # Away from the breast the direction stays the normal, to the last digit.
    near = (smoothing @ weight) > 0.0
    inwards = np.where(near[:, None], inwards / np.linalg.norm(inwards, axis=1, keepdims=True), -normals)
    return (1.0 - weight) * growth + BREAST_DEPTH * weight * reach, inwards


def _distance_to_middle(body: PosedBody, model: BodyModel, axes: TrunkAxes) -> tuple[FloatArray, FloatArray]:
    """``(V,)`` distance from the skin to the middle line of its part, and which vertices lie beyond wrist or ankle."""
    distance = np.empty(len(body.vertices_m))
    beyond = np.zeros(len(body.vertices_m), dtype=bool)
    for index, name in enumerate(PART_NAMES):
        chosen = np.flatnonzero(model.vertex_part == index)
        points = body.vertices_m[chosen]
        kind = _kind(name)
        if kind in _LIMB_JOINTS:
            side = "L" if name.startswith("left") else "R"
            joints = np.stack([body.joints_m[f"{joint}.{side}"] for joint in _LIMB_JOINTS[kind]])
            end = joints[2]
            along = end - joints[1]
            beyond[chosen] = (points - end) @ along > 0.0
        else:
            joints = (
                axes.spine_m.copy() if kind == "trunk" else np.stack([body.joints_m["neck01"], points.mean(axis=0)])
            )
            joints[:, 1] = points[:, 1].mean()
        distance[chosen] = _distance_to_line(points, joints)
    return distance, beyond


def _distance_to_line(points: FloatArray, line: FloatArray) -> FloatArray:
    """Distance of ``(N, 3)`` points to the nearest piece of a polyline ``(S, 3)``."""
    nearest = np.full(len(points), np.inf)
    for start, end in pairwise(line):
        along = end - start
        share = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
        nearest = np.minimum(nearest, np.square(points - start - share[:, None] * along).sum(axis=1))
    return np.sqrt(nearest)
