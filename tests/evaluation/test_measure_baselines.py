from __future__ import annotations

from pathlib import Path

import numpy as np

from dxa_monai.evaluation.measure_baselines import (
    MEAN_ARM,
    RIDGE_ARM,
    SILHOUETTE_ARM,
    baseline_predictions,
    ridge_on_components,
)
from dxa_monai.scan.format import channels_first
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest

MEASURES = ("width_cm", "noise_cm")


def test_ridge_reads_what_is_in_the_image_and_nothing_else(bar_cohort: Path) -> None:
    rng = np.random.default_rng(0)
    rows = read_manifest(bar_cohort)
    for row in rows:
        image = channels_first(load_scan(row["scan"]).counts)
        row["width_cm"] = float((image[0, 75] > 0.1).sum())
        row["noise_cm"] = float(rng.normal(50.0, 5.0))
    training, held_out = rows[:18], rows[18:]
    found = baseline_predictions(training, held_out, MEASURES)
    truth = np.array([[row[name] for name in MEASURES] for row in held_out])
    mean = np.mean([[row[name] for name in MEASURES] for row in training], axis=0)
    np.testing.assert_allclose(found[MEAN_ARM], np.tile(mean, (len(held_out), 1)))
    error = {arm: np.abs(values - truth).mean(axis=0) for arm, values in found.items()}
    for arm in (RIDGE_ARM, SILHOUETTE_ARM):
        assert error[arm][0] < 0.25 * error[MEAN_ARM][0]
        assert error[arm][1] < 2.0 * error[MEAN_ARM][1]


def test_all_components_without_penalty_solve_a_linear_map_exactly() -> None:
    rng = np.random.default_rng(0)
    hidden, weights = rng.normal(size=(60, 5)), rng.normal(size=(5, 2)) * [1.0, 1e4]
    pixels = rng.normal(size=(5, 300))
    training, held_out = hidden[:40] @ pixels + 3.0, hidden[40:] @ pixels + 3.0
    predicted = ridge_on_components(training, hidden[:40] @ weights, held_out)
    np.testing.assert_allclose(predicted, hidden[40:] @ weights, rtol=1e-3, atol=1e-3 * np.abs(weights).max())
