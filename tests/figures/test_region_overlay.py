import gc
import tracemalloc
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from dxa_monai.analysis.landmarks import Landmarks, landmarks_from_points
from dxa_monai.analysis.region_cuts import region_map_from_landmarks
from dxa_monai.figures.region_overlay import write_region_overlay
from tests.analysis.points import IMAGE_SHAPE, plain_points

SPACING_MM = (13.0, 6.06)


@pytest.fixture
def landmarks() -> Landmarks:
    return landmarks_from_points(plain_points(), IMAGE_SHAPE)


@pytest.fixture
def scene(landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    body = np.zeros(IMAGE_SHAPE, dtype=bool)
    body[5:145, 12:97] = True
    density = np.random.default_rng(0).uniform(0, 10, (3, *IMAGE_SHAPE)) * body
    return density, region_map_from_landmarks(landmarks, body)


def drawn(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


def test_lines_polygons_and_title_are_drawn(
    tmp_path: Path, scene: tuple[np.ndarray, np.ndarray], landmarks: Landmarks
) -> None:
    plain = drawn(write_region_overlay(*scene, None, SPACING_MM, tmp_path / "a.png"))
    lines = drawn(write_region_overlay(*scene, landmarks, SPACING_MM, tmp_path / "b.png"))
    outline = {"thigh": [(90.0, 30.0), (90.0, 45.0), (105.0, 45.0)]}
    polygon = drawn(write_region_overlay(*scene, landmarks, SPACING_MM, tmp_path / "c.png", outline, "a title"))
    half = plain.shape[1] // 2
    np.testing.assert_array_equal(plain[:, :half], lines[:, :half])
    assert (plain[:, half:] != lines[:, half:]).any()
    assert (lines[:, :half] != polygon[:, :half]).any()
    assert (lines[:30] != polygon[:30]).any()


def test_each_panel_has_the_proportions_of_the_body(
    tmp_path: Path, scene: tuple[np.ndarray, np.ndarray], landmarks: Landmarks
) -> None:
    image = drawn(write_region_overlay(*scene, landmarks, SPACING_MM, tmp_path / "a.png"))
    dark = (image < 0.95).any(axis=-1)
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark[dark.shape[0] // 2])
    gap = columns[:-1][np.diff(columns) > 15][0]  # between the panels; text and lines are narrower
    proportion = (rows[-1] - rows[0] + 1) / (gap - columns[0] + 1)
    assert proportion == pytest.approx(150 * 13.0 / (109 * 6.06), rel=0.03)


def test_an_empty_scan_is_drawn(tmp_path: Path) -> None:
    empty = np.zeros((3, *IMAGE_SHAPE))
    path = write_region_overlay(empty, np.zeros(IMAGE_SHAPE, dtype=np.uint8), None, SPACING_MM, tmp_path / "a.png")
    assert path.stat().st_size > 1000


def test_drawing_on_and_on_takes_no_more_memory(
    tmp_path: Path, scene: tuple[np.ndarray, np.ndarray], landmarks: Landmarks
) -> None:
    """A picture's outlines and pixels are hundreds of megabytes; none of them may wait for a collection of garbage."""
    held = []
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(6):
            write_region_overlay(*scene, landmarks, SPACING_MM, tmp_path / "a.png", title="a title")
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.enable()
    a_picture = (held[-1] - held[2]) / (len(held) - 3)
    assert a_picture < 2e6, f"memory grows by {a_picture / 1e6:.1f} MB a picture"
