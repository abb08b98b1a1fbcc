"""Raw scan to measures of the body: the encoder's trunk, pooled, with a small head (paper section 4.2)."""

# No ``from __future__ import annotations`` here, so that TorchScript can read the annotations.
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.kernel_readout import KernelReadout
from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.normalisation import NormalisesScans
from dxa_monai.networks.rebuildable import Rebuildable
from dxa_monai.networks.trunk import DXATrunk
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE
from dxa_monai.scan.measures import PAPER_MEASURES


class AnthropometryRegressor(Rebuildable, NormalisesScans):
    """Measures of a body, in their own units, from a raw scan.

    The scan is normalised by a mean image and a scalar standard deviation, as in the VAE; the trunk's map is averaged
    over ``pooled_shape`` cells; a linear head gives standardised measures, and means and standard deviations of the
    training people turn them into centimetres, square centimetres and litres. The head starts at zero, so that training
    starts at the mean of the training people. All statistics are buffers and belong to the checkpoint.

    With ``code_components`` = K > 0 it starts at what needs no training, and the trunk adds to that: the scan's codes
    in K principal components, a DXA-VAE's or the training scans' own (:class:`LinearPath`), are read out by kernel
    ridge regression (:class:`KernelReadout`), fitted to the training people before training
    (:class:`dxa_monai.training.start.TrunkStart`).

    Args:
        measures: names of the measures, units included.
        in_channels: channels of a scan.
        spatial_shape: rows and columns of a scan.
        map_shape: see :class:`DXATrunk`.
        block_config: see :class:`DXATrunk`.
        growth_rate: see :class:`DXATrunk`.
        init_features: see :class:`DXATrunk`.
        norm: see :class:`DXATrunk`.
        pooled_shape: rows and columns of the map that the head sees; (1, 1) is the average over the scan.
        dropout: share of the pooled features that is dropped in training.
        code_components: principal components whose codes are read out; 0: none, the trunk does it all.
        code_directions: directions of a pixel in which they lie, see :class:`LinearPath`.
        readout_centres: training scans whose codes are kept for the read-out. The start sets it.

    Raises:
        InputError: no measure, a pooled map larger than the trunk's, or as :class:`DXATrunk`.
    """

    measure_mean: torch.Tensor
    measure_standard_deviation: torch.Tensor

    def __init__(
        self,
        measures: Sequence[str] = PAPER_MEASURES,
        in_channels: int = len(CHANNELS),
        spatial_shape: Sequence[int] = SCAN_SHAPE,
        map_shape: Sequence[int] | None = (5, 4),
        block_config: Sequence[int] = (6, 12, 24, 16),
        growth_rate: int = 32,
        init_features: int = 64,
        norm: str | Sequence[Any] = "batch",
        pooled_shape: Sequence[int] = (1, 1),
        dropout: float = 0.0,
        code_components: int = 0,
        code_directions: int | None = 2,
        readout_centres: int = 0,
    ) -> None:
        super().__init__()
        if not measures:
            raise InputError("measures: expected at least one, got none.")
        self.measures = tuple(str(name) for name in measures)
        self.trunk = DXATrunk(in_channels, spatial_shape, map_shape, block_config, growth_rate, init_features, norm)
        rows, columns = (int(size) for size in pooled_shape)
        if not (1 <= rows <= self.trunk.feature_shape[0] and 1 <= columns <= self.trunk.feature_shape[1]):
            raise InputError(
                f"pooled_shape: expected at most the trunk's {self.trunk.feature_shape[0]} x "
                f"{self.trunk.feature_shape[1]}, got {rows} x {columns}."
            )
        self.pool = nn.AdaptiveAvgPool2d((rows, columns))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.trunk.feature_channels * rows * columns, len(measures))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.frozen = False
        if code_components < 0:
            raise InputError(f"code_components: expected a number from 0, got {code_components}.")
        self.code_components = int(code_components)
        # without components both are empty: TorchScript wants them to exist
        image_shape = (int(in_channels), int(spatial_shape[0]), int(spatial_shape[1]))
        self.linear_path = LinearPath(self.code_components, image_shape, code_directions if code_components else None)
        self.readout = KernelReadout(max(self.code_components, 1), len(measures), readout_centres)
        self.build_normalisation(in_channels, spatial_shape)
        self.register_buffer("measure_mean", torch.zeros(len(measures)))
        self.register_buffer("measure_standard_deviation", torch.ones(len(measures)))

    @torch.jit.unused
    def set_measure_statistics(self, mean: torch.Tensor, standard_deviation: torch.Tensor) -> None:
        """Set mean and standard deviation, ``(M,)`` each, of the measures over the training split."""
        self.measure_mean.copy_(mean)
        self.measure_standard_deviation.copy_(standard_deviation)

    @torch.jit.unused
    def make_readout(self, centres: int) -> KernelReadout:
        """A new read-out with room for so many training scans; to be fitted to standardised measures."""
        self.readout = KernelReadout(self.code_components, len(self.measures), centres).to(self.mean_image.device)
        self._architecture["readout_centres"] = centres
        return self.readout

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """What is read out, ``(B, code_components)``: along the components of the normalised scan."""
        return self.linear_path.encode(self.normalised(x)) * self.linear_path.deviations

    @torch.jit.unused
    def freeze_trunk(self) -> None:
        """Train the head and the 1x1 convolution in front, which ImageNet has no weights for, and nothing else.

        The DenseNet stays in evaluation mode: its batch statistics are those it was trained with.
        """
        self.frozen = True
        self.trunk.trunk.requires_grad_(False)
        self.train(self.training)

    @torch.jit.unused
    def train(self, mode: bool = True) -> "AnthropometryRegressor":
        """As in torch, but a frozen trunk stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.trunk.trunk.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Measures ``(B, M)``, in their units, of scans ``(B, in_channels, H, W)`` in [0, 1]."""
        features = self.trunk.features(self.normalised(x))
        standardised = self.head(self.dropout(self.pool(features).flatten(1)))
        if self.code_components > 0:
            standardised = standardised + self.readout(self.codes(x))
        return self.measure_mean + self.measure_standard_deviation * standardised
