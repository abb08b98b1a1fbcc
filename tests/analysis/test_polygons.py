"""Polygons cover what their area says, and those that cannot be meant are refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from dxa_monai.analysis.polygons import checked_polygons, polygon_coverage, read_polygons
from dxa_monai.errors import InputError

SHAPE = (30, 20)
SPACING_MM = (13.0, 6.06)
SQUARE = [[2, 3], [2, 9], [8, 9], [8, 3]]


def written(tmp_path: Path, polygons: object, unit: object = "pixel") -> Path:
    path = tmp_path / "polygons.json"
    path.write_text(json.dumps({"version": 1, "unit": unit, "polygons": polygons}))
    return path


def shoelace(points: np.ndarray) -> float:
    row, column = points.T
    return 0.5 * abs(float((row * np.roll(column, -1) - np.roll(row, -1) * column).sum()))


def test_read_in_pixels_and_in_millimetres(tmp_path: Path) -> None:
    in_pixels = read_polygons(written(tmp_path, {"thigh": SQUARE}), SHAPE, SPACING_MM)
    scaled = [[row * SPACING_MM[0], column * SPACING_MM[1]] for row, column in SQUARE]
    in_mm = read_polygons(written(tmp_path, {"thigh": scaled}, "mm"), SHAPE, SPACING_MM)
    assert in_pixels == {"thigh": [tuple(map(float, point)) for point in SQUARE]}
    np.testing.assert_allclose(in_mm["thigh"], in_pixels["thigh"])


def test_pixel_aligned_rectangle_covers_whole_pixels() -> None:
    expected = np.zeros(SHAPE)
    expected[2:5, 3:8] = 1.0
    found = polygon_coverage([(1.5, 2.5), (1.5, 7.5), (4.5, 7.5), (4.5, 2.5)], SHAPE)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_whole_image_is_covered() -> None:
    corners = [(-0.5, -0.5), (-0.5, 19.5), (29.5, 19.5), (29.5, -0.5)]
    np.testing.assert_allclose(polygon_coverage(corners, SHAPE), 1.0)


def test_rectangle_through_pixel_centres_covers_halves_and_quarters() -> None:
    found = polygon_coverage([(2, 3), (2, 5), (4, 5), (4, 3)], SHAPE)
    np.testing.assert_allclose(found[2:5, 3:6], [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])
    assert found.sum() == pytest.approx(4.0)


@pytest.mark.parametrize("seed", range(8))
def test_coverage_agrees_with_fine_sampling_and_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(0.4, 1.0, 9)[:, None]
    star = np.array([14.3, 9.1]) + radius * np.column_stack([13.0 * np.sin(angles), 8.0 * np.cos(angles)])
    points = [tuple(point) for point in star]
    found = polygon_coverage(points, SHAPE)
    assert found.sum() == pytest.approx(shoelace(star))
    np.testing.assert_allclose(polygon_coverage(points[::-1], SHAPE), found, atol=1e-12)

    parts = 20
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    rows = (np.arange(SHAPE[0])[:, None] + offsets).ravel()
    columns = (np.arange(SHAPE[1])[:, None] + offsets).ravel()
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = Outline(star).contains_points(grid).reshape(SHAPE[0], parts, SHAPE[1], parts)
    np.testing.assert_allclose(found, inside.mean(axis=(1, 3)), atol=0.05)


@pytest.mark.parametrize(
    ("polygons", "parts"),
    [
        ({"thigh": [[2, 2], [3, 3]]}, ("'thigh'", "3 to 500 points, got 2")),
        ({"thigh": [[2, 2], [8, 8], [2, 8], [8, 2]]}, ("'thigh'", "point 1 to point 2", "point 3 to point 4")),
        ({"thigh": [[2, 2], [8, 2], [4, 2], [5, 6]]}, ("'thigh'", "intersect")),
        ({"thigh": [[2, 2], [2, 9], [2, 12]]}, ("'thigh'", "intersect")),
        ({"thigh": [[2, 2], [2, 2], [8, 8], [8, 2]]}, ("'thigh'", "repeated")),
        ({"thigh": [[2, 2], [2, 9], [8, 25]]}, ("'thigh'", "inside the image of 30 rows and 20 columns", "point 3")),
        ({"thigh": [[2, 2], [2, float("nan")], [8, 8]]}, ("'thigh'", "finite", "point 2")),
        ({"thigh": [[2, 2], [2, "9"], [8, 8]]}, ("'thigh'", "two numbers", "point 2")),
        ({"thigh": "round"}, ("'thigh'", "list of points")),
        ({"../thigh": SQUARE}, ("'../thigh'", "lower-case letters")),
        ({"": SQUARE}, ("lower-case letters",)),
        ({"trunk": SQUARE}, ("other than those of the standard regions, got 'trunk'.",)),
        ({"android": SQUARE}, ("'android'", "standard regions")),
        ([SQUARE], ("object of names",)),
    ],
)
def test_impossible_polygons_are_refused(tmp_path: Path, polygons: object, parts: tuple[str, ...]) -> None:
    path = written(tmp_path, polygons)
    with pytest.raises(InputError) as caught:
        read_polygons(path, SHAPE, SPACING_MM)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "expected" in message
    assert "got" in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("unit", ["inch", 3, None, ["mm"]])
def test_unknown_unit_is_refused(tmp_path: Path, unit: object) -> None:
    with pytest.raises(InputError, match="unit"):
        read_polygons(written(tmp_path, {"thigh": SQUARE}, unit), SHAPE, SPACING_MM)


def test_a_concave_polygon_is_fine() -> None:
    points = [(2.0, 2.0), (2.0, 12.0), (12.0, 12.0), (12.0, 7.0), (6.0, 7.0), (6.0, 2.0)]
    assert checked_polygons({"ell": points}, SHAPE) == {"ell": points}
