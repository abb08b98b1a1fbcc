"""The DXA-VAE: a variational autoencoder of raw six-channel scans."""

# No ``from __future__ import annotations`` here: TorchScript cannot read a NamedTuple's annotations as strings.
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from dxa_monai.networks.encoder import DXAEncoder
from dxa_monai.networks.noise import standard_normal_like
from dxa_monai.networks.scan_decoder import ScanDecoder
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE


class VAEOutput(NamedTuple):
    """What a forward pass gives; the loss needs all three."""

    reconstruction: torch.Tensor
    """``(B, 6, H, W)``, near [0, 1] but not clamped."""
    mu: torch.Tensor
    """``(B, latent_channels, *latent_shape)``."""
    log_variance: torch.Tensor
    """``(B, latent_channels, *latent_shape)``."""


class DXAVAE(ScanDecoder):
    """Encoder, reparameterised latent map, generator of the difference from the mean scan (paper section "DXA-VAE").

    The network works on normalised scans: with the mean image m and the scalar standard deviation s of
    :meth:`set_normalisation`, the encoder sees (x - m) / s and the output is m + s * generator(z). The last layer of
    the generator starts at zero, so that training starts exactly at the mean image. Unless set, m = 0 and s = 1.
    Both are buffers and belong to the checkpoint.

    With ``linear_channels`` = n > 0 the first n channels of the latent map carry, one in each cell, the codes of
    the scan in the first principal components of the training scans (:class:`LinearPath`, set by
    :meth:`set_linear_path`): they are added to mu, and their image is added to the output. Training then starts at the
    linear reconstruction instead of the mean image, which saves the convolutions the thousands of steps they take to
    learn how bodies differ in size and place. The published network has no such path (n = 0).

    In training mode z is drawn as mu + exp(log_variance / 2) * noise (Kingma and Welling 2014, arXiv:1312.6114); in
    evaluation mode z = mu, so that the output is deterministic.

    Args:
        in_channels: channels of a scan.
        spatial_shape: rows and columns of a scan.
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        block_config: see :class:`DXAEncoder`.
        growth_rate: see :class:`DXAEncoder`.
        init_features: see :class:`DXAEncoder`.
        heads: see :class:`DXAEncoder`.
        norm: see :class:`DXAEncoder`.
        generator_channels: ``channels`` of :class:`DXAGenerator`.
        generator_kernel_sizes: ``kernel_sizes`` of :class:`DXAGenerator`.
        generator_dense_shape: ``dense_shape`` of :class:`DXAGenerator`.
        linear_channels: channels of the latent map that carry principal components; see above.
        linear_directions: directions of a pixel in which the components lie, two for two energies
            (:class:`dxa_monai.scan.energy_basis.EnergyBasis`); None: its channels.

    Raises:
        InputError: sizes that do not fit together, as the encoder and the generator say.
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
        generator_channels: Sequence[int] = (512, 256, 128, 64, 32),
        generator_kernel_sizes: Sequence[int] = (2, 4, 8),
        generator_dense_shape: Sequence[int] | None = None,
        linear_channels: int = 0,
        linear_directions: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = DXAEncoder(
            in_channels,
            spatial_shape,
            latent_channels,
            latent_shape,
            block_config,
            growth_rate,
            init_features,
            heads,
            norm,
        )
        self.build_decoder(
            in_channels,
            spatial_shape,
            latent_channels,
            latent_shape,
            generator_channels,
            generator_kernel_sizes,
            generator_dense_shape,
            linear_channels,
            linear_directions,
        )
        # The codes start as they are: what the trunk adds to them begins at zero.
        head_outputs = linear_channels if heads == "conv" else self.linear_codes
        with torch.no_grad():
            for parameter in self.encoder.mu_head.parameters():
                parameter[:head_outputs] = 0.0

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mu and log-variance, each ``(B, latent_channels, *latent_shape)``, of scans ``(B, in_channels, H, W)``."""
        normalised = self.normalised(x)
        mu, log_variance = self.encoder(normalised)
        if self.linear_codes > 0:
            others = mu.flatten(1).shape[1] - self.linear_codes
            mu = mu + F.pad(self.linear_path.encode(normalised), (0, others)).reshape(mu.shape)
        return mu, log_variance

    def forward(self, x: torch.Tensor) -> VAEOutput:
        """Reconstruct scans ``(B, in_channels, H, W)`` in [0, 1], from a sample in training mode and from mu otherwise.

        The noise comes from torch's global generator: seed it (MONAI's ``set_determinism``) for a repeatable run.
        """
        mu, log_variance = self.encode(x)
        z = mu
        if self.training:
            z = mu + torch.exp(0.5 * log_variance) * standard_normal_like(mu)
        return VAEOutput(self.decode(z), mu, log_variance)

    @torch.jit.export
    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """Scans ``(B, in_channels, H, W)`` reconstructed from mu and clamped to [0, 1], the range of a raw scan.

        In evaluation mode this is the clamped ``forward(x).reconstruction``; in training mode batch normalisation still
        uses the batch's statistics.
        """
        mu, _ = self.encode(x)
        return self.decode(mu).clamp(0.0, 1.0)
