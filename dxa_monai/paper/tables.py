"""Tables of the report: what the parts found, with the paper's own numbers beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES
from dxa_monai.evaluation.composition_tables import SCAN, TRUTH
from dxa_monai.evaluation.measures import RIDGE_ARM
from dxa_monai.evaluation.predictors import IMAGE_PROCESS_ARM, IMAGE_RIDGE_ARM, MEAN_ARM, PRINCIPAL_ARM
from dxa_monai.evaluation.scans import COMPOSITION_RIDGE_ARM, MAPS, MEASURES, ORIGINAL
from dxa_monai.evaluation.truth_agreement import EVERYBODY
from dxa_monai.pages.markdown import markdown_table
from dxa_monai.paper.plan import (
    ABLATION,
    ANALYSIS,
    ANTHROPOMETRY,
    BASE_ARM,
    EVALUATION,
    GENERATION,
    IMAGENET_ARM,
    OWN_ARM,
    PAPER_ARM,
    PRETRAINED,
    RANDOM_ARM,
    RECONSTRUCTION,
)
from dxa_monai.paper.published import published
from dxa_monai.scan.measures import PAPER_MEASURES, measure_label

MISSING = "-"
UNREADABLE = (OSError, KeyError, ValueError, IndexError)
"""Raised where the numbers of a table are not there."""
_DIGITS = {"psnr_db": 2, "ssim": 3, "nmae": 4, "aligned_psnr_db": 2}
_IN_BRIEF = ("total_fat_g", "total_lean_g", "total_bmc_g", "total_bmd_g_cm2", "total_fat_percent")


@dataclass(frozen=True)
class ResultTable:
    """A table as it is shown.

    Attributes:
        name: by which pages refer to it.
        title: what it shows.
        sources: CSVs with all its numbers, relative to the folder of the paper.
        header: names of the columns.
        rows: cells, as text.
        note: below it.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def as_markdown(self) -> str:
        """Header and rows."""
        return markdown_table(self.header, self.rows)


def is_arm(names: pd.Series, arm: str) -> pd.Series:
    """Which names are an arm's; principal components are called after their number."""
    return names.str.startswith(f"{arm}_") if arm == PRINCIPAL_ARM else names == arm


def table_1(folder: Path) -> ResultTable:
    """Image quality of reconstructions."""
    return _quality(folder, RECONSTRUCTION, "table_1", "Table 1. Image quality of reconstructions", 1)


def table_2(folder: Path) -> ResultTable:
    """Body composition of reconstructions."""
    title = "Table 2. Body composition of reconstructions against that of the scans, R2 / RMSE"
    return _composition(folder, RECONSTRUCTION, "table_2", title, 2, SCAN, [PRINCIPAL_ARM, *PRETRAINED])


def table_3(folder: Path) -> ResultTable:
    """Body measures from scans."""
    source, frame = _read(folder, ANTHROPOMETRY, "measures")
    arms = _present(frame, [MEAN_ARM, RIDGE_ARM, RANDOM_ARM, *PRETRAINED])
    models = (IMAGENET_ARM, BASE_ARM, PAPER_ARM)
    cells = frame.set_index(["measure", "arm"])
    rows = []
    measures = [name for name in dict.fromkeys(frame["measure"].dropna()) if name != MEAN_OF_MEASURES]
    for measure in sorted(measures, key=lambda name: name not in PAPER_MEASURES):
        ours = [_r2_rmse(cells.loc[(measure, arm)]) for arm in arms]
        theirs = [_published_pair(3, model, measure) for model in models]
        rows.append((measure_label(measure), *ours, *theirs))
    means = [_interval(cells.loc[(MEAN_OF_MEASURES, arm)], "r2", 3) for arm in arms]
    rows.append((f"mean R2 of {len(measures)}", *means, *([MISSING] * len(models))))
    skipped = frame[frame["skipped"].notna()] if "skipped" in frame else frame.iloc[:0]
    note = " ".join(f"{row['arm']}: not run, {row['skipped']}" for _, row in skipped.iterrows())
    header = ("measure", *(_named(arm) for arm in arms), *(f"paper: {_named(model)}" for model in models))
    return ResultTable("table_3", "Table 3. Body measures from scans, R2 / RMSE", (source,), header, tuple(rows), note)


