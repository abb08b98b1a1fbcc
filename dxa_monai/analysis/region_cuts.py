"""Regions of a whole-body scan from its landmarks: straight cuts, every pixel of the body in exactly one region."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dxa_monai.analysis.landmarks import Landmarks
from dxa_monai.analysis.upright import BoolArray, FloatArray
from dxa_monai.errors import InputError
from dxa_monai.own_matplotlib import Outline
from dxa_monai.scan.regions import Region


def region_map_from_landmarks(landmarks: Landmarks, body: BoolArray) -> npt.NDArray[np.uint8]:
    """Cut the silhouette along the landmarks' lines.

    A pixel belongs to the region that its centre lies in. In this order: the head is all that lies above the neck
    line; an arm is what lies beyond its cut and above its fingertip; a leg is what lies below the oblique line from the
    crotch through its hip, on its side of the midline and, below the crotch, of the line between the legs; the rest is
    the trunk: pelvis below the line of the iliac crests, above it the spine between its two lines and the ribs beside
    them. All lines run on beyond their landmarks; an arm's cut runs on along the body's axis above the shoulder and
    sideways at the fingertip.

    Args:
        landmarks: of an image of the same shape.
        body: ``(H, W)`` bool.

    Returns:
        ``(H, W)`` uint8 of :class:`dxa_monai.scan.regions.Region`; 0 exactly where ``body`` is False.

    Raises:
        InputError: ``body`` has another shape than the landmarks' image.
    """
    body = np.asarray(body, dtype=bool)
    if body.shape != tuple(landmarks.image_shape):
        raise InputError(f"body: expected the landmarks' image shape {landmarks.image_shape}, got {body.shape}.")
    rows = np.arange(body.shape[0], dtype=np.float64)[:, None]
    columns = np.arange(body.shape[1], dtype=np.float64)[None, :]
    at = landmarks.point

    def left_of(upper: str, lower: str) -> BoolArray:
        """True on the patient's left (high columns) of the line that runs down through two landmarks."""
        return _beyond(rows, columns, at(upper), at(lower))

    def below(right: str, left: str) -> BoolArray:
        """True on the feet's side of the line through two landmarks, the first at the lower column."""
        return ~_beyond(rows, columns, at(right), at(left))

    regions: npt.NDArray[np.uint8] = np.full(body.shape, Region.RIBS, dtype=np.uint8)
    on_spine = left_of("right_spine_upper", "right_spine_lower") & ~left_of("left_spine_upper", "left_spine_lower")
    regions[on_spine] = Region.SPINE
    regions[below("right_crest", "left_crest")] = Region.PELVIS

    crest = np.subtract(at("left_crest"), at("right_crest"))
    crotch = np.array(at("crotch"))
    above_crotch = _beyond(rows, columns, tuple(crotch), tuple(crotch + crest))
    neck = np.mean([at("right_neck"), at("left_neck")], axis=0)
    midline = _beyond(rows, columns, tuple(neck), tuple(crotch))
    left_side = np.where(above_crotch, midline, left_of("crotch", "between_feet"))
    regions[~left_side & below("right_hip", "crotch")] = Region.RIGHT_LEG
    regions[left_side & below("crotch", "left_hip")] = Region.LEFT_LEG

    regions[_beyond_arm_cut(landmarks, "right", neck - crotch, -crest)] = Region.RIGHT_ARM
    regions[_beyond_arm_cut(landmarks, "left", neck - crotch, crest)] = Region.LEFT_ARM
    regions[~below("right_neck", "left_neck")] = Region.HEAD
    regions[~body] = Region.BACKGROUND
    return regions


def _beyond(rows: FloatArray, columns: FloatArray, start: tuple[float, ...], end: tuple[float, ...]) -> BoolArray:
    """True to the left-hand side when walking from ``start`` to ``end`` (rows point down, columns to the right)."""
    side: BoolArray = (columns - start[1]) * (end[0] - start[0]) - (rows - start[0]) * (end[1] - start[1]) > 0.0
    return side


def _beyond_arm_cut(landmarks: Landmarks, side: str, upwards: FloatArray, outwards: FloatArray) -> BoolArray:
    """``(H, W)`` True beyond one arm's cut, from the image's top to the fingertip's level.

    Args:
        landmarks: the landmarks.
        side: "right" or "left".
        upwards: (row, column) direction in which the cut runs on above the shoulder.
        outwards: (row, column) direction in which it runs on at the fingertip.
    """
    cut = np.array(landmarks.arm_cut(side))
    far = 2.0 * sum(landmarks.image_shape)
    up, out = far * upwards / np.linalg.norm(upwards), far * outwards / np.linalg.norm(outwards)
    outline = np.vstack([cut[0] + up, cut, cut[-1] + out, cut[0] + up + out])
    rows, columns = np.indices(landmarks.image_shape)
    pixels = np.column_stack([rows.ravel(), columns.ravel()])
    inside: BoolArray = Outline(outline).contains_points(pixels).reshape(landmarks.image_shape)
    return inside
