"""What needs no network: the mean of the training people, and ridge regression on the images' principal components.

The silhouette, one bit a pixel, is regressed on by itself: what it tells needs no X-ray physics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

from dxa_monai.physics.calibration import body_mask
from dxa_monai.scan.measures import measure_table
from dxa_monai.scan.source import ScanSource

MEAN_ARM, SILHOUETTE_ARM, RIDGE_ARM = "training_mean", "ridge_on_silhouette_components", "ridge_on_image_components"
BASELINES = (MEAN_ARM, SILHOUETTE_ARM, RIDGE_ARM)
MOST_COMPONENTS = 160
PENALTIES = np.logspace(-6.0, 4.0, 21)
"""Tried by leave-one-out on the training scans, for each measure by itself; relative to the first component."""

FloatArray = npt.NDArray[np.floating[Any]]


def baseline_predictions(
    training_rows: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], measures: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Measures ``(N, M)`` of the scans of ``rows`` by each of ``BASELINES``, from ``training_rows`` alone.

    Args:
        training_rows: manifest rows with ``measures``, at least three; all scans are held in memory, 0.4 MB each.
        rows: manifest rows.
        measures: columns of the manifest.
    """
    wanted = measure_table(training_rows, measures)
    (training_masks, training_images), (masks, images) = _read(training_rows), _read(rows)
    return {
        MEAN_ARM: np.tile(wanted.mean(axis=0), (len(rows), 1)),
        SILHOUETTE_ARM: ridge_on_components(training_masks, wanted, masks),
        RIDGE_ARM: ridge_on_components(training_images, wanted, images),
    }


def ridge_on_components(
    training: FloatArray, wanted: npt.NDArray[np.float64], held_out: FloatArray
) -> npt.NDArray[np.float64]:
    """Ridge regression of ``wanted`` ``(N, M)`` on the principal components of ``training`` ``(N, D)``.

    Returns:
        What it says of ``held_out`` ``(K, D)``: ``(K, M)``.
    """
    mean = training.mean(axis=0)
    deviations = training - mean
    # with fewer scans than pixels, the components follow from the scans' inner products
    eigenvalues, eigenvectors = np.linalg.eigh((deviations @ deviations.T).astype(np.float64))
    kept = np.argsort(eigenvalues)[::-1][: min(MOST_COMPONENTS, len(training) - 1)]
    singular_values = np.sqrt(np.maximum(eigenvalues[kept], np.finfo(np.float64).tiny))
    vectors = eigenvectors[:, kept]
    # one scale for all: a component in which scans differ little is trusted little
    scale = singular_values[0] / len(training) ** 0.5
    codes = vectors * singular_values / scale
    codes_held_out = ((held_out - mean) @ deviations.T).astype(np.float64) @ vectors / singular_values / scale
    spread = wanted.std(axis=0)
    ridge = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
    ridge.fit(codes, (wanted - wanted.mean(axis=0)) / spread)
    predicted: npt.NDArray[np.float64] = ridge.predict(codes_held_out) * spread + wanted.mean(axis=0)
    return predicted


def _read(rows: Sequence[Mapping[str, Any]]) -> tuple[FloatArray, FloatArray]:
    """Silhouettes ``(N, H*W)`` of zeros and ones, and images ``(N, 6*H*W)``, float32."""
    masks, images = [], []
    for row in rows:
        raw = ScanSource().image(row["scan"])
        masks.append(body_mask(raw[None])[0].flatten().float().numpy())
        images.append(raw.flatten().numpy())
    return np.stack(masks), np.stack(images)
