import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from monai.bundle import run

from tests.bundles.tiny import VAE, bundle_files, config_folder, refusal


def test_arms_and_seeds_by_one_command(bar_cohort: Path, tmp_path: Path) -> None:
    weight = "loss_def#terms#calibrated_perceptual#weight"
    arms = {"no_dxa": {"overlay": "arm_no_dxa.json"}, "stronger": {"overlay": "arm_dxa_masked.json", weight: 2.0}}

    def compare() -> None:
        run(
            config_file=bundle_files("dxa_vae", "compare.json", "mlflow_evaluation.json"),
            bundle_root=str(tmp_path),
            config_dir=str(config_folder("dxa_vae")),
            dataset_dir=str(bar_cohort.parent),
            output_dir=str(tmp_path / "out"),
            arms=arms,
            seeds=[0, 1],
            overrides=VAE,
            components=5,
        )

    compare()
    table = pd.read_csv(tmp_path / "out" / "evaluation" / "image_quality.csv").set_index("arm")
    assert list(table.index) == ["training_mean", "principal_components_5", "no_dxa", "stronger"]
    assert table.loc["stronger", "seeds"] == 2
    per_scan = pd.read_csv(tmp_path / "out" / "evaluation" / "image_quality_per_scan.csv")
    of_seeds = per_scan[per_scan["arm"] == "no_dxa"].groupby("seed")["psnr_db"].mean()
    assert table.loc["no_dxa", "psnr_db"] == pytest.approx(of_seeds.mean(), rel=1e-4)
    assert of_seeds[0] != of_seeds[1]
    record = json.loads((tmp_path / "out" / "stronger-seed1" / "run.json").read_text())
    assert (record["arm"], record["seed"]) == ("stronger", 1)
    assert record["loss"]["calibrated_perceptual"]["weight"] == 2.0

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dxa_vae").experiment_id])
    (parent,) = [each for each in runs if each.info.run_name.startswith("comparison")]
    children = [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    # two arms with two seeds, and their evaluation
    assert len(children) == 5
    assert sum("arm" in each.data.params for each in children) == 4
    assert {each.info.status for each in runs} == {"FINISHED"}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.pt")}
    compare()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.pt")} == before


@pytest.mark.parametrize("overlay", [{}, {"overlay": "arm_no_dxa.json"}], ids=["forgotten", "another"])
def test_an_arm_without_the_overlay_of_its_name_is_refused_before_anything_is_trained(
    overlay: dict[str, str], bar_cohort: Path, tmp_path: Path
) -> None:
    def compare() -> None:
        run(
            config_file=bundle_files("dxa_vae", "compare.json"),
            config_dir=str(config_folder("dxa_vae")),
            dataset_dir=str(bar_cohort.parent),
            output_dir=str(tmp_path / "out"),
            arms={"no_dxa": {"overlay": "arm_no_dxa.json"}, "dxa_masked": overlay},
            overrides=VAE,
        )

    assert "expected 'dxa_masked' to name the overlay that makes it" in refusal(compare)
    assert not (tmp_path / "out").exists()
