"""Reconstructions of a DXA-VAE on people held out: the paper's tables 1 and 2 and figure 2.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663, section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.arms import Findings, Task
from dxa_monai.evaluation.held_out import HeldOutPeople, TrainedArm
from dxa_monai.evaluation.predictors import (
    MEAN_ARM,
    PRINCIPAL_ARM,
    Batch,
    MeanScan,
    PrincipalComponents,
    Reconstruction,
    ScanPredictor,
    mean_of_training,
)
from dxa_monai.evaluation.scan_tables import scan_findings
from dxa_monai.evaluation.scans import ORIGINAL, evaluate_scans, mean_composition
from dxa_monai.figures.arm_comparison import comparison_figure
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.networks.checkpoint import load_vae


class ReconstructionTask(Task):
    """How well a DXA-VAE gives back the image and the body composition of a scan.

    Baselines are the training people's mean (image, composition) and the projection on principal components.

    Args:
        components: principal components of the linear baseline; 0 leaves it out. None: as many as the largest code of
            the networks has numbers, or as the training scans allow; the baseline's name tells.
        scanner_model: file of the calibrated scanner that analyses body composition; None: calibrated with some of the
            training scans, or, if these do not do (a line says so), the nominal one.
        composition: whether to analyse body composition (about 0.1 s an image on one core).
        device: where to compute.
    """

    name = "reconstruction"
    figures = ("figure_2.png",)

    def __init__(
        self,
        components: int | None = None,
        scanner_model: str | Path | None = None,
        composition: bool = True,
        device: str | torch.device = "cpu",
    ) -> None:
        self.reserved = (MEAN_ARM, ORIGINAL, f"{PRINCIPAL_ARM}_")
        self.components = components
        self.scanner_model = scanner_model
        self.composition = composition
        self.device = device

    def compare(
        self, arms: Sequence[TrainedArm], people: HeldOutPeople, seed: int, skipped: Mapping[str, str]
    ) -> Findings:
        """See :class:`dxa_monai.evaluation.arms.Task`."""
        source, training = people.source, people.training_rows
        networks = {
            (arm.label, place): Reconstruction(load_vae(path), self.device)
            for arm in arms
            for place, path in enumerate(arm.checkpoints)
        }
        _refuse_other_means(networks)
        mean_image = mean_of_training(training, source)
        predictors: dict[tuple[str, int], ScanPredictor] = {(MEAN_ARM, 0): MeanScan(mean_image)}
        components = self.components
        if components is None:
            components = min(max(each.code_size for each in networks.values()), len(training) - 1)
        if components > 0:
            linear = PrincipalComponents(training, source, mean_image, components)
            predictors[linear.name, 0] = linear
        scanner = scanner_of_rows(training, source, self.scanner_model) if self.composition else None
        quality, measured = evaluate_scans(people.rows, source, predictors | networks, scanner)
        without_image = {}
        if len(measured) and scanner is not None:
            without_image = mean_composition(training, people.rows, source, scanner)

        def draw(folder: Path) -> dict[str, Path]:
            chosen = representative_scan(quality, arms[0].label)
            row = next(row for row in people.rows if row["scan_id"] == chosen)
            batch = Batch([row], source.images([row]))
            images = {arm.label: networks[arm.label, 0].predict(batch)[0].numpy() for arm in arms}
            path = folder / "figure_2.png"
            comparison_figure(batch.scans[0].numpy(), images, path)
            return {"figure_2": path}

        return scan_findings(quality, measured, without_image, people, seed, draw, self.composition)


def _refuse_other_means(networks: Mapping[tuple[str, int], Reconstruction]) -> None:
    """People of one name may be others: a network's mean image tells which scans it was trained on."""
    (first, expected), *others = networks.items()
    for key, other in others:
        if not torch.equal(other.network.mean_image.cpu(), expected.network.mean_image.cpu()):
            raise InputError(
                f"arms: expected networks trained on the same scans, got different mean images in '{first[0]}' and "
                f"'{key[0]}'."
            )


def representative_scan(quality: pd.DataFrame, arm: str) -> str:
    """The scan whose PSNR in an arm is the median one, so that the figure is neither the best nor the worst case."""
    of_arm = quality[(quality["arm"] == arm) & (quality["seed"] == 0)].sort_values(["psnr_db", "scan_id"])
    return str(of_arm["scan_id"].iloc[(len(of_arm) - 1) // 2])
