from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.evaluation.shape_baselines import ShapeRidge, ShapeToImage, load_shapes, shape_table
from dxa_monai.phantom.mesh import write_ply
from dxa_monai.scan.format import LOW_CHANNELS, SCAN_SHAPE
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import image_statistics

BOX = np.array([[x, y, z] for x in (-0.3, 0.3) for y in (-0.1, 0.1) for z in (0.0, 1.7)])
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
FACES = np.array([corners for a, b, c, d in QUADS for corners in ((a, b, c), (a, c, d))])


def _box(path: Path, width: float, height: float, faces: np.ndarray = FACES) -> str:
    write_ply(path, BOX * [width, 1.0, height] + [5.0, 3.0, 1.0], faces)
    return str(path)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Boxes whose scans are brighter the wider and show a bar that is longer the taller they are."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(24):
        width, height = rng.uniform(0.8, 1.2), rng.uniform(0.9, 1.1)
        counts = np.full((*SCAN_SHAPE, 6), 1000.0 * width)
        counts[:75] += 2000.0 * height
        counts[..., LOW_CHANNELS] += 100.0
        counts += rng.normal(0.0, 3.0, counts.shape)
        save_scan(RawScan(np.rint(counts).astype(np.uint16)), tmp_path / f"{index}.npy")
        found.append(
            {
                "scan_id": str(index),
                "scan": str(tmp_path / f"{index}.npy"),
                "mesh": _box(tmp_path / f"{index}.ply", width, height),
                "width": width,
                "height": height,
            }
        )
    return found


def test_shapes_stand_on_the_floor_about_the_axis(rows: list[dict[str, Any]]) -> None:
    shapes = shape_table(rows, load_shapes(rows, {"unit": "m", "repair": True})).reshape(24, 8, 3)
    np.testing.assert_allclose(shapes[..., 2].min(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(shapes[..., :2].mean(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.ptp(shapes[..., 0], axis=1), [0.6 * row["width"] for row in rows], rtol=1e-5)


def test_another_topology_is_refused_by_name(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    rows[5]["mesh"] = _box(tmp_path / "other.ply", 1.0, 1.0, FACES[:, [1, 2, 0]])
    with pytest.raises(InputError, match=r"other\.ply: expected the topology of .*0\.ply"):
        load_shapes(rows, {"unit": "m"})


def test_linear_dependence_on_shape_is_found_on_people_held_out(rows: list[dict[str, Any]]) -> None:
    shapes = shape_table(rows, load_shapes(rows, {"unit": "m"}))
    wanted = np.array([[3.0 * row["width"] - row["height"], 7.0] for row in rows])
    ridge = ShapeRidge(shapes[:18], wanted[:18])
    np.testing.assert_allclose(ridge.predict(shapes[18:]), wanted[18:], atol=0.01)
    # a direction in which shapes hardly differ cannot carry the prediction away
    moved = shapes[18:] + 1e-6
    np.testing.assert_allclose(ridge.predict(moved), wanted[18:], atol=0.01)


def test_images_follow_from_shape(rows: list[dict[str, Any]]) -> None:
    shapes = shape_table(rows, load_shapes(rows, {"unit": "m"}))
    mean_image, _ = image_statistics(rows[:18], ScanSource())
    images = ShapeToImage(shapes[:18], rows[:18], mean_image).predict(shapes[18:])
    assert images.shape == (6, 6, *SCAN_SHAPE)
    for image, row in zip(images, rows[18:], strict=True):
        low, high = row["width"] * 1000 / 16383, (row["width"] * 1000 + row["height"] * 2000) / 16383
        for channel, values in enumerate(image):
            added = 100 / 16383 if channel in LOW_CHANNELS else 0.0
            assert values[80:].mean().item() == pytest.approx(low + added, abs=1e-3)
            assert values[:70].mean().item() == pytest.approx(high + added, abs=1e-3)
            assert values[80:].std() < 1e-3
