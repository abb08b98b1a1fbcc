"""Encoder of the DXA-VAE: a raw scan to the mean and log-variance of its latent map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from monai.networks.nets import DenseNet
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE

HEADS = ("conv", "dense")

INITIAL_LOG_VARIANCE = -7.0
"""Bias of the log-variance head: latent noise of sd 0.03, so that the generator sees a signal from the first step."""
LOG_VARIANCE_RANGE = (-30.0, 20.0)
"""The log-variance is clamped to this range, so that its exponential stays finite in float32."""
_LOG_VARIANCE_WEIGHT_SD = 1e-3


class DXAEncoder(nn.Module):
    """1x1 convolution to three channels, DenseNet trunk, and heads of mu and log-variance.

    With ``heads="conv"`` (the default) the input is padded, centred, to the field of the generator (160 x 128 for a
    150 x 109 scan and a 5 x 4 latent map), so that the trunk map has the latent shape and a latent cell sees the very
    32 x 32 pixels that the generator makes of it; the heads are 1x1 convolutions. The padding is zeros: feed an image
    whose background is near zero or whose mean is subtracted (:class:`dxa_monai.networks.vae.DXAVAE` does that).
    With ``heads="dense"``, as in the published network, the trunk sees the unpadded scan (4 x 3 x 1024 features) and
    two dense layers on the flattened map make mu and log-variance; they alone hold 252 M weights.

    The trunk is MONAI's DenseNet without its classifier; the defaults are those of DenseNet-121 [1]_.

    Args:
        in_channels: channels of a scan.
        spatial_shape: rows and columns of a scan.
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        block_config: layers in each dense block.
        growth_rate: channels that a dense layer adds.
        init_features: channels of the first convolution of the trunk.
        heads: ``"conv"`` or ``"dense"``.
        norm: normalisation of the trunk as MONAI names it: ``"batch"``, ``"instance"`` or, as in
            ``("group", {"num_groups": 8})``, with arguments. Batch normalisation differs between training and
            evaluation; with batches of one or two scans choose another.

    Raises:
        InputError: an unknown kind of heads or norm, or (``"conv"``) a latent map too small to cover the scan.

    References:
        .. [1] Huang et al., "Densely connected convolutional networks", CVPR 2017, doi:10.1109/CVPR.2017.243.
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
        super().__init__()
        if heads not in HEADS:
            raise InputError(f"heads: expected one of {', '.join(HEADS)}, got '{heads}'.")
        self.latent_channels = int(latent_channels)
        self.latent_rows, self.latent_columns = (int(size) for size in latent_shape)
        rows, columns = (int(size) for size in spatial_shape)
        self.dense_heads = heads == "dense"
        self.log_variance_minimum, self.log_variance_maximum = LOG_VARIANCE_RANGE

        self.to_three_channels = nn.Conv2d(in_channels, 3, kernel_size=1)
        try:
            densenet = DenseNet(
                spatial_dims=2,
                in_channels=3,
                out_channels=1,
                init_features=init_features,
                growth_rate=growth_rate,
                block_config=tuple(block_config),
                norm=norm if isinstance(norm, str) else tuple(norm),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"norm: expected one that MONAI can build a DenseNet with, got '{error}'.") from error
        self.trunk = densenet.features
        self.feature_channels = cast(nn.Linear, densenet.class_layers.out).in_features
        reduction = 2 ** (len(block_config) + 1)

        self.padding = [0, 0, 0, 0]  # left, right, top, bottom, the order of torch.nn.functional.pad
        if self.dense_heads:
            self.feature_shape = _trunk_map_shape((rows, columns), len(block_config))
            flat_features = self.feature_channels * self.feature_shape[0] * self.feature_shape[1]
            latent_size = self.latent_channels * self.latent_rows * self.latent_columns
            self.mu_head: nn.Linear | nn.Conv2d = nn.Linear(flat_features, latent_size)
            self.log_variance_head: nn.Linear | nn.Conv2d = nn.Linear(flat_features, latent_size)
        else:
            self.padding[:] = centred_padding(
                (rows, columns), (reduction * self.latent_rows, reduction * self.latent_columns)
            )
            self.feature_shape = (self.latent_rows, self.latent_columns)
            self.mu_head = nn.Conv2d(self.feature_channels, self.latent_channels, kernel_size=1)
            self.log_variance_head = nn.Conv2d(self.feature_channels, self.latent_channels, kernel_size=1)
        nn.init.normal_(self.log_variance_head.weight, std=_LOG_VARIANCE_WEIGHT_SD)
        nn.init.constant_(cast(torch.Tensor, self.log_variance_head.bias), INITIAL_LOG_VARIANCE)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Trunk map ``(B, feature_channels, *feature_shape)``, after a ReLU, of scans ``(B, in_channels, H, W)``."""
        return F.relu(self.trunk(self.to_three_channels(F.pad(x, self.padding))))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mu and log-variance, each ``(B, latent_channels, *latent_shape)``, of scans ``(B, in_channels, H, W)``."""
        features = self.features(x)
        if self.dense_heads:
            features = features.flatten(1)
        shape = (-1, self.latent_channels, self.latent_rows, self.latent_columns)
        mu = self.mu_head(features).reshape(shape)
        log_variance = self.log_variance_head(features).reshape(shape)
        return mu, log_variance.clamp(self.log_variance_minimum, self.log_variance_maximum)


def centred_padding(shape: tuple[int, int], padded_shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Margins (left, right, top, bottom) that centre ``shape`` in ``padded_shape``; an odd one goes right or below.

    Raises:
        InputError: ``shape`` does not fit into ``padded_shape``.
    """
    row_margin, column_margin = padded_shape[0] - shape[0], padded_shape[1] - shape[1]
    if row_margin < 0 or column_margin < 0:
        raise InputError(
            f"latent_shape: expected a latent map that covers a scan of {shape[0]} x {shape[1]} pixels, "
            f"got one that covers {padded_shape[0]} x {padded_shape[1]}."
        )
    left, top = column_margin // 2, row_margin // 2
    return left, column_margin - left, top, row_margin - top


def _trunk_map_shape(spatial_shape: tuple[int, int], blocks: int) -> tuple[int, int]:
    """Rows and columns that the trunk leaves: stem convolution and pool round up, each later transition rounds down."""

    def reduced(size: int) -> int:
        return ((size + 1) // 2 + 1) // 2 // 2 ** (blocks - 1)

    return reduced(spatial_shape[0]), reduced(spatial_shape[1])
