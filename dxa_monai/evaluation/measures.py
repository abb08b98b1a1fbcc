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

from dxa_monai.errors import InputError
from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES, arm_differences, arm_table
from dxa_monai.evaluation.arms import Findings, Task
from dxa_monai.evaluation.held_out import HeldOutPeople, TrainedArm, read_record
from dxa_monai.evaluation.predictors import MEAN_ARM, Rows
from dxa_monai.evaluation.ridge import ComponentRidge
from dxa_monai.figures.bland_altman import bland_altman_figure
from dxa_monai.figures.measure_scatter import learning_curve_figure, scatter_figure
from dxa_monai.networks.checkpoint import load_regressor
from dxa_monai.physics.calibration import body_mask
from dxa_monai.scan.measures import first_pairs, measure_label, measure_table
from dxa_monai.scan.source import ScanSource

SILHOUETTE_ARM, RIDGE_ARM = "ridge_on_silhouette_components", "ridge_on_image_components"
BASELINES = (MEAN_ARM, SILHOUETTE_ARM, RIDGE_ARM)
MOST_COMPONENTS = 800
FIRST_COLUMNS = ("arm", "trunk", "training_pairs")
"""What tells arms apart in the tables."""
NO_TRUNK, UNKNOWN_TRUNK, FROZEN = "none", "trained", "frozen"
"""Trunk of the baselines, of a network whose run does not tell, and of one whose trunk was not trained."""


class MeasuresTask(Task):
    """How well networks read body measures from scans.

    Which measures is what the networks were trained for: their checkpoints tell. Baselines are the training people's
    mean, and ridge regression on principal components of the images and of the silhouettes alone, which tell no X-ray
    physics; each on as many training pairs as the networks, where the split that is evaluated has so many.

    Args:
        batch_size: scans in one pass.
        device: where to compute.
    """

    name = "measures"
    figures = ("scatter.png", "bland_altman.png", "learning_curve.png")
    reserved = BASELINES

    def __init__(self, batch_size: int = 8, device: str | torch.device = "cpu") -> None:
        self.batch_size = batch_size
        self.device = device

    def compare(
        self, arms: Sequence[TrainedArm], people: HeldOutPeople, seed: int, skipped: Mapping[str, str]
    ) -> Findings:
        """See :class:`dxa_monai.evaluation.arms.Task`."""
        networks = self._predictions_of(arms, people)
        measures = list(dict.fromkeys(networks["measure"]))
        sizes = sorted(set(networks["training_pairs"]))
        predictions = pd.concat([*(_baselines(people, size, measures) for size in sizes), networks], ignore_index=True)
        of_all = predictions[predictions["training_pairs"] == sizes[-1]]
        table = arm_table(of_all, FIRST_COLUMNS, seed=seed)
        not_run = pd.DataFrame([{"arm": arm, "skipped": reason} for arm, reason in skipped.items()])
        differences = arm_differences(of_all, FIRST_COLUMNS, seed=seed)
        tables = {
            "measures": pd.concat([table, not_run], ignore_index=True),
            "measures_differences": differences,
            "measures_per_scan": predictions,
        }
        text = [
            f"R2, mean of {len(measures)} measures on {table['people'].iloc[0]} people held out:",
            format_means(table, list(FIRST_COLUMNS)),
            *(f"{arm}: skipped; {reason}" for arm, reason in skipped.items()),
            "Differences of that mean (95 % interval over people and training seeds):",
            format_means(differences, ["arm", "trunk", "minus_arm", "minus_trunk"]),
        ]
        if len(sizes) > 1:
            tables["learning_curve"] = arm_table(predictions[predictions["trunk"] != FROZEN], FIRST_COLUMNS, seed=seed)
            text += ["R2, mean of measures, by number of training pairs:", _format_curve(tables["learning_curve"])]
        metrics = {
            f"{row['arm']}_{row['trunk']}/{row['measure']}_{name}": float(row[name])
            for _, row in table.iterrows()
            for name in ("r2", "rmse")
            if np.isfinite(row[name])
        }
        return Findings(tables, metrics, text, lambda folder: _draw(of_all, tables, people.rows, folder))

    def _predictions_of(self, arms: Sequence[TrainedArm], people: HeldOutPeople) -> pd.DataFrame:
        """What the networks predict, one row a scan, measure and network."""
        tables: list[pd.DataFrame] = []
        measures: tuple[str, ...] = ()
        for arm in arms:
            for place, path in enumerate(arm.checkpoints):
                network = load_regressor(path)
                measures = measures or network.measures
                if set(network.measures) != set(measures):
                    other = sorted(set(network.measures) ^ set(measures))
                    raise InputError(
                        f"{path}: expected the measures of the networks before it, got {len(network.measures)}, "
                        f"differing in {', '.join(other)}."
                    )
                predicted = predict_measures(network, people.rows, people.source, self.batch_size, self.device)
                order = [network.measures.index(name) for name in measures]
                record = read_record(path)
                about = {
                    "arm": arm.name,
                    "trunk": record.get("trunk", UNKNOWN_TRUNK),
                    "training_pairs": record.get("training_pairs", len(people.training_rows)),
                    "seed": place,
                }
                tables.append(prediction_table(people.rows, measures, predicted[:, order], **about))
        return pd.concat(tables, ignore_index=True)


