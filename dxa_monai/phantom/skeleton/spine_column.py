"""The spine as a curve: where each level lies in a body, and how bones bend with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from dxa_monai.phantom.body.affine import Affine
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.skeleton.bones import BONE_GROUPS, load_skeleton
from dxa_monai.phantom.tissue.trunk_skin import TrunkSkin

HIP_BELOW_JOINT_M = 0.020
"""The hip centre lies about 65 mm above the crotch; the body model's joint lies about 90 mm above it."""
SACRUM_DEPTH_M = 0.009
"""From the lean surface of the back to the sacrum's crest; deeper, the iliac spines would press against the belly."""
SPINOUS_DEPTH_M = 0.015
"""From the lean surface of the back to the tips of the spinous processes."""
HALF_VERTEBRA_M = 0.012
"""From the centre of T1 to its upper plate, at rest."""
LUMBOSACRAL_GAP_M = 0.009
"""The source's disc below L5 is this much too high; L5 is lowered by it, the levels above by less and less."""

SACRUM_DROP_M = 0.015
"""The source's sacrum sits this much too high between the hip bones: the crests lie level with L4 or the disc below it
(Tuffier's line), and from L1 to the sacrum it is about 17 cm in women and 19 cm in men. L5 is lowered
with it, the levels above by less and less up to T12."""


@dataclass(frozen=True)
class RestTrunk:
    """Measures of the trunk bones at rest that placing needs.

    Attributes:
        level_z_m: ``(19,)`` heights of sacrum, L5 .. L1, T12 .. T1 and the atlas.
        level_y_m: ``(19,)`` their centres.
        tip_y_m: ``(18,)`` tips of the spinous processes, atlas left out.
        cage_front_m, cage_half_width_m: ``(10,)`` extents of the rib cage at the heights of T12 .. T3.
    """

    level_z_m: FloatArray
    level_y_m: FloatArray
    tip_y_m: FloatArray
    cage_front_m: FloatArray
    cage_half_width_m: FloatArray


@cache
def rest_trunk() -> RestTrunk:
    """Measured once on the skeleton at rest."""
    skeleton = load_skeleton()
    names = ["sacrum", *(f"vertebra_L{n}" for n in range(5, 0, -1)), *(f"vertebra_T{n}" for n in range(12, 0, -1))]
    levels = [skeleton.vertices_of(name) for name in [*names, "vertebra_C1"]]
    z = np.array([points[:, 2].mean() for points in levels])
    cage = skeleton.vertices_m[group_rows("ribs", "sternum")]
    slices = [cage[np.abs(cage[:, 2] - height) < 0.02] for height in z[6:16]]
    return RestTrunk(
        level_z_m=z,
        level_y_m=np.array([points[:, 1].mean() for points in levels]),
        tip_y_m=np.array([points[:, 1].max() for points in levels[:-1]]),
        cage_front_m=np.array([points[:, 1].min() for points in slices]),
        cage_half_width_m=np.array([np.abs(points[:, 0]).max() for points in slices]),
    )


@cache
def group_rows(*groups: str) -> IntArray:
    """Rows of the skeleton's vertices that belong to some bone groups."""
    skeleton = load_skeleton()
    wanted = [BONE_GROUPS.index(group) for group in groups]
    return np.flatnonzero(np.isin(skeleton.group_of_bone[skeleton.bone_of_vertex], wanted))


@dataclass(frozen=True)
class Column:
    """The placed spine: heights and centres along it, linear between levels.

    Attributes:
        rest_z_m, z_m: ``(n,)`` heights at rest and placed.
        rest_y_m, y_m: ``(n,)`` centres at rest and placed.
        x_m: ``(n,)`` placed.
        scale: size of the bones against rest.
    """

    rest_z_m: FloatArray
    z_m: FloatArray
    rest_y_m: FloatArray
    y_m: FloatArray
    x_m: FloatArray
    scale: float

    def height(self, rest_z_m: FloatArray) -> FloatArray:
        """Placed height of points at rest; beyond the ends the scale goes on."""
        inside = np.interp(rest_z_m, self.rest_z_m, self.z_m)
        return inside + self.scale * (rest_z_m - np.clip(rest_z_m, self.rest_z_m[0], self.rest_z_m[-1]))

    def place(self, rest_m: FloatArray, lateral: float, depth: float) -> FloatArray:
        """Bend ``(n, 3)`` points with the column, with scales ``lateral`` and ``depth`` across it."""
        z = rest_m[:, 2]
        placed = np.empty_like(rest_m)
        placed[:, 0] = np.interp(z, self.rest_z_m, self.x_m) + lateral * rest_m[:, 0]
        centre = np.interp(z, self.rest_z_m, self.rest_y_m)
        placed[:, 1] = np.interp(z, self.rest_z_m, self.y_m) + depth * (rest_m[:, 1] - centre)
        placed[:, 2] = self.height(z)
        return placed


def fit_column(
    rest: RestTrunk, rest_hip_z: float, head: Affine, skin: TrunkSkin, spine_m: FloatArray, size: float
) -> Column:
    """Thoracic and lumbar levels at constant depth under the back, the atlas under the skull.

    Args:
        rest: the spine at rest.
        rest_hip_z: height of the hip centres at rest.
        head: map of the skull.
        skin: the trunk around the spine.
        spine_m: ``(n, 3)`` the body model's joints from the lowest of the spine to that of the neck.
        size: scale of the vertebrae from back to front.
    """
    # The spinous process of C7 (cervicale) lies at the body model's lower neck joint; it is level with T1's top.
    neck_z = float(spine_m[-1, 2])
    neck_rest_z = rest.level_z_m[-2] + HALF_VERTEBRA_M
    scale = (neck_z + HIP_BELOW_JOINT_M) / (neck_rest_z - rest_hip_z)
    z = (rest.level_z_m - rest_hip_z) * scale - HIP_BELOW_JOINT_M
    z[:7] -= SACRUM_DROP_M * size * np.minimum(np.linspace(1.2, 0.0, 7), 1.0)
    z[1:6] -= LUMBOSACRAL_GAP_M * size * np.linspace(1.0, 0.2, 5)
    depth = np.full(len(z) - 1, SPINOUS_DEPTH_M)
    depth[:3] = np.linspace(SACRUM_DEPTH_M, SPINOUS_DEPTH_M, 3)
    back = np.interp(z[:-1], skin.z_m, skin.back_m) - depth
    y = back - size * (rest.tip_y_m - rest.level_y_m[:-1])
    y = np.convolve(np.pad(y, 2, mode="edge"), np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0, mode="valid")
    atlas = head(np.array([0.0, rest.level_y_m[-1], rest.level_z_m[-1]]))
    z[-1] = atlas[2]
    x = np.interp(z, spine_m[:, 2], spine_m[:, 0])
    x[-1] = atlas[0]
    return Column(rest.level_z_m, z, rest.level_y_m, np.append(y, atlas[1]), x, scale)