def learning_curve(folder: Path) -> ResultTable:
    """Mean R2 of the body measures by the number of training pairs."""
    source, frame = _read(folder, ANTHROPOMETRY, "learning_curve")
    means = frame[frame["measure"] == MEAN_OF_MEASURES]
    sizes = sorted(set(means["training_pairs"]))
    arms = _present(means, [RIDGE_ARM, RANDOM_ARM, *PRETRAINED])
    cells = means.set_index(["arm", "training_pairs"])
    rows = [(_named(arm), *(_interval(cells.loc[(arm, size)], "r2", 3) for size in sizes)) for arm in arms]
    title = "Learning curve. Mean R2 of the body measures by the number of training pairs"
    return ResultTable("learning_curve", title, (source,), ("arm", *map(str, sizes)), tuple(rows))


def table_4(folder: Path) -> ResultTable:
    """Image quality of scans from meshes."""
    return _quality(folder, GENERATION, "table_4", "Table 4. Image quality of scans from meshes", 4)


def table_5(folder: Path) -> ResultTable:
    """Body composition of scans from meshes."""
    _, frame = _read(folder, GENERATION, "composition")
    reference = TRUTH if TRUTH in set(frame["reference"]) else SCAN
    against = "the truth" if reference == TRUTH else "the analysis of the true scan"
    title = f"Table 5. Body composition of scans from meshes against {against}, R2 / RMSE"
    arms = [ORIGINAL, COMPOSITION_RIDGE_ARM, RANDOM_ARM, *PRETRAINED, f"{MAPS}{OWN_ARM}"]
    return _composition(folder, GENERATION, "table_5", title, 5, reference, arms)


def ablation(folder: Path) -> ResultTable:
    """What the arms' difference is owed to."""
    source, composition = _read(folder, ABLATION, "composition")
    source_of_images, quality = _read(folder, ABLATION, "image_quality")
    against_scan = composition[composition["reference"] == SCAN].set_index(["arm", "measure"])
    rows = []
    for _, row in quality.iterrows():
        measured = row["arm"] in against_scan.index.get_level_values("arm")
        r2 = [_interval(against_scan.loc[(row["arm"], name)], "r2", 2) if measured else MISSING for name in _IN_BRIEF]
        rows.append((_named(row["arm"]), _interval(row, "psnr_db", 2), *r2))
    header = ("arm", "PSNR (dB)", *(f"R2 of {measure_label(name)}" for name in _IN_BRIEF))
    return ResultTable("ablation", "What the difference is owed to", (source, source_of_images), header, tuple(rows))


def analysis(folder: Path) -> ResultTable:
    """The analysis of scans against exactly known fat, lean and bone."""
    source = f"{ANALYSIS}/agreement.csv"
    frame = pd.read_csv(folder / source)
    frame = frame[(frame["group"] == EVERYBODY) & frame["measure"].isin(MEASURES)]
    rows = tuple(
        (
            str(row["calibration"]),
            measure_label(str(row["measure"])),
            _interval(row, "r2", 3),
            _number(row["rmse"]),
            _interval(row, "bias_percent", 1),
        )
        for _, row in frame.iterrows()
    )
    header = ("calibrated with", "measure", "R2", "RMSE", "bias (%)")
    return ResultTable("analysis", "The analysis itself against the truth", (source,), header, rows)


TABLES: dict[str, tuple[str, Callable[[Path], ResultTable]]] = {
    "table_1": (RECONSTRUCTION, table_1),
    "table_2": (RECONSTRUCTION, table_2),
    "ablation": (ABLATION, ablation),
    "table_3": (ANTHROPOMETRY, table_3),
    "learning_curve": (ANTHROPOMETRY, learning_curve),
    "table_4": (GENERATION, table_4),
    "table_5": (GENERATION, table_5),
    "analysis": (ANALYSIS, analysis),
}
"""By name, with the part that each comes from."""


