"""The tables of all that predicts scans, under the same names in every bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dxa_monai.evaluation.arms import Findings
from dxa_monai.evaluation.composition_tables import (
    SCAN,
    composition_differences,
    composition_metrics,
    composition_predictions,
    composition_table,
    format_composition,
)
from dxa_monai.evaluation.held_out import HeldOutPeople
from dxa_monai.evaluation.image_quality_tables import (
    format_image_quality,
    image_quality_differences,
    image_quality_metrics,
    image_quality_table,
)


def scan_findings(
    quality: pd.DataFrame,
    measured: pd.DataFrame,
    without_image: Mapping[str, npt.NDArray[np.float64]],
    people: HeldOutPeople,
    seed: int,
    draw: Callable[[Path], Mapping[str, Path]],
    composition: bool,
) -> Findings:
    """Tables of image quality and body composition.

    Args:
        quality: of :func:`dxa_monai.evaluation.scans.evaluate_scans`, and so is ``measured``.
        measured: empty: no body composition.
        without_image: composition ``(N, M)`` of the people by baselines that make no image.
        people: held out.
        seed: of the bootstrap.
        draw: writes the figures.
        composition: whether body composition was asked for.

    Returns:
        ``image_quality``, ``image_quality_differences``, ``image_quality_per_scan`` and, where a whole body was found,
        ``composition``, ``composition_differences``, ``composition_per_scan``.
    """
    tables = {
        "image_quality": image_quality_table(quality, seed=seed),
        "image_quality_differences": image_quality_differences(quality, seed=seed),
        "image_quality_per_scan": quality,
    }
    count = tables["image_quality"]["people"].iloc[0]
    text = [
        f"Image quality on {count} people held out, mean [95 % interval over people]:",
        format_image_quality(tables["image_quality"]),
        "Difference of two arms on the same scans [95 % interval over people and training seeds]:",
        format_image_quality(tables["image_quality_differences"], ["arm", "minus_arm"]),
    ]
    metrics = image_quality_metrics(tables["image_quality"])
    if len(measured):
        predictions = composition_predictions(measured, without_image, [row["scan_id"] for row in people.rows])
        tables["composition"] = composition_table(predictions, seed)
        tables["composition_differences"] = composition_differences(predictions, seed)
        tables["composition_per_scan"] = pd.concat([table.assign(reference=key) for key, table in predictions.items()])
        metrics |= composition_metrics(tables["composition"])
        for reference in predictions:
            against = "the analysis of the true scan" if reference == SCAN else "the truth"
            text += [
                f"Body composition against {against}, R2 (RMSE):",
                format_composition(tables["composition"], reference),
            ]
    elif composition:
        text.append(f"No body composition: a whole body was found in none of the {len(people.rows)} scans.")
    return Findings(tables, metrics, text, draw)
