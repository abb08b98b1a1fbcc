"""Body composition of predicted scans by arm, as tables (the paper's tables 2 and 5).

Arms are compared with the same analysis of the true scan (``scan``) and, where people are virtual, with the truth, for
which the analysis of the scan itself is one more arm: what no prediction can be better than.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dxa_monai.evaluation import arm_agreement
from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES
from dxa_monai.evaluation.scans import MEASURES, ORIGINAL

SCAN, TRUTH = "scan", "truth"
"""What body composition is compared with."""
_IDS = ["scan_id", "subject_id", "arm", "seed"]


def composition_predictions(
    measured: pd.DataFrame, without_image: Mapping[str, npt.NDArray[np.float64]], scan_ids: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """What :mod:`dxa_monai.evaluation.arm_agreement` takes, by what the arms are compared with.

    Args:
        measured: body composition of :func:`dxa_monai.evaluation.scans.evaluate_scans`.
        without_image: composition ``(N, M)`` by baselines that make no image, of all scans evaluated.
        scan_ids: ``(N,)`` of these.

    Returns:
        ``SCAN`` and, where the manifest has all measures, ``TRUTH`` (with the analysis of the scan itself as one more
        arm, the ceiling): rows ``arm, seed, scan_id, subject_id, measure, truth, predicted``, baselines first.
    """
    original = measured[measured["arm"] == ORIGINAL].set_index("scan_id")
    place = {scan_id: index for index, scan_id in enumerate(scan_ids)}
    rows = [place[scan_id] for scan_id in original.index]
    baselines = []
    for arm, values in without_image.items():
        table = pd.DataFrame(values[rows], columns=list(MEASURES), index=original.index).reset_index()
        about = original.reset_index().drop(columns=list(MEASURES)).assign(arm=arm, seed=0)
        baselines.append(about.merge(table, on="scan_id"))
    everything = pd.concat([*baselines, measured], ignore_index=True)
    references = {SCAN: (everything[everything["arm"] != ORIGINAL], original[list(MEASURES)])}
    truth_columns = [f"true_{name}" for name in MEASURES]
    if set(truth_columns) <= set(original.columns) and original[truth_columns].notna().all(axis=None):
        references[TRUTH] = (everything, original[truth_columns].set_axis(list(MEASURES), axis=1))
    found = {}
    for reference, (predictions, wanted) in references.items():
        long = predictions.melt(_IDS, list(MEASURES), var_name="measure", value_name="predicted")
        true = wanted.rename_axis("scan_id").reset_index().melt("scan_id", var_name="measure", value_name="truth")
        found[reference] = long.merge(true, on=["scan_id", "measure"])
    return found


def composition_table(predictions: Mapping[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """R2 and RMSE of every measure by reference and arm; see :func:`dxa_monai.evaluation.arm_agreement.arm_table`."""
    return _by_reference(
        {key: arm_agreement.arm_table(table, ["arm"], seed=seed) for key, table in predictions.items()}
    )


def composition_differences(predictions: Mapping[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Every later arm minus every earlier one; see :func:`dxa_monai.evaluation.arm_agreement.arm_differences`."""
    return _by_reference(
        {key: arm_agreement.arm_differences(table, ["arm"], seed=seed) for key, table in predictions.items()}
    )


def format_composition(table: pd.DataFrame, reference: str) -> str:
    """R2 (and, in brackets, RMSE) by measure and arm, for the terminal."""
    chosen = table[table["reference"] == reference]
    cells = {(row["measure"], row["arm"]): _cell(row) for _, row in chosen.iterrows()}
    arms, measures = (list(dict.fromkeys(chosen[name])) for name in ("arm", "measure"))
    shown = [[cells.get((measure, arm), "") for arm in arms] for measure in measures]
    return pd.DataFrame(shown, index=measures, columns=arms).to_string()


def composition_metrics(table: pd.DataFrame) -> dict[str, float]:
    """A table as numbers for a tracker: ``{arm}/{measure}_r2_of_{reference}`` and ``_rmse_of_``."""
    values = {
        f"{row['arm']}/{row['measure']}_{name}_of_{row['reference']}": float(row[name])
        for _, row in table.iterrows()
        for name in arm_agreement.STATISTICS
    }
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _by_reference(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    found = []
    for reference, table in tables.items():
        table.insert(0, "reference", reference)
        found.append(table)
    return pd.concat(found, ignore_index=True)


def _cell(row: Any) -> str:
    if row["measure"] == MEAN_OF_MEASURES:
        return f"{row['r2']:.3f}"
    return f"{row['r2']:.3f} ({row['rmse']:.3g})"
