"""The part of the encoder that later tasks start from: a raw scan to a map of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from monai.networks.nets import DenseNet
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE


class DXATrunk(nn.Module):
    """1x1 convolution from the channels of a scan to three, then a DenseNet [1]_ without its classifier.

    The input is padded, centred, so that the trunk leaves a map of ``map_shape``: 160 x 128 pixels for 150 x 109 and a
    5 x 4 map, each cell of which stands for 32 x 32 pixels. The padding is zeros: feed an image whose background is
    near zero or whose mean is subtracted.

    Args:
        in_channels: channels of a scan.
        spatial_shape: rows and columns of a scan.
        map_shape: rows and columns of the feature map; None: the scan is not padded, and the map is what is left of it
            (4 x 3, as in the published network).
        block_config: layers in each dense block; the default is DenseNet-121's, as are the next two.
        growth_rate: channels that a dense layer adds.
        init_features: channels of the first convolution of the DenseNet.
        norm: normalisation as MONAI names it: ``"batch"``, ``"instance"`` or, as in ``("group", {"num_groups": 8})``,
            with arguments. Batch normalisation differs between training and evaluation; with batches of one or two
            scans choose another.

    Raises:
        InputError: an unknown norm, or a map too small to cover the scan.

    References:
        .. [1] Huang et al., "Densely connected convolutional networks", CVPR 2017, doi:10.1109/CVPR.2017.243.
    """

    def __init__(
        self,
        in_channels: int = len(CHANNELS),
        spatial_shape: Sequence[int] = SCAN_SHAPE,
        map_shape: Sequence[int] | None = (5, 4),
        block_config: Sequence[int] = (6, 12, 24, 16),
        growth_rate: int = 32,
        init_features: int = 64,
        norm: str | Sequence[Any] = "batch",
    ) -> None:
        super().__init__()
        rows, columns = (int(size) for size in spatial_shape)
        self.padding = [0, 0, 0, 0]  # left, right, top, bottom, the order of torch.nn.functional.pad
        if map_shape is None:
            self.feature_shape = _map_shape((rows, columns), len(block_config))
        else:
            reduction = 2 ** (len(block_config) + 1)
            self.feature_shape = (int(map_shape[0]), int(map_shape[1]))
            padded_shape = (reduction * self.feature_shape[0], reduction * self.feature_shape[1])
            self.padding[:] = centred_padding((rows, columns), padded_shape)

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

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, feature_channels, *feature_shape)``, after a ReLU, of scans ``(B, in_channels, H, W)``."""
        return F.relu(self.trunk(self.to_three_channels(F.pad(x, self.padding))))


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


def _map_shape(spatial_shape: tuple[int, int], blocks: int) -> tuple[int, int]:
    """Rows and columns that the trunk leaves: stem convolution and pool round up, each later transition rounds down."""

    def reduced(size: int) -> int:
        return ((size + 1) // 2 + 1) // 2 // 2 ** (blocks - 1)

    return reduced(spatial_shape[0]), reduced(spatial_shape[1])
