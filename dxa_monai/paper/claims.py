"""What the paper claims, and what became of it here: verdicts in words, made from intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES
from dxa_monai.evaluation.composition_tables import SCAN, TRUTH
from dxa_monai.evaluation.measures import RIDGE_ARM
from dxa_monai.evaluation.predictors import IMAGE_RIDGE_ARM, PRINCIPAL_ARM
from dxa_monai.evaluation.scans import COMPOSITION_RIDGE_ARM, MAPS
from dxa_monai.paper.plan import (
    ABLATION,
    ANTHROPOMETRY,
    BASE_ARM,
    EVALUATION,
    GENERATION,
    OWN_ARM,
    PAPER_ARM,
    RANDOM_ARM,
    RECONSTRUCTION,
)
from dxa_monai.paper.published import published, published_measures
from dxa_monai.paper.tables import is_arm
from dxa_monai.scan.measures import PAPER_MEASURES, measure_label

REPRODUCED, CONTRADICTED, NOT_TOLD_APART, NOT_TESTED = "reproduced", "contradicted", "not told apart", "not tested"
NEGLIGIBLE = "negligible"
NEGLIGIBLE_SHARE = 0.1
"""Of the paper's difference: an interval that lies within so much of it on both sides is of none of that size."""
IN_PART = "reproduced in part"
LINE = ("above the line", "below the line")

MASSES = ("total_fat_g", "total_lean_g", "total_bmc_g")
TOTALS = (*MASSES, "total_bmd_g_cm2")
_DENSE = "dense_"


@dataclass(frozen=True)
class Claim:
    """A difference of two arms, in the paper and here.

    Attributes:
        part: of the paper.
        text: what is claimed.
        paper: the paper's difference; empty: it has none.
        ours: the difference here, with its interval.
        verdict: in words.
        source: CSV with the difference, relative to the folder of the paper.
    """

    part: str
    text: str
    paper: str
    ours: str
    verdict: str
    source: str


def verdict(
    low: float, high: float, words: tuple[str, str] = (REPRODUCED, CONTRADICTED), claimed: float | None = None
) -> str:
    """What an interval of a difference that is claimed to be positive says.

    Args:
        low: end of the interval.
        high: likewise.
        words: for an interval above 0 and for one below.
        claimed: the difference that is claimed; None: only its sign.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOT_TESTED
    if claimed is not None and max(abs(low), abs(high)) < NEGLIGIBLE_SHARE * abs(claimed):
        return NEGLIGIBLE
    if low > 0.0:
        return words[0]
    return words[1] if high < 0.0 else NOT_TOLD_APART


@dataclass(frozen=True)
class _Compared:
    """A column of a part's differences.

    Attributes:
        part: of the paper.
        table: of its evaluation, without ``.csv``.
        metric: column; ``_low`` and ``_high`` stand beside it.
        where: values of other columns that tell the rows.
        unit: behind the numbers.
        digits: after the point.
    """

    part: str
    table: str
    metric: str = "r2"
    where: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    digits: int = 3

    @property
    def source(self) -> str:
        """The CSV, relative to the folder of the paper."""
        return f"{self.part}/{EVALUATION}/{self.table}.csv"

    def rows(self, folder: Path) -> pd.DataFrame:
        """All pairs of arms; empty where the part has no such table."""
        if not (folder / self.source).is_file():
            return pd.DataFrame({"arm": [], "minus_arm": []}, dtype=str)
        frame = pd.read_csv(folder / self.source)
        for name, value in self.where.items():
            frame = frame[frame[name] == value]
        return frame


def _images(part: str, metric: str = "psnr_db") -> _Compared:
    return _Compared(part, "image_quality_differences", metric, unit=" dB", digits=2)


def _composition(part: str, measure: str, reference: str) -> _Compared:
    return _Compared(part, "composition_differences", where={"measure": measure, "reference": reference})


_MEASURES = _Compared(ANTHROPOMETRY, "measures_differences", where={"measure": MEAN_OF_MEASURES}, digits=4)


def claims_of_reconstructions(folder: Path) -> list[Claim]:
    """Tables 1 and 2: with the DXA loss, as published and in our window, against without."""
    found = []
    for arm in (PAPER_ARM, OWN_ARM):
        text = f"Reconstructions of `{arm}` have a higher PSNR than those of `{BASE_ARM}`"
        found += _claim(folder, _images(RECONSTRUCTION), text, arm, BASE_ARM, _gain(1, "psnr_db"))
        for measure in TOTALS:
            text = f"Reconstructions of `{arm}` hold more of {measure_label(measure)} than those of `{BASE_ARM}` (R2)"
            compared = _composition(RECONSTRUCTION, measure, SCAN)
            found += _claim(folder, compared, text, arm, BASE_ARM, _gain(2, "r2", measure))
        found += _of_all_measures(folder, arm)
    return found


def claims_of_ablation(folder: Path) -> list[Claim]:
    """The same with a decoder that has to learn everything, as the paper's has."""
    found = []
    for arm in (PAPER_ARM, OWN_ARM):
        with_loss, without = f"{_DENSE}{arm}", f"{_DENSE}{BASE_ARM}"
        for measure in TOTALS:
            text = f"Without a linear path: `{with_loss}` holds more of {measure_label(measure)} than `{without}` (R2)"
            compared = _composition(ABLATION, measure, SCAN)
            found += _claim(folder, compared, text, with_loss, without, _gain(2, "r2", measure))
    return found


