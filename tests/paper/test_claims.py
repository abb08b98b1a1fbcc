"""Verdicts follow from the intervals of the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from dxa_monai.paper.claims import (
    CONTRADICTED,
    LINE,
    NEGLIGIBLE,
    NOT_TESTED,
    NOT_TOLD_APART,
    REPRODUCED,
    Claim,
    claims_of_ablation,
    claims_of_generation,
    claims_of_measures,
    claims_of_reconstructions,
    lines,
    verdict,
)
from dxa_monai.paper.published import published, published_measures
from dxa_monai.scan.measures import PAPER_MEASURES
from tests.paper.results import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder)
    return folder


def test_a_verdict_is_what_an_interval_says() -> None:
    assert verdict(0.1, 0.2) == REPRODUCED
    assert verdict(-0.2, -0.1) == CONTRADICTED
    assert verdict(-0.1, 0.1) == NOT_TOLD_APART
    assert verdict(0.0, 0.1) == NOT_TOLD_APART
    assert verdict(float("nan"), 0.1) == NOT_TESTED
    assert verdict(0.1, 0.2, LINE) == LINE[0]
    assert verdict(0.001, 0.003, claimed=1.63) == verdict(-0.004, 0.003, claimed=0.38) == NEGLIGIBLE
    assert verdict(0.001, 0.2, claimed=1.63) == REPRODUCED
    assert verdict(-0.3, 0.001, claimed=0.38) == NOT_TOLD_APART


def _of(claims: list[Claim], text: str) -> Claim:
    (found,) = [claim for claim in claims if text in claim.text]
    return found


def test_arms_that_are_better_worse_and_equal_are_told(results: Path) -> None:
    claims = claims_of_reconstructions(results)
    ours = _of(claims, "`energy_ratio` have a higher PSNR")
    assert ours.verdict == REPRODUCED
    assert ours.ours.startswith("+0.40 [")
    assert ours.paper == "+1.63 dB"
    assert _of(claims, "`dxa` have a higher PSNR").verdict == CONTRADICTED
    assert _of(claims, "`energy_ratio` hold more of total fat (g)").paper == "+0.38"
    every = _of(claims, "`energy_ratio` hold more than those of `no_dxa` of each of 13")
    assert (every.verdict, every.ours, every.paper) == (REPRODUCED, "more of 13, less of 0", "more of 13")
    assert _of(claims, "`dxa` hold more than those of").verdict == CONTRADICTED
    equal = _of(claims_of_measures(results), "from `no_dxa` predicts better than one from `random`")
    assert equal.verdict == NOT_TOLD_APART
    assert {claim.verdict for claim in claims_of_ablation(results)} == {REPRODUCED, CONTRADICTED}
    assert _of(claims_of_generation(results), "generator from `energy_ratio`").paper == "+3.35 dB"


def test_networks_are_held_against_lines_whichever_stands_first_in_the_table(results: Path) -> None:
    found = lines(results)
    assert _of(found, "components as its code has numbers (PSNR)").verdict == LINE[0]
    assert _of(found, "`random` against ridge").verdict == LINE[1]
    assert _of(found, "total fat (g) of the scans of `energy_ratio` against ridge").verdict == LINE[1]
    assert _of(found, "total fat (g) of the maps of `energy_ratio` against ridge").verdict == LINE[0]
    assert _of(found, "shape to image").verdict == LINE[0]


def test_without_tables_there_are_no_claims(tmp_path: Path) -> None:
    assert claims_of_reconstructions(tmp_path) == lines(tmp_path) == []


def test_the_papers_numbers() -> None:
    assert published(1, "psnr_db", "dxa") == 51.15
    assert published(2, "r2", "no_dxa", "total_fat_g") == 0.42
    assert published(2, "rmse", "dxa", "total_mass_g") == 1430
    assert published(5, "r2", "no_dxa", "total_fat_g") is None
    assert published_measures(3) == list(PAPER_MEASURES)
    assert len(published_measures(2)) == len(published_measures(5)) == 13
