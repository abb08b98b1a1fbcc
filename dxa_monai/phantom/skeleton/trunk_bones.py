"""Head, spine, rib cage, shoulder girdle and pelvis of the placed skeleton.

All coordinates are those of the trunk: x to the left, y to the back, z along the line from the hip joints to the base
of the neck, origin between the body model's hip joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_monai.phantom.body.affine import Affine, along_bone, scale_about
from dxa_monai.phantom.body.joints import SPINE_JOINTS
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.skeleton.bones import Skeleton, load_skeleton
from dxa_monai.phantom.skeleton.spine_column import (
    HIP_BELOW_JOINT_M,
    SACRUM_DROP_M,
    Column,
    RestTrunk,
    fit_column,
    group_rows,
    rest_trunk,
)
from dxa_monai.phantom.tissue.trunk_skin import TrunkSkin

HIP_OUTWARD_SHARE = 0.8
"""Hip centre against the body model's joint, which lies in the middle of the thigh instead of in the groin."""
CHEST_WALL_M = 0.014
"""From the lean surface to the ribs and the breastbone in front, from the skin to the ribs at the sides."""
LEAN_CHEST_OVERLAP_M = 0.004
"""So far the ribs may stand out of the sides of the lean surface: at weight 0 the model's chest is emaciated."""
CLAVICLE_RISE = 0.17
"""Rise of the collar bone towards the shoulder over its length, about 10 degrees (assumption: supine, arms down)."""
MAX_SHOULDER_RAISE_M = 0.03
"""The shoulder lies up to this much above the body model's joint, in metres at size 1: there the skin lies 45 mm over
the acromion, and the upper arm is 14.8 % of the stature instead of 16 (de Leva 1996, J Biomech 29:1223)."""
BLADE_WIDTH = 1.12
"""Width of the shoulder blades against the rest of the frame, so that they lie behind the ribs' outer third."""
GIRDLE_COVER_M = 0.021
"""From the lean surface of the back to the shoulder blades."""
CREST_COVER_M = 0.012
"""From the skin of the flanks to the iliac crests."""
MIN_PELVIS_DEPTH = 0.75
"""The pelvis is never flatter than this share of the frame."""
SCALP_M = 0.0075
CHIN_M = 0.008
"""Soft tissue over the skull and under the chin."""
VAULT_SHARE = 0.62
"""Above this share of the head's height there are no ears and no nose: there skin and skull are compared."""
NOSE_TO_CHIN_M = 0.033
"""The chin is the lowest point of the face that lies no further back from the nose's tip than this."""
_SLICE_M = 0.02