def claims_of_measures(folder: Path) -> list[Claim]:
    """Table 3: encoders that were pretrained with the DXA loss, without, and not at all."""
    gains = [float(_gain(3, "r2", name) or "nan") for name in PAPER_MEASURES]
    paper = f"{sum(gains) / len(gains):+.3f}"
    found = []
    for arm, other, theirs in ((PAPER_ARM, BASE_ARM, paper), (OWN_ARM, BASE_ARM, paper), (BASE_ARM, RANDOM_ARM, "")):
        text = f"Body measures: an encoder from `{arm}` predicts better than one from `{other}` (mean R2)"
        found += _claim(folder, _MEASURES, text, arm, other, theirs)
    return found


def claims_of_generation(folder: Path) -> list[Claim]:
    """Tables 4 and 5: generators that were pretrained with the DXA loss, without, and not at all."""
    found, paper = [], _gain(4, "psnr_db")
    for arm, other, theirs in ((PAPER_ARM, BASE_ARM, paper), (OWN_ARM, BASE_ARM, paper), (BASE_ARM, RANDOM_ARM, "")):
        text = f"Scans from meshes: a generator from `{arm}` has a higher PSNR than one from `{other}`"
        found += _claim(folder, _images(GENERATION), text, arm, other, theirs)
    for arm in (PAPER_ARM, OWN_ARM):
        for measure in MASSES:
            text = f"Scans from meshes: `{arm}` holds more of {measure_label(measure)} than `{BASE_ARM}` (R2)"
            found += _claim(folder, _composition(GENERATION, measure, TRUTH), text, arm, BASE_ARM)
    return found


def lines(folder: Path) -> list[Claim]:
    """What the paper does not ask: whether a network is better than a line fitted to the same people."""
    text = f"Reconstructions: `{OWN_ARM}` against as many principal components as its code has numbers"
    compared = {
        f"{text} (PSNR)": (_images(RECONSTRUCTION), OWN_ARM, PRINCIPAL_ARM),
        f"{text} (R2 of total fat)": (_composition(RECONSTRUCTION, MASSES[0], SCAN), OWN_ARM, PRINCIPAL_ARM),
    }
    for arm in (RANDOM_ARM, OWN_ARM):
        text = f"Body measures: `{arm}` against ridge regression on image components (mean R2)"
        compared[text] = (_MEASURES, arm, RIDGE_ARM)
    text = f"Scans from meshes: `{OWN_ARM}` against ridge regression from shape to image (PSNR after alignment)"
    compared[text] = (_images(GENERATION, "aligned_psnr_db"), OWN_ARM, IMAGE_RIDGE_ARM)
    for arm, named in ((OWN_ARM, f"scans of `{OWN_ARM}`"), (f"{MAPS}{OWN_ARM}", f"maps of `{OWN_ARM}`")):
        for measure in MASSES:
            text = f"From meshes: {measure_label(measure)} of the {named} against ridge regression from vertices (R2)"
            compared[text] = (_composition(GENERATION, measure, TRUTH), arm, COMPOSITION_RIDGE_ARM)
    return [claim for text, pair in compared.items() for claim in _claim(folder, pair[0], text, *pair[1:], words=LINE)]


def _claim(
    folder: Path,
    compared: _Compared,
    text: str,
    arm: str,
    other: str,
    paper: str = "",
    words: tuple[str, str] = (REPRODUCED, CONTRADICTED),
) -> list[Claim]:
    """What became of "``arm`` is above ``other``"; nothing where the part has no such table or arms."""
    frame = compared.rows(folder)
    for later, earlier, sign in ((arm, other, 1.0), (other, arm, -1.0)):
        found = frame[is_arm(frame["arm"], later) & is_arm(frame["minus_arm"], earlier)]
        if len(found):
            value, *ends = (sign * float(found[f"{compared.metric}{end}"].iloc[0]) for end in ("", "_low", "_high"))
            low, high = sorted(ends)
            digits, unit = compared.digits, compared.unit
            ours = f"{value:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{unit}"
            theirs = f"{paper}{unit}" if paper else ""
            word = verdict(low, high, words, float(paper) if paper else None)
            return [Claim(compared.part, text, theirs, ours, word, compared.source)]
    return []


def _of_all_measures(folder: Path, arm: str) -> list[Claim]:
    """In how many of the paper's measures of table 2 the interval of the difference lies above 0, and below."""
    compared = _Compared(RECONSTRUCTION, "composition_differences", where={"reference": SCAN})
    measures = published_measures(2)
    frame = compared.rows(folder)
    frame = frame[is_arm(frame["arm"], arm) & is_arm(frame["minus_arm"], BASE_ARM)]
    frame = frame[frame["measure"].isin(measures)] if len(frame) else frame
    if not len(frame):
        return []
    verdicts = [
        verdict(row["r2_low"], row["r2_high"], claimed=float(_gain(2, "r2", str(row["measure"]))))
        for _, row in frame.iterrows()
    ]
    above, below = verdicts.count(REPRODUCED), verdicts.count(CONTRADICTED)
    some = IN_PART if above > below else CONTRADICTED if below else NOT_TOLD_APART
    text = f"Reconstructions of `{arm}` hold more than those of `{BASE_ARM}` of each of {len(frame)} measures (R2)"
    theirs = sum(float(_gain(2, "r2", name)) > 0.0 for name in measures)
    ours = f"more of {above}, less of {below}"
    word = REPRODUCED if above == len(frame) else some
    return [Claim(RECONSTRUCTION, text, f"more of {theirs}", ours, word, compared.source)]


def _gain(table: int, metric: str, measure: str = "") -> str:
    """The paper's difference between with and without the DXA loss; empty where it has none."""
    with_loss, without = (published(table, metric, model, measure) for model in (PAPER_ARM, BASE_ARM))
    return "" if with_loss is None or without is None else f"{with_loss - without:+.2f}"
