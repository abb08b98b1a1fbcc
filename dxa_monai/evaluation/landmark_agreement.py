"""How well rules and a network find landmarks: a table by group of scans, and one by landmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_monai.analysis.landmarks import LANDMARK_NAMES
from dxa_monai.evaluation.landmark_measured import ADULTS, DICE_REGIONS, PARTS, measure_landmarks
from dxa_monai.inference.landmark_finders import NetworkFinder
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.metrics.bootstrap import bootstrap_interval
from dxa_monai.networks.checkpoint import load_landmark_network
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.csv_table import write_frame
from dxa_monai.scan.source import ScanSource
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.server import check_tracking_uri
from dxa_monai.tracking.tracked_run import mlflow_run

CORRECT_CM = 3.0
"""A landmark this near to the true one is correct."""
TABLES = ("landmarks", "landmarks_by_name", "landmarks_per_scan")
_COLUMNS = [f"{name}_cm" for name in LANDMARK_NAMES]


def group_table(measured: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """A row a group and finder.

    Args:
        measured: of :func:`dxa_monai.evaluation.landmark_measured.measure_landmarks`.
        resamples: of the bootstrap over people.
        seed: of the bootstrap.

    Returns:
        Columns ``group, finder, people, scans, found_percent``; ``correct_percent`` (of all landmarks in the field,
        those within 3 cm; where none were found none is correct), ``correct_percent_of_found`` and ``median_cm`` (both
        of scans with landmarks), each with ``_low`` and ``_high``; ``dice_{region}`` and ``ms`` (means; the time is
        this machine's). Of parts of a body nothing is to be found: only ``found_percent`` is given.
    """
    rows = []
    for (group, finder), scans in measured.groupby(["group", "finder"], sort=False):
        about: dict[str, Any] = {
            "group": group,
            "finder": finder,
            "people": scans["subject_id"].nunique(),
            "scans": len(scans),
            "found_percent": 100.0 * scans["found"].mean(),
        }
        if group != PARTS:
            about |= _judged(scans, resamples, seed)
        rows.append(about | {"ms": scans["ms"].mean()})
    return pd.DataFrame(rows)


def _judged(scans: pd.DataFrame, resamples: int, seed: int) -> dict[str, float]:
    ids = scans["subject_id"].to_numpy()
    apart, found = scans[_COLUMNS].to_numpy(), scans["found"].to_numpy()
    correct = (apart <= CORRECT_CM).sum(axis=1) / scans["seen"].to_numpy()
    about = bootstrap_interval(100.0 * correct, ids, np.mean, resamples=resamples, seed=seed).named("correct_percent")
    if not found.any():
        return about
    of_found = bootstrap_interval(100.0 * correct[found], ids[found], np.mean, resamples=resamples, seed=seed)
    whose, each = np.repeat(ids, len(_COLUMNS)), apart.ravel()
    known = np.isfinite(each)
    middle = bootstrap_interval(each[known], whose[known], np.median, resamples=resamples, seed=seed)
    about |= of_found.named("correct_percent_of_found") | middle.named("median_cm")
    return about | {f"dice_{name}": float(scans[f"dice_{name}"].mean()) for name in DICE_REGIONS}


def name_table(measured: pd.DataFrame, group: str = ADULTS) -> pd.DataFrame:
    """A row a landmark and finder: ``correct_percent`` and ``median_cm`` of the scans of one group with landmarks."""
    rows = []
    chosen = measured[(measured["group"] == group) & measured["found"]]
    for finder, scans in chosen.groupby("finder", sort=False):
        for name in LANDMARK_NAMES:
            apart = scans[f"{name}_cm"].dropna()
            rows.append(
                {
                    "group": group,
                    "finder": finder,
                    "landmark": name,
                    "correct_percent": 100.0 * (apart <= CORRECT_CM).mean(),
                    "median_cm": apart.median(),
                }
            )
    return pd.DataFrame(rows)


@letting_go()
def evaluate_landmarks(
    rows: Sequence[Mapping[str, Any]],
    output_dir: str | Path,
    landmark_network: str | Path,
    scanner_model: str | Path | None = None,
    scanners: int = 3,
    copies: int = 10,
    seed: int = 0,
    resamples: int = 2000,
    source: ScanSource | None = None,
    tracking_uri: str = "",
    experiment: str = "dxa_body_composition",
    parent_run: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Find landmarks of virtual people by rules and network and write how far they are from the true ones.

    Args:
        rows: manifest rows with ``truth``, of people that the network was not trained on.
        output_dir: gets ``landmarks.csv`` (:func:`group_table`), ``landmarks_by_name.csv`` (:func:`name_table`) and
            ``landmarks_per_scan.csv``.
        landmark_network: file of the network.
        scanner_model: of the rows' scanner; None: calibrated with some of their scans.
        scanners: number of other scanners.
        copies: moved copies of each scan.
        seed: of scanners, noise, moves and bootstrap.
        resamples: of the bootstrap over people.
        source: how the scans are read; None: as the files declare.
        tracking_uri: of MLflow; empty: nothing is tracked.
        experiment: MLflow's name for what belongs together.
        parent_run: id of the MLflow run that this one is shown below; None: it stands alone.
        params: what MLflow should know of the data and the code.

    Returns:
        The written files by name.

    Raises:
        InputError: rows without true landmarks, or a file that is no network of landmarks.
    """
    check_tracking_uri(tracking_uri)
    network = NetworkFinder(load_landmark_network(landmark_network))
    folder = claim_outputs(output_dir, [f"{name}.csv" for name in TABLES])
    source = ScanSource() if source is None else source
    about = dict(params or {}) | {"scanners": scanners, "copies": copies, "seed": seed, "scans": len(rows)}
    note = folder / NOTE_NAME
    with mlflow_run(
        tracking_uri, experiment, "landmarks", about, local_log=folder, parent_run=parent_run, note=note
    ) as run:
        model = scanner_of_rows(rows, source, scanner_model)
        measured = measure_landmarks(rows, network, model, scanners, copies, seed, source)
        tables = (group_table(measured, resamples, seed), name_table(measured), measured)
        files = {}
        for name, table in zip(TABLES, tables, strict=True):
            files[name] = folder / f"{name}.csv"
            write_frame(files[name], table)
        run.log_metrics(_as_metrics(tables[0]))
        for path in files.values():
            run.log_artifact(path)
    print(tables[0].drop(columns=[name for name in tables[0] if name.startswith("dice_")]).to_string(index=False))
    print(f"Tables: {folder}")
    return files


def _as_metrics(table: pd.DataFrame) -> dict[str, float]:
    values = {
        f"{row['finder']}/{row['group']} {name}".replace(",", ""): row.get(name)
        for _, row in table.iterrows()
        for name in ("found_percent", "correct_percent", "median_cm")
    }
    return {name: float(value) for name, value in values.items() if pd.notna(value)}
