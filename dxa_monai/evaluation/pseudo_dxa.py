"""Raw scans predicted from 3D body scans, on people held out: the paper's tables 4 and 5 and figure 3.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663, section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.predicted_scans import (
    ALIGNED,
    ANOTHER_VISIT,
    BASELINES,
    Predictors,
    baseline_predictors,
    composition_from_shape,
    evaluate_scans,
    network_predictor,
    quality_of_another_visit,
)
from dxa_monai.evaluation.pseudo_dxa_tables import (
    composition_predictions,
    format_table_4,
    format_table_5,
    table_4,
    table_4_differences,
    table_5,
    table_5_differences,
    tables_as_metrics,
)
from dxa_monai.evaluation.reconstructed_composition import ORIGINAL, raw_image, scanner_of
from dxa_monai.evaluation.shape_baselines import Shapes, load_shapes
from dxa_monai.figures.pseudo_dxa import Prediction, people_page, prediction_figure
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.handlers.tracking import TrackedRun, mlflow_run
from dxa_monai.handlers.tracking_server import check_tracking_uri
from dxa_monai.mesh.io import load_mesh
from dxa_monai.mesh.points import centred
from dxa_monai.networks.checkpoint import load_pseudo_dxa
from dxa_monai.transforms.point_clouds import CLOUD_POINTS, draw_point_clouds, mesh_paths

PEOPLE_ON_THE_PAGE = 10


def evaluate_pseudo_dxa(
    rows: Sequence[Mapping[str, Any]],
    training_rows: Sequence[Mapping[str, Any]],
    arms: Mapping[str, str | Path | Sequence[str | Path]],
    output_dir: str | Path,
    clouds_dir: str | Path,
    points: int = 2048,
    mesh: Mapping[str, Any] | None = None,
    scanner_model: str | Path | None = None,
    composition: bool = True,
    device: str | torch.device = "cpu",
    seed: int = 0,
    workers: int = 1,
    tracking_uri: str = "",
    experiment: str = "pseudo_dxa",
    params: Mapping[str, Any] | None = None,
    parent_run: str = "",
) -> dict[str, Path]:
    """Write tables 4 and 5, the differences between arms, figure 3 and a page of ten people; print the tables.

    Args:
        rows: manifest rows of the people held out, with ``mesh``.
        training_rows: those the arms were trained on, for the baselines.
        arms: checkpoint, or checkpoints of several seeds, by the name of the arm.
        output_dir: gets the files.
        clouds_dir: where the points of bodies are kept, see
            :func:`dxa_monai.transforms.point_clouds.draw_point_clouds`.
        points: of each body.
        mesh: how meshes are read: arguments of :class:`dxa_monai.transforms.mesh_points.LoadMeshPointsd`.
        scanner_model: file of the calibrated scanner that analyses body composition; None: calibrated with some of the
            training scans, or, if these do not do (a line says so), the nominal one.
        composition: whether to analyse body composition (about 0.1 s an image on one core, training scans too).
        device: where to compute.
        seed: of the bootstrap.
        workers: processes that read meshes.
        tracking_uri: of MLflow; empty: not tracked.
        experiment: MLflow's name for what belongs together.
        params: what MLflow should know of the data and the code.
        parent_run: id of the MLflow run that this one is shown below; empty: it stands by itself.

    Returns:
        The written files by name.

    Raises:
        InputError: there is no arm, one has the name of a baseline, a checkpoint or mesh cannot be used, or the folder
            cannot be written to.
    """
    check_tracking_uri(tracking_uri)
    paths = _checked_paths(arms)
    mesh_paths([*rows, *training_rows])
    folder = output_folder(output_dir)
    networks = {arm: [load_pseudo_dxa(path) for path in of_seeds] for arm, of_seeds in paths.items()}
    held_out = draw_point_clouds(rows, clouds_dir, mesh, max(points, CLOUD_POINTS), workers)
    about = dict(params or {}) | {"arms": {arm: " ".join(of_seeds) for arm, of_seeds in paths.items()}}
    with mlflow_run(tracking_uri, experiment, "tables_4_5", about, local_log=folder, parent_run=parent_run) as run:
        shapes = _shapes([*training_rows, *held_out], mesh)
        predictors: dict[Any, Any] = dict(baseline_predictors(training_rows, shapes))
        for arm, of_seeds in networks.items():
            predictors |= {(arm, i): network_predictor(network, points, device) for i, network in enumerate(of_seeds)}
        scanner = scanner_of(training_rows, scanner_model) if composition else None
        quality, measured = evaluate_scans(held_out, predictors, scanner)
        tables = {"image_quality": quality, "table_4": table_4(quality, seed)}
        tables["table_4_differences"] = table_4_differences(quality, seed)
        another = quality_of_another_visit(held_out)
        if len(another):
            of_them = quality[quality["scan_id"].isin(another["scan_id"])]
            tables["repeated_scans"] = table_4(pd.concat([of_them, another]), seed)
        if len(measured) and scanner is not None:
            without_image = composition_from_shape(training_rows, held_out, scanner, shapes)
            predictions = composition_predictions(measured, without_image, [row["scan_id"] for row in held_out])
            tables["composition"] = pd.concat([table.assign(reference=key) for key, table in predictions.items()])
            tables["table_5"] = table_5(predictions, seed)
            tables["table_5_differences"] = table_5_differences(predictions, seed)
        files = {}
        for name, table in tables.items():
            files[name] = folder / f"{name}.csv"
            with atomic_path(files[name]) as temporary:
                table.to_csv(temporary, index=False, float_format="%.6g")
        files |= _draw(held_out, quality, predictors, next(iter(networks)), folder, mesh)
        _track(run, tables, files)
    _print(tables, len(held_out), composition)
    print(f"Tables and figures: {folder}")
    return files


def _shapes(rows: Sequence[Mapping[str, Any]], mesh: Mapping[str, Any] | None) -> Shapes | None:
    try:
        return load_shapes(rows, mesh)
    except InputError as error:
        print(f"No ridge regression from shape: {error}")
        return None


def _checked_paths(arms: Mapping[str, str | Path | Sequence[str | Path]]) -> dict[str, list[str]]:
    reserved = sorted({*BASELINES, ORIGINAL, ANOTHER_VISIT} & set(arms))
    if reserved:
        raise InputError(f"arms: expected names of trained arms, got '{reserved[0]}', which names a baseline.")
    paths = {
        arm: [str(path) for path in ([given] if isinstance(given, (str, Path)) else given)]
        for arm, given in arms.items()
    }
    if not paths or not all(paths.values()):
        raise InputError("arms: expected at least one arm and its checkpoint, got none.")
    return paths


def _draw(
    rows: Sequence[Mapping[str, Any]],
    quality: pd.DataFrame,
    predictors: Predictors,
    first_arm: str,
    folder: Path,
    mesh: Mapping[str, Any] | None,
) -> dict[str, Path]:
    """Figure 3 of the person in the middle, and ten people from the worst to the best, of the best arm's first seed."""
    trained = quality[~quality["arm"].isin(BASELINES)]
    means = trained.groupby("arm")["psnr_db"].mean()
    arm = str(means.idxmax()) if means.notna().any() else first_arm
    of_arm = trained[(trained["arm"] == arm) & (trained["seed"] == 0)].sort_values(["psnr_db", "scan_id"])
    # one scan a person, so that ten people are ten
    ordered = list(of_arm.drop_duplicates("subject_id")["scan_id"])
    by_id = {row["scan_id"]: row for row in rows}
    axes = {name: value for name, value in (mesh or {}).items() if name in ("unit", "up_axis", "facing")}

    def person(scan_id: str) -> Prediction:
        row = by_id[scan_id]
        image = predictors[arm, 0]([row])[0].numpy()
        body = centred(load_mesh(row["mesh"], **axes, announce=False))
        return Prediction(scan_id, body, raw_image(row)[0].numpy(), image)

    chosen = np.unique(np.linspace(0, len(ordered) - 1, PEOPLE_ON_THE_PAGE).round().astype(int))
    return {
        "figure_3": prediction_figure(person(ordered[(len(ordered) - 1) // 2]), folder / "figure_3.png"),
        "people": people_page([person(ordered[index]) for index in chosen], folder / "people.png"),
    }


def _track(run: TrackedRun, tables: Mapping[str, pd.DataFrame], files: Mapping[str, Path]) -> None:
    run.log_metrics(tables_as_metrics(tables["table_4"], tables.get("table_5")))
    for path in files.values():
        run.log_artifact(path)


def _print(tables: Mapping[str, pd.DataFrame], scans: int, composition: bool) -> None:
    people = tables["table_4"]["people"].iloc[0]
    print(f"Image quality, {people} people held out, mean [95 % interval over people]; aligned: PSNR after alignment:")
    print(format_table_4(tables["table_4"]))
    best = tables["table_4"].iloc[tables["table_4"]["psnr_db"].argmax()]
    print(
        f"Rigid alignment of {best['arm']} (rms {best['rms_shift_rows_mm']:.1f} mm along rows, "
        f"{best['rms_shift_columns_mm']:.1f} mm along columns, {best['rms_turn_degrees']:.2f} degrees) takes away "
        f"{100 * (1 - 10 ** ((best['psnr_db'] - best[f'{ALIGNED}psnr_db']) / 10)):.0f} % of its squared error."
    )
    if "repeated_scans" in tables:
        print(f"The same for the people with several scans; {ANOTHER_VISIT}: another scan of theirs as the prediction:")
        print(format_table_4(tables["repeated_scans"]))
    if "table_5" in tables:
        for reference in dict.fromkeys(tables["table_5"]["reference"]):
            against = "the analysis of the true scan" if reference == "scan" else "the truth"
            print(f"Body composition against {against}, R2 (RMSE):")
            print(format_table_5(tables["table_5"], str(reference)))
    elif composition:
        print(f"No table 5: a whole body was found in none of the {scans} scans.")
