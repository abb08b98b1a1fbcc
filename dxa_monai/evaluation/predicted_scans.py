"""Scans predicted from bodies, by trained networks and by the baselines, and what each is worth scan by scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from dxa_monai.evaluation.composition import MEASURES_13
from dxa_monai.evaluation.reconstructed_composition import (
    MEASURES,
    ORIGINAL,
    analysed_regions,
    raw_image,
    totals_in_regions,
)
from dxa_monai.evaluation.shape_baselines import ShapeRidge, Shapes, ShapeToImage, shape_table
from dxa_monai.metrics.rigid_alignment import align_rigidly
from dxa_monai.metrics.scan_metric import FUNCTIONS as METRICS
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.manifest import Row
from dxa_monai.scan.regions import regional_totals
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import image_statistics
from dxa_monai.transforms.point_clouds import load_points

MEAN_ARM, IMAGE_RIDGE_ARM, COMPOSITION_RIDGE_ARM = "training_mean", "ridge_shape_to_image", "ridge_shape_to_composition"
BASELINES = (MEAN_ARM, IMAGE_RIDGE_ARM, COMPOSITION_RIDGE_ARM)
ANOTHER_VISIT = "another_visit"
"""What knows everything of a person but how they lie on the table: another scan of theirs."""
ALIGNED = "aligned_"
"""Start of the metrics' names after rigid alignment."""
SHIFTS = ("shift_rows_mm", "shift_columns_mm", "turn_degrees")
_SCANS_AT_A_TIME = 16

Predict = Callable[[Sequence[Mapping[str, Any]]], torch.Tensor]
"""Scans ``(N, 6, H, W)`` in [0, 1] of manifest rows."""
Predictors = Mapping[tuple[str, int], Predict]
"""By arm and seed."""

__all__ = [
    "BASELINES",
    "MEASURES_13",
    "Predictors",
    "baseline_predictors",
    "composition_from_shape",
    "composition_of_scans",
    "evaluate_scans",
    "network_predictor",
    "quality_of_another_visit",
]


