from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import run

CONFIGS = Path(__file__).parents[2] / "bundles" / "dxa_vae" / "configs"

TINY: dict[str, Any] = {
    "max_epochs": 2,
    "network_def#latent_channels": 2,
    "network_def#block_config": [1, 1, 1, 1],
    "network_def#growth_rate": 2,
    "network_def#init_features": 4,
    "network_def#generator_dense_shape": [38, 28],
    "network_def#generator_channels": [2, 2, 2],
    "network_def#generator_kernel_sizes": [2],
    "loss_def#warm_up_epochs": 1,
    "loss_def#ramp_epochs": 1,
}


def config_files(*names: str) -> list[str]:
    return [str(CONFIGS / name) for name in names]


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
            config_file=config_files("train.json", "preset_small.json", "mlflow.json"),
            bundle_root=str(root),
            dataset_dir=str(bar_cohort.parent),
            arm=arm,
            output_dir=str(root / arm),
            **TINY,
        )
    return {arm: root / arm for arm in ("no_dxa", "dxa_masked")}
