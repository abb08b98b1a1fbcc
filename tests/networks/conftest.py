"""A network small enough to train in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dxa_monai.networks.vae import DXAVAE

SMALL: dict[str, Any] = {
    "spatial_shape": (60, 50),
    "latent_channels": 4,
    "latent_shape": (2, 2),
    "block_config": (1, 1, 1, 1),
    "growth_rate": 8,
    "init_features": 8,
    "generator_channels": (8, 8, 8, 8, 8),
    "generator_kernel_sizes": (2, 4),
}


@pytest.fixture
def make_vae() -> Callable[..., DXAVAE]:
    """``make_vae(**changes)``: a DXAVAE for scans of 60 x 50 pixels."""
    return lambda **changes: DXAVAE(**(SMALL | changes))
