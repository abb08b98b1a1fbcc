"""Generator of the DXA-VAE: a latent map to the six channels of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from dxa_monai.networks.trunk import centred_padding
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE

INITIAL_PRELU_SLOPE = 0.5
"""Slope of the PReLUs below zero at the start. With torch's 0.25, twenty of them in a row make the outputs of different
latent maps alike and training dwells at the mean image; nearer to linear they stay apart."""


class SamePadConv2d(nn.Conv2d):
    """Convolution whose output has the size of its input, for even kernels too.

    A kernel of ``k`` needs ``k - 1`` rows of padding: ``(k - 1) // 2`` above and the rest below (columns alike), the
    convention of TensorFlow's "same", on constants so that it exports to TorchScript and ONNX.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        above, left = (kernel_size[0] - 1) // 2, (kernel_size[1] - 1) // 2
        self.margins = [left, kernel_size[1] - 1 - left, above, kernel_size[0] - 1 - above]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        return self._conv_forward(F.pad(input, self.margins), self.weight, self.bias)


class DXAGenerator(nn.Module):
    """PReLU on the latent map, one doubling unit per entry of ``channels``, and a centred crop.

    A unit is [1x1 convolution; 1x2 convolution except in the first; PReLU; bilinear x2; then for each of
    ``kernel_sizes`` a square convolution and PReLU, the last of them in the last two units only]. An 8x8 convolution
    (the last of ``kernel_sizes``), the crop and a 1x1 convolution to ``out_channels`` follow. The defaults are the
    published generator, 5 x 4 x 512 to 150 x 109 x 6 (paper/reference_facts.md), with one PReLU slope per channel.

    With ``dense_shape`` a fully connected layer turns the whole latent map into ``channels[0]`` maps of that shape, and
    the units of the other channels follow. Convolutions alone learn very slowly where bodies of different size have
    their edges (about 5 dB behind after a minute of one core); every cell of a dense layer knows its place.

    Args:
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        channels: width of each unit, or of the dense layer and then of each unit.
        out_channels: channels of a scan.
        spatial_shape: rows and columns of a scan.
        kernel_sizes: the square convolutions of a unit after its upsampling.
        dense_shape: rows and columns of the fully connected layer; None (as published): without.

    Raises:
        InputError: the units do not upsample the latent map to at least ``spatial_shape``.
    """

    def __init__(
        self,
        latent_channels: int = 512,
        latent_shape: Sequence[int] = (5, 4),
        channels: Sequence[int] = (512, 256, 128, 64, 32),
        out_channels: int = len(CHANNELS),
        spatial_shape: Sequence[int] = SCAN_SHAPE,
        kernel_sizes: Sequence[int] = (2, 4, 8),
        dense_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns = (int(size) for size in spatial_shape)
        first_shape = [int(size) for size in (latent_shape if dense_shape is None else dense_shape)]
        doublings = len(channels) - (dense_shape is not None)
        field = (2**doublings * first_shape[0], 2**doublings * first_shape[1])
        self.crop_left, _, self.crop_top, _ = centred_padding((self.rows, self.columns), field)

        self.latent_activation = nn.PReLU(latent_channels, init=INITIAL_PRELU_SLOPE)
        self.dense: nn.Module = nn.Identity()
        widths = [latent_channels, *channels]
        if dense_shape is not None:
            cells = int(latent_shape[0]) * int(latent_shape[1])
            self.dense = nn.Sequential(
                nn.Flatten(),
                nn.Linear(latent_channels * cells, channels[0] * first_shape[0] * first_shape[1]),
                nn.Unflatten(1, (channels[0], first_shape[0], first_shape[1])),
                nn.PReLU(channels[0], init=INITIAL_PRELU_SLOPE),
            )
            widths = list(channels)
        units = []
        for i, (before, after) in enumerate(pairwise(widths)):
            late = i >= doublings - 2
            units.append(_unit(before, after, kernel_sizes if late else kernel_sizes[:-1], first=i == 0))
        self.units = nn.Sequential(*units)
        last = channels[-1]
        self.last_convolution = SamePadConv2d(last, last, (kernel_sizes[-1], kernel_sizes[-1]))
        self.to_scan = nn.Conv2d(last, out_channels, kernel_size=1)
        _keep_variance(self)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Images ``(B, out_channels, *spatial_shape)`` of latent maps ``(B, latent_channels, *latent_shape)``."""
        y = self.last_convolution(self.units(self.dense(self.latent_activation(z))))
        y = y[:, :, self.crop_top : self.crop_top + self.rows, self.crop_left : self.crop_left + self.columns]
        return self.to_scan(y)


def _unit(in_channels: int, channels: int, kernel_sizes: Sequence[int], first: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, kernel_size=1)]
    if not first:
        layers.append(SamePadConv2d(channels, channels, (1, 2)))
    layers += [
        nn.PReLU(channels, init=INITIAL_PRELU_SLOPE),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    ]
    for size in kernel_sizes:
        layers += [SamePadConv2d(channels, channels, (size, size)), nn.PReLU(channels, init=INITIAL_PRELU_SLOPE)]
    return nn.Sequential(*layers)


def _keep_variance(generator: nn.Module) -> None:
    """Kaiming initialisation: with torch's default, signals fade over some twenty layers and training starts slowly."""
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            # 1x1 convolutions are followed by a convolution or end the network: no activation halves their variance.
            slope = 1.0 if module.kernel_size == (1, 1) else INITIAL_PRELU_SLOPE
            nn.init.kaiming_normal_(module.weight, a=slope, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
