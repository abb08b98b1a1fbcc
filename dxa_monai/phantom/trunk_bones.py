"""Head, spine, rib cage, shoulder girdle and pelvis of the placed skeleton.

All coordinates are those of the trunk: x to the left, y to the back, z along the line from the hip joints to the base
of the neck, origin between the body model's hip joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from dxa_monai.phantom.affine import Affine, along_bone, scale_about
from dxa_monai.phantom.bones import BONE_GROUPS, Skeleton, load_skeleton
from dxa_monai.phantom.mesh import FloatArray, IntArray

HIP_BELOW_JOINT_M = 0.020
"""The hip centre lies about 65 mm above the crotch; the body model's joint lies about 90 mm above it."""
HIP_OUTWARD_SHARE = 0.8
"""Hip centre against the body model's joint, which lies in the middle of the thigh instead of in the groin."""
SPINOUS_DEPTH_M = 0.009
"""From the lean surface of the back to the tips of the spinous processes."""
CHEST_WALL_M = 0.014
"""From the lean surface to the ribs and the breastbone, in front and at the sides."""
GIRDLE_COVER_M = 0.012
"""From the skin to shoulder blade and iliac crest."""
SCALP_M = 0.006
CHIN_M = 0.008
"""Soft tissue over the skull and under the chin."""
VAULT_SHARE = 0.62
"""Above this share of the head's height there are no ears and no nose: there skin and skull are compared."""
HALF_VERTEBRA_M = 0.012
"""From the centre of T1 to its upper plate, at rest."""
LUMBOSACRAL_GAP_M = 0.009
"""The source's disc below L5 is this much too high; L5 is lowered by it, the levels above by less and less."""
NOSE_TO_CHIN_M = 0.033
"""The chin is the lowest point of the face that lies no further back from the nose's tip than this."""
MIDLINE_M = 0.03
"""Half the width of the strip in which back and breastbone are sought."""
_SLICE_M = 0.02

Joints = dict[str, FloatArray]


@dataclass(frozen=True)
class TrunkSkin:
    """Extent of the trunk by height: the narrower of skin and lean surface.

    Attributes:
        z_m: ``(n,)`` heights.
        front_m, back_m: ``(n,)`` y near the midline.
        blade_back_m: ``(n,)`` y of the back, anywhere.
        half_width_m: ``(n,)``.
        skin_half_width_m: ``(n,)`` of the skin alone.
    """

    z_m: FloatArray
    front_m: FloatArray
    back_m: FloatArray
    blade_back_m: FloatArray
    half_width_m: FloatArray
    skin_half_width_m: FloatArray

    @staticmethod
    def of(skin_m: FloatArray, lean_m: FloatArray, edges: IntArray, z_m: FloatArray) -> TrunkSkin:
        """Measure both surfaces ``(S, 3)`` where the trunk's ``edges`` ``(E, 2)`` cross the heights ``(n,)``."""
        extents = [_slice_extents(points[edges], z_m) for points in (skin_m, lean_m)]
        front, back, blade, half = (
            sign * np.minimum(sign * extents[0][k], sign * extents[1][k]) for k, sign in enumerate((-1.0, 1.0, 1.0, 1.0))
        )
        return TrunkSkin(z_m, front, back, blade, half, extents[0][3])


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
    cage = skeleton.vertices_m[_rows(skeleton, "ribs", "sternum")]
    slices = [cage[np.abs(cage[:, 2] - height) < 0.02] for height in z[6:16]]
    return RestTrunk(
        level_z_m=z,
        level_y_m=np.array([points[:, 1].mean() for points in levels]),
        tip_y_m=np.array([points[:, 1].max() for points in levels[:-1]]),
        cage_front_m=np.array([points[:, 1].min() for points in slices]),
        cage_half_width_m=np.array([np.abs(points[:, 0]).max() for points in slices]),
    )


@cache
def _group_rows(*groups: str) -> IntArray:
    skeleton = load_skeleton()
    wanted = [BONE_GROUPS.index(group) for group in groups]
    return np.flatnonzero(np.isin(skeleton.group_of_bone[skeleton.bone_of_vertex], wanted))


