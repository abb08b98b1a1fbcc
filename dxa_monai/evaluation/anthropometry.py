"""Body measures read from raw scans by trained networks, on people held out: the paper's table 3.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureTyped, LoadImaged

from dxa_monai.errors import InputError
from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES, arm_differences, arm_table
from dxa_monai.evaluation.measure_baselines import BASELINES, baseline_predictions
from dxa_monai.figures.bland_altman import bland_altman_figure
from dxa_monai.figures.measures import scatter_figure
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.handlers.tracking import TrackedRun, mlflow_run
from dxa_monai.handlers.tracking_server import check_tracking_uri
from dxa_monai.networks.checkpoint import load_regressor
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.scan.manifest import as_datalist
from dxa_monai.scan.measures import measure_label, measure_table
from dxa_monai.scan.reader import RawDXAReader

FIRST_COLUMNS = ("arm", "trunk", "training_pairs")
"""What tells arms apart in the tables."""
NO_TRUNK = "none"
"""Trunk of the baselines."""


def predict_measures(
    network: AnthropometryRegressor,
    rows: Sequence[Mapping[str, Any]],
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
) -> npt.NDArray[np.float64]:
    """Measures ``(N, M)`` that a network reads from the scans of manifest rows."""
    loader = DataLoader(
        Dataset(
            as_datalist(rows),
            Compose([LoadImaged(keys="image", reader=RawDXAReader), EnsureTyped(keys="image", track_meta=False)]),
        ),
        batch_size=batch_size,
        num_workers=num_workers,
    )
    network.to(device).eval()
    with torch.no_grad():
        batches = [network(batch["image"].to(device)).double().cpu() for batch in loader]
    return torch.cat(batches).numpy()


def prediction_table(
    rows: Sequence[Mapping[str, Any]],
    measures: Sequence[str],
    predicted: npt.NDArray[np.float64],
    **about: Any,
) -> pd.DataFrame:
    """One row a scan and measure: ``about, scan_id, subject_id, measure, truth, predicted``."""
    truth = measure_table(rows, measures)
    scans = [row for row in rows for _ in measures]
    return pd.DataFrame(
        about
        | {
            "scan_id": [row["scan_id"] for row in scans],
            "subject_id": [row["subject_id"] for row in scans],
            "measure": list(measures) * len(rows),
            "truth": truth.ravel(),
            "predicted": np.asarray(predicted).ravel(),
        }
    )


def predictions_of(
    runs: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
) -> pd.DataFrame:
    """What trained networks predict of scans held out.

    Args:
        runs: for each network ``checkpoint`` and what tells it apart: ``arm, trunk, training_pairs, seed``.
        rows: manifest rows with the measures.
        batch_size: scans in one pass.
        num_workers: processes that read scans.
        device: where to compute.

    Raises:
        InputError: there is no run, a checkpoint cannot be used, or networks predict different measures.
    """
    if not runs:
        raise InputError("arms: expected at least one arm and its checkpoint, got none.")
    tables, measures = [], None
    for each in runs:
        network = load_regressor(each["checkpoint"])
        if measures not in (None, network.measures):
            raise InputError(
                f"{each['checkpoint']}: expected the measures of the networks before it, got {len(network.measures)} "
                "others."
            )
        measures = network.measures
        predicted = predict_measures(network, rows, batch_size, num_workers, device)
        about = {name: each[name] for name in (*FIRST_COLUMNS, "seed")}
        tables.append(prediction_table(rows, measures, predicted, **about))
    return pd.concat(tables, ignore_index=True)


def baselines_of(
    training_rows: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], measures: Sequence[str]
) -> pd.DataFrame:
    """The baselines' predictions, in the form of :func:`predictions_of`."""
    return pd.concat(
        [
            prediction_table(
                rows, measures, predicted, arm=arm, trunk=NO_TRUNK, training_pairs=len(training_rows), seed=0
            )
            for arm, predicted in baseline_predictions(training_rows, rows, measures).items()
        ],
        ignore_index=True,
    )


