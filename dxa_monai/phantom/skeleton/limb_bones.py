"""Arms, hands, legs and feet of the placed skeleton, one affine map a bone."""

from __future__ import annotations

from functools import cache

import numpy as np

from dxa_monai.phantom.body.affine import Affine, along_bone
from dxa_monai.phantom.body.asymmetry import Asymmetry
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.skeleton.bones import Skeleton, load_skeleton

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_CARPALS = ("scaphoid", "lunate", "triquetrum", "pisiform", "trapezium", "trapezoid", "capitate", "hamate")

FINGERTIP_SHARE = 0.5
"""Length of the last phalanx against the one before it, where the body model's finger joints end."""
HAND_SCALE = 0.58
"""Bones of the hand across their axes, against the rest of the frame: the source's hand is large for its stature."""
FOOT_SCALE = 0.85
"""The same for the foot."""
FOREARM_SCALE = 0.93
"""The same for radius and ulna."""
PATELLA_SHIFT = 0.007
"""The kneecap lies this much further back than at rest, in metres at size 1: the skin of a slim knee is close."""
SHANK_SCALE = 0.9
"""The same for tibia and fibula, whose malleoli would stand out of slim ankles."""
KNEE_SHIFT = 0.005
"""The tibia's plateau is raised by this much towards the femur, in metres at size 1: cartilage is thin."""
ANKLE_SHIFT = 0.010
"""The ankle lies this far beyond the body model's joint, along the shank, in metres at size 1 ..."""
TOE_SHIFT = 0.008
"""... and the tips of the toes this far towards the sole of the model's last toe joints."""
ULNAR_SHARE = 0.5
"""Share of the distance between the two forearm bones at the wrist by which the ulna lies on the little finger's side
of the wrist's centre."""
WRIST_SCALE = 0.8
"""That distance against the rest of the frame."""
LEG_TURN_SHARE = 12.0 / 22.0
"""Share of the foot's inward turn that happens in the hip, as in :mod:`dxa_monai.phantom.body.positioning`."""
ELBOW_SHARE = 0.36
"""The body model's elbow lies this share of the way from the ulna to the head of the radius."""

Joints = dict[str, FloatArray]


def place_limbs(
    skeleton: Skeleton,
    joints_m: Joints,
    girdles_m: Joints,
    lateral_scale: float,
    asymmetry: Asymmetry,
    vertices_m: FloatArray,
) -> Joints:
    """Write the limb bones' vertices.

    Args:
        skeleton: the bones at rest.
        joints_m: the body's joints by anny bone name.
        girdles_m: ``hip_right``, ``hip_left``, ``shoulder_right``, ``shoulder_left``: centres in the placed pelvis and
            shoulder blades.
        lateral_scale: scale of the bones across their axes.
        asymmetry: how that differs between the sides.
        vertices_m: ``(V, 3)``, rows of the limb bones are overwritten.

    Returns:
        Placed joint centres ``knee_right``, ``ankle_right``, ``elbow_right`` ... on both sides.
    """
    placed: Joints = {}
    for side, suffix, sign in (("right", "R", -1.0), ("left", "L", 1.0)):
        mirror = np.array([-sign, 1.0, 1.0])
        rest = {name: mirror * joint for name, joint in skeleton.joints_m.items()}
        body = {name[:-2]: joint for name, joint in joints_m.items() if name.endswith(f".{suffix}")}
        outwards = np.array([sign, 0.0, 0.0])
        leg, arm = (lateral_scale * asymmetry.of(side, name) for name in ("leg_bone", "arm_bone"))
        maps = _leg_maps(rest, body, side, girdles_m[f"hip_{side}"], outwards, leg)
        maps |= _arm_maps(rest, body, side, girdles_m[f"shoulder_{side}"], outwards, arm)
        for name, transform in maps.items():
            rows = skeleton.select(f"{name}_{side}")
            vertices_m[rows] = transform(skeleton.vertices_m[rows])
        for joint, bone in (("knee", "tibia"), ("ankle", "talus"), ("toe_base", "foot"), ("shoulder", "humerus"),
                            ("elbow", "ulna"), ("wrist", "capitate")):  # fmt: skip
            placed[f"{joint}_{side}"] = maps[bone](rest[joint])
    return placed