Joints = dict[str, FloatArray]


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
        ``hip_right``, ``hip_left``: centres of the acetabula; ``shoulder_right``, ``shoulder_left``: those of the
        shoulder joints.
    """

    def put(transform: Affine, *groups: str) -> None:
        rows = group_rows(*groups)
        vertices_m[rows] = transform(skeleton.vertices_m[rows])

    neck_z = float(joints_m["neck01"][2])
    edges = faces[(vertex_part[faces] == 0).all(axis=1)][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    # Every edge between two faces runs once upwards and once downwards in index: one of the two is enough.
    edges = edges[edges[:, 0] < edges[:, 1]]
    skin = TrunkSkin.of(skin_m, lean_m, edges, np.arange(-0.10, neck_z, _SLICE_M))
    head = _head_map(skeleton, skin_m[vertex_part == 1])
    put(head, "skull", "jaw")

    rest = rest_trunk()
    spine = np.stack([joints_m[name] for name in SPINE_JOINTS])
    column = fit_column(rest, skeleton.joints_m["hip"][2], head, skin, spine, size)
    rows = group_rows("cervical_spine", "thoracic_spine", "lumbar_spine")
    vertices_m[rows] = column.place(skeleton.vertices_m[rows], frame, size)

    rows = group_rows("ribs", "sternum")
    cage = _Cage.fit(
        rest, column, skin, float(joints_m["clavicle.L"][2] + joints_m["clavicle.R"][2]) / 2.0, size, frame
    )
    vertices_m[rows] = cage.place(skeleton.vertices_m[rows])
    placed = _place_girdle(skeleton, cage, skin, joints_m, size, frame, vertices_m)

    pelvis = _pelvis_map(rest, column, skin, skeleton.joints_m["hip"], joints_m, frame)
    put(pelvis, "pelvis")
    put(Affine(pelvis.linear, pelvis.offset - np.array([0.0, 0.0, SACRUM_DROP_M * size])), "sacrum")
    hip = skeleton.joints_m["hip"]
    return placed | {"hip_right": pelvis(hip), "hip_left": pelvis(hip * [-1.0, 1.0, 1.0])}


def _head_map(skeleton: Skeleton, skin_m: FloatArray) -> Affine:
    """Scale skull and jaw so that the vault fills the scalp and the jaw reaches the chin."""
    middle = (skin_m[:, 0].min() + skin_m[:, 0].max()) / 2.0
    crown = skin_m[:, 2].max()
    face = skin_m[(np.abs(skin_m[:, 0] - middle) < 0.012) & (skin_m[:, 2] < crown - 0.1)]
    chin = face[face[:, 1] < face[:, 1].min() + NOSE_TO_CHIN_M][:, 2].min()
    bones = skeleton.vertices_m[group_rows("skull", "jaw")]
    low, high = bones[:, 2].min(), bones[:, 2].max()
    scalp = skin_m[skin_m[:, 2] > chin + VAULT_SHARE * (crown - chin)]
    vault = bones[bones[:, 2] > low + VAULT_SHARE * (high - low)]
    height_scale = (crown - SCALP_M - chin - CHIN_M) / (high - low)
    scale = np.append((np.ptp(scalp[:, :2], axis=0) - 2.0 * SCALP_M) / np.ptp(vault[:, :2], axis=0), height_scale)
    source = np.append((vault[:, :2].min(axis=0) + vault[:, :2].max(axis=0)) / 2.0, low)
    target = np.append((scalp[:, :2].min(axis=0) + scalp[:, :2].max(axis=0)) / 2.0, chin + CHIN_M)
    return scale_about(source, scale, target)


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
    def fit(rest: RestTrunk, column: Column, skin: TrunkSkin, clavicle_z: float, size: float, frame: float) -> _Cage:
        """The largest cage, up to the person's size, that leaves the chest wall free at every level."""
        heights = column.z_m[6:16]
        top = load_skeleton().vertices_of("sternum")[:, 2].max()
        drop = float(np.clip(column.height(np.array([top]))[0] - clavicle_z, 0.0, 0.06 * size))
        tips = column.y_m[6:16] + size * (rest.tip_y_m - rest.level_y_m[:-1])[6:16]
        front = np.interp(heights - drop, skin.z_m, skin.front_m) + CHEST_WALL_M
        depth = ((tips - front) / (rest.tip_y_m[6:16] - rest.cage_front_m)).min()
        skin_limit, lean_limit = skin.skin_half_width_m - CHEST_WALL_M, skin.half_width_m + LEAN_CHEST_OVERLAP_M
        wide = np.interp(heights - drop / 2.0, skin.z_m, np.minimum(skin_limit, lean_limit))
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
) -> Joints:
    """Collar bones rise from the breastbone to the shoulder blades, which bring the shoulder joints along."""
    placed: Joints = {}
    for side, suffix, sign in (("right", "R", -1.0), ("left", "L", 1.0)):
        rest_shoulder = skeleton.joints_m["shoulder"] * [-sign, 1.0, 1.0]
        shoulder = joints_m[f"upperarm01.{suffix}"]
        blade = skeleton.vertices_of(f"scapula_{side}")
        heights = shoulder[2] - size * np.array([0.06, 0.12])
        back = np.interp(heights, skin.z_m, skin.blade_back_m).min() - GIRDLE_COVER_M
        depth = min(size, float((back - shoulder[1]) / (blade[:, 1].max() - rest_shoulder[1])))
        scale = np.array([BLADE_WIDTH * frame, depth, size])
        to_blade = scale_about(rest_shoulder, scale, shoulder)

        collar = skeleton.vertices_of(f"clavicle_{side}")
        outwards = sign * collar[:, 0]
        inner = collar[outwards < outwards.min() + 0.01].mean(axis=0)
        outer = collar[outwards > outwards.max() - 0.01].mean(axis=0)
        start, end = cage.place(inner[None])[0], to_blade(outer)
        wanted = start[2] + CLAVICLE_RISE * abs(end[0] - start[0]) - end[2]
        raised = np.array([0.0, 0.0, float(np.clip(wanted, 0.0, MAX_SHOULDER_RAISE_M * size))])
        placed[f"shoulder_{side}"] = shoulder + raised
        vertices_m[skeleton.select(f"scapula_{side}")] = to_blade(blade) + raised
        upwards = np.array([0.0, 0.0, 1.0])
        ends = start, end + raised
        rows = skeleton.select(f"clavicle_{side}")
        vertices_m[rows] = along_bone((inner, outer), upwards, ends, upwards, frame)(collar)
    return placed


def _pelvis_map(
    rest: RestTrunk, column: Column, skin: TrunkSkin, rest_hip: FloatArray, joints_m: Joints, frame: float
) -> Affine:
    """Hang the pelvis on the sacrum's level of the column, as wide and deep as hip joints and flanks allow."""
    joint_half_m = abs(float(joints_m["upperleg01.L"][0] - joints_m["upperleg01.R"][0])) / 2.0
    wanted = (frame + HIP_OUTWARD_SHARE * joint_half_m / abs(float(rest_hip[0]))) / 2.0
    # The iliac crest's outermost and the anterior iliac spine, the foremost point of the wing, come close to the skin.
    crest = load_skeleton().vertices_of("hip_bone_left")
    crest_height = column.height(crest[crest[:, 0].argmax(), None, 2])
    flank = float(np.interp(crest_height, skin.z_m, skin.skin_half_width_m)[0]) - CREST_COVER_M
    lateral = min(wanted, flank / float(crest[:, 0].max()))
    wing = crest[crest[:, 2] > rest_hip[2] + 0.05]
    spine = wing[wing[:, 1].argmin()]
    belly = float(np.interp(column.height(spine[None, 2]), skin.z_m, skin.flank_front_m)[0]) + CREST_COVER_M
    depth = float(np.clip((column.y_m[0] - belly) / (rest.level_y_m[0] - spine[1]), MIN_PELVIS_DEPTH * frame, frame))
    linear = np.array([lateral, depth, column.scale])
    centre = np.array([0.0, rest.level_y_m[0], rest_hip[2]])
    return scale_about(centre, linear, np.array([0.0, column.y_m[0], -HIP_BELOW_JOINT_M]))