def network_predictor(network: PseudoDXA, points: int, device: str | torch.device = "cpu") -> Predict:
    """What a network makes of rows with ``points`` (:func:`dxa_monai.transforms.point_clouds.draw_point_clouds`).

    Args:
        network: is put on the device, in evaluation mode.
        points: of each body.
        device: where to compute.
    """
    network.to(device).eval()

    def predict(rows: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        clouds = torch.stack([load_points(row, points) for row in rows])
        with torch.no_grad():
            return network.predict(clouds.to(device)).cpu()

    return predict


def baseline_predictors(
    training_rows: Sequence[Mapping[str, Any]], shapes: Shapes | None
) -> dict[tuple[str, int], Predict]:
    """The training people's mean image, and ridge regression from shape to image.

    Args:
        training_rows: manifest rows with ``mesh``.
        shapes: of everybody; None leaves the ridge regression out.
    """
    mean_image, _ = image_statistics(training_rows, ScanSource())
    found: dict[tuple[str, int], Predict] = {(MEAN_ARM, 0): lambda rows: mean_image.expand(len(rows), -1, -1, -1)}
    if shapes is not None:
        ridge = ShapeToImage(shape_table(training_rows, shapes), training_rows, mean_image)
        found[IMAGE_RIDGE_ARM, 0] = lambda rows: ridge.predict(shape_table(rows, shapes))
    return found


def evaluate_scans(
    rows: Sequence[Mapping[str, Any]], predictors: Predictors, scanner: ScannerModel | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Image quality and body composition of every arm's prediction of every scan.

    Body composition is that of the analysis in the regions found in the true scan, as a reader copies his regions of
    interest from one image to the other; bone is found in each image itself.

    Args:
        rows: manifest rows of the people held out, with what the predictors need.
        predictors: by arm and seed.
        scanner: calibrated scanner; None: no body composition.

    Returns:
        Image quality, one row a scan, arm and seed: ``scan_id, subject_id, arm, seed``, the metrics, the same after
        rigid alignment (``ALIGNED``) and the ``SHIFTS`` that it took. Body composition, one row a scan, arm
        (``ORIGINAL`` is the scan itself) and seed: ids, ``MEASURES`` and ``true_{measure}`` where the manifest has
        them; scans in which no whole body is found are left out.
    """
    quality: list[dict[str, Any]] = []
    composition: list[dict[str, Any]] = []
    with tqdm(total=len(rows), desc="evaluating", unit="scan") as bar:
        for start in range(0, len(rows), _SCANS_AT_A_TIME):
            part = rows[start : start + _SCANS_AT_A_TIME]
            target = torch.cat([raw_image(row) for row in part])
            images = {key: predict(part) for key, predict in predictors.items()}
            for (arm, seed), prediction in images.items():
                quality += _quality(part, arm, seed, prediction, target)
            for index, row in enumerate(part):
                if scanner is not None:
                    of_row = {key: each[index : index + 1] for key, each in images.items() if key[0] != MEAN_ARM}
                    composition += _composition(row, target[index : index + 1], of_row, scanner)
                bar.update()
    return pd.DataFrame(quality), pd.DataFrame(composition)


def quality_of_another_visit(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Another scan of the same person taken for a prediction, for people with several: what positioning alone costs.

    Both scans differ in position, so the squared error is twice that of a prediction which knows the person perfectly
    and the mean position (3 dB).

    Args:
        rows: manifest rows.

    Returns:
        As the image quality of :func:`evaluate_scans`, of the arm ``ANOTHER_VISIT``; empty where nobody has two scans.
    """
    scans_of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        scans_of.setdefault(row["subject_id"], []).append(row)
    found: list[dict[str, Any]] = []
    for scans in scans_of.values():
        for row, other in zip(scans, [*scans[1:], scans[0]], strict=True):
            if other is not row:
                found += _quality([row], ANOTHER_VISIT, 0, raw_image(other), raw_image(row))
    return pd.DataFrame(found)


def composition_of_scans(rows: Sequence[Mapping[str, Any]], scanner: ScannerModel) -> tuple[list[Row], pd.DataFrame]:
    """What the analysis measures on scans: the rows in which a whole body is found, and their ``MEASURES``."""
    kept, totals = [], []
    for row in tqdm(rows, desc="body composition of training scans", unit="scan"):
        found = analysed_regions(raw_image(row), scanner)
        if found is not None:
            kept.append(dict(row))
            totals.append(regional_totals(*found, pixel_area_cm2()))
    return kept, pd.DataFrame(totals, columns=None if totals else list(MEASURES))[list(MEASURES)]


def composition_from_shape(
    training_rows: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    scanner: ScannerModel,
    shapes: Shapes | None,
) -> dict[str, npt.NDArray[np.float64]]:
    """Composition ``(N, M)`` of rows without any image: the training people's mean, and ridge regression from shape.

    Both learn what the analysis measures on the training people's scans.

    Args:
        training_rows: manifest rows with ``mesh``.
        rows: those of the people held out.
        scanner: of the analysis.
        shapes: of everybody; None leaves the ridge regression out.

    Returns:
        By arm; nothing where no training scan shows a whole body.
    """
    kept, measured = composition_of_scans(training_rows, scanner)
    if not kept:
        return {}
    wanted = measured.to_numpy(dtype=np.float64)
    found = {MEAN_ARM: np.tile(wanted.mean(axis=0), (len(rows), 1))}
    if shapes is not None:
        ridge = ShapeRidge(shape_table(kept, shapes), wanted)
        found[COMPOSITION_RIDGE_ARM] = ridge.predict(shape_table(rows, shapes))
    return found


def _quality(
    rows: Sequence[Mapping[str, Any]], arm: str, seed: int, prediction: torch.Tensor, target: torch.Tensor
) -> list[dict[str, Any]]:
    aligned, moved = align_rigidly(prediction, target)
    columns = {name: metric(prediction, target).tolist() for name, metric in METRICS.items()}
    columns |= {f"{ALIGNED}{name}": metric(aligned, target).tolist() for name, metric in METRICS.items()}
    columns |= dict(zip(SHIFTS, moved.T.tolist(), strict=True))
    return [
        {"scan_id": row["scan_id"], "subject_id": row["subject_id"], "arm": arm, "seed": seed}
        | {name: values[index] for name, values in columns.items()}
        for index, row in enumerate(rows)
    ]


def _composition(
    row: Mapping[str, Any], raw: torch.Tensor, images: Mapping[tuple[str, int], torch.Tensor], scanner: ScannerModel
) -> list[dict[str, Any]]:
    found = analysed_regions(raw, scanner)
    if found is None:
        return []
    areal, region_map = found
    totals = {(ORIGINAL, 0): regional_totals(areal, region_map, pixel_area_cm2())}
    totals |= {key: totals_in_regions(image, region_map, scanner) for key, image in images.items()}
    truth = {f"true_{name}": row[name] for name in MEASURES if name in row}
    return [
        {"scan_id": row["scan_id"], "subject_id": row["subject_id"], "arm": arm, "seed": seed}
        | truth
        | {name: measured[name] for name in MEASURES}
        for (arm, seed), measured in totals.items()
    ]
