"""Table of reconstructions: the better network is the better one, the figure shows the median scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dxa_monai.evaluation.arms import ArmEvaluation
from dxa_monai.evaluation.held_out import TrainedArm
from dxa_monai.evaluation.predictors import MEAN_ARM
from dxa_monai.evaluation.reconstruction import ReconstructionTask, representative_scan
from dxa_monai.evaluation.scans import MEASURES, ORIGINAL
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.splits import split_by_subject
from dxa_monai.scan.statistics import image_statistics
from tests.evaluation.run_folders import TINY, manifest_in, run_folder, split_in_order
from tests.evaluation.test_image_quality_tables import quality_table


def _network(manifest: Path, shift: float = 0.0) -> DXAVAE:
    """A network that has learnt nothing: it gives the mean image, or that image plus a constant."""
    network = DXAVAE(**TINY)
    network.set_mean_image(image_statistics(read_manifest(manifest), ScanSource())[0])
    torch.nn.init.constant_(network.generator.to_scan.bias, shift)
    return network.eval()


def test_figure_shows_the_median_scan() -> None:
    assert representative_scan(quality_table({"a": [20.0, 26.0, 24.0, 22.0]}), "a") == "c-1"


def test_evaluation_writes_tables_and_figure(
    bar_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = split_by_subject(read_manifest(bar_cohort))
    arms = {
        arm: run_folder(tmp_path / arm, split, _network(bar_cohort, shift))
        for arm, shift in (("good", 0.0), ("bad", 0.05))
    }
    files = ArmEvaluation(ReconstructionTask(components=5), bar_cohort, tmp_path / "out", arms).run()
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {path.name for path in files.values()}
    table = pd.read_csv(files["image_quality"]).set_index("arm")
    assert list(table.index) == [MEAN_ARM, "principal_components_5", "good", "bad"]
    assert table.loc["bad", "psnr_db"] < table.loc["good", "psnr_db"]
    assert files["figure_2"].read_bytes().startswith(b"\x89PNG")
    per_scan = pd.read_csv(files["image_quality_per_scan"])
    assert set(per_scan["scan_id"]) == {row["scan_id"] for row in split["test"]}
    # bars are no bodies
    assert "composition" not in files
    told = capsys.readouterr().out
    assert f"No body composition: a whole body was found in none of the {len(split['test'])} scans." in told
    assert "Image quality on 2 people held out" in told


def test_seeds_and_variants_are_kept_apart(bar_cohort: Path, tmp_path: Path) -> None:
    split = split_by_subject(read_manifest(bar_cohort))
    paths = [run_folder(tmp_path / str(index), split, _network(bar_cohort, 0.02 * index)) for index in range(3)]
    task = ReconstructionTask(components=0, composition=False)
    arms = [TrainedArm("arm", tuple(paths[:2])), TrainedArm("arm", (paths[2],), "worse")]
    files = ArmEvaluation(task, bar_cohort, tmp_path / "out").of(arms)
    table = pd.read_csv(files["image_quality"]).set_index("arm")
    assert list(table.index) == [MEAN_ARM, "arm", "arm worse"]
    assert list(table["seeds"]) == [1, 2, 1]
    assert table.loc["arm worse", "psnr_db"] < table.loc["arm", "psnr_db"] < table.loc[MEAN_ARM, "psnr_db"]


def test_body_composition_has_the_mean_and_the_ceiling_beside_the_arms(
    people: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = manifest_in(tmp_path, people)
    path = run_folder(tmp_path / "run", split_in_order(people, 3, 1), _network(manifest))
    files = ArmEvaluation(ReconstructionTask(components=2), manifest, tmp_path / "out", {"net": path}).run()
    table = pd.read_csv(files["composition"])
    arms = {key: list(dict.fromkeys(group["arm"])) for key, group in table.groupby("reference")}
    assert arms == {
        "scan": [MEAN_ARM, "principal_components_2", "net"],
        "truth": [MEAN_ARM, ORIGINAL, "principal_components_2", "net"],
    }
    assert set(table["measure"]) == {*MEASURES, "mean_of_measures"}
    of_scans = table.set_index(["reference", "arm", "measure"])["rmse"]
    for name in ("total_mass_g", "total_fat_g", "total_lean_g"):
        assert of_scans["truth", ORIGINAL, name] < of_scans["truth", MEAN_ARM, name]
    told = capsys.readouterr().out
    assert "Body composition against the analysis of the true scan" in told
    assert "Body composition against the truth" in told
