import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from monai.bundle import ConfigParser, run

from dxa_monai.paper.plan import PRESETS
from tests.bundles.tiny import VAE, bundle_files, config_folder, refusal

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]


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
            overrides=VAE | {"log_model": False},
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


def _trainings(config: str, tmp_path: Path) -> dict[str, ConfigParser]:
    """The training config of each arm of a comparison."""
    parser = ConfigParser()
    parser.read_config(bundle_files("dxa_vae", "compare.json", config))
    parser.update({"config_dir": str(config_folder("dxa_vae")), "bundle_root": str(tmp_path)})
    comparison = parser.get_parsed_content("comparison")
    return {arm: comparison._training(settings, arm, "", 0, {}).parser() for arm, settings in comparison.arms.items()}


def test_the_arms_of_the_ablation_differ_in_one_thing_at_a_time(tmp_path: Path) -> None:
    found = {
        arm: (
            config["network_def"]["linear_channels"],
            config["contrast_weight"],
            sorted({"energy_ratio", "calibrated_perceptual"} & set(config["loss_def"]["terms"])),
        )
        for arm, config in _trainings("ablation.json", tmp_path).items()
    }
    assert found == {
        "no_dxa": (10, 1.0, []),
        "contrast_alone": (10, 6.0, []),
        "ratio_alone": (10, 1.0, ["energy_ratio"]),
        "energy_ratio": (10, 6.0, ["energy_ratio"]),
        "dense_no_dxa": (0, 1.0, []),
        "dense_dxa": (0, 1.0, ["calibrated_perceptual"]),
        "dense_energy_ratio": (0, 6.0, ["energy_ratio"]),
    }


def test_the_settings_of_the_ablation_are_those_of_their_names(tmp_path: Path) -> None:
    losses = {
        arm: config.get_parsed_content("loss_def").as_dict()
        for arm, config in _trainings("ablation_settings.json", tmp_path).items()
    }
    ratio = {
        arm: (each["energy_ratio"]["weight"], each["energy_ratio"]["window"])
        for arm, each in losses.items()
        if "energy_ratio" in each
    }
    assert ratio == {
        "weight_0.01": (0.01, 0.07),
        "weight_0.03": (0.03, 0.07),
        "weight_0.1": (0.1, 0.07),
        "window_0.035": (0.03, 0.035),
        "window_0.14": (0.03, 0.14),
        "whole_range": (0.03, 2.0),
        "window_soft_tissue": (0.03, "soft_tissue"),
        "energy_ratio_raw_vgg": (0.03, 0.07),
    }
    stacks = {arm: each["calibrated_perceptual"] for arm, each in losses.items() if "calibrated_perceptual" in each}
    assert {arm: (each["r"], len(each["views"])) for arm, each in stacks.items()} == {
        "r_perceptual_window": ("window", 3),
        "r_perceptual": ("masked", 3),
        "stacks_without_r": ("masked", 6),
    }
    assert [arm for arm, each in losses.items() if "raw_perceptual" in each] == [
        "no_dxa_raw_vgg",
        "energy_ratio_raw_vgg",
    ]


def test_the_published_recipe_is_run_with_its_loss_and_without_and_differs_in_nothing_else(tmp_path: Path) -> None:
    configs = _trainings("ablation_published.json", tmp_path)
    assert list(configs) == ["dense_no_dxa", "published_no_dxa", "published_dxa", "published_code"]
    terms = {arm: set(config["loss_def"]["terms"]) for arm, config in configs.items()}
    terms = {arm: {name for name in each if configs[arm]["loss_def"]["terms"][name]} for arm, each in terms.items()}
    assert terms["dense_no_dxa"] == {"pixel_l1", "kl"}
    assert terms["published_no_dxa"] == {"pixel_l1", "raw_perceptual"}
    assert terms["published_dxa"] == terms["published_no_dxa"] | {"calibrated_perceptual"}
    assert terms["published_code"] == terms["published_dxa"] | {"adversarial"}
    found = []
    for arm in ("published_no_dxa", "published_dxa", "published_code"):
        config = {name: value for name, value in configs[arm].get().items() if name not in ("arm", "output_dir")}
        for name in ("calibrated_perceptual", "adversarial"):
            config["loss_def"]["terms"].pop(name, None)
        found.append(config)
    assert found[0] == found[1] == found[2]


def test_the_medium_arms_have_the_settings_that_the_paper_is_run_with(tmp_path: Path) -> None:
    configs = _trainings("medium.json", tmp_path)
    assert list(configs) == ["no_dxa", "energy_ratio"]
    assert {config["preset"] for config in configs.values()} == {"medium"}
    settings = {name: configs["energy_ratio"][name] for name in PRESETS["medium"].own_settings}
    assert settings == PRESETS["medium"].own_settings
    assert (configs["no_dxa"]["contrast_weight"], configs["no_dxa"]["contrast_by_region"]) == (1.0, False)


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
