"""Regions that a user draws: named polygons in a small JSON file, and the share of each pixel that they cover.

::

    {
     "version": 1,
     "unit": "pixel",
     "polygons": {
      "right_thigh": [[90, 40], [90, 54.5], [104, 53], [104, 41]]
     }
    }

One file serves every scan, or a folder holds ``SCANID.json`` for each. Points are [row, column] from the centre of the
first pixel, in pixels or, with ``"unit": "mm"``, in millimetres; the last point is joined to the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dxa_monai.analysis.json_points import inside_image, read_point
from dxa_monai.analysis.segments import Point, segments_meet
from dxa_monai.errors import InputError
from dxa_monai.input_files import read_keys
from dxa_monai.scan.regions import OVERLAPPING_REGIONS, REGION_GROUPS
from dxa_monai.scan.trunk_parts import TRUNK_PARTS

POLYGONS_VERSION = 1
UNITS = ("pixel", "mm")
MOST_POINTS = 500
MOST_POLYGONS = 100
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def read_polygons(
    path: str | Path, image_shape: tuple[int, int], pixel_spacing_mm: tuple[float, float]
) -> dict[str, list[Point]]:
    """Read and check the polygons of a JSON file.

    Args:
        path: JSON file as above.
        image_shape: (rows, columns) of the image they shall serve.
        pixel_spacing_mm: (row, column); turns millimetres into pixels.

    Returns:
        For each name its points (row, column) in pixels, pixel centres at integers.

    Raises:
        InputError: unreadable, not of this form, more than ``MOST_POLYGONS``, or refused by :func:`checked_polygons`.
    """
    content = read_keys(path, ("version", "unit", "polygons"), POLYGONS_VERSION)
    if content["unit"] not in UNITS:
        raise InputError(f"{path}: expected unit to be one of {', '.join(UNITS)}, got {str(content['unit'])[:40]!r}.")
    if not isinstance(content["polygons"], dict):
        raise InputError(
            f"{path}: expected polygons as an object of names and points, got {type(content['polygons']).__name__}."
        )
    if len(content["polygons"]) > MOST_POLYGONS:
        raise InputError(f"{path}: expected at most {MOST_POLYGONS} polygons, got {len(content['polygons'])}.")
    scale = (1.0, 1.0) if content["unit"] == "pixel" else pixel_spacing_mm
    polygons = {}
    for name, points in content["polygons"].items():
        if not isinstance(points, list):
            raise InputError(f"{path}: expected polygon {name!r} as a list of points, got {type(points).__name__}.")
        named = [read_point(path, f"point {index} of polygon {name!r}", point) for index, point in enumerate(points, 1)]
        polygons[name] = [(row / scale[0], column / scale[1]) for row, column in named]
    return checked_polygons(polygons, image_shape, path)


def polygons_of_scan(
    source: str | Path, scan_id: str, image_shape: tuple[int, int], pixel_spacing_mm: tuple[float, float]
) -> dict[str, list[Point]]:
    """The polygons of one scan: those of a file, the same for every scan, or of ``SCANID.json`` in a folder.

    Args:
        source: file, or folder with a file for each scan; a scan without one has none.
        scan_id: whose they are.
        image_shape: (rows, columns) of its image.
        pixel_spacing_mm: (row, column).

    Raises:
        InputError: see :func:`read_polygons`.
    """
    path = Path(source)
    if path.is_dir():
        path = path / f"{scan_id}.json"
        if not path.is_file():
            return {}
    return read_polygons(path, image_shape, pixel_spacing_mm)


def checked_polygons(
    polygons: Mapping[str, Sequence[Point]], image_shape: tuple[int, int], source: str | Path = "polygons"
) -> dict[str, list[Point]]:
    """Check polygons in pixel coordinates.

    Args:
        polygons: points (row, column) by name.
        image_shape: (rows, columns).
        source: what a message names, for example the file.

    Returns:
        The same polygons.

    Raises:
        InputError: a name is not lower-case letters, digits and underscores or is that of a standard region; there are
            fewer than three or more than ``MOST_POINTS`` points; one is not finite or outside the image; the outline
            meets itself.
    """
    checked = {}
    for name, points in polygons.items():
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{source}: expected polygon names of at most 40 lower-case letters, digits and underscores that begin "
                f"with a letter, got {name[:60]!r}."
            )
        if name in (*REGION_GROUPS, *OVERLAPPING_REGIONS, *TRUNK_PARTS):
            raise InputError(
                f"{source}: expected polygon names other than those of the standard regions, got {name!r}."
            )
        if not 3 <= len(points) <= MOST_POINTS:
            raise InputError(
                f"{source}: expected polygon {name!r} to have 3 to {MOST_POINTS} points, got {len(points)}."
            )
        checked[name] = [
            read_point(source, f"point {index} of polygon {name!r}", point) for index, point in enumerate(points, 1)
        ]
        for index, point in enumerate(checked[name], 1):
            if not inside_image(point, image_shape):
                raise InputError(
                    f"{source}: expected polygon {name!r} inside the image of {image_shape[0]} rows and "
                    f"{image_shape[1]} columns, got point {index} at pixel [{point[0]:g}, {point[1]:g}]."
                )
        _check_outline(checked[name], name, source)
    return checked


def polygon_coverage(points: Sequence[Point], image_shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Share of each pixel's area inside a polygon that does not meet itself, exactly (no centre rule, no sampling).

    Every edge is split where it enters another pixel; each piece, running down by dy at mean distance x from its
    pixel's left side, adds dy (1 - x) to that pixel and dy to all to its right (Green's theorem).

    Args:
        points: (row, column) in pixels, pixel centres at integers, inside the image; either sense of rotation.
        image_shape: (rows, columns).

    Returns:
        ``(H, W)``, 0 to 1; times the pixel's area it sums to the polygon's area.
    """
    height, width = image_shape
    corners = np.asarray(points, dtype=np.float64) + 0.5  # pixel (r, c) spans [r, r + 1) x [c, c + 1)
    # Beyond the last row and column lies a margin for edges that run along the image's border.
    change = np.zeros((height + 1, width + 2))
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        cuts = [np.array([0.0, 1.0])]
        for axis in (0, 1):
            low, high = sorted((start[axis], end[axis]))
            if high > low:
                lines = np.arange(np.ceil(low), np.floor(high) + 1.0)
                cuts.append(np.clip((lines - start[axis]) / (end[axis] - start[axis]), 0.0, 1.0))
        at = np.unique(np.concatenate(cuts))[:, None]
        place = start + at * (end - start)
        middle = 0.5 * (place[1:] + place[:-1])
        row, column = np.floor(middle).astype(int).T
        fall, beside = np.diff(place[:, 0]), middle[:, 1] - column
        np.add.at(change, (row, column), fall * (1.0 - beside))
        np.add.at(change, (row, column + 1), fall * beside)
    coverage: npt.NDArray[np.float64] = np.clip(np.abs(change.cumsum(axis=1)[:height, :width]), 0.0, 1.0)
    return coverage


