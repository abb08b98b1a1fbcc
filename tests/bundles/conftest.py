from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from monai.bundle import run

from tests.bundles.tiny import VAE, bundle_files


@pytest.fixture(autouse=True)
def excepthook() -> Iterator[None]:
    """The commands install a hook of their own; other tests must not see it."""
    before = sys.excepthook
    yield
    sys.excepthook = before


@pytest.fixture(scope="session")
def trained_arms(bar_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of two tiny arms, trained with the small preset's config and tracked in one MLflow database."""
    root = tmp_path_factory.mktemp("arms")
    for arm in ("no_dxa", "dxa_masked"):
        run(
            config_file=bundle_files("dxa_vae", "train.json", f"arm_{arm}.json", "preset_small.json", "mlflow.json"),
            bundle_root=str(root),
            dataset_dir=str(bar_cohort.parent),
            output_dir=str(root / arm),
            log_model=arm == "no_dxa",
            **VAE,
        )
    return {arm: root / arm for arm in ("no_dxa", "dxa_masked")}


@pytest.fixture(scope="session")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clouds")