def _rows(skeleton: Skeleton, *groups: str) -> IntArray:
    return _group_rows(*groups)


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


def place_trunk(
    skeleton: Skeleton,
    skin_m: FloatArray,
    lean_m: FloatArray,
    vertex_part: IntArray,
    faces: IntArray,
    joints_m: Joints,
    size: float,
    frame: float,
    vertices_m: FloatArray,
) -> Joints:
    """Write the vertices of head, spine, rib cage, shoulder girdle and pelvis.

    Args:
        skeleton: the bones at rest.
        skin_m, lean_m: ``(S, 3)`` the body's surfaces.
        vertex_part: ``(S,)`` index into ``PART_NAMES`` (0 trunk, 1 head).
        faces: ``(F, 3)`` triangles of the surfaces.
        joints_m: the body's joints by anny bone name.
        size: length of the person against the skeleton at rest.
        frame: ``size`` times the frame scale: thickness of bones.
        vertices_m: ``(V, 3)``, rows of these bones are overwritten.

    Returns:
        ``hip_right``, ``hip_left``: centres of the acetabula.
    """

    def put(transform: Affine, *groups: str) -> None:
        rows = _group_rows(*groups)
        vertices_m[rows] = transform(skeleton.vertices_m[rows])

    neck_z = float(joints_m["neck01"][2])
    # Every edge of a closed surface runs once upwards and once downwards in index: one of the two is enough.
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[(edges[:, 0] < edges[:, 1]) & (vertex_part[edges] == 0).all(axis=1)]
    skin = TrunkSkin.of(skin_m, lean_m, edges, np.arange(-0.10, neck_z, _SLICE_M))
    head = _head_map(skeleton, skin_m[vertex_part == 1])
    put(head, "skull", "jaw")

    rest = rest_trunk()
    column = _column(rest, skeleton.joints_m["hip"][2], head, skin, neck_z, size)
    rows = _group_rows("cervical_spine", "thoracic_spine", "lumbar_spine")
    vertices_m[rows] = column.place(skeleton.vertices_m[rows], frame, size)

    rows = _group_rows("ribs", "sternum")
    cage = _Cage.fit(rest, column, skin, float(joints_m["clavicle.L"][2] + joints_m["clavicle.R"][2]) / 2.0, size, frame)
    vertices_m[rows] = cage.place(skeleton.vertices_m[rows])
    _place_girdle(skeleton, cage, skin, joints_m, size, frame, vertices_m)

    pelvis = _pelvis_map(rest, column, skin, skeleton.joints_m["hip"], joints_m, frame)
    put(pelvis, "pelvis", "sacrum")
    hip = skeleton.joints_m["hip"]
    return {"hip_right": pelvis(hip), "hip_left": pelvis(hip * [-1.0, 1.0, 1.0])}