def _leg_maps(
    rest: Joints, body: Joints, side: str, hip: FloatArray, outwards: FloatArray, lateral: float
) -> dict[str, Affine]:
    knee = body["lowerleg01"]
    shank_axis = body["foot"] - knee
    shank_axis = shank_axis / np.linalg.norm(shank_axis)
    ankle = body["foot"] + ANKLE_SHIFT * lateral * shank_axis
    plateau = knee - KNEE_SHIFT * lateral * shank_axis
    toe_tip = np.mean([body["toe1-2"], *(body[f"toe{toe}-3"] for toe in range(2, 6))], axis=0)
    # Turned inwards, the thigh brings the femur's neck, which points forwards at rest, into the plane of the image.
    turn = LEG_TURN_SHARE * _inward_turn(toe_tip - ankle, shank_axis, outwards)
    hinge = np.cos(turn) * outwards + np.sin(turn) * np.array([0.0, -1.0, 0.0])
    thigh = along_bone((rest["hip"], rest["knee"]), outwards, (hip, knee), hinge, lateral)
    shank = along_bone((rest["knee"], rest["ankle"]), outwards, (plateau, ankle), hinge, SHANK_SCALE * lateral)
    # The foot turns with its own transverse axis, from the big toe to the little one.
    across = body["toe5-1"] - body["toe1-1"]
    sole = np.cross(across, toe_tip - ankle) * outwards[0]
    toe_tip = toe_tip + TOE_SHIFT * lateral * sole / np.linalg.norm(sole)
    foot = along_bone((rest["ankle"], toe_tip_at_rest(side)), outwards, (ankle, toe_tip), across, FOOT_SCALE * lateral)
    patella = Affine(thigh.linear, thigh.offset + np.array([0.0, PATELLA_SHIFT * lateral, 0.0]))
    maps = {"femur": thigh, "patella": patella, "tibia": shank, "fibula": shank}
    return maps | dict.fromkeys(("talus", "foot", "toes"), foot)


def _inward_turn(foot: FloatArray, shank_axis: FloatArray, outwards: FloatArray) -> float:
    """Angle in radians between the foot, seen along the shank, and straight ahead; inwards is positive."""
    across = foot - (foot @ shank_axis) * shank_axis
    return float(np.arctan2(-(across @ outwards), -across[1]))


def _arm_maps(
    rest: Joints, body: Joints, side: str, shoulder: FloatArray, outwards: FloatArray, lateral: float
) -> dict[str, Affine]:
    elbow, wrist = body["lowerarm01"], body["wrist"]
    # At rest the palms face forward and the thumbs outwards; on the table the hand's own axis says where they point.
    thumbwards = body["finger2-1"] - body["finger5-1"]
    thumbwards = thumbwards / np.linalg.norm(thumbwards)
    outer_shift = ELBOW_SHARE * (rest["radial_head"][0] - rest["elbow"][0])
    rest_elbow = rest["elbow"] + np.array([outer_shift, 0.0, 0.0])
    upper_arm = along_bone((rest["shoulder"], rest_elbow), outwards, (shoulder, elbow), outwards, lateral)
    radius_end, ulna_end = (arm_bone_ends(f"{bone}_{side}")[1] for bone in ("radius", "ulna"))
    apart = np.linalg.norm((radius_end - ulna_end)[:2]) * WRIST_SCALE * lateral
    # The ulna stays with the elbow's hinge; the radius turns about it, so that in a palm-down hand the two cross.
    maps = {
        "humerus": upper_arm,
        "ulna": along_bone(
            (rest["elbow"], ulna_end),
            outwards,
            (upper_arm(rest["elbow"]), wrist - ULNAR_SHARE * apart * thumbwards),
            outwards,
            FOREARM_SCALE * lateral,
        ),
        "radius": along_bone(
            (rest["radial_head"], radius_end),
            outwards,
            (upper_arm(rest["radial_head"]), wrist + (1.0 - ULNAR_SHARE) * apart * thumbwards),
            thumbwards,
            FOREARM_SCALE * lateral,
        ),
    }
    thickness = lateral * HAND_SCALE
    knuckle = arm_bone_ends(f"middle_proximal_{side}")[0]
    hand = along_bone((rest["wrist"], knuckle), outwards, (wrist, body["finger3-1"]), thumbwards, thickness)
    maps |= dict.fromkeys(_CARPALS, hand)
    for number, finger in enumerate(_FINGERS, start=1):
        joints = [body[f"finger{number}-{k}"] for k in (1, 2, 3)]
        joints.append(joints[2] + FINGERTIP_SHARE * (joints[2] - joints[1]))
        if number == 1:
            names = ["metacarpal_1", "thumb_proximal", "thumb_distal"]
        else:
            names = [f"metacarpal_{number}", *(f"{finger}_{row}" for row in ("proximal", "medial", "distal"))]
            joints.insert(0, hand(arm_bone_ends(f"metacarpal_{number}_{side}")[0]))
        for name, start, end in zip(names, joints[:-1], joints[1:], strict=True):
            ends = arm_bone_ends(f"{name}_{side}")
            maps[name] = along_bone(ends, outwards, (start, end), thumbwards, thickness)
    return maps


@cache
def arm_bone_ends(name: str) -> tuple[FloatArray, FloatArray]:
    """Upper and lower end of a bone of the hanging arm at rest: its extreme twentieths along its principal axis."""
    points = load_skeleton().vertices_of(name)
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    height = points @ (axis if axis[2] > 0 else -axis)
    low, high = np.quantile(height, [0.05, 0.95])
    return points[height >= high].mean(axis=0), points[height <= low].mean(axis=0)


@cache
def toe_tip_at_rest(side: str) -> FloatArray:
    """Front end of the toes at rest: their foremost twentieth."""
    points = load_skeleton().vertices_of(f"toes_{side}")
    return points[points[:, 1] <= np.quantile(points[:, 1], 0.05)].mean(axis=0)
