"""Networks and baselines that predict scans: each gives the scan of the row it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.predictors import (
    MEAN_ARM,
    Batch,
    MeanScan,
    PrincipalComponents,
    Reconstruction,
    RidgeFromShape,
    Rows,
    ScanOfBody,
    ScanPredictor,
    load_shapes,
    mean_of_training,
    shape_table,
)
from dxa_monai.evaluation.scans import evaluate_scans
from dxa_monai.metrics.image_quality import psnr_db
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.phantom.body.mesh import write_ply
from dxa_monai.scan.format import CHANNELS, LOW_CHANNELS, SCAN_SHAPE
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.source import ScanSource
from dxa_monai.transforms.point_clouds import draw_point_clouds
from tests.evaluation.run_folders import TINY

SOURCE = ScanSource()
MESH = {"unit": "m"}


def _batch(rows: Rows, source: ScanSource = SOURCE) -> Batch:
    return Batch(rows, source.images(rows))


@pytest.fixture(scope="module")
def mean_network(bar_cohort: Path) -> DXAVAE:
    """A network that has learnt nothing: it gives the mean image."""
    network = DXAVAE(**TINY)
    network.set_mean_image(mean_of_training(read_manifest(bar_cohort), SOURCE))
    return network


def test_network_that_gives_the_mean_image_equals_the_baseline(
    bar_cohort: Path, mean_network: DXAVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dxa_monai.evaluation.scans._SCANS_AT_A_TIME", 2)
    rows = read_manifest(bar_cohort)
    predictors: dict[tuple[str, int], ScanPredictor] = {
        (MEAN_ARM, 0): MeanScan(mean_of_training(rows, SOURCE)),
        ("arm", 0): Reconstruction(mean_network),
    }
    quality, _ = evaluate_scans(rows[:5], SOURCE, predictors, None)
    wide = quality.pivot(index="scan_id", columns="arm", values="psnr_db")
    assert list(wide.index) == sorted(row["scan_id"] for row in rows[:5])
    pd.testing.assert_series_equal(wide["arm"], wide[MEAN_ARM], check_names=False)


def test_quality_is_that_of_the_scan_named(
    bar_cohort: Path, mean_network: DXAVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dxa_monai.evaluation.scans._SCANS_AT_A_TIME", 4)
    row = read_manifest(bar_cohort)[7]
    quality, _ = evaluate_scans(read_manifest(bar_cohort), SOURCE, {("arm", 0): Reconstruction(mean_network)}, None)
    reader = RawDXAReader()
    target = torch.from_numpy(reader.get_data(reader.read(row["scan"]))[0])[None]
    expected = psnr_db(mean_network.mean_image[None], target).item()
    got = quality[(quality["scan_id"] == row["scan_id"]) & (quality["arm"] == "arm")]["psnr_db"].item()
    assert got == pytest.approx(expected, abs=1e-4)


def test_linear_baseline_is_the_projection_on_the_training_scans(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    path = PrincipalComponents(rows, SOURCE, mean_of_training(rows, SOURCE), len(rows) - 1)
    assert path.name == f"principal_components_{len(rows) - 1}"
    quality, _ = evaluate_scans(rows, SOURCE, {(path.name, 0): path}, None)
    assert len(quality) == len(rows)
    # All components of the training scans leave nothing of them but rounding.
    assert quality["psnr_db"].min() > 90.0


def test_linear_baseline_of_people_held_out_is_their_projection_in_the_range_of_scans(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    training, held_out = rows[:15], rows[15:]
    mean_image = mean_of_training(training, SOURCE)
    found = PrincipalComponents(training, SOURCE, mean_image, 6).predict(_batch(held_out))
    deviations = (SOURCE.images(training) - mean_image).flatten(1).double()
    directions = torch.linalg.svd(deviations, full_matrices=False).Vh[:6]
    moved = (SOURCE.images(held_out) - mean_image).flatten(1).double()
    expected = (mean_image.flatten() + moved @ directions.T @ directions).clamp(0.0, 1.0).reshape(found.shape)
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="expected more than 15 scans for 15 components"):
        PrincipalComponents(training, SOURCE, mean_image, 15)


def test_networks_are_put_in_evaluation_mode(bar_cohort: Path) -> None:
    network = DXAVAE(**TINY).train()
    batch = _batch(read_manifest(bar_cohort)[:3])
    predictor = Reconstruction(network)
    assert not network.training
    assert predictor.predict(batch).equal(predictor.predict(batch))


def test_network_sees_the_points_of_each_row(people: list[dict[str, Any]], tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    class Recorder(PseudoDXA):
        def predict(self, points: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
            seen.append(points)
            return points.new_zeros(len(points), 6, 150, 109)

    rows = draw_point_clouds(people[:2], tmp_path, MESH, count=100)
    ScanOfBody(Recorder({"kind": "pointnet2"}, 6, (150, 109), 2), 64).predict(_batch(rows))
    assert len(seen[0]) == len(rows)
    for cloud, row in zip(seen[0], rows, strict=True):
        whole = np.load(row["points"])
        np.testing.assert_array_equal(cloud[:6].numpy(), whole[:6, :64])
        assert float(cloud[6].sum()) == pytest.approx(float(whole[6].sum()), rel=1e-5)


def test_baselines_learn_from_the_training_people_alone(people: list[dict[str, Any]]) -> None:
    training, held_out = people[:5], people[5:6]
    shapes = load_shapes(people[:6], MESH)
    mean_image = mean_of_training(training, SOURCE)
    mean = SOURCE.images(training).mean(dim=0, keepdim=True)
    torch.testing.assert_close(MeanScan(mean_image).predict(_batch(held_out)), mean, atol=1e-5, rtol=0)
    ridge = RidgeFromShape(training, SOURCE, mean_image, shapes)
    found = ridge.predict(_batch(held_out))
    assert found.shape == mean.shape
    # whose scan is compared with it does not matter
    torch.testing.assert_close(ridge.predict(Batch(held_out, torch.zeros(1, 6, *SCAN_SHAPE))), found)


BOX = np.array([[x, y, z] for x in (-0.3, 0.3) for y in (-0.1, 0.1) for z in (0.0, 1.7)])
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
FACES = np.array([corners for a, b, c, d in QUADS for corners in ((a, b, c), (a, c, d))])


def _box(path: Path, width: float, height: float, faces: np.ndarray = FACES) -> str:
    write_ply(path, BOX * [width, 1.0, height] + [5.0, 3.0, 1.0], faces)
    return str(path)


@pytest.fixture
def boxes(tmp_path: Path) -> list[dict[str, Any]]:
    """Boxes whose scans are brighter the wider and show a bar that is longer the taller they are."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(24):
        width, height = rng.uniform(0.8, 1.2), rng.uniform(0.9, 1.1)
        counts = np.full((*SCAN_SHAPE, 6), 1000.0 * width)
        counts[:75] += 2000.0 * height
        counts[..., LOW_CHANNELS] *= 1.1
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