@torch.no_grad()
def predict_measures(
    network: torch.nn.Module,
    rows: Rows,
    source: ScanSource,
    batch_size: int = 8,
    device: str | torch.device = "cpu",
) -> npt.NDArray[np.float64]:
    """Measures ``(N, M)`` that a network reads from the scans of manifest rows."""
    network.to(device).eval()
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return torch.cat([network(source.images(part).to(device)).double().cpu() for part in parts]).numpy()


def prediction_table(
    rows: Rows, measures: Sequence[str], predicted: npt.NDArray[np.float64], **about: Any
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


def baseline_predictions(
    training_rows: Rows, rows: Rows, measures: Sequence[str], source: ScanSource
) -> dict[str, npt.NDArray[np.float64]]:
    """Measures ``(N, M)`` of the scans of ``rows`` by each of ``BASELINES``, from ``training_rows`` alone.

    Args:
        training_rows: manifest rows with ``measures``, at least three; all scans are held in memory, 0.4 MB each.
        rows: manifest rows.
        measures: columns of the manifest.
        source: how scans are read.
    """
    wanted = measure_table(training_rows, measures)
    (training_masks, training_images), (masks, images) = _read(training_rows, source), _read(rows, source)
    return {
        MEAN_ARM: np.tile(wanted.mean(axis=0), (len(rows), 1)),
        SILHOUETTE_ARM: ComponentRidge(training_masks, wanted, MOST_COMPONENTS).predict(masks),
        RIDGE_ARM: ComponentRidge(training_images, wanted, MOST_COMPONENTS).predict(images),
    }


def format_means(table: pd.DataFrame, labels: Sequence[str]) -> str:
    """The rows of the mean over measures as text for the terminal."""
    means = table[table["measure"] == MEAN_OF_MEASURES]
    shown = means[list(labels)].copy()
    shown["R2"] = [f"{row['r2']:.3f} [{row['r2_low']:.3f}, {row['r2_high']:.3f}]" for _, row in means.iterrows()]
    if "r2_seed_sd" in means:
        shown["sd of seeds"] = [f"{value:.3f}" if np.isfinite(value) else "" for value in means["r2_seed_sd"]]
    return shown.to_string(index=False)


def _baselines(people: HeldOutPeople, size: int, measures: Sequence[str]) -> pd.DataFrame:
    # another split than the runs' own may have fewer
    training = first_pairs(people.training_rows, min(size, len(people.training_rows)), people.split_seed)
    found = baseline_predictions(training, people.rows, measures, people.source)
    return pd.concat(
        [
            prediction_table(people.rows, measures, predicted, arm=arm, trunk=NO_TRUNK, training_pairs=size, seed=0)
            for arm, predicted in found.items()
        ],
        ignore_index=True,
    )


def _read(rows: Rows, source: ScanSource) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Silhouettes ``(N, H*W)`` of zeros and ones, and images ``(N, 6*H*W)``, float32."""
    masks, images = [], []
    for row in rows:
        raw = source.image(row["scan"])
        masks.append(body_mask(raw[None])[0].flatten().float().numpy())
        images.append(raw.flatten().numpy())
    return np.stack(masks), np.stack(images)


def _means(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["measure"] == MEAN_OF_MEASURES]


def _format_curve(table: pd.DataFrame) -> str:
    means = _means(table)
    shown = means.pivot(index="arm", columns="training_pairs", values="r2").loc[list(dict.fromkeys(means["arm"]))]
    return shown.to_string(float_format=lambda value: f"{value:.3f}")


def _draw(predictions: pd.DataFrame, tables: Mapping[str, pd.DataFrame], rows: Rows, folder: Path) -> dict[str, Path]:
    """Scatter and Bland-Altman plots of the best arm that is no baseline, its first seed; and the learning curve."""
    means = _means(tables["measures"])
    means = means[~means["arm"].isin(BASELINES)]
    best = means.loc[means["r2"].idxmax(), list(FIRST_COLUMNS)]
    chosen = predictions[np.logical_and.reduce([predictions[name] == best[name] for name in FIRST_COLUMNS])]
    chosen = chosen[chosen["seed"] == chosen["seed"].iloc[0]]
    sex_of = {row["scan_id"]: str(row.get("sex", "unknown")) for row in rows}
    pairs, groups = {}, []
    for measure, group in chosen.groupby("measure", sort=False):
        pairs[measure_label(str(measure))] = (group["predicted"].to_numpy(), group["truth"].to_numpy())
        groups = [sex_of.get(scan_id, "unknown") for scan_id in group["scan_id"]]
    title = f"{best['arm']} ({best['trunk']}), {len(groups)} scans held out"
    files = {
        "scatter": scatter_figure(pairs, folder / "scatter.png", groups, title),
        "bland_altman": bland_altman_figure(pairs, folder / "bland_altman.png", groups, title),
    }
    if "learning_curve" in tables:
        # the mean predictor's R2 is about 0 and would flatten what is to be seen
        curve = _means(tables["learning_curve"])
        drawn = curve[curve["arm"] != MEAN_ARM]
        files["learning_curve_figure"] = learning_curve_figure(drawn, folder / "learning_curve.png")
    return files
