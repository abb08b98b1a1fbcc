"""The kinematics that bring a rest body into the T-pose or onto the DXA table.

Axes are the body's: x towards the person's left, y towards the back, z towards the head. A rest body is posed by linear
blend skinning: each bone turns about its head, together with everything below it in the chain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_monai.compiled import compiled
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.body.positioning import Positioning

SIDES = (("L", 1.0), ("R", -1.0))
"""Suffix of the bone names, and the sign of x on that side."""

# Where along the arm the palm is turned: bone, joint it turns about, and how much of what is still to turn. The wrist
# takes the rest.
_PRONATION = (
    ("upperarm02", "lowerarm01", 0.25),
    ("lowerarm01", "wrist", 0.35),
    ("lowerarm02", "wrist", 0.7),
)
_FINGERS_TOGETHER = 0.7  # how much of the fingers' spread is taken away


def rotation_about(axis: FloatArray, angle_deg: float) -> FloatArray:
    """``(3, 3)`` right-handed rotation about ``axis`` (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.deg2rad(angle_deg)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def rotation_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """The smallest rotation that turns the direction ``start`` into ``end`` (not opposite to each other)."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    x, y, z = _cross(start, end)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + cross + cross @ cross / (1.0 + start @ end)


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    """Cross product of two 3-vectors, without the overhead of numpy's general one."""
    (a, b, c), (d, e, f) = first.tolist(), second.tolist()
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


class Posing:
    """Collects one rotation a bone, in the rest body's axes, and composes them down the chain.

    Args:
        heads_m: ``(J, 3)`` rest joint positions.
        parents: parent of each bone; a bone comes after its parent, the root has -1.
        index: bone index by name.
    """

    def __init__(self, heads_m: FloatArray, parents: IntArray, index: dict[str, int]) -> None:
        self.heads_m = heads_m
        self._parents = parents
        self._index = index
        self._local: dict[int, FloatArray] = {}

    def turn(self, bone: str, rotation: FloatArray) -> None:
        """Turn ``bone``, as posed so far, by ``rotation`` in the posed body's axes."""
        outer = self.orientation(bone)
        bone_index = self._index[bone]
        parent = outer @ self._local.get(bone_index, np.eye(3)).T
        self._local[bone_index] = parent.T @ rotation @ outer

    def aim(self, bone: str, towards: str, direction: FloatArray) -> None:
        """Turn ``bone`` so that the joint ``towards`` lies in ``direction`` from its head."""
        self.turn(bone, rotation_between(self.vector(bone, towards, bone), direction))

    def vector(self, start: str, end: str, bone: str) -> FloatArray:
        """Rest vector from joint ``start`` to joint ``end``, carried along with ``bone`` as posed so far."""
        return self.orientation(bone) @ (self.heads_m[self._index[end]] - self.heads_m[self._index[start]])

    def joint(self, bone: str) -> FloatArray:
        """``(3,)`` posed position of the head of ``bone``."""
        chain = [self._index[bone]]
        while (parent := int(self._parents[chain[-1]])) >= 0:
            chain.append(parent)
        rotation, joint = np.eye(3), self.heads_m[chain[-1]]
        for parent, child in zip(chain[:0:-1], chain[-2::-1], strict=True):
            rotation = rotation @ self._local.get(parent, np.eye(3))
            joint = joint + rotation @ (self.heads_m[child] - self.heads_m[parent])
        return joint

    def orientation(self, bone: str) -> FloatArray:
        """``(3, 3)`` rotation of ``bone`` from rest."""
        chain = self._index[bone]
        rotation = np.eye(3)
        while chain >= 0:
            if chain in self._local:
                rotation = self._local[chain] @ rotation
            chain = int(self._parents[chain])
        return rotation

    def transforms(self) -> tuple[FloatArray, FloatArray]:
        """``(J, 3, 3)`` rotations and ``(J, 3)`` posed joint positions of all bones."""
        rotations = np.empty((len(self.heads_m), 3, 3))
        joints = np.empty_like(self.heads_m)
        for bone, parent in enumerate(self._parents):
            if parent < 0:
                rotations[bone], joints[bone] = np.eye(3), self.heads_m[bone]
            else:
                rotations[bone] = rotations[parent]
                joints[bone] = joints[parent] + rotations[parent] @ (self.heads_m[bone] - self.heads_m[parent])
            if bone in self._local:
                rotations[bone] = rotations[bone] @ self._local[bone]
        return rotations, joints


@dataclass(frozen=True)
class Standing:
    """How somebody stands, in degrees; the defaults are a T pose. Palms face down, or back where arms are down.

    Attributes:
        arm_below: arms below the horizontal; 45 is an A pose.
        arm_forward: arms forward of the sides.
        elbow: forearms below the upper arms.
        leg: each leg outwards.
    """

    arm_below: float = 0.0
    arm_forward: float = 0.0
    elbow: float = 0.0
    leg: float = 6.0


T_POSE = Standing()


def pose_standing(posing: Posing, standing: Standing = T_POSE) -> None:
    """Straight arms and legs of a standing person."""
    forward = np.deg2rad(standing.arm_forward)
    below = np.deg2rad(standing.arm_below)
    for side, sign in SIDES:
        upper, lower = (
            np.array([sign * np.cos(angle) * np.cos(forward), -np.cos(angle) * np.sin(forward), -np.sin(angle)])
            for angle in (below, below + np.deg2rad(standing.elbow))
        )
        _pose_arm(posing, side, upper, lower, palm=np.array([-sign * np.sin(below), 0.0, -np.cos(below)]))
        _pose_leg(posing, side, sign, abduction_deg=standing.leg, rotation_deg=0.0)


def pose_supine(posing: Posing, positioning: Positioning) -> None:
    """The limbs and head of a supine scan. See :class:`Positioning`."""
    for side, sign in SIDES:
        pose_supine_arm(posing, positioning, side, sign)
        _pose_leg(posing, side, sign, positioning.side(side, "leg_abduction"), positioning.side(side, "leg_rotation"))
        # The toes point away about the ankle's own transverse axis, which turned inwards with the leg.
        ankle_axis = posing.orientation(f"foot.{side}") @ np.array([1.0, 0.0, 0.0])
        posing.turn(f"foot.{side}", rotation_about(ankle_axis, positioning.side(side, "plantarflexion")))
        inward = -sign * positioning.side(side, "foot_rotation")
        posing.turn(f"foot.{side}", rotation_about(np.array([0.0, 0.0, 1.0]), inward))
    for bone in ("neck01", "neck02", "neck03", "head"):
        posing.turn(bone, rotation_about(np.array([0.0, 0.0, 1.0]), positioning.head_turn_deg / 4.0))
        posing.turn(bone, rotation_about(np.array([0.0, 1.0, 0.0]), positioning.head_tilt_deg / 4.0))


def pose_supine_arm(posing: Posing, positioning: Positioning, side: str, sign: float) -> None:
    """One arm of :func:`pose_supine`."""
    upper = _down_and_out(sign, positioning.side(side, "arm_abduction"))
    lower = _down_and_out(sign, positioning.side(side, "forearm_abduction"))
    _pose_arm(posing, side, upper, lower, palm=np.array([0.0, 1.0, 0.0]))


def _down_and_out(sign: float, abduction_deg: float) -> FloatArray:
    angle = np.deg2rad(abduction_deg)
    return np.array([sign * np.sin(angle), 0.0, -np.cos(angle)])


def _pose_arm(posing: Posing, side: str, upper: FloatArray, lower: FloatArray, palm: FloatArray) -> None:
    """Upper arm along ``upper``, forearm and hand along ``lower``, the palm facing ``palm`` as far as it can."""
    sign = 1.0 if side == "L" else -1.0
    posing.aim(f"upperarm01.{side}", f"lowerarm01.{side}", upper)
    posing.aim(f"lowerarm01.{side}", f"wrist.{side}", lower)
    for bone, towards, share in _PRONATION:
        axis = _axis(posing, f"{bone}.{side}", f"{towards}.{side}")
        posing.turn(f"{bone}.{side}", rotation_about(axis, share * _twist_deg(_palm(posing, side, sign), palm, axis)))
        if bone == "upperarm02":  # the elbow's hinge moved with the upper arm: point the forearm again
            posing.aim(f"lowerarm01.{side}", f"wrist.{side}", lower)
    posing.aim(f"wrist.{side}", f"finger3-1.{side}", lower)
    posing.turn(f"wrist.{side}", rotation_about(lower, _twist_deg(_palm(posing, side, sign), palm, lower)))
    for finger in range(1, 6):  # thumb and fingers together: their spread turns away about the palm's normal
        along = posing.vector(f"finger{finger}-1.{side}", f"finger{finger}-2.{side}", f"finger{finger}-1.{side}")
        spread = _twist_deg(along, lower, palm)
        posing.turn(f"finger{finger}-1.{side}", rotation_about(palm, _FINGERS_TOGETHER * spread))


def _axis(posing: Posing, bone: str, towards: str) -> FloatArray:
    """Unit vector from a bone's head to a joint below: turning the bone about it leaves that joint where it is."""
    vector = posing.vector(bone, towards, bone)
    return vector / np.linalg.norm(vector)


def _palm(posing: Posing, side: str, sign: float) -> FloatArray:
    """Direction the palm faces: along the fingers x from little to index finger."""
    along = posing.vector(f"wrist.{side}", f"finger3-1.{side}", f"wrist.{side}")
    across = posing.vector(f"finger5-1.{side}", f"finger2-1.{side}", f"wrist.{side}")
    return sign * _cross(along, across)


def _twist_deg(start: FloatArray, end: FloatArray, axis: FloatArray) -> float:
    """Angle about the unit vector ``axis`` that turns ``start`` to ``end``, both seen along the axis."""
    start = start - axis * (start @ axis)
    end = end - axis * (end @ axis)
    return float(np.rad2deg(np.arctan2(_cross(start, end) @ axis, start @ end)))


def _pose_leg(posing: Posing, side: str, sign: float, abduction_deg: float, rotation_deg: float) -> None:
    direction = _down_and_out(sign, abduction_deg)
    posing.aim(f"upperleg01.{side}", f"lowerleg01.{side}", direction)
    for bone in ("upperleg01", "upperleg02"):
        # Turning about the downward axis moves the toes (-y) inwards for a positive angle on the left side.
        axis = _axis(posing, f"{bone}.{side}", f"lowerleg01.{side}")
        posing.turn(f"{bone}.{side}", rotation_about(axis, sign * rotation_deg / 2.0))
    posing.aim(f"lowerleg01.{side}", f"foot.{side}", direction)


@compiled
def skin(rest, weights, bones, rotations, offsets, vertices, out):  # type: ignore[no-untyped-def]
    """Linear blend skinning of the chosen vertices: ``out[v] = sum_b w (R_b rest + t_b)``, sums in a fixed order.

    Args:
        rest: ``(V, 3)``.
        weights: ``(V, K)``, rows sum to one.
        bones: ``(V, K)`` bone of each weight.
        rotations: ``(J, 3, 3)``.
        offsets: ``(J, 3)``.
        vertices: ``(N,)`` indices of the vertices to move.
        out: ``(V, 3)``, written at ``vertices``.
    """
    for n in range(vertices.shape[0]):
        v = vertices[n]
        for i in range(3):
            out[v, i] = 0.0
        for k in range(weights.shape[1]):
            weight = weights[v, k]
            if weight == 0.0:
                continue
            bone = bones[v, k]
            for i in range(3):
                out[v, i] += weight * (
                    rotations[bone, i, 0] * rest[v, 0]
                    + rotations[bone, i, 1] * rest[v, 1]
                    + rotations[bone, i, 2] * rest[v, 2]
                    + offsets[bone, i]
                )