def test_shapes_stand_on_the_floor_about_the_axis(boxes: list[dict[str, Any]]) -> None:
    shapes = shape_table(boxes, load_shapes(boxes, {"unit": "m", "repair": True})).reshape(24, 8, 3)
    np.testing.assert_allclose(shapes[..., 2].min(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(shapes[..., :2].mean(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.ptp(shapes[..., 0], axis=1), [0.6 * row["width"] for row in boxes], rtol=1e-5)


def test_another_topology_is_refused_by_name(boxes: list[dict[str, Any]], tmp_path: Path) -> None:
    boxes[5]["mesh"] = _box(tmp_path / "other.ply", 1.0, 1.0, FACES[:, [1, 2, 0]])
    with pytest.raises(InputError, match=r"other\.ply: expected the topology of .*0\.ply"):
        load_shapes(boxes, MESH)


def _check_images(images: torch.Tensor, rows: list[dict[str, Any]]) -> None:
    assert images.shape == (len(rows), 6, *SCAN_SHAPE)
    for image, row in zip(images, rows, strict=True):
        low, high = row["width"] * 1000 / 16383, (row["width"] * 1000 + row["height"] * 2000) / 16383
        for channel, values in enumerate(image):
            factor = 1.1 if channel in LOW_CHANNELS else 1.0
            assert values[80:].mean().item() == pytest.approx(factor * low, abs=1e-3)
            assert values[:70].mean().item() == pytest.approx(factor * high, abs=1e-3)
            assert values[80:].std() < 1e-3


def test_images_follow_from_shape(boxes: list[dict[str, Any]]) -> None:
    training, held_out = boxes[:18], boxes[18:]
    mean_image = mean_of_training(training, SOURCE)
    ridge = RidgeFromShape(training, SOURCE, mean_image, load_shapes(boxes, MESH))
    _check_images(ridge.predict(_batch(held_out)), held_out)


def test_baselines_read_scans_through_the_source(boxes: list[dict[str, Any]], tmp_path: Path) -> None:
    """Files with their channels in another order give the same, where the source says so."""
    source = ScanSource(channels=CHANNELS[::-1])
    (tmp_path / "reversed").mkdir()
    others = []
    for row in boxes:
        path = tmp_path / "reversed" / f"{row['scan_id']}.npy"
        save_scan(RawScan(np.ascontiguousarray(load_scan(row["scan"]).counts[..., ::-1])), path)
        others.append(row | {"scan": str(path)})
    training, held_out = others[:18], others[18:]
    mean_image = mean_of_training(training, source)
    torch.testing.assert_close(mean_image, mean_of_training(boxes[:18], SOURCE))
    shapes = load_shapes(boxes, MESH)
    _check_images(RidgeFromShape(training, source, mean_image, shapes).predict(_batch(held_out, source)), held_out)
    linear = PrincipalComponents(training, source, mean_image, 6).predict(_batch(held_out, source))
    expected = PrincipalComponents(boxes[:18], SOURCE, mean_image, 6).predict(_batch(boxes[18:]))
    torch.testing.assert_close(linear, expected, atol=1e-5, rtol=0)
