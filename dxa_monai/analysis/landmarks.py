"""The named points between which a whole-body scan is cut, as a small JSON file that a person may edit.

Points are (row, column) in pixels, pixel centres at integers; row 0 is at the head, columns run from the patient's
right to the left as displayed, so a right landmark has the lower column::

    {
     "version": 1,
     "image_shape": [150, 109],
     "landmarks": {
      "right_neck": [22.41, 43.02],
      ...
     }
    }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import combinations, pairwise
from pathlib import Path

from dxa_monai.analysis.json_points import inside_image, read_point, read_shape, write_object
from dxa_monai.analysis.segments import Point, Segment, segments_cross
from dxa_monai.errors import InputError
from dxa_monai.input_files import read_keys

LANDMARKS_VERSION = 1
SIDES = ("right", "left")
ARM_POINTS = ("shoulder", "axilla", "upper_arm", "elbow", "wrist", "fingertip")
"""Points of an arm's cut from the top down, each prefixed with its side."""
_DECIMALS = 3
_MAY_MEET = tuple({f"the {side} spine line", line} for side in SIDES for line in ("the neck line", "the pelvis line"))
"""The spine lines end on these; which side of them rounding puts the end on says nothing."""


@dataclass(frozen=True)
class Landmarks:
    """Points (row, column) that define the cut lines of one image.

    Attributes:
        image_shape: (rows, columns) of the image they belong to.
        right_neck, left_neck: two points of the line between head and trunk.
        right_shoulder ... right_fingertip, left_...: the cut between arm and body: top of the shoulder above its
            joint, armpit, inner side of the upper arm, of elbow and wrist, fingertip (where the arm ends).
        right_spine_upper, right_spine_lower, left_...: the two lines beside the spine.
        right_crest, left_crest: two points of the line just above the iliac crests.
        right_hip, left_hip: femoral heads, through which the oblique lines of the pelvis triangle run.
        crotch: tip of the pelvis triangle, where the oblique lines meet below the ischia.
        between_feet: lower end of the line between the legs, which begins at the crotch.
    """

    image_shape: tuple[int, int]
    right_neck: Point
    left_neck: Point
    right_shoulder: Point
    right_axilla: Point
    right_upper_arm: Point
    right_elbow: Point
    right_wrist: Point
    right_fingertip: Point
    left_shoulder: Point
    left_axilla: Point
    left_upper_arm: Point
    left_elbow: Point
    left_wrist: Point
    left_fingertip: Point
    right_spine_upper: Point
    right_spine_lower: Point
    left_spine_upper: Point
    left_spine_lower: Point
    right_crest: Point
    left_crest: Point
    right_hip: Point
    left_hip: Point
    crotch: Point
    between_feet: Point

    def point(self, name: str) -> Point:
        """(row, column) of the landmark ``name``."""
        found: Point = getattr(self, name)
        return found

    def arm_cut(self, side: str) -> list[Point]:
        """The points of the cut of one arm ("right" or "left"), from the top down."""
        return [self.point(f"{side}_{name}") for name in ARM_POINTS]


def _line_ends() -> dict[str, list[tuple[str, str]]]:
    lines = {"the neck line": [("right_neck", "left_neck")]}
    for side in SIDES:
        lines[f"the {side} arm's cut"] = list(pairwise(f"{side}_{name}" for name in ARM_POINTS))
        lines[f"the {side} spine line"] = [(f"{side}_spine_upper", f"{side}_spine_lower")]
    lines["the pelvis line"] = [("right_crest", "left_crest")]
    for side in SIDES:
        lines[f"the {side} hip line"] = [("crotch", f"{side}_hip")]
    lines["the line between the legs"] = [("crotch", "between_feet")]
    return lines


CUT_LINES = _line_ends()
"""Which landmarks the cut lines join, by the line's name: each a list of pairs."""
LANDMARK_NAMES = tuple(field.name for field in fields(Landmarks) if field.name != "image_shape")
_PAIRS = tuple(name.removeprefix("right_") for name in LANDMARK_NAMES if name.startswith("right_"))


