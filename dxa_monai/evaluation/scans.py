"""One evaluation of everything that predicts scans: image quality and body composition, scan by scan, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from dxa_monai.analysis.analysed_scan import AnalysedScan
from dxa_monai.evaluation.predictors import (
    MEAN_ARM,
    SHAPE_COMPONENTS,
    Batch,
    Rows,
    ScanOfBody,
    ScanPredictor,
    Shapes,
    shape_table,
)
from dxa_monai.evaluation.ridge import ComponentProcess, ComponentRidge
from dxa_monai.evaluation.truth_agreement import MEASURES_13
from dxa_monai.metrics.rigid_alignment import Alignment, align_rigidly, inverse_move, moved_rigidly
from dxa_monai.metrics.scan_metric import FUNCTIONS as METRICS
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.manifest import Row
from dxa_monai.scan.regions import totals_of_sums
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.spread import every_so_many

MEASURES = (*MEASURES_13, "total_fat_percent")
"""The paper's 13 composition measures, and % fat."""
ORIGINAL = "scan"
"""The true scan itself as an arm of the table of body composition: what the analysis can reach at best."""
ANOTHER_VISIT = "another_visit"
"""What knows everything of a person but how they lie on the table: another scan of theirs."""
COMPOSITION_RIDGE_ARM = "ridge_shape_to_composition"
COMPOSITION_PROCESS_ARM = "gaussian_process_shape_to_composition"
MAPS = "maps_of_"
"""Start of the name of an arm whose composition is read from the maps that it predicts, and not from its scan."""
ALIGNED = "aligned_"
"""Start of the metrics' names after rigid alignment."""
SHIFTS = ("shift_rows_mm", "shift_columns_mm", "turn_degrees")
MEAN_SCANS = 100
"""So many training scans make their mean: its standard error is a tenth of the spread between people."""
_SCANS_AT_A_TIME = 16

Predictors = Mapping[tuple[str, int], ScanPredictor]
"""By arm and seed."""


