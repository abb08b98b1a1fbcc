"""A plain set of landmarks of a symmetric body in a 150 x 109 image."""

from __future__ import annotations

IMAGE_SHAPE = (150, 109)
_RIGHT = {
    "neck": (23.0, 44.0),
    "shoulder": (26.0, 38.0),
    "axilla": (35.0, 36.0),
    "upper_arm": (43.0, 30.0),
    "elbow": (52.0, 24.0),
    "wrist": (70.0, 20.0),
    "fingertip": (84.0, 20.0),
    "spine_upper": (23.0, 48.0),
    "spine_lower": (56.0, 48.0),
    "crest": (56.0, 36.0),
    "hip": (69.0, 40.0),
}


def plain_points() -> dict[str, tuple[float, float]]:
    """Every landmark; the body's middle is column 54."""
    points = {"crotch": (74.0, 54.0), "between_feet": (143.0, 54.0)}
    for name, (row, column) in _RIGHT.items():
        points[f"right_{name}"] = (row, column)
        points[f"left_{name}"] = (row, 108.0 - column)
    return points
