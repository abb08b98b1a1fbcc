"""Body composition against the truth of virtual people: agreement, overlap of regions, precision, and the bars.

The 13 measures are those of the tables 2 and 5 of Leong et al., "Quantitative Imaging Principles Improves Medical Image
Learning", arXiv 2206.06663.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_monai.analysis.composition import METHODS, QUANTITIES, REGION_NAMES
from dxa_monai.errors import InputError
from dxa_monai.evaluation.agreement import STATISTICS, agreement, precision_cv_percent
from dxa_monai.evaluation.flag_agreement import flag_table
from dxa_monai.evaluation.measured import CALIBRATIONS, measure_cohort
from dxa_monai.figures.bland_altman import bland_altman_figure
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.csv_table import write_frame
from dxa_monai.scan.regions import REGION_GROUPS
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.server import check_tracking_uri
from dxa_monai.tracking.tracked_run import mlflow_run

MEASURES_13 = (
    *(
        f"{region}_{quantity}"
        for region in ("arms", "legs", "total")
        for quantity in ("bmc_g", "bmd_g_cm2", "fat_g", "lean_g")
    ),
    "total_mass_g",
)
"""The paper's 13 composition measures."""
MEASURES = tuple(f"{region}_{quantity}" for region in REGION_NAMES for quantity in QUANTITIES)
PRECISION_MEASURES = {
    "total_fat_g": 2.2,
    "total_lean_g": 1.2,
    "total_bmc_g": 1.8,
    "total_fat_percent": None,
    "total_bmd_g_cm2": None,
    "total_mass_g": None,
}
"""CV in percent published for repositioned whole-body scans, where known; also the bars."""
_AGREEMENT_BARS = {
    "total_fat_g": {"r2": 0.99, "rmse": 700.0, "bias_percent": 1.0},
    "total_lean_g": {"r2": 0.99, "rmse": 700.0, "bias_percent": 1.0},
    "total_bmc_g": {"r2": 0.97, "rmse": 60.0},
    "total_bmd_g_cm2": {"rmse": 0.04},
    **{f"{limbs}_{quantity}": {"r2": 0.95} for limbs in ("arms", "legs") for quantity in ("fat_g", "lean_g", "bmc_g")},
}
TABLES = ("composition_per_scan", "agreement", "dice", "precision", "bars", "flags")
FIGURE = "bland_altman.png"
_DICE_REGIONS, _DICE_BAR = ("head", "arms", "legs", "trunk"), 0.95
EVERYBODY = "all"


