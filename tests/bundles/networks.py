"""Tiny networks of the bundles, with weights that do something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from dxa_monai.networks.generator_weights import initialise_generator
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.measures import PAPER_MEASURES

TRUNK: dict[str, Any] = {"block_config": [1, 1, 1, 1], "growth_rate": 2, "init_features": 4}


def tiny_vae(seed: int = 0) -> DXAVAE:
    """In evaluation mode; its reconstruction depends on the scan."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = DXAVAE(
            latent_channels=2,
            generator_dense_shape=[38, 28],
            generator_channels=[2, 2, 2],
            generator_kernel_sizes=[2],
            linear_channels=1,
            **TRUNK,
        )
        torch.nn.init.normal_(vae.generator.to_scan.weight, std=0.1)
        vae.set_linear_path(torch.randn(20, 6, 150, 109) / (6 * 150 * 109) ** 0.5, torch.linspace(9.0, 1.0, 20))
    return vae.eval()


def tiny_pseudo_dxa(seed: int = 0) -> PseudoDXA:
    """In evaluation mode; its scan depends on the body."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = tiny_vae(seed)
        levels = [
            {"centres": 16, "radii_m": [0.3], "neighbours": [8], "channels": [[8]]},
            {"centres": 4, "radii_m": [0.6, 0.9], "neighbours": [4, 8], "channels": [[8], [8]]},
        ]
        encoder = {"kind": "pointnet2", "levels": levels, "global_channels": [16], "head_channels": [16]}
        network = PseudoDXA.like(vae, encoder)
        torch.nn.init.normal_(network.encoder.head.mu.weight)
        initialise_generator(network, vae, vae.mean_image, float(vae.standard_deviation))
    return network.eval()


def tiny_regressor(seed: int = 0, measures: Sequence[str] = PAPER_MEASURES) -> AnthropometryRegressor:
    """In evaluation mode; its measures depend on the scan."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AnthropometryRegressor(measures, pooled_shape=[5, 4], **TRUNK)
        torch.nn.init.normal_(network.head.weight)
        # batch normalisation by statistics of smooth images, as scans are, so that the ReLUs let something pass
        for _ in range(20):
            network(F.interpolate(torch.rand(8, 6, 5, 4), (150, 109), mode="bilinear"))
        count = len(network.measures)
        network.set_measure_statistics(torch.linspace(20.0, 100.0, count), torch.linspace(1.0, 15.0, count))
    return network.eval()