def landmarks_from_points(
    points: Mapping[str, Point], image_shape: tuple[int, int], source: str | Path = "landmarks"
) -> Landmarks:
    """Check a full set of points and make :class:`Landmarks` of it.

    Args:
        points: (row, column) of every name of ``LANDMARK_NAMES``.
        image_shape: (rows, columns).
        source: what a message names, for example the file.

    Raises:
        InputError: a name is missing or unknown, a point is not finite or outside the image, the points are in an
            impossible order (left and right exchanged, neck below the pelvis, ...) or the cut lines cross.
    """
    unknown = [name for name in points if name not in LANDMARK_NAMES]
    if unknown:
        raise InputError(f"{source}: expected only known landmarks, got {unknown[0]!r}.")
    missing = [name for name in LANDMARK_NAMES if name not in points]
    if missing:
        raise InputError(f"{source}: expected all {len(LANDMARK_NAMES)} landmarks, got none named {missing[0]!r}.")
    checked = {name: read_point(source, name, points[name]) for name in LANDMARK_NAMES}
    rows, columns = image_shape
    for name, point in checked.items():
        if not inside_image(point, image_shape):
            raise InputError(
                f"{source}: expected {name} inside the image of {rows} rows and {columns} columns, got {list(point)}."
            )
    _check_sides(checked, source)
    _check_order(checked, source)
    landmarks = Landmarks(image_shape=image_shape, **checked)
    lines = cut_lines(landmarks)
    for (first, first_segments), (second, second_segments) in combinations(lines.items(), 2):
        if {first, second} in _MAY_MEET:
            continue
        if any(segments_cross(a, b) for a in first_segments for b in second_segments):
            raise InputError(f"{source}: expected cut lines that do not cross, got {first} crossing {second}.")
    return landmarks


def cut_lines(landmarks: Landmarks) -> dict[str, list[Segment]]:
    """The cut lines as drawn, by name: each a list of segments ((row, column), (row, column))."""
    at = landmarks.point
    return {line: [(at(upper), at(lower)) for upper, lower in ends] for line, ends in CUT_LINES.items()}


def write_landmarks(landmarks: Landmarks, path: str | Path) -> Path:
    """Write the JSON file, coordinates to a thousandth of a pixel.

    Returns:
        ``path``.
    """
    points = {name: [round(part, _DECIMALS) for part in landmarks.point(name)] for name in LANDMARK_NAMES}
    content = {"version": LANDMARKS_VERSION, "image_shape": list(landmarks.image_shape), "landmarks": points}
    return write_object(content, path)


def read_landmarks(path: str | Path, image_shape: tuple[int, int] | None = None) -> Landmarks:
    """Read and check a file of :func:`write_landmarks`, possibly edited.

    Args:
        path: JSON file.
        image_shape: shape of the image they shall serve; None takes the file's own.

    Raises:
        InputError: unreadable, not of this form, made for another image shape, or refused by
            :func:`landmarks_from_points`.
    """
    content = read_keys(path, ("version", "image_shape", "landmarks"), LANDMARKS_VERSION)
    shape = read_shape(path, content["image_shape"])
    if image_shape is not None and shape != tuple(image_shape):
        raise InputError(f"{path}: expected landmarks of an image of shape {tuple(image_shape)}, got {shape}.")
    if not isinstance(content["landmarks"], dict):
        raise InputError(
            f"{path}: expected landmarks as an object of names and points, got {type(content['landmarks']).__name__}."
        )
    return landmarks_from_points(content["landmarks"], shape, path)


def _check_sides(points: Mapping[str, Point], source: str | Path) -> None:
    for name in _PAIRS:
        right, left = points[f"right_{name}"][1], points[f"left_{name}"][1]
        if right >= left:
            raise InputError(
                f"{source}: expected right_{name} at a lower column than left_{name} (columns run from the patient's "
                f"right to the left), got {right:g} and {left:g}."
            )
    right, middle, left = points["right_hip"][1], points["crotch"][1], points["left_hip"][1]
    if not right < middle < left:
        raise InputError(
            f"{source}: expected the crotch's column between those of the hips, got {right:g}, {middle:g}, {left:g}."
        )


def _check_order(points: Mapping[str, Point], source: str | Path) -> None:
    orders: list[tuple[str, ...]] = [("crotch", "between_feet")]
    for side in SIDES:
        orders.append(tuple(f"{side}_{name}" for name in ARM_POINTS))
        orders.append((f"{side}_spine_upper", f"{side}_spine_lower"))
        orders.append((f"{side}_neck", f"{side}_axilla"))
        orders.append((f"{side}_neck", f"{side}_crest", f"{side}_hip", "crotch"))
    for order in orders:
        for upper, lower in pairwise(order):
            if points[upper][0] >= points[lower][0]:
                raise InputError(
                    f"{source}: expected {upper} above {lower} (rows run from head to feet), "
                    f"got rows {points[upper][0]:g} and {points[lower][0]:g}."
                )
