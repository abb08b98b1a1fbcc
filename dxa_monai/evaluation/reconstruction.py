"""Image quality and body composition of reconstructions on held-out people: the paper's tables 1 and 2 and figure 2.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663, section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureTyped, LoadImaged
from tqdm import tqdm

from dxa_monai.errors import InputError
from dxa_monai.evaluation.image_quality_tables import arm_differences, format_table, table_1, table_as_metrics
from dxa_monai.evaluation.linear_baseline import baseline_name, linear_baseline, linear_reconstruction
from dxa_monai.evaluation.reconstructed_composition import (
    format_table_2,
    measured_composition,
    scanner_of,
    table_2,
    table_2_as_metrics,
)
from dxa_monai.figures.reconstruction import comparison_figure
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.handlers.tracking import mlflow_run
from dxa_monai.handlers.tracking_server import check_tracking_uri
from dxa_monai.metrics.scan_metric import FUNCTIONS as METRICS
from dxa_monai.networks.checkpoint import load_vae
from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.manifest import as_datalist
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.source import ScanSource

MEAN_IMAGE_ARM = "mean_image"
"""Name of the baseline that answers every scan with the mean image of the training split."""
Networks = Mapping[str, Sequence[DXAVAE]]
"""Trained networks, one a seed, by the name of their arm."""


def per_scan_quality(
    rows: Sequence[Mapping[str, Any]],
    networks: Networks,
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    principal: LinearPath | None = None,
) -> pd.DataFrame:
    """Image quality of every arm's reconstruction of every scan, and of the baselines.

    The first baseline is the mean image that the networks were trained with; networks of different means are refused,
    since they were not trained on the same people. The second is linear: the projection on principal components.

    Args:
        rows: manifest rows of the people held out.
        networks: trained networks, one a seed, by the name of their arm.
        batch_size: scans in one pass.
        num_workers: processes that read scans.
        device: where to compute.
        principal: principal components of the training scans; None leaves the linear baseline out.

    Returns:
        One row a scan, arm and seed: ``scan_id, subject_id, arm, seed, psnr_db, ssim, nmae``.

    Raises:
        InputError: the networks' mean images differ.
    """
    mean_image = common_mean_image(networks).to(device)
    loader = DataLoader(
        Dataset(
            as_datalist(rows),
            Compose([LoadImaged(keys="image", reader=RawDXAReader), EnsureTyped(keys="image", track_meta=False)]),
        ),
        batch_size=batch_size,
        num_workers=num_workers,
    )
    for module in (*chain(*networks.values()), principal):
        if module is not None:
            module.to(device).eval()
    records = []
    with torch.no_grad():
        for batch in tqdm(loader, desc="evaluating", unit="batch"):
            target = batch["image"].to(device)
            predictions = {(MEAN_IMAGE_ARM, 0): mean_image.expand_as(target)}
            if principal is not None:
                predictions[baseline_name(principal), 0] = linear_reconstruction(principal, mean_image, target)
            for arm, of_seeds in networks.items():
                predictions |= {(arm, place): network.reconstruct(target) for place, network in enumerate(of_seeds)}
            for (arm, place), prediction in predictions.items():
                values = {name: metric(prediction, target).tolist() for name, metric in METRICS.items()}
                for index, scan_id in enumerate(batch["scan_id"]):
                    records.append(
                        {"scan_id": scan_id, "subject_id": batch["subject_id"][index], "arm": arm, "seed": place}
                        | {name: column[index] for name, column in values.items()}
                    )
    return pd.DataFrame.from_records(records)


def common_mean_image(networks: Networks) -> torch.Tensor:
    """The mean training image that all networks share, ``(6, H, W)``.

    Raises:
        InputError: no network is given, or they were trained with different mean images.
    """
    if not networks or not all(networks.values()):
        raise InputError("arms: expected at least one arm and its checkpoint, got none.")
    (first_arm, first), *others = ((arm, network) for arm, of_seeds in networks.items() for network in of_seeds)
    mean_image = first.mean_image.detach().cpu()
    for arm, network in others:
        if not torch.equal(network.mean_image.detach().cpu(), mean_image):
            raise InputError(
                "arms: expected networks trained on the same people, "
                f"got different mean images in '{first_arm}' and '{arm}'."
            )
    return mean_image


def representative_scan(quality: pd.DataFrame, arm: str) -> str:
    """The scan whose PSNR in an arm is the median one, so that the figure is neither the best nor the worst case."""
    of_arm = quality[(quality["arm"] == arm) & (quality["seed"] == 0)].sort_values(["psnr_db", "scan_id"])
    return str(of_arm["scan_id"].iloc[(len(of_arm) - 1) // 2])


def evaluate_reconstruction(
    rows: Sequence[Mapping[str, Any]],
    arms: Mapping[str, str | Path | Sequence[str | Path]],
    output_dir: str | Path,
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    seed: int = 0,
    tracking_uri: str = "",
    experiment: str = "dxa_vae",
    params: Mapping[str, Any] | None = None,
    training_rows: Sequence[Mapping[str, Any]] = (),
    components: int = 40,
    scanner_model: str | Path | None = None,
    composition: bool = True,
    parent_run: str = "",
) -> dict[str, Path]:
    """Write tables 1 and 2, the differences between arms and the six-channel figure of trained arms; print the tables.

    Args:
        rows: manifest rows of the people held out.
        arms: checkpoint, or checkpoints of several seeds, by the name of the arm, in the order in which they are shown.
        output_dir: gets ``table_1.csv``, ``arm_differences.csv``, ``per_scan.csv``, ``figure_2.png`` and, with
            ``composition``, ``table_2.csv`` and ``composition_per_scan.csv``.
        batch_size: scans in one pass.
        num_workers: processes that read scans.
        device: where to compute.
        seed: of the bootstrap.
        tracking_uri: of MLflow, where the table and the files are logged too; empty: they are not.
        experiment: MLflow's name for what belongs together.
        params: what MLflow should know of the data and the code.
        parent_run: id of the MLflow run that this one is shown below; empty: it stands by itself.
        training_rows: manifest rows that the arms were trained on, for the linear baseline; none leaves it out.
        components: principal components of the linear baseline.
        scanner_model: file of the calibrated scanner that analyses body composition; None: calibrated with some of the
            training scans, or, if these do not do (a line says so), the nominal one.
        composition: whether to analyse body composition (about 0.1 s an image on one core).

    Returns:
        The written files by name.

    Raises:
        InputError: a checkpoint cannot be used, or the folder cannot be written to.
    """
    if MEAN_IMAGE_ARM in arms:
        raise InputError(f"arms: expected names of trained arms, got '{MEAN_IMAGE_ARM}', which names the baseline.")
    check_tracking_uri(tracking_uri)
    folder = output_folder(output_dir)
    paths = {
        arm: [str(path) for path in ([given] if isinstance(given, (str, Path)) else given)]
        for arm, given in arms.items()
    }
    networks = {arm: [load_vae(path) for path in of_seeds] for arm, of_seeds in paths.items()}
    about = dict(params or {}) | {"arms": {arm: " ".join(of_seeds) for arm, of_seeds in paths.items()}}
    with mlflow_run(tracking_uri, experiment, "table_1", about, local_log=folder, parent_run=parent_run) as run:
        principal = linear_baseline(training_rows, common_mean_image(networks), components)
        quality = per_scan_quality(rows, networks, batch_size, num_workers, device, principal)
        tables = {"table_1": table_1(quality, seed=seed), "arm_differences": arm_differences(quality, seed=seed)}
        written = {"per_scan": quality} | tables
        if composition:
            scanner = scanner_of(training_rows or rows, scanner_model)
            measured = measured_composition(rows, training_rows, networks, scanner, principal, device)
            if len(measured):
                written |= {"composition_per_scan": measured, "table_2": table_2(measured, seed=seed)}
                run.log_metrics(table_2_as_metrics(written["table_2"]))
        files = {}
        for name, table in written.items():
            files[name] = folder / f"{name}.csv"
            with atomic_path(files[name]) as temporary:
                table.to_csv(temporary, index=False, float_format="%.6g")
        files["figure_2"] = folder / "figure_2.png"
        _draw_representative(rows, quality, networks, device, files["figure_2"])

        run.log_metrics(table_as_metrics(tables["table_1"]))
        for path in files.values():
            run.log_artifact(path)

    people = tables["table_1"]["people"].iloc[0]
    print(f"Image quality on {people} held-out people, mean [95 % bootstrap interval over people]:")
    print(format_table(tables["table_1"], ["arm"]))
    print("Difference of two arms on the same scans:")
    print(format_table(tables["arm_differences"], ["arm", "minus"]))
    if "table_2" in written:
        print("Body composition of reconstructions against that of the scans, R2 (RMSE):")
        print(format_table_2(written["table_2"]))
    elif composition:
        print(f"No table 2: a whole body was found in none of the {len(rows)} scans.")
    print(f"Tables and figure: {folder}")
    return files


def _draw_representative(
    rows: Sequence[Mapping[str, Any]],
    quality: pd.DataFrame,
    networks: Networks,
    device: str | torch.device,
    path: Path,
) -> None:
    chosen = representative_scan(quality, next(iter(networks)))
    scan = next(row["scan"] for row in rows if row["scan_id"] == chosen)
    target = ScanSource().image(scan)
    with torch.no_grad():
        made = {arm: of_seeds[0].reconstruct(target[None].to(device))[0] for arm, of_seeds in networks.items()}
    comparison_figure(target.numpy(), {arm: image.cpu().numpy() for arm, image in made.items()}, path)
