"""Trainings of each bundle small enough for a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.errors import describe_user_error


def config_folder(bundle: str) -> Path:
    """Where a bundle's configs lie."""
    return Path(__file__).parents[2] / "bundles" / bundle / "configs"


def bundle_files(bundle: str, *names: str) -> list[str]:
    """Paths of a bundle's config files."""
    return [str(config_folder(bundle) / name) for name in names]


VAE: dict[str, Any] = {
    "max_epochs": 2,
    "network_def#latent_channels": 2,
    "network_def#linear_channels": 0,
    "network_def#block_config": [1, 1, 1, 1],
    "network_def#growth_rate": 2,
    "network_def#init_features": 4,
    "network_def#generator_dense_shape": [38, 28],
    "network_def#generator_channels": [2, 2, 2],
    "network_def#generator_kernel_sizes": [2],
    "warm_up_epochs": 1,
    "ramp_epochs": 1,
}

ANTHROPOMETRY: dict[str, Any] = {
    "max_epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "network_def#block_config": [1, 1, 1, 1],
    "network_def#growth_rate": 2,
    "network_def#init_features": 4,
}
"""The trunk of the tiny VAEs."""

PSEUDO_DXA: dict[str, Any] = {
    "max_epochs": 2,
    "batch_size": 4,
    "points": 64,
    "frozen_epochs": 1,
    "mesh_workers": 1,
    "encoder": {
        "kind": "pointnet2",
        "levels": [{"centres": 16, "radii_m": [0.4], "neighbours": [4], "channels": [[4]]}],
        "global_channels": [8],
        "head_channels": [],
    },
    "warm_up_epochs": 1,
    "ramp_epochs": 1,
}


def refusal(action: Callable[[], Any]) -> str:
    """Run what must fail on a user's mistake and return what the user is told."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps the error, the sentence is what counts
        action()
    sentence = describe_user_error(caught.value)
    assert sentence is not None, caught.value
    return sentence
