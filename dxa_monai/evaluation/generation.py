"""Raw scans predicted from 3D body scans, on people held out: the paper's tables 4 and 5 and figure 3.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663, section 4.3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.arms import Findings, Task
from dxa_monai.evaluation.held_out import HeldOutPeople, TrainedArm
from dxa_monai.evaluation.image_quality_tables import format_image_quality, image_quality_table
from dxa_monai.evaluation.predictors import (
    IMAGE_PROCESS_ARM,
    IMAGE_RIDGE_ARM,
    MEAN_ARM,
    Batch,
    ImageCodes,
    MeanScan,
    ProcessFromShape,
    RidgeFromShape,
    Rows,
    ScanOfBody,
    ScanPredictor,
    Shapes,
    load_shapes,
    mean_of_training,
)
from dxa_monai.evaluation.scan_tables import scan_findings
from dxa_monai.evaluation.scans import (
    ALIGNED,
    ANOTHER_VISIT,
    COMPOSITION_PROCESS_ARM,
    COMPOSITION_RIDGE_ARM,
    MAPS,
    ORIGINAL,
    Predictors,
    composition_from_shape,
    composition_of_maps,
    evaluate_scans,
    quality_of_another_visit,
)
from dxa_monai.figures.predicted_scans import Prediction, people_page, prediction_figure
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.mesh.io import load_mesh
from dxa_monai.mesh.points import centred
from dxa_monai.networks.checkpoint import load_pseudo_dxa
from dxa_monai.networks.trunk_weights import RANDOM
from dxa_monai.scan.spread import from_first_to_last
from dxa_monai.transforms.point_clouds import CLOUD_POINTS, draw_point_clouds, mesh_paths

PEOPLE_ON_THE_PAGE = 10
_BASELINES = (MEAN_ARM, IMAGE_RIDGE_ARM, IMAGE_PROCESS_ARM, COMPOSITION_RIDGE_ARM, COMPOSITION_PROCESS_ARM)


class GenerationTask(Task):
    """How well a scan is predicted from a body's surface, as an image and in its body composition.

    Baselines are the training people's mean, ridge and Gaussian-process regression from shape to image and straight to
    body composition (for meshes of one topology), and, for people with several scans, another scan of theirs. A network
    that predicts maps of fat, lean and bone is in the table of body composition twice: as the analysis reads its scan,
    and, called ``MAPS`` and its name, as its maps say.

    Args:
        clouds_dir: where the points of bodies are kept, see
            :func:`dxa_monai.transforms.point_clouds.draw_point_clouds`.
        points: of each body.
        mesh: how meshes are read: arguments of :class:`dxa_monai.transforms.mesh_points.LoadMeshPointsd`.
        scanner_model: file of the calibrated scanner that analyses body composition; None: calibrated with some of the
            training scans, or, if these do not do (a line says so), the nominal one.
        composition: whether to analyse body composition (about 0.1 s an image on one core, training scans too).
        architecture_of: checkpoint of the DXA-VAE whose generator random ones resemble in a comparison; empty: that of
            the first arm with a checkpoint.
        device: where to compute.
        workers: processes that read meshes.
    """

    name = "generation"
    figures = ("figure_3.png", "people.png")
    reserved = (*_BASELINES, ORIGINAL, ANOTHER_VISIT, MAPS)

    def __init__(
        self,
        clouds_dir: str | Path,
        points: int = CLOUD_POINTS,
        mesh: Mapping[str, Any] | None = None,
        scanner_model: str | Path | None = None,
        composition: bool = True,
        architecture_of: str = "",
        device: str | torch.device = "cpu",
        workers: int = 1,
    ) -> None:
        self.clouds_dir = clouds_dir
        self.points = points
        self.mesh = dict(mesh or {})
        self.scanner_model = scanner_model
        self.composition = composition
        self.architecture_of = architecture_of
        self.device = device
        self.workers = workers

    def complete(self, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The arms, those of a random generator with the checkpoint whose architecture it takes.

        Raises:
            InputError: an arm has the name of a baseline or does not say where its generator starts from, or no
                architecture is known.
        """
        arms = super().complete(arms)
        without = [name for name, settings in arms.items() if not settings.get("generator")]
        if without:
            raise InputError(f"arms: expected where the generator of '{without[0]}' starts from, got none.")
        given = [str(settings["generator"]) for settings in arms.values() if str(settings["generator"]) != RANDOM]
        model = str(self.architecture_of) or next(iter(given), "")
        if not model:
            raise InputError(
                "architecture_of: expected the checkpoint of a DXA-VAE where all arms are random, got none."
            )
        return {
            name: ({"architecture_of": model} if str(settings["generator"]) == RANDOM else {}) | dict(settings)
            for name, settings in arms.items()
        }

    def compare(
        self, arms: Sequence[TrainedArm], people: HeldOutPeople, seed: int, skipped: Mapping[str, str]
    ) -> Findings:
        """See :class:`dxa_monai.evaluation.arms.Task`."""
        source, training = people.source, people.training_rows
        mesh_paths([*people.rows, *training])
        networks = {
            (arm.label, place): ScanOfBody(load_pseudo_dxa(path), self.points, self.device)
            for arm in arms
            for place, path in enumerate(arm.checkpoints)
        }
        rows = draw_point_clouds(people.rows, self.clouds_dir, self.mesh, max(self.points, CLOUD_POINTS), self.workers)
        people = dataclasses.replace(people, rows=rows)
        shapes = self._shapes([*training, *rows])
        mean_image = mean_of_training(training, source)
        predictors: dict[tuple[str, int], ScanPredictor] = {(MEAN_ARM, 0): MeanScan(mean_image)}
        if shapes is not None:
            images = ImageCodes(training, source, mean_image)
            predictors[IMAGE_RIDGE_ARM, 0] = RidgeFromShape(training, source, mean_image, shapes, images)
            predictors[IMAGE_PROCESS_ARM, 0] = ProcessFromShape(training, source, mean_image, shapes, images)
        predictors |= networks
        scanner = scanner_of_rows(training, source, self.scanner_model) if self.composition else None
        quality, measured = evaluate_scans(rows, source, predictors, scanner, aligned=True)
        without_image = {}
        if len(measured) and scanner is not None:
            measured = pd.concat([measured, composition_of_maps(measured, rows, networks)], ignore_index=True)
            without_image = composition_from_shape(training, rows, source, scanner, shapes)
        names = [arm.label for arm in arms]
        found = scan_findings(
            quality,
            measured,
            without_image,
            people,
            seed,
            lambda folder: self._draw(people, quality, predictors, names, folder),
            self.composition,
        )
        return _with_alignment(found, quality, quality_of_another_visit(rows, source), seed)

    def _shapes(self, rows: Rows) -> Shapes | None:
        try:
            return load_shapes(rows, self.mesh)
        except InputError as error:
            print(f"No ridge regression from shape: {error}")
            return None

    def _draw(
        self, people: HeldOutPeople, quality: pd.DataFrame, predictors: Predictors, arms: Sequence[str], folder: Path
    ) -> dict[str, Path]:
        """Figure 3 of the person in the middle, and ten people from the worst to the best, of the best arm's first
        seed."""
        trained = quality[quality["arm"].isin(arms)]
        means = trained.groupby("arm")["psnr_db"].mean()
        arm = str(means.idxmax()) if means.notna().any() else arms[0]
        of_arm = trained[(trained["arm"] == arm) & (trained["seed"] == 0)].sort_values(["psnr_db", "scan_id"])
        # one scan a person, so that ten people are ten
        ordered = list(of_arm.drop_duplicates("subject_id")["scan_id"])
        by_id = {row["scan_id"]: row for row in people.rows}
        axes = {name: value for name, value in self.mesh.items() if name in ("unit", "up_axis", "facing")}

        def person(scan_id: str) -> Prediction:
            row = by_id[scan_id]
            batch = Batch([row], people.source.images([row]))
            image = predictors[arm, 0].predict(batch)[0].numpy()
            body = centred(load_mesh(row["mesh"], **axes, announce=False))
            return Prediction(scan_id, body, batch.scans[0].numpy(), image)

        chosen = from_first_to_last(len(ordered), PEOPLE_ON_THE_PAGE)
        return {
            "figure_3": prediction_figure(person(ordered[(len(ordered) - 1) // 2]), folder / "figure_3.png"),
            "people": people_page([person(ordered[index]) for index in chosen], folder / "people.png"),
        }


def _with_alignment(found: Findings, quality: pd.DataFrame, another_visit: pd.DataFrame, seed: int) -> Findings:
    """What alignment and another visit tell: how much of the error is how people lie."""
    tables, text = dict(found.tables), list(found.text)
    table = tables["image_quality"]
    best = table.iloc[table["psnr_db"].argmax()]
    text.append(
        f"Rigid alignment of {best['arm']} (rms {best['rms_shift_rows_mm']:.1f} mm along rows, "
        f"{best['rms_shift_columns_mm']:.1f} mm along columns, {best['rms_turn_degrees']:.2f} degrees) takes away "
        f"{100 * (1 - 10 ** ((best['psnr_db'] - best[f'{ALIGNED}psnr_db']) / 10)):.0f} % of its squared error."
    )
    if len(another_visit):
        of_them = quality[quality["scan_id"].isin(another_visit["scan_id"])]
        tables["repeated_scans"] = image_quality_table(pd.concat([of_them, another_visit]), seed=seed)
        text += [
            f"People with several scans; {ANOTHER_VISIT}: another scan of theirs as the prediction:",
            format_image_quality(tables["repeated_scans"]),
        ]
    return Findings(tables, found.metrics, text, found.draw)
