"""Results of the paper's parts as its commands write them, of arms whose errors are known."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd

from dxa_monai.evaluation.arm_agreement import arm_differences, arm_table
from dxa_monai.evaluation.composition_tables import SCAN, TRUTH, composition_differences, composition_table
from dxa_monai.evaluation.image_quality_tables import image_quality_differences, image_quality_table
from dxa_monai.evaluation.measures import FIRST_COLUMNS, RIDGE_ARM
from dxa_monai.evaluation.scans import COMPOSITION_RIDGE_ARM, MAPS, MEASURES, ORIGINAL
from dxa_monai.evaluation.truth_agreement import EVERYBODY
from dxa_monai.paper.parts import FINISHED_PART, Outcome
from dxa_monai.paper.plan import ABLATION, ANALYSIS, ANTHROPOMETRY, EVALUATION, GENERATION, RECONSTRUCTION, Part
from dxa_monai.paper.report import FIGURES
from dxa_monai.scan.csv_table import write_frame
from dxa_monai.scan.measures import BODY_MEASURES

PEOPLE = 30
ERRORS = {"no_dxa": 0.5, "dxa": 0.9, "energy_ratio": 0.1, "random": 0.5}
"""Spread of an arm's errors, in spreads of the people: the published loss is worse here, ours better."""


def _predictions(errors: dict[str, float], measures: tuple[str, ...], **about: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = rng.normal(50.0, 5.0, (PEOPLE, len(measures)))
    noise = rng.normal(size=(2, *truth.shape))
    rows = []
    for arm, size in errors.items():
        for seed in range(2):
            for person in range(PEOPLE):
                for place, measure in enumerate(measures):
                    row = {"arm": arm, "seed": seed, "scan_id": f"S{person}", "subject_id": f"P{person}"}
                    row |= {"measure": measure, "truth": truth[person, place]}
                    rows.append(row | {"predicted": truth[person, place] + 5.0 * size * noise[seed, person, place]})
    return pd.DataFrame(rows).assign(**about)


def _quality(errors: dict[str, float]) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for arm, size in errors.items():
        for person in range(PEOPLE):
            row = {"arm": arm, "seed": 0, "scan_id": f"S{person}", "subject_id": f"P{person}"}
            value = 40.0 - size + 0.01 * rng.normal()
            rows.append(row | {"psnr_db": value, "ssim": 0.9, "nmae": 0.02, "aligned_psnr_db": value + 1.0})
    return pd.DataFrame(rows)


def _write_image_tables(folder: Path, errors: dict[str, float], baselines: dict[str, float]) -> None:
    folder.mkdir(parents=True)
    quality = _quality(errors)
    write_frame(folder / "image_quality.csv", image_quality_table(quality))
    write_frame(folder / "image_quality_differences.csv", image_quality_differences(quality))
    predictions = {SCAN: _predictions(baselines | errors, MEASURES), TRUTH: _predictions(baselines | errors, MEASURES)}
    write_frame(folder / "composition.csv", composition_table(predictions))
    write_frame(folder / "composition_differences.csv", composition_differences(predictions))


def write_results(folder: Path) -> None:
    """All tables and pictures that the report reads."""
    trained = {name: ERRORS[name] for name in ("no_dxa", "dxa", "energy_ratio")}
    images = {"principal_components_240": 0.6, **trained}
    _write_image_tables(folder / RECONSTRUCTION / EVALUATION, images, {})
    dense = {f"dense_{name}": size for name, size in trained.items()}
    _write_image_tables(folder / ABLATION / EVALUATION, trained | dense, {})
    generated = {"ridge_shape_to_image": 0.3, **ERRORS}
    without_scans = {ORIGINAL: 0.01, COMPOSITION_RIDGE_ARM: 0.05, f"{MAPS}energy_ratio": 0.03}
    _write_image_tables(folder / GENERATION / EVALUATION, generated, without_scans)
    evaluation = folder / ANTHROPOMETRY / EVALUATION
    evaluation.mkdir(parents=True)
    sizes = [
        _predictions({RIDGE_ARM: 0.3, **ERRORS}, BODY_MEASURES, training_pairs=size, trunk="fine_tuned")
        for size in (50, 800)
    ]
    skipped = pd.DataFrame([{"arm": "imagenet", "skipped": "it needs the preset paper."}])
    measures = arm_table(sizes[-1], FIRST_COLUMNS)
    write_frame(evaluation / "measures.csv", pd.concat([measures, skipped], ignore_index=True))
    write_frame(evaluation / "measures_differences.csv", arm_differences(sizes[-1], FIRST_COLUMNS))
    write_frame(evaluation / "learning_curve.csv", arm_table(pd.concat(sizes), FIRST_COLUMNS))
    (folder / ANALYSIS).mkdir()
    agreement = arm_table(_predictions({"phantom": 0.01}, MEASURES), ["arm"]).rename(columns={"arm": "calibration"})
    percent = {f"bias_percent{end}": agreement[f"bias{end}"] for end in ("", "_low", "_high")}
    write_frame(folder / ANALYSIS / "agreement.csv", agreement.assign(group=EVERYBODY, **percent))
    for figure in FIGURES:
        (folder / figure.path).parent.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(folder / figure.path, np.zeros((2, 2, 3)))


def finished(parts: list[Part]) -> dict[str, Outcome]:
    """Outcomes of parts that all ended well."""
    return {part.name: Outcome(FINISHED_PART, f"python {part.name}", "0" * 16, 90.0, 2_000_000_000) for part in parts}
