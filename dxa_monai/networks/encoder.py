"""Encoder of the DXA-VAE: a raw scan to the mean and log-variance of its latent map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.trunk import DXATrunk
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE

HEADS = ("conv", "dense")

INITIAL_LOG_VARIANCE = -7.0
"""Bias of the log-variance head: latent noise of sd 0.03, so that the generator sees a signal from the first step."""
LOG_VARIANCE_RANGE = (-30.0, 20.0)
"""The log-variance is clamped to this range, so that its exponential stays finite in float32."""
_LOG_VARIANCE_WEIGHT_SD = 1e-3


class DXAEncoder(DXATrunk):
    """:class:`DXATrunk` with heads of mu and log-variance.

    With ``heads="conv"`` (the default) the feature map has the latent shape, so that a latent cell sees the very
    32 x 32 pixels that the generator makes of it; the heads are 1x1 convolutions. With ``heads="dense"``, as in the
    published network, the trunk sees the unpadded scan (4 x 3 x 1024 features) and two dense layers on the flattened
    map make mu and log-variance; they alone hold 252 M weights.

    Args:
        in_channels: channels of a scan.
        spatial_shape: rows and columns of a scan.
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        block_config: see :class:`DXATrunk`.
        growth_rate: see :class:`DXATrunk`.
        init_features: see :class:`DXATrunk`.
        heads: ``"conv"`` or ``"dense"``.
        norm: see :class:`DXATrunk`.

    Raises:
        InputError: an unknown kind of heads or norm, or (``"conv"``) a latent map too small to cover the scan.
    """

    def __init__(
        self,
        in_channels: int = len(CHANNELS),
        spatial_shape: Sequence[int] = SCAN_SHAPE,
        latent_channels: int = 512,
        latent_shape: Sequence[int] = (5, 4),
        block_config: Sequence[int] = (6, 12, 24, 16),
        growth_rate: int = 32,
        init_features: int = 64,
        heads: str = "conv",
        norm: str | Sequence[Any] = "batch",
    ) -> None:
        if heads not in HEADS:
            raise InputError(f"heads: expected one of {', '.join(HEADS)}, got '{heads}'.")
        super().__init__(
            in_channels,
            spatial_shape,
            None if heads == "dense" else latent_shape,
            block_config,
            growth_rate,
            init_features,
            norm,
        )
        self.latent_channels = int(latent_channels)
        self.latent_rows, self.latent_columns = (int(size) for size in latent_shape)
        self.dense_heads = heads == "dense"
        self.log_variance_minimum, self.log_variance_maximum = LOG_VARIANCE_RANGE
        if self.dense_heads:
            flat_features = self.feature_channels * self.feature_shape[0] * self.feature_shape[1]
            latent_size = self.latent_channels * self.latent_rows * self.latent_columns
            self.mu_head: nn.Linear | nn.Conv2d = nn.Linear(flat_features, latent_size)
            self.log_variance_head: nn.Linear | nn.Conv2d = nn.Linear(flat_features, latent_size)
        else:
            self.mu_head = nn.Conv2d(self.feature_channels, self.latent_channels, kernel_size=1)
            self.log_variance_head = nn.Conv2d(self.feature_channels, self.latent_channels, kernel_size=1)
        nn.init.normal_(self.log_variance_head.weight, std=_LOG_VARIANCE_WEIGHT_SD)
        nn.init.constant_(cast(torch.Tensor, self.log_variance_head.bias), INITIAL_LOG_VARIANCE)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mu and log-variance, each ``(B, latent_channels, *latent_shape)``, of scans ``(B, in_channels, H, W)``."""
        features = self.features(x)
        if self.dense_heads:
            features = features.flatten(1)
        shape = (-1, self.latent_channels, self.latent_rows, self.latent_columns)
        mu = self.mu_head(features).reshape(shape)
        log_variance = self.log_variance_head(features).reshape(shape)
        return mu, log_variance.clamp(self.log_variance_minimum, self.log_variance_maximum)
