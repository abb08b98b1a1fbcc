"""What differs between a person's left and right: girth of the limbs, bones, fat, and how the trunk is carried.

The body model's shapes are mirror images. Here the limbs are made thicker on one side and thinner on the other, about
the line through their joints, and the spine and the shoulders are given a bend.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.body.pose import SIDES, Posing, rotation_about

_LIMBS = {
    "arm": (("upperarm01", "lowerarm01", "wrist"), ("upperarm01", "upperarm02", "lowerarm01", "lowerarm02")),
    "leg": (("upperleg01", "lowerleg01", "foot"), ("upperleg01", "upperleg02", "lowerleg01", "lowerleg02")),
}
"""Joints of a limb's line, and the bones whose skin is made thicker; hands and feet stay alike."""


@dataclass(frozen=True)
class Asymmetry:
    """Differences between the sides; ratios are natural logarithms of left over right, 0 = alike.

    Attributes:
        arm_flesh, leg_flesh: of the cross-section of arms and legs.
        arm_bone, leg_bone: of the width of the limbs' bones.
        arm_fat, leg_fat: of the depth of fat under the skin.
        lumbar_bend_deg, thoracic_bend_deg: bend of the lower and the upper spine, towards the left positive; the head
            stays upright.
        left_shoulder_raise_deg: how much the left collar bone stands higher than the right one.
    """

    arm_flesh: float = 0.0
    leg_flesh: float = 0.0
    arm_bone: float = 0.0
    leg_bone: float = 0.0
    arm_fat: float = 0.0
    leg_fat: float = 0.0
    lumbar_bend_deg: float = 0.0
    thoracic_bend_deg: float = 0.0
    left_shoulder_raise_deg: float = 0.0

    def of(self, side: str, name: str) -> float:
        """Factor of "arm_bone", "leg_fat" ... on the "left" or the "right" side, against the mean of both."""
        return float(np.exp((0.5 if side == "left" else -0.5) * getattr(self, name)))


SYMMETRIC = Asymmetry()
"""Left and right as mirror images."""


class LimbFlesh:
    """Which vertices belong to the flesh of a limb, and how much: prepared once a body model.

    Args:
        weights, bones: ``(V, K)`` skinning weights and the bone of each.
        index: bone index by name.
    """

    def __init__(self, weights: FloatArray, bones: IntArray, index: dict[str, int]) -> None:
        self._limbs: list[tuple[str, str, IntArray, FloatArray, list[int]]] = []
        for name, (line, fleshy) in _LIMBS.items():
            for suffix, side in (("L", "left"), ("R", "right")):
                chosen = np.isin(bones, [index[f"{bone}.{suffix}"] for bone in fleshy])
                share = (weights * chosen).sum(axis=1)
                vertices = np.flatnonzero(share > 0.0)
                self._limbs.append((side, name, vertices, share[vertices], [index[f"{j}.{suffix}"] for j in line]))

    def differ(self, vertices_m: FloatArray, heads_m: FloatArray, asymmetry: Asymmetry) -> FloatArray:
        """``(V, 3)`` rest vertices with limbs of unequal cross-section, each scaled about its line of joints.

        Args:
            vertices_m: ``(V, 3)`` mirror-symmetric rest shape.
            heads_m: ``(J, 3)`` its joints, which stay.
            asymmetry: of the person.
        """
        changed = vertices_m.copy()
        for side, name, vertices, share, line in self._limbs:
            growth = np.sqrt(asymmetry.of(side, f"{name}_flesh")) - 1.0
            if growth:
                outwards = _from_line(vertices_m[vertices], heads_m[line])
                changed[vertices] += growth * share[:, None] * outwards
        return changed


def _from_line(points: FloatArray, line: FloatArray) -> FloatArray:
    """``(N, 3)`` vectors from the nearest piece of a polyline ``(S, 3)`` to points ``(N, 3)``."""
    nearest, best = np.full(len(points), np.inf), np.zeros_like(points)
    for start, end in pairwise(line):
        along = end - start
        share = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
        vector = points - start - share[:, None] * along
        distance = np.square(vector).sum(axis=1)
        closer = distance < nearest
        nearest[closer], best[closer] = distance[closer], vector[closer]
    return best


def bend_trunk(posing: Posing, asymmetry: Asymmetry) -> None:
    """Bend spine and shoulders as ``asymmetry`` says, before head and limbs are posed."""
    lumbar, thoracic = asymmetry.lumbar_bend_deg, asymmetry.thoracic_bend_deg
    front = np.array([0.0, 1.0, 0.0])
    for bone, angle in (("spine05", lumbar), ("spine03", thoracic - lumbar), ("spine01", -thoracic)):
        if angle:
            posing.turn(bone, rotation_about(front, angle))
    if asymmetry.left_shoulder_raise_deg:
        for suffix, _ in SIDES:
            posing.turn(f"clavicle.{suffix}", rotation_about(front, -0.5 * asymmetry.left_shoulder_raise_deg))
