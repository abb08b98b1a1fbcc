"""What each effect of a real scanner costs, and whether the analysis said so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dxa_monai.analysis.flags import FlagName
from dxa_monai.errors import InputError
from dxa_monai.evaluation.agreement import agreement
from dxa_monai.evaluation.scanner_effects import EFFECTS, cells_of
from dxa_monai.evaluation.scanner_effects_measured import CALIBRATIONS, MEASURES, measure_effects
from dxa_monai.figures.effect_map import effect_map_figure
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.csv_table import write_frame
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.server import check_tracking_uri
from dxa_monai.tracking.tracked_run import mlflow_run

Verdict = Literal["accurate", "told", "silent"]

BARS: Mapping[str, tuple[float, float]] = {
    "total_fat_g": (0.99, 2.0),
    "total_lean_g": (0.99, 2.0),
    "total_bmc_g": (0.97, 3.0),
}
"""Least R2 and largest bias, in percent of the mean truth, of what counts as accurate."""
TOLD_SHARE = 0.9
"""Of the scans; so many must be flagged or refused because of the scanner."""
SCANNER_FLAGS: frozenset[FlagName] = frozenset(
    {
        "no_open_air",
        "zero_mismatch",
        "table_edge",
        "one_sided_air",
        "coarse_export",
        "dead_column",
        "energies_displaced",
        "blurred",
        "few_photons",
        "no_phantom",
        "too_thick",
        "implausible_r",
        "scanner_mismatch",
    }
)
"""Flags that speak of the scanner: ``too_thick`` says that photons are missing."""
STANDING_FLAGS: frozenset[FlagName] = frozenset({"no_phantom"})
"""Of these, the ones that every scan has whatever its scanner does: a warning, but none of an effect."""
BODY_FLAGS: frozenset[FlagName] = frozenset(
    {
        "empty_scan",
        "not_a_whole_body",
        "little_open_air",
        "limb_out_of_field",
        "metal",
        "landmarks_guessed",
        "limbs_differ",
        "arms_touch",
        "landmarks_by_network",
    }
)
"""Flags that speak of who lies there: as the only ones they would send a user to look for the wrong thing."""
_STATISTICS = {"r2": "r2", "bias": "bias_g", "bias_percent": "bias_percent", "rmse": "rmse_g"}


def is_accurate(measure: str, r2: float, bias_percent: float) -> bool:
    """Whether a measure keeps its bar; NaN keeps none."""
    least, largest = BARS[measure]
    return r2 >= least and abs(bias_percent) <= largest


def verdict(accurate: bool, told_share: float) -> Verdict:
    """What a user is left with: right numbers, a warning, or wrong numbers without one."""
    if accurate:
        return "accurate"
    return "told" if told_share >= TOLD_SHARE else "silent"


def effects_table(measured: pd.DataFrame) -> pd.DataFrame:
    """One row an effect, strength and calibration, in the order of ``measured``.

    Args:
        measured: of :func:`dxa_monai.evaluation.scanner_effects_measured.measure_effects`.

    Returns:
        ``effect, strength, calibration, passes`` (a :data:`Verdict`), ``warning`` ("effect" or "standing": what so many
        scans have of ``SCANNER_FLAGS``, the latter ``STANDING_FLAGS`` alone; "none"), ``scans, told_share`` (flagged or
        refused because of the scanner), ``refused_share, flags`` (each with its share of the scans), ``scanners,
        calibrations_refused`` (of the scanners), ``calibration_sentence`` (the first refusal's); then of each measure
        ``{measure}_r2, {measure}_bias_g, {measure}_bias_percent, {measure}_rmse_g`` over scans with numbers (named
        ``fat``, ``lean``, ``bmc``), and ``{measure}_passes``.
    """
    rows = []
    for (effect, strength, calibration), scans in measured.groupby(["effect", "strength", "calibration"], sort=False):
        told = _told_share(scans, SCANNER_FLAGS)
        flags = Counter(flag for each in scans["flags"] for flag in each.split())
        refusals = scans[scans["calibration_refused"] != ""]
        row: dict[str, Any] = {
            "effect": effect,
            "strength": strength,
            "calibration": calibration,
            "passes": "",
            "warning": _warning(scans),
            "scans": len(scans),
            "told_share": told,
            "refused_share": float(scans["refused"].mean()),
            "flags": "; ".join(f"{flag} {100 * count / len(scans):.0f} %" for flag, count in flags.most_common()),
            "scanners": scans["scanner"].nunique(),
            "calibrations_refused": refusals["scanner"].nunique(),
            "calibration_sentence": refusals["calibration_refused"].iloc[0] if len(refusals) else "",
        }
        accurate = {}
        for measure in MEASURES:
            found, short = _agreement(scans, measure), short_name(measure)
            accurate[measure] = is_accurate(measure, found["r2"], found["bias_percent"])
            row |= {f"{short}_{column}": found[name] for name, column in _STATISTICS.items()}
            row[f"{short}_passes"] = verdict(accurate[measure], told)
        row["passes"] = verdict(all(accurate.values()), told)
        rows.append(row)
    return pd.DataFrame(rows)


def short_name(measure: str) -> str:
    """``fat`` of ``total_fat_g``."""
    return measure.removeprefix("total_").removesuffix("_g")


def _warning(scans: pd.DataFrame) -> str:
    for name, flags in {"effect": SCANNER_FLAGS - STANDING_FLAGS, "standing": SCANNER_FLAGS}.items():
        if _told_share(scans, flags) >= TOLD_SHARE:
            return name
    return "none"


def _told_share(scans: pd.DataFrame, names: frozenset[FlagName]) -> float:
    flagged = scans["flags"].map(lambda flags: not names.isdisjoint(flags.split()))
    return float((flagged | (scans["calibration_refused"] != "")).mean())


def _agreement(scans: pd.DataFrame, measure: str) -> dict[str, float]:
    """Agreement over the scans that have numbers; NaN without any."""
    known = scans[~scans["refused"]]
    if not len(known):
        return dict.fromkeys(_STATISTICS, float("nan"))
    # A single resample: the intervals are not used.
    return agreement(known[measure], known[f"true_{measure}"], list(known["subject_id"]), resamples=1)


@letting_go()
def evaluate_scanner_effects(
    rows: Sequence[Mapping[str, Any]],
    output_dir: str | Path,
    people: int | None = 48,
    scanners: int = 3,
    calibrations: Sequence[str] = CALIBRATIONS,
    effects: Sequence[str] | None = None,
    seed: int = 0,
    workers: int = 1,
    tracking_uri: str = "",
    experiment: str = "dxa_body_composition",
    params: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Scan virtual people on scanners with each effect and write what it costs, and whether the analysis said so.

    Args:
        rows: manifest rows with ``truth``; the first scan of each person is used.
        output_dir: gets ``scanner_effects.csv``, ``scanner_effects.png`` and ``measured/``, from which an interrupted
            run goes on.
        people: how many, the first ones; None: all.
        scanners: number of perturbed scanners that each effect meets; people take turns.
        calibrations: what the scanners' models come from, some of ``CALIBRATIONS``.
        effects: keys of ``EFFECTS``; None: all.
        seed: of scanners and noise.
        workers: processes.
        tracking_uri: of MLflow; empty: nothing is tracked.
        experiment: MLflow's name for what belongs together.
        params: what MLflow should know of the data and the code.

    Returns:
        The written files by name.

    Raises:
        InputError: an unknown effect or calibration, nobody to scan, or rows without truth.
    """
    cells = cells_of(effects)
    check_tracking_uri(tracking_uri)
    chosen = _first_scans(rows, people)
    names = {"scanner_effects": "scanner_effects.csv", "figure": "scanner_effects.png"}
    folder = claim_outputs(output_dir, names.values())
    files = {which: folder / name for which, name in names.items()}
    about = dict(params or {}) | {
        "people": len(chosen),
        "scanners": scanners,
        "calibrations": list(calibrations),
        "effects": list(dict.fromkeys(effect for effect, _ in cells)),
        "seed": seed,
    }
    note = folder / NOTE_NAME
    with mlflow_run(tracking_uri, experiment, "scanner_effects", about, local_log=folder, note=note) as run:
        table = effects_table(
            measure_effects(chosen, folder / "measured", cells, scanners, calibrations, seed, workers)
        )
        write_frame(files["scanner_effects"], table)
        effect_map_figure(
            table,
            files["figure"],
            {name: effect.title for name, effect in EFFECTS.items()},
            f"Bias in % of the mean truth; virtual people: {len(chosen)}, perturbed scanners: {scanners}",
        )
        run.log_metrics(_as_metrics(table))
        for path in files.values():
            run.log_artifact(path)
    _print_table(table)
    print(f"Table and figure: {folder}")
    print(_next_command(table))
    return files


def _first_scans(rows: Sequence[Mapping[str, Any]], people: int | None) -> list[Mapping[str, Any]]:
    if people is not None and people < 1:
        raise InputError(f"people: expected at least 1, got {people}.")
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(str(row["subject_id"]), row)
    return list(first.values())[:people]


def _as_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Numbers for a tracker: how many cells have which verdict, by calibration."""
    return {
        f"{calibration}/{name}": float((own["passes"] == name).sum())
        for calibration, own in table.groupby("calibration", sort=False)
        for name in ("accurate", "told", "silent")
    }


def _print_table(table: pd.DataFrame) -> None:
    for calibration, own in table.groupby("calibration", sort=False):
        counts = own["passes"].value_counts()
        print(f"\nCalibration {calibration}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
        columns = {"passes": "passes", "warning": "warning"}
        for short in map(short_name, MEASURES):
            columns |= {f"{short}_r2": f"{short} R2", f"{short}_bias_percent": f"{short} bias %"}
        shown = own.set_index(["effect", "strength"])[list(columns)].rename(columns=columns)
        print(shown.to_string(float_format="%.3g"))


def _next_command(table: pd.DataFrame) -> str:
    silent = list(table.loc[table["passes"] == "silent", "effect"])
    if silent:
        return (
            f"Next: look closer at what was silent, with the same command, more people and another folder: "
            f"--effects \"['{silent[0]}']\" --people 100 --output_dir ..."
        )
    return "Next: agreement of every region with the truth: the same command with evaluate.json"
