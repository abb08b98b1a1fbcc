"""From a latent map to a scan: what the DXA-VAE and the networks that borrow its generator have in common."""

# No ``from __future__ import annotations`` here: TorchScript compiles the methods with their annotations.
from collections.abc import Sequence

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.generator import DXAGenerator
from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.normalisation import NormalisesScans
from dxa_monai.networks.rebuildable import Rebuildable
from dxa_monai.scan.energy_basis import EnergyBasis


class ScanDecoder(Rebuildable, NormalisesScans):
    """Base of networks that end in mean image + standard deviation * (generator + linear path) of a latent map.

    The tensors have the same names in all of them (``generator.*``, ``linear_path.*``, ``mean_image``,
    ``standard_deviation``), so that they can be handed from one to another. A subclass calls :meth:`build_decoder` in
    its constructor, after its encoder.
    """

    @torch.jit.unused
    def build_decoder(
        self,
        out_channels: int,
        spatial_shape: Sequence[int],
        latent_channels: int,
        latent_shape: Sequence[int],
        generator_channels: Sequence[int],
        generator_kernel_sizes: Sequence[int],
        generator_dense_shape: Sequence[int] | None,
        linear_channels: int,
        linear_directions: int | None,
    ) -> None:
        """Make the generator, its last layer zero, the linear path, and the normalisation, mean 0 and deviation 1.

        Args:
            out_channels: channels of a scan.
            spatial_shape: rows and columns of a scan.
            latent_channels: channels of the latent map.
            latent_shape: rows and columns of the latent map.
            generator_channels: ``channels`` of :class:`DXAGenerator`.
            generator_kernel_sizes: ``kernel_sizes`` of :class:`DXAGenerator`.
            generator_dense_shape: ``dense_shape`` of :class:`DXAGenerator`.
            linear_channels: channels of the latent map that carry principal components (:class:`LinearPath`).
            linear_directions: of a pixel, in which the components lie; None: its channels.

        Raises:
            InputError: sizes that do not fit together.
        """
        if not 0 <= linear_channels <= latent_channels:
            raise InputError(f"linear_channels: expected 0 to {latent_channels}, got {linear_channels}.")
        self.generator = DXAGenerator(
            latent_channels,
            latent_shape,
            generator_channels,
            out_channels,
            spatial_shape,
            generator_kernel_sizes,
            generator_dense_shape,
        )
        nn.init.zeros_(self.generator.to_scan.weight)
        self.linear_channels = linear_channels
        self.linear_codes = linear_channels * int(latent_shape[0]) * int(latent_shape[1])
        image_shape = (out_channels, int(spatial_shape[0]), int(spatial_shape[1]))
        self.linear_path = LinearPath(self.linear_codes, image_shape, linear_directions)
        self.build_normalisation(out_channels, spatial_shape)

    @torch.jit.unused
    def set_linear_path(
        self, components: torch.Tensor, deviations: torch.Tensor, basis: EnergyBasis | None = None
    ) -> None:
        """Set the principal components of the training scans; call :meth:`set_normalisation` first.

        Args:
            components: ``(K, D, H, W)``, K = ``linear_channels`` x cells of the latent map and D ``linear_directions``
                or ``out_channels``; orthonormal, as :func:`dxa_monai.scan.statistics.principal_components` gives them.
            deviations: ``(K,)`` standard deviations of the scans along them, in the unit of the scans.
            basis: the directions, if the network has ``linear_directions``.

        Raises:
            InputError: as :meth:`LinearPath.set_components`.
        """
        self.linear_path.set_components(components, deviations / self.standard_deviation.to(deviations), basis)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Scans ``(B, out_channels, H, W)``, not clamped, of latent maps ``(B, latent_channels, *latent_shape)``."""
        normalised = self.generator(z)
        if self.linear_codes > 0:
            normalised = normalised + self.linear_path.decode(z.flatten(1)[:, : self.linear_codes])
        return self.mean_image + self.standard_deviation * normalised
