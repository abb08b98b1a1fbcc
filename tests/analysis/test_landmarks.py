"""Landmarks come back from their file as they went, and impossible ones are refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dxa_monai.analysis.landmarks import (
    LANDMARK_NAMES,
    Landmarks,
    cut_lines,
    landmarks_from_points,
    read_landmarks,
    write_landmarks,
)
from dxa_monai.errors import InputError
from tests.analysis.points import IMAGE_SHAPE, plain_points


def written(tmp_path: Path, **changes: object) -> Path:
    content = {"version": 1, "image_shape": list(IMAGE_SHAPE), "landmarks": plain_points(), **changes}
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps(content))
    return path


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        read_landmarks(path, IMAGE_SHAPE)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "expected" in message
    assert "got" in message
    for part in parts:
        assert part in message


def test_round_trip(tmp_path: Path) -> None:
    landmarks = landmarks_from_points(plain_points(), IMAGE_SHAPE)
    assert read_landmarks(write_landmarks(landmarks, tmp_path / "a.json"), IMAGE_SHAPE) == landmarks


def test_file_has_a_landmark_a_line(tmp_path: Path) -> None:
    path = write_landmarks(landmarks_from_points(plain_points(), IMAGE_SHAPE), tmp_path / "a.json")
    lines = path.read_text().splitlines()
    assert sum(f'"{name}": [' in line for name in LANDMARK_NAMES for line in lines) == len(LANDMARK_NAMES)


def test_coordinates_are_kept_to_a_thousandth(tmp_path: Path) -> None:
    points = plain_points() | {"crotch": (74.123456, 54.2)}
    path = write_landmarks(landmarks_from_points(points, IMAGE_SHAPE), tmp_path / "a.json")
    assert read_landmarks(path).crotch == (74.123, 54.2)


def test_every_point_has_part_in_a_cut_line() -> None:
    landmarks: Landmarks = landmarks_from_points(plain_points(), IMAGE_SHAPE)
    drawn = {point for lines in cut_lines(landmarks).values() for segment in lines for point in segment}
    assert {landmarks.point(name) for name in LANDMARK_NAMES} <= drawn


@pytest.mark.parametrize(
    ("name", "point", "parts"),
    [
        ("crotch", [float("nan"), 54.0], ("finite", "crotch")),
        ("crotch", [float("inf"), 54.0], ("finite", "crotch")),
        ("crotch", [10**400, 54.0], ("finite", "crotch")),
        ("crotch", [74.0], ("[row, column]", "crotch")),
        ("crotch", ["74", 54.0], ("two numbers", "crotch")),
        ("crotch", [True, 54.0], ("two numbers", "crotch")),
        ("crotch", None, ("two numbers", "crotch")),
        ("between_feet", [149.6, 54.0], ("inside the image of 150 rows and 109 columns", "between_feet")),
        ("right_wrist", [70.0, -0.6], ("inside the image", "right_wrist")),
        ("right_elbow", [52.0, 90.0], ("right_elbow", "lower column than left_elbow")),
        ("right_neck", [60.0, 44.0], ("right_neck above",)),
        ("right_wrist", [90.0, 20.0], ("right_wrist above right_fingertip",)),
        ("crotch", [74.0, 35.0], ("crotch's column", "hips")),
        ("between_feet", [70.0, 54.0], ("crotch above between_feet",)),
        ("right_elbow", [52.0, 53.0], ("do not cross", "the right arm's cut", "the right spine line")),
    ],
)
def test_impossible_points_are_refused(tmp_path: Path, name: str, point: object, parts: tuple[str, ...]) -> None:
    refused(written(tmp_path, landmarks=plain_points() | {name: point}), *parts)


def test_exchanged_sides_are_refused(tmp_path: Path) -> None:
    points = plain_points()
    points["right_hip"], points["left_hip"] = points["left_hip"], points["right_hip"]
    refused(written(tmp_path, landmarks=points), "right_hip", "left_hip")


def test_missing_and_unknown_names_are_refused(tmp_path: Path) -> None:
    fewer = {name: point for name, point in plain_points().items() if name != "left_axilla"}
    refused(written(tmp_path, landmarks=fewer), "left_axilla")
    refused(written(tmp_path, landmarks=plain_points() | {"nose": (5, 54)}), "nose")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "JSON text"),
        ("[]", "keys"),
        ("[" * 100_000, "JSON text"),
        ('{"version": 1, "version": 1}', "twice"),
        ('{"version": 2, "image_shape": [150, 109], "landmarks": {}}', "version 1"),
        ('{"version": 1, "image_shape": [150], "landmarks": {}}', "image_shape"),
        ('{"version": 1, "image_shape": [150, 110], "landmarks": {}}', "shape (150, 109)"),
        ('{"version": 1, "image_shape": [150, 109], "landmarks": []}', "object of names"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "landmarks.json"
    path.write_text(text)
    refused(path, part)


def test_missing_file_is_told(tmp_path: Path) -> None:
    refused(tmp_path / "none.json", "JSON file")