def _slice_extents(edges_m: FloatArray, z_m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Per height: least y and largest y near the midline, largest y, largest |x|, of ``(E, 2, 3)`` edges."""
    low, high = edges_m[:, 0, 2], edges_m[:, 1, 2]
    height, edge = np.nonzero((low[None] > z_m[:, None]) != (high[None] > z_m[:, None]))
    share = ((z_m[height] - low[edge]) / (high[edge] - low[edge]))[:, None]
    points = (1.0 - share) * edges_m[edge, 0, :2] + share * edges_m[edge, 1, :2]
    x, y = points[:, 0], points[:, 1]

    def largest(values: FloatArray, chosen: FloatArray) -> FloatArray:
        extent = np.full(len(z_m), -np.inf)
        np.maximum.at(extent, height[chosen], values[chosen])
        known = np.isfinite(extent)
        return np.interp(z_m, z_m[known], extent[known])

    everywhere, midline = np.ones(len(x), dtype=bool), np.abs(x) < MIDLINE_M
    return -largest(-y, midline), largest(y, midline), largest(y, everywhere), largest(np.abs(x), everywhere)


def _head_map(skeleton: Skeleton, skin_m: FloatArray) -> Affine:
    """Scale skull and jaw so that the vault fills the scalp and the jaw reaches the chin."""
    middle = (skin_m[:, 0].min() + skin_m[:, 0].max()) / 2.0
    crown = skin_m[:, 2].max()
    face = skin_m[(np.abs(skin_m[:, 0] - middle) < 0.012) & (skin_m[:, 2] < crown - 0.1)]
    chin = face[face[:, 1] < face[:, 1].min() + NOSE_TO_CHIN_M][:, 2].min()
    bones = skeleton.vertices_m[_group_rows("skull", "jaw")]
    low, high = bones[:, 2].min(), bones[:, 2].max()
    scalp = skin_m[skin_m[:, 2] > chin + VAULT_SHARE * (crown - chin)]
    vault = bones[bones[:, 2] > low + VAULT_SHARE * (high - low)]
    height_scale = (crown - SCALP_M - chin - CHIN_M) / (high - low)
    scale = np.append((np.ptp(scalp[:, :2], axis=0) - 2.0 * SCALP_M) / np.ptp(vault[:, :2], axis=0), height_scale)
    source = np.append((vault[:, :2].min(axis=0) + vault[:, :2].max(axis=0)) / 2.0, low)
    target = np.append((scalp[:, :2].min(axis=0) + scalp[:, :2].max(axis=0)) / 2.0, chin + CHIN_M)
    return scale_about(source, scale, target)


def _column(rest: RestTrunk, rest_hip_z: float, head: Affine, skin: TrunkSkin, neck_z: float, size: float) -> Column:
    """Thoracic and lumbar levels at constant depth under the back, the atlas under the skull."""
    # The spinous process of C7 (cervicale) lies at the body model's lower neck joint; it is level with T1's top.
    neck_rest_z = rest.level_z_m[-2] + HALF_VERTEBRA_M
    scale = (neck_z + HIP_BELOW_JOINT_M) / (neck_rest_z - rest_hip_z)
    z = (rest.level_z_m - rest_hip_z) * scale - HIP_BELOW_JOINT_M
    z[1:6] -= LUMBOSACRAL_GAP_M * size * np.linspace(1.0, 0.2, 5)
    back = np.interp(z[:-1], skin.z_m, skin.back_m) - SPINOUS_DEPTH_M
    y = back - size * (rest.tip_y_m - rest.level_y_m[:-1])
    y = np.convolve(np.pad(y, 2, mode="edge"), np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0, mode="valid")
    atlas = head(np.array([0.0, rest.level_y_m[-1], rest.level_z_m[-1]]))
    z[-1] = atlas[2]
    x = np.zeros(len(z))
    x[-1] = atlas[0]
    return Column(rest.level_z_m, z, rest.level_y_m, np.append(y, atlas[1]), x, scale)


@dataclass(frozen=True)
class _Cage:
    """How ribs and breastbone follow the column.

    Attributes:
        rest, column: the spine they hang on.
        size: scale of the spine's bones from back to front.
        lateral, depth: scales across the trunk.
        drop_m: how much lower than at rest the breastbone hangs.
    """

    rest: RestTrunk
    column: Column
    size: float
    lateral: float
    depth: float
    drop_m: float

    @staticmethod
    def fit(
        rest: RestTrunk, column: Column, skin: TrunkSkin, clavicle_z: float, size: float, frame: float
    ) -> _Cage:
        """The largest cage, up to the person's size, that leaves the chest wall free at every level."""
        heights = column.z_m[6:16]
        top = load_skeleton().vertices_of("sternum")[:, 2].max()
        drop = float(np.clip(column.height(np.array([top]))[0] - clavicle_z, 0.0, 0.06 * size))
        tips = column.y_m[6:16] + size * (rest.tip_y_m - rest.level_y_m[:-1])[6:16]
        front = np.interp(heights - drop, skin.z_m, skin.front_m) + CHEST_WALL_M
        depth = ((tips - front) / (rest.tip_y_m[6:16] - rest.cage_front_m)).min()
        wide = np.interp(heights - drop / 2.0, skin.z_m, skin.half_width_m) - CHEST_WALL_M
        lateral = (wide / rest.cage_half_width_m).min()
        return _Cage(rest, column, size, min(lateral, 1.05 * frame), min(depth, 1.10 * size), drop)

    def place(self, rest_m: FloatArray) -> FloatArray:
        """Bend ``(n, 3)`` points of the cage at rest with the column, lowered towards the front."""
        rest, column = self.rest, self.column
        placed = column.place(rest_m, self.lateral, self.depth)
        z = rest_m[:, 2]
        tip = np.interp(z, rest.level_z_m[:-1], rest.tip_y_m)
        centre = np.interp(z, rest.level_z_m, rest.level_y_m)
        # Seen from the tips of the spinous processes, so that the ribs' heads stay at the vertebrae.
        placed[:, 1] += (self.size - self.depth) * (tip - centre)
        forwards = np.clip((tip - rest_m[:, 1]) / (rest.tip_y_m[6:16] - rest.cage_front_m).max(), 0.0, 1.0)
        placed[:, 2] -= self.drop_m * forwards
        return placed


def _place_girdle(
    skeleton: Skeleton,
    cage: _Cage,
    skin: TrunkSkin,
    joints_m: Joints,
    size: float,
    frame: float,
    vertices_m: FloatArray,
) -> None:
    """Shoulder blades go with the shoulder joints, collar bones span from the breastbone to the shoulder blades."""
    for side, suffix, sign in (("right", "R", -1.0), ("left", "L", 1.0)):
        rest_shoulder = skeleton.joints_m["shoulder"] * [-sign, 1.0, 1.0]
        shoulder = joints_m[f"upperarm01.{suffix}"]
        blade = skeleton.vertices_of(f"scapula_{side}")
        back = np.interp(shoulder[2] - 0.06 * size, skin.z_m, skin.blade_back_m) - GIRDLE_COVER_M
        depth = min(size, float((back - shoulder[1]) / (blade[:, 1].max() - rest_shoulder[1])))
        to_blade = scale_about(rest_shoulder, np.array([frame, depth, size]), shoulder)
        rows = skeleton.select(f"scapula_{side}")
        vertices_m[rows] = to_blade(blade)

        collar = skeleton.vertices_of(f"clavicle_{side}")
        outwards = sign * collar[:, 0]
        inner = collar[outwards < outwards.min() + 0.01].mean(axis=0)
        outer = collar[outwards > outwards.max() - 0.01].mean(axis=0)
        ends = cage.place(inner[None])[0], to_blade(outer)
        upwards = np.array([0.0, 0.0, 1.0])
        rows = skeleton.select(f"clavicle_{side}")
        vertices_m[rows] = along_bone((inner, outer), upwards, ends, upwards, frame)(collar)


def _pelvis_map(
    rest: RestTrunk, column: Column, skin: TrunkSkin, rest_hip: FloatArray, joints_m: Joints, frame: float
) -> Affine:
    """Hang the pelvis on the sacrum's level of the column, as wide as hip joints and flanks allow."""
    joint_half_m = abs(float(joints_m["upperleg01.L"][0] - joints_m["upperleg01.R"][0])) / 2.0
    wanted = (frame + HIP_OUTWARD_SHARE * joint_half_m / abs(float(rest_hip[0]))) / 2.0
    crest = load_skeleton().vertices_of("hip_bone_left")
    crest_height = column.height(crest[crest[:, 0].argmax(), None, 2])
    flank = float(np.interp(crest_height, skin.z_m, skin.skin_half_width_m)[0]) - GIRDLE_COVER_M
    lateral = min(wanted, flank / float(crest[:, 0].max()))
    linear = np.array([lateral, frame, column.scale])
    centre = np.array([0.0, rest.level_y_m[0], rest_hip[2]])
    return scale_about(centre, linear, np.array([0.0, column.y_m[0], -HIP_BELOW_JOINT_M]))