def evaluate_scans(
    rows: Rows, source: ScanSource, predictors: Predictors, scanner: ScannerModel | None, aligned: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Image quality and body composition of every arm's prediction of every scan.

    Body composition is that of the analysis in the regions found in the true scan, as a reader copies his regions of
    interest from one image to the other; bone is found in each image itself. With ``aligned`` the scan is first moved
    as a whole onto the image (and not the image, which interpolation would blur): where somebody lay is no part of what
    is to be measured. The mean image of many people is nobody's and is not analysed.

    Args:
        rows: manifest rows of the people held out, with what the predictors need.
        source: how their scans are read.
        predictors: by arm and seed.
        scanner: calibrated scanner; None: no body composition.
        aligned: compare images after rigid alignment, too.

    Returns:
        Image quality, one row a scan, arm and seed: ``scan_id, subject_id, arm, seed``, the metrics and, with
        ``aligned``, the same after rigid alignment (``ALIGNED``) and the ``SHIFTS`` that it took. Body composition, one
        row a scan, arm (``ORIGINAL`` is the scan itself) and seed: ids, ``MEASURES`` and ``true_{measure}`` where the
        manifest has them; scans in which no whole body is found are left out.
    """
    quality: list[dict[str, Any]] = []
    composition: list[dict[str, Any]] = []
    with tqdm(total=len(rows), desc="evaluating", unit="scan") as bar:
        for start in range(0, len(rows), _SCANS_AT_A_TIME):
            part = rows[start : start + _SCANS_AT_A_TIME]
            batch = Batch(part, source.images(part))
            images = {key: predictor.predict(batch) for key, predictor in predictors.items()}
            moved: dict[tuple[str, int], Alignment | None] = {}
            for key, prediction in images.items():
                moved[key] = align_rigidly(prediction, batch.scans) if aligned else None
                quality += _quality(part, key, prediction, batch.scans, moved[key])
            for index, row in enumerate(part):
                if scanner is not None:
                    of_row = {
                        key: (each[index : index + 1], None if at is None else at.moved[index : index + 1])
                        for (key, each), at in zip(images.items(), moved.values(), strict=True)
                        if key[0] != MEAN_ARM
                    }
                    composition += _composition(row, batch.scans[index : index + 1], of_row, scanner)
                bar.update()
    return pd.DataFrame(quality), pd.DataFrame(composition)


def composition_of_maps(
    measured: pd.DataFrame, rows: Rows, networks: Mapping[tuple[str, int], ScanOfBody]
) -> pd.DataFrame:
    """Body composition read from the maps that networks predict, without an image; nothing of the true scan is used.

    Args:
        measured: body composition of :func:`evaluate_scans`, for ids and truth; scans that are left out there are here.
        rows: manifest rows of the people held out, with ``points``.
        networks: by arm and seed.

    Returns:
        As ``measured``, one row a scan and network that predicts maps, its arm ``MAPS`` and its name.
    """
    original = measured[measured["arm"] == ORIGINAL].set_index("scan_id")
    kept = [row for row in rows if row["scan_id"] in original.index]
    found = []
    for (arm, seed), network in networks.items():
        sums = network.sums(kept)
        if sums is not None:
            totals = pd.DataFrame([totals_of_sums(each) for each in sums])[list(MEASURES)]
            about = original.loc[[row["scan_id"] for row in kept]].reset_index()
            found.append(about.assign(arm=f"{MAPS}{arm}", seed=seed, **totals))
    return pd.concat(found, ignore_index=True) if found else measured.iloc[:0]


def quality_of_another_visit(rows: Rows, source: ScanSource) -> pd.DataFrame:
    """Another scan of the same person taken for a prediction, for people with several: what positioning alone costs.

    Both scans differ in position, so the squared error is twice that of a prediction which knows the person perfectly
    and the mean position (3 dB).

    Args:
        rows: manifest rows.
        source: how their scans are read.

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
                prediction, target = source.images([other]), source.images([row])
                found += _quality([row], (ANOTHER_VISIT, 0), prediction, target, align_rigidly(prediction, target))
    return pd.DataFrame(found)


def composition_of_scans(
    rows: Rows, source: ScanSource, scanner: ScannerModel
) -> tuple[list[Row], npt.NDArray[np.float64]]:
    """What the analysis measures on scans: the rows in which a whole body is found, and their ``MEASURES`` (N, M)."""
    kept, totals = [], []
    for row in tqdm(rows, desc="body composition of training scans", unit="scan"):
        measured = AnalysedScan(source.images([row]), scanner).totals()
        if measured:
            kept.append(dict(row))
            totals.append([measured[name] for name in MEASURES])
    return kept, np.array(totals, dtype=np.float64).reshape(len(totals), len(MEASURES))


def mean_composition(
    training_rows: Rows, rows: Rows, source: ScanSource, scanner: ScannerModel
) -> dict[str, npt.NDArray[np.float64]]:
    """Composition ``(N, M)`` of rows by the mean of scans spread evenly through the training people; by arm.

    Returns:
        ``MEAN_ARM``; nothing where no training scan shows a whole body.
    """
    some = training_rows[every_so_many(len(training_rows), MEAN_SCANS)]
    _, measured = composition_of_scans(some, source, scanner)
    return {MEAN_ARM: np.tile(measured.mean(axis=0), (len(rows), 1))} if len(measured) else {}


def composition_from_shape(
    training_rows: Rows, rows: Rows, source: ScanSource, scanner: ScannerModel, shapes: Shapes | None
) -> dict[str, npt.NDArray[np.float64]]:
    """Composition ``(N, M)`` of rows without any image: the training people's mean, and regressions from shape.

    All learn what the analysis measures on the training people's scans.

    Args:
        training_rows: manifest rows with ``mesh``.
        rows: those of the people held out.
        source: how scans are read.
        scanner: of the analysis.
        shapes: of everybody; None leaves the ridge regression out.

    Returns:
        By arm; nothing where no training scan shows a whole body.
    """
    kept, wanted = composition_of_scans(training_rows, source, scanner)
    if not kept:
        return {}
    found = {MEAN_ARM: np.tile(wanted.mean(axis=0), (len(rows), 1))}
    if shapes is not None:
        ridge = ComponentRidge(shape_table(kept, shapes), wanted, SHAPE_COMPONENTS)
        found[COMPOSITION_RIDGE_ARM] = ridge.predict(shape_table(rows, shapes))
        people = [str(row["subject_id"]) for row in kept]
        process = ComponentProcess(shape_table(kept, shapes), wanted, SHAPE_COMPONENTS, people)
        found[COMPOSITION_PROCESS_ARM] = process.predict(shape_table(rows, shapes))
    return found


def _quality(
    rows: Sequence[Mapping[str, Any]],
    key: tuple[str, int],
    prediction: torch.Tensor,
    target: torch.Tensor,
    moved: Alignment | None,
) -> list[dict[str, Any]]:
    columns = {name: metric(prediction, target).tolist() for name, metric in METRICS.items()}
    if moved is not None:
        columns |= {f"{ALIGNED}{name}": metric(moved.images, target).tolist() for name, metric in METRICS.items()}
        columns |= dict(zip(SHIFTS, moved.moved.T.tolist(), strict=True))
    return [
        {"scan_id": row["scan_id"], "subject_id": row["subject_id"], "arm": key[0], "seed": key[1]}
        | {name: values[index] for name, values in columns.items()}
        for index, row in enumerate(rows)
    ]


def _composition(
    row: Mapping[str, Any],
    raw: torch.Tensor,
    images: Mapping[tuple[str, int], tuple[torch.Tensor, torch.Tensor | None]],
    scanner: ScannerModel,
) -> list[dict[str, Any]]:
    """Of a scan and of images of it, each with how it is moved onto the scan; None: not at all."""
    scan = AnalysedScan(raw, scanner)
    if scan.region_map is None:
        return []
    totals = {(ORIGINAL, 0): scan.totals()}
    for key, (image, moved) in images.items():
        there = scan if moved is None else AnalysedScan(moved_rigidly(raw, inverse_move(moved)), scanner)
        totals[key] = (there if there.region_map is not None else scan).totals(image)
    truth = {f"true_{name}": row[name] for name in MEASURES if name in row}
    return [
        {"scan_id": row["scan_id"], "subject_id": row["subject_id"], "arm": arm, "seed": seed}
        | truth
        | {name: measured[name] for name in MEASURES}
        for (arm, seed), measured in totals.items()
    ]
