"""The command that trains the released weights: what it refuses, and that a recipe fits its bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from dxa_monai.networks.checkpoint import load_vae, save_network
from scripts.train_weights import BESIDE, COHORTS, DRY_SETTINGS, RECIPES, WITH_PRESETS, _configs, _release, lost_r2
from tests.bundles.networks import tiny_vae


def test_the_greatest_loss_of_any_table_counts(tmp_path: Path) -> None:
    arms = ["float32"] * 3 + ["float16"] * 3 + ["mean"]
    table = pd.DataFrame({"arm": arms, "r2": [0.5, 0.9, -7.0, 0.5, 0.87, -7.1, -0.1]})
    table.to_csv(tmp_path / "measures.csv", index=False)
    pd.DataFrame({"arm": ["float16", "float32"], "r2": [0.7, 0.71]}).to_csv(tmp_path / "composition.csv", index=False)
    pd.DataFrame({"arm": ["float32"], "psnr_db": [30.0]}).to_csv(tmp_path / "image_quality.csv", index=False)
    differences = pd.DataFrame({"arm": ["float16"], "minus_arm": ["mean"], "r2": [0.9]})
    differences.to_csv(tmp_path / "measures_differences.csv", index=False)
    assert lost_r2(tmp_path) == pytest.approx(0.03)


@pytest.mark.parametrize("weights", sorted({recipe.weights for recipe in RECIPES.values()}))
def test_weights_are_released_with_what_belongs_to_them(weights: str, tmp_path: Path) -> None:
    run, models = tmp_path / "run", tmp_path / "models"
    run.mkdir()
    models.mkdir()
    save_network(tiny_vae(), run / "best.pt")
    for name in (*BESIDE, "last.pt", "metrics.csv"):
        (run / name).write_text(name)
    assert load_vae(_release(run, models, weights)).eval()
    assert {path.name for path in models.iterdir()} == {weights, *BESIDE}
    assert all((models / name).read_text() == name for name in BESIDE)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_sets_is_known_to_the_bundle(name: str) -> None:
    recipe = RECIPES[name]
    folder = _configs(recipe.bundle)
    known = json.loads((folder / recipe.config).read_text())
    assert all((folder / file).is_file() for file in recipe.overlays)
    assert set(recipe.settings) <= set(known)
    assert {"max_epochs", "batch_size", "manifest", "output_dir"} <= set(known)
    assert ("preset" in known) == (recipe.config == WITH_PRESETS)
    assert {"max_epochs", "batch_size"} <= set(DRY_SETTINGS)


@pytest.mark.parametrize("preset", COHORTS)
def test_no_person_is_in_two_cohorts(preset: str) -> None:
    seeds = [cohort.seed for cohort in COHORTS[preset].values()]
    assert len(set(seeds)) == len(seeds)


def test_the_network_of_landmarks_has_the_cohort_that_its_page_says() -> None:
    cohort = COHORTS["small"]["landmarks"]
    page = (_configs("dxa_body_composition").parent / "docs" / "README.md").read_text()
    start = page.index("--count 240")
    command = page[start : page.index("--output_dir", start)]
    assert (
        f"--count {cohort.people} --seed {cohort.seed} --children_share {cohort.special['children_share']}" in command
    )
    assert f'--conditions "{cohort.special["conditions"]}"' in command
