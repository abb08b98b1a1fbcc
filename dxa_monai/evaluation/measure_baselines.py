"""What needs no network: the mean of the training people, and ridge regression on the images' principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeCV

from dxa_monai.scan.format import channels_first
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.measures import measure_table
from dxa_monai.scan.statistics import image_statistics, principal_components

MEAN_ARM, RIDGE_ARM = "training_mean", "ridge_on_image_components"
MOST_COMPONENTS = 160
PENALTIES = np.logspace(-4.0, 4.0, 17)
"""Tried by leave-one-out on the training scans, for each measure by itself."""


def baseline_predictions(
    training_rows: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], measures: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Measures ``(N, M)`` of the scans of ``rows`` by each baseline, from ``training_rows`` alone.

    Args:
        training_rows: manifest rows with ``measures``, at least three.
        rows: manifest rows.
        measures: columns of the manifest.
    """
    wanted = measure_table(training_rows, measures)
    mean_image, _ = image_statistics(training_rows)
    components, deviations = principal_components(
        training_rows, mean_image, min(MOST_COMPONENTS, len(training_rows) - 1)
    )
    # one scale for all: a component in which scans differ little is trusted little
    scale = float(deviations[0])
    codes = {
        part: _codes(part_rows, mean_image, components) / scale
        for part, part_rows in (("training", training_rows), ("held_out", rows))
    }
    spread = wanted.std(axis=0)
    ridge = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
    ridge.fit(codes["training"], (wanted - wanted.mean(axis=0)) / spread)
    return {
        MEAN_ARM: np.tile(wanted.mean(axis=0), (len(rows), 1)),
        RIDGE_ARM: ridge.predict(codes["held_out"]) * spread + wanted.mean(axis=0),
    }


def _codes(
    rows: Sequence[Mapping[str, Any]], mean_image: torch.Tensor, components: torch.Tensor
) -> npt.NDArray[np.float64]:
    """``(N, K)``."""
    flat = components.flatten(1)
    images = (torch.from_numpy(channels_first(load_scan(row["scan"]).counts)) for row in rows)
    return np.stack([(flat @ (image - mean_image).flatten()).numpy() for image in images]).astype(np.float64)