def _check_outline(points: list[Point], name: str, source: str | Path) -> None:
    """Refuse an outline that crosses, touches or folds back on itself."""
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    count = len(edges)
    for index, (start, end) in enumerate(edges, 1):
        if start == end:
            raise InputError(
                f"{source}: expected polygon {name!r} without repeated points, got {_edge(index, count)} twice."
            )
    for first, second in combinations(range(count), 2):
        if (first + 1) % count == second or (second + 1) % count == first:
            before, after = (first, second) if (first + 1) % count == second else (second, first)
            meet = _folds_back(edges[before][0], edges[after][0], edges[after][1])
        else:
            meet = segments_meet(edges[first], edges[second])
        if meet:
            raise InputError(
                f"{source}: expected polygon {name!r} not to intersect itself, got the edge from "
                f"{_edge(first + 1, count)} meeting the edge from {_edge(second + 1, count)}."
            )


def _folds_back(before: Point, corner: Point, after: Point) -> bool:
    """True if two neighbouring edges lie on each other."""
    first = before[0] - corner[0], before[1] - corner[1]
    second = after[0] - corner[0], after[1] - corner[1]
    return first[0] * second[1] == first[1] * second[0] and first[0] * second[0] + first[1] * second[1] > 0.0


def _edge(index: int, count: int) -> str:
    return f"point {index} to point {index % count + 1}"
