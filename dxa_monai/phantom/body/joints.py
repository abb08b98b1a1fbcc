"""Where a posed body's trunk begins and ends, in coordinates that turn with the body in the table's plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_monai.phantom.body.mesh import FloatArray

# Heights along the trunk: 0 at the hip joints, 1 at the shoulder joints (proportions of an adult skeleton).
ILIAC_CREST_LEVEL = 0.34
LOWEST_RIB_LEVEL = 0.52
LUNG_APEX_LEVEL = 1.16
NAVEL_LEVEL = 0.36

SPINE_JOINTS = ("spine05", "spine04", "spine03", "spine02", "spine01", "neck01")
"""The body model's joints from the lowest of the spine to that of the neck."""


@dataclass(frozen=True)
class TrunkAxes:
    """The trunk's own axes in the coronal (x, z) plane.

    Attributes:
        origin_m: ``(3,)`` midpoint of the hip joints.
        up: ``(2,)`` unit vector (x, z) from the hip joints' to the shoulder joints' midpoint.
        length_m: distance between those midpoints.
        hip_half_width_m: half the distance between the hip joints.
        shoulder_half_width_m: half the distance between the shoulder joints.
        spine_m: ``(S, 3)`` joints of the spine from pelvis to neck.
    """

    origin_m: FloatArray
    up: FloatArray
    length_m: float
    hip_half_width_m: float
    shoulder_half_width_m: float
    spine_m: FloatArray

    def coordinates(self, x_m: FloatArray, z_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distance to the body's left of the axis in metres, and level along it (0 hip joints, 1 shoulder joints)."""
        dx, dz = x_m - self.origin_m[0], z_m - self.origin_m[2]
        left = dx * self.up[1] - dz * self.up[0]
        level = (dx * self.up[0] + dz * self.up[1]) / self.length_m
        return left, level

    def depth_m(self, level: float) -> float:
        """y of the spine's joints at ``level``."""
        _, levels = self.coordinates(self.spine_m[:, 0], self.spine_m[:, 2])
        return float(np.interp(level, levels, self.spine_m[:, 1]))


def trunk_axes(joints_m: dict[str, FloatArray]) -> TrunkAxes:
    """Trunk axes of a posed body from its joints."""
    hips = np.stack([joints_m["upperleg01.L"], joints_m["upperleg01.R"]])
    shoulders = np.stack([joints_m["upperarm01.L"], joints_m["upperarm01.R"]])
    hip, shoulder = hips.mean(axis=0), shoulders.mean(axis=0)
    along = (shoulder - hip)[[0, 2]]
    length_m = float(np.linalg.norm(along))
    spine = np.stack([joints_m[name] for name in SPINE_JOINTS])
    return TrunkAxes(
        origin_m=hip,
        up=along / length_m,
        length_m=length_m,
        hip_half_width_m=float(np.linalg.norm((hips[0] - hips[1])[[0, 2]]) / 2.0),
        shoulder_half_width_m=float(np.linalg.norm((shoulders[0] - shoulders[1])[[0, 2]]) / 2.0),
        spine_m=spine,
    )