def _quality(folder: Path, part: str, name: str, title: str, number: int) -> ResultTable:
    source, frame = _read(folder, part, "image_quality")
    metrics = [metric for metric in _DIGITS if metric in frame]
    rows = []
    for _, row in frame.iterrows():
        theirs = [published(number, metric, str(row["arm"])) for metric in ("psnr_db", "ssim", "nmae")]
        paper = MISSING if None in theirs else " / ".join(f"{value:g}" for value in theirs)
        rows.append((_named(row["arm"]), *(_interval(row, metric, _DIGITS[metric]) for metric in metrics), paper))
    named = {"psnr_db": "PSNR (dB)", "ssim": "SSIM", "nmae": "NMAE", "aligned_psnr_db": "PSNR after alignment (dB)"}
    header = ("arm", *(named[metric] for metric in metrics), "paper: PSNR / SSIM / NMAE")
    return ResultTable(name, title, (source,), header, tuple(rows), _counted(frame.iloc[-1]))


def _composition(
    folder: Path, part: str, name: str, title: str, number: int, reference: str, wanted: Sequence[str]
) -> ResultTable:
    source, frame = _read(folder, part, "composition")
    frame = frame[frame["reference"] == reference]
    arms, cells = _present(frame, wanted), frame.set_index(["measure", "arm"])
    models = (BASE_ARM, PAPER_ARM)
    rows = []
    for measure in MEASURES:
        ours = [_r2_rmse(cells.loc[(measure, arm)]) for arm in arms]
        rows.append((measure_label(measure), *ours, *(_published_pair(number, model, measure) for model in models)))
    header = ("measure", *(_named(arm) for arm in arms), *(f"paper: {_named(model)}" for model in models))
    return ResultTable(name, title, (source,), header, tuple(rows), _counted(frame.iloc[-1]))


def _read(folder: Path, part: str, table: str) -> tuple[str, pd.DataFrame]:
    source = f"{part}/{EVALUATION}/{table}.csv"
    return source, pd.read_csv(folder / source)


def _present(frame: pd.DataFrame, wanted: Sequence[str]) -> list[str]:
    """Arms of the table, in the order wanted; a name may stand for all that begin with it."""
    there = frame.dropna(subset=["r2"])["arm"].drop_duplicates().astype(str)
    return [arm for name in wanted for arm in there[is_arm(there, name)]]


def _counted(row: pd.Series) -> str:
    seeds = int(row["seeds"])
    trained = f"{seeds} training seeds" if seeds > 1 else "one training seed"
    return f"{int(row['scans'])} scans of {int(row['people'])} people held out, {trained}; 95 % intervals over people."


def _r2_rmse(row: pd.Series) -> str:
    return f"{row['r2']:.2f} / {_number(row['rmse'])}" if math.isfinite(row["r2"]) else MISSING


def _published_pair(table: int, model: str, measure: str) -> str:
    r2, rmse = (published(table, metric, model, measure) for metric in ("r2", "rmse"))
    if r2 is None and rmse is None:
        return MISSING
    return f"{MISSING if r2 is None else f'{r2:.2f}'} / {MISSING if rmse is None else _number(rmse)}"


def _number(value: float) -> str:
    """Three digits that count, none of them in an exponent."""
    if not math.isfinite(value):
        return MISSING
    whole = len(str(int(abs(value)))) if abs(value) >= 1.0 else 0
    return f"{value:.{min(3, max(0, 3 - whole))}f}"


def _interval(row: pd.Series, name: str, digits: int) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if not math.isfinite(value):
        return MISSING
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


_NAMES = {
    MEAN_ARM: "training mean",
    RIDGE_ARM: "ridge on image components",
    COMPOSITION_RIDGE_ARM: "ridge, shape to composition",
    IMAGE_RIDGE_ARM: "ridge, shape to image",
    IMAGE_PROCESS_ARM: "Gaussian process, shape to image",
    ORIGINAL: "analysis of the true scan",
    IMAGENET_ARM: "ImageNet",
}


def _named(arm: object) -> str:
    name = str(arm)
    if name.startswith(f"{PRINCIPAL_ARM}_"):
        return f"{name.removeprefix(f'{PRINCIPAL_ARM}_')} principal components"
    if name.startswith(MAPS):
        return f"maps of `{name.removeprefix(MAPS)}`"
    return _NAMES.get(name, f"`{name}`")