def evaluate_anthropometry(
    rows: Sequence[Mapping[str, Any]],
    training_rows: Sequence[Mapping[str, Any]],
    arms: Mapping[str, str | Path | Sequence[str | Path]],
    output_dir: str | Path,
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    seed: int = 0,
    tracking_uri: str = "",
    experiment: str = "dxa_anthropometry",
    params: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write table 3, differences and figures of trained arms; print the mean over measures.

    Args:
        rows: manifest rows of the people held out, with the measures.
        training_rows: those the arms were trained on, for the baselines.
        arms: checkpoint, or checkpoints of several seeds, by the name of the arm.
        output_dir: gets the files.
        batch_size: scans in one pass.
        num_workers: processes that read scans.
        device: where to compute.
        seed: of the bootstrap.
        tracking_uri: of MLflow; empty: not tracked.
        experiment: MLflow's name for what belongs together.
        params: what MLflow should know of the data and the code.

    Returns:
        The written files by name.

    Raises:
        InputError: a checkpoint cannot be used, or the folder cannot be written to.
    """
    check_tracking_uri(tracking_uri)
    folder = output_folder(output_dir)
    runs = [
        {"checkpoint": checkpoint, "arm": arm, "trunk": "trained", "training_pairs": len(training_rows), "seed": index}
        for arm, given in arms.items()
        for index, checkpoint in enumerate([given] if isinstance(given, (str, Path)) else given)
    ]
    with mlflow_run(tracking_uri, experiment, "table_3", params, local_log=folder) as run:
        predictions = predictions_of(runs, rows, batch_size, num_workers, device)
        measures = tuple(dict.fromkeys(predictions["measure"]))
        predictions = pd.concat([baselines_of(training_rows, rows, measures), predictions], ignore_index=True)
        return write_tables(predictions, rows, folder, run, seed)


def write_tables(
    predictions: pd.DataFrame,
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    run: TrackedRun,
    seed: int = 0,
    skipped: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write and log ``predictions.csv``, ``table_3.csv``, ``differences.csv`` and the figures; print the mean rows.

    Args:
        predictions: arms of one number of training pairs, baselines first.
        rows: manifest rows of the scans, for the figures' groups.
        folder: gets the files.
        run: of MLflow.
        seed: of the bootstrap.
        skipped: arms that could not be run, and why; they get a line in the table.
    """
    table = arm_table(predictions, FIRST_COLUMNS, seed=seed)
    not_run = pd.DataFrame([{"arm": arm, "skipped": reason} for arm, reason in (skipped or {}).items()])
    differences = arm_differences(predictions, FIRST_COLUMNS, seed=seed)
    files = {}
    for name, content in (
        ("predictions", predictions),
        ("table_3", pd.concat([table, not_run], ignore_index=True)),
        ("differences", differences),
    ):
        files[name] = folder / f"{name}.csv"
        with atomic_path(files[name]) as temporary:
            content.to_csv(temporary, index=False, float_format="%.6g")
    files |= _figures(predictions, table, rows, folder)
    run.log_metrics(
        {
            f"{row['arm']}_{row['trunk']}/{row['measure']}_{name}": float(row[name])
            for _, row in table.iterrows()
            for name in ("r2", "rmse")
            if np.isfinite(row[name])
        }
    )
    for path in files.values():
        run.log_artifact(path)
    print(f"R2, mean of {table['measure'].nunique() - 1} measures on {table['people'].iloc[0]} people held out:")
    print(format_means(table, list(FIRST_COLUMNS)))
    for arm, reason in (skipped or {}).items():
        print(f"{arm}: skipped; {reason}")
    print("Differences of that mean (95 % interval over people):")
    print(format_means(differences, ["arm", "trunk", "minus_arm", "minus_trunk"]))
    print(f"Tables and figures: {folder}")
    return files


def format_means(table: pd.DataFrame, labels: Sequence[str]) -> str:
    """The rows of the mean over measures as text for the terminal."""
    means = table[table["measure"] == MEAN_OF_MEASURES]
    shown = means[list(labels)].copy()
    shown["R2"] = [f"{row['r2']:.3f} [{row['r2_low']:.3f}, {row['r2_high']:.3f}]" for _, row in means.iterrows()]
    if "r2_seed_sd" in means:
        shown["sd of seeds"] = [f"{value:.3f}" if np.isfinite(value) else "" for value in means["r2_seed_sd"]]
    return shown.to_string(index=False)


def _figures(
    predictions: pd.DataFrame, table: pd.DataFrame, rows: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, Path]:
    """Scatter and Bland-Altman plots of the best arm that is no baseline, its first seed."""
    means = table[(table["measure"] == MEAN_OF_MEASURES) & ~table["arm"].isin(BASELINES)]
    best = means.loc[means["r2"].idxmax(), list(FIRST_COLUMNS)]
    chosen = predictions[np.logical_and.reduce([predictions[name] == best[name] for name in FIRST_COLUMNS])]
    chosen = chosen[chosen["seed"] == chosen["seed"].iloc[0]]
    sex_of = {row["scan_id"]: str(row.get("sex", "unknown")) for row in rows}
    pairs, groups = {}, []
    for measure, group in chosen.groupby("measure", sort=False):
        pairs[measure_label(str(measure))] = (group["predicted"].to_numpy(), group["truth"].to_numpy())
        groups = [sex_of.get(scan_id, "unknown") for scan_id in group["scan_id"]]
    title = f"{best['arm']} ({best['trunk']}), {len(groups)} scans held out"
    return {
        "scatter": scatter_figure(pairs, folder / "scatter.png", groups, title),
        "bland_altman": bland_altman_figure(pairs, folder / "bland_altman.png", groups, title),
    }