def agreement_table(
    measured: pd.DataFrame, measures: Sequence[str] = MEASURES, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Agreement with the truth by calibration, group of people and measure.

    Args:
        measured: of :func:`dxa_monai.evaluation.measured.measure_cohort`; refused scans do not count.
        measures: names of columns.
        resamples: of the bootstrap over people.
        seed: of the bootstrap.

    Returns:
        Columns ``calibration, group, measure, people, scans, truth_mean`` and for each statistic ``{name}``,
        ``{name}_low``, ``{name}_high``. Groups are all, each sex and each BMI class.
    """
    rows = []
    for calibration, scans in measured[~measured["refused"]].groupby("calibration", sort=False):
        for group, members in _groups(scans):
            for name in measures:
                values = agreement(
                    members[name], members[f"true_{name}"], list(members["subject_id"]), resamples=resamples, seed=seed
                )
                rows.append({"calibration": calibration, "group": group, "measure": name} | values)
    return pd.DataFrame(rows)


def _groups(scans: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    found = [(EVERYBODY, scans)]
    for column in ("sex", "bmi_class"):
        found += [(str(name), members) for name, members in scans.groupby(column) if name]
    return found


def overlap_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean and worst Dice of every region by calibration; refused scans do not count."""
    rows = []
    for calibration, scans in measured[~measured["refused"]].groupby("calibration", sort=False):
        for region in REGION_GROUPS:
            values = scans[f"dice_{region}"]
            rows.append(
                {
                    "calibration": calibration,
                    "region": region,
                    "dice": values.mean(),
                    "dice_5th_percentile": values.quantile(0.05),
                    "dice_lowest": values.min(),
                }
            )
    return pd.DataFrame(rows)


def precision_table(measured: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Root-mean-square CV over people with repeated visits, of measured and of true values, beside published ones.

    The truth differs between visits too (a limb nearer the field's edge, another pixel grid), which no analysis mends.
    """
    rows = []
    for calibration, scans in measured[~measured["refused"]].groupby("calibration", sort=False):
        for name, published in PRECISION_MEASURES.items():
            ids = list(scans["subject_id"])
            row = {"calibration": calibration, "measure": name}
            row |= precision_cv_percent(scans[name], ids, resamples=resamples, seed=seed)
            row["cv_percent_of_truth"] = precision_cv_percent(scans[f"true_{name}"], ids)["cv_percent"]
            rows.append(row | {"published_cv_percent": published})
    return pd.DataFrame(rows)


def bars_table(agreements: pd.DataFrame, overlaps: pd.DataFrame, precision: pd.DataFrame) -> pd.DataFrame:
    """What was asked for, what was reached and whether that passes, by calibration (all people)."""
    rows: list[dict[str, Any]] = []

    def judge(calibration: str, what: str, bar: float, reached: float, at_least: bool) -> None:
        passes = reached >= bar if at_least else abs(reached) <= bar  # NaN passes nothing
        sign = ">=" if at_least else "<="
        rows.append(
            {"calibration": calibration, "what": what, "bar": f"{sign} {bar:g}", "reached": reached, "passes": passes}
        )

    everybody = agreements[agreements["group"] == EVERYBODY].set_index(["calibration", "measure"])
    overlap = overlaps.set_index(["calibration", "region"])["dice"]
    cv = precision.set_index(["calibration", "measure"])["cv_percent"]
    for calibration in agreements["calibration"].unique():
        for name, limits in _AGREEMENT_BARS.items():
            for statistic, bar in limits.items():
                judge(
                    calibration,
                    f"{name} {statistic}",
                    bar,
                    everybody.loc[(calibration, name), statistic],
                    statistic == "r2",
                )
        for region in _DICE_REGIONS:
            judge(calibration, f"dice {region}", _DICE_BAR, overlap[calibration, region], True)
        for name, published in PRECISION_MEASURES.items():
            if published is not None:
                judge(calibration, f"{name} cv_percent", published, cv[calibration, name], False)
    return pd.DataFrame(rows)


@letting_go()
def evaluate_composition(
    rows: Sequence[Mapping[str, Any]],
    output_dir: str | Path,
    scanners: int = 6,
    calibrations: Sequence[str] = tuple(CALIBRATIONS),
    seed: int = 0,
    workers: int = 1,
    resamples: int = 2000,
    tracking_uri: str = "",
    experiment: str = "dxa_body_composition",
    parent_run: str | None = None,
    params: Mapping[str, Any] | None = None,
    method: str = METHODS[0],
) -> dict[str, Path]:
    """Scan virtual people on perturbed scanners, analyse the scans and write how well that agrees with the truth.

    Args:
        rows: manifest rows with ``truth``.
        output_dir: gets ``agreement.csv``, ``dice.csv``, ``precision.csv``, ``bars.csv``, ``flags.csv``,
            ``composition_per_scan.csv``, ``bland_altman.png`` (of the first calibration) and ``measured/``, from which
            an interrupted run goes on.
        scanners: number of perturbed scanners.
        calibrations: what the scanners' models come from, keys of ``CALIBRATIONS``.
        seed: of scanners, noise and bootstrap.
        workers: processes.
        resamples: of the bootstrap over people.
        tracking_uri: of MLflow; empty: nothing is tracked.
        experiment: MLflow's name for what belongs together.
        parent_run: id of the MLflow run that this one is shown below; None: it stands alone.
        params: what MLflow should know of the data and the code.
        method: how channels become materials, of ``dxa_monai.analysis.composition.METHODS``. With another than the
            first, ``composition_per_scan.csv`` has the first's totals beside it.

    Returns:
        The written files by name.

    Raises:
        InputError: rows without truth, an unknown calibration or method, or no scan has numbers.
    """
    check_tracking_uri(tracking_uri)
    folder = claim_outputs(output_dir, [*(f"{name}.csv" for name in TABLES), FIGURE])
    about = dict(params or {}) | {
        "scanners": scanners,
        "calibrations": list(calibrations),
        "seed": seed,
        "method": method,
        "scans": len(rows),
    }
    note = folder / NOTE_NAME
    with mlflow_run(
        tracking_uri, experiment, "agreement", about, local_log=folder, parent_run=parent_run, note=note
    ) as run:
        measured = measure_cohort(rows, folder / "measured", scanners, calibrations, seed, workers, method=method)
        if measured["refused"].all():
            raise InputError(f"{folder}: expected scans with numbers, got fatal flags in all {len(rows)}.")
        agreements = agreement_table(measured, resamples=resamples, seed=seed)
        overlaps, precision = overlap_table(measured), precision_table(measured, resamples, seed)
        bars = bars_table(agreements, overlaps, precision)
        files = {}
        tables = (measured, agreements, overlaps, precision, bars, flag_table(measured))
        for name, table in zip(TABLES, tables, strict=True):
            files[name] = folder / f"{name}.csv"
            write_frame(files[name], table)
        files["bland_altman"] = _draw(measured, calibrations[0], folder / FIGURE)
        run.log_metrics(_as_metrics(agreements, overlaps, precision))
        for path in files.values():
            run.log_artifact(path)
    _print_tables(measured, agreements, bars)
    print(f"Tables and figure: {folder}")
    return files


def _draw(measured: pd.DataFrame, calibration: str, path: Path) -> Path:
    scans = measured[(measured["calibration"] == calibration) & ~measured["refused"]]
    pairs = {name: (scans[name], scans[f"true_{name}"]) for name in MEASURES_13}
    people = scans["subject_id"].nunique()
    title = f"{people} virtual people, {len(scans)} scans; calibrated with {CALIBRATIONS[calibration]}"
    return bland_altman_figure(pairs, path, list(scans["sex"]), title)


def _as_metrics(agreements: pd.DataFrame, overlaps: pd.DataFrame, precision: pd.DataFrame) -> dict[str, float]:
    """Numbers for a tracker: ``{calibration}/{measure}_{statistic}`` of the 13 measures, Dice, CV."""
    chosen = agreements[(agreements["group"] == EVERYBODY) & agreements["measure"].isin(MEASURES_13)]
    values = {
        f"{row['calibration']}/{row['measure']}_{name}": row[name]
        for _, row in chosen.iterrows()
        for name in STATISTICS
    }
    values |= {f"{row['calibration']}/dice_{row['region']}": row["dice"] for _, row in overlaps.iterrows()}
    values |= {f"{row['calibration']}/cv_{row['measure']}": row["cv_percent"] for _, row in precision.iterrows()}
    return {name: float(value) for name, value in values.items() if pd.notna(value)}


def _print_tables(measured: pd.DataFrame, agreements: pd.DataFrame, bars: pd.DataFrame) -> None:
    """The 13 measures of every calibration and the bars, for the terminal."""
    people = measured["subject_id"].nunique()
    for calibration, scans in measured.groupby("calibration", sort=False):
        refused = int(scans["refused"].sum())
        print(
            f"\nCalibrated with {CALIBRATIONS[str(calibration)]}: "
            f"{people} people, {len(scans)} scans, {refused} refused"
        )
        table = agreements[
            (agreements["calibration"] == calibration)
            & (agreements["group"] == EVERYBODY)
            & agreements["measure"].isin(MEASURES_13)
        ].set_index("measure")
        shown = pd.DataFrame(
            {
                name: [
                    f"{row[name]:.4g} [{row[f'{name}_low']:.4g}, {row[f'{name}_high']:.4g}]"
                    for _, row in table.iterrows()
                ]
                for name in ("r2", "rmse", "bias", "bias_percent")
            },
            index=table.index,
        )
        shown["limits of agreement"] = [f"{row['loa_low']:.4g}..{row['loa_high']:.4g}" for _, row in table.iterrows()]
        print(shown.to_string())
        of_bars = bars[bars["calibration"] == calibration]
        print(f"Bars: {int(of_bars['passes'].sum())} of {len(of_bars)} reached; missed:")
        missed = of_bars[~of_bars["passes"].astype(bool)]
        print(
            "\n".join(f"  {row['what']} {row['bar']}: {row['reached']:.5g}" for _, row in missed.iterrows()) or "  none"
        )
