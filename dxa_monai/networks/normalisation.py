"""The normalisation of scans that a network carries with its weights."""

# No ``from __future__ import annotations`` here: TorchScript compiles the methods with their annotations.
from collections.abc import Sequence

import torch
from torch import nn

from dxa_monai.errors import InputError


class NormalisesScans(nn.Module):
    """Base of networks that work on (scan - mean image) / standard deviation.

    The mean image of the training scans and the scalar standard deviation about it are buffers, ``mean_image`` and
    ``standard_deviation``, and belong to the checkpoint. A subclass calls :meth:`build_normalisation` in its
    constructor.
    """

    mean_image: torch.Tensor
    standard_deviation: torch.Tensor

    @torch.jit.unused
    def build_normalisation(self, channels: int, spatial_shape: Sequence[int]) -> None:
        """Make the buffers for scans ``(channels, *spatial_shape)``: until they are set, mean 0 and deviation 1."""
        self.register_buffer("mean_image", torch.zeros(channels, *spatial_shape))
        self.register_buffer("standard_deviation", torch.ones(()))

    @torch.jit.unused
    def set_mean_image(self, mean_image: torch.Tensor) -> None:
        """Set the image, ``(channels, H, W)``, that is subtracted from scans.

        Raises:
            InputError: another shape, or values that are not finite.
        """
        if mean_image.shape != self.mean_image.shape or not torch.isfinite(mean_image).all():
            raise InputError(
                f"mean_image: expected finite values of shape {tuple(self.mean_image.shape)}, "
                f"got shape {tuple(mean_image.shape)} with {int((~torch.isfinite(mean_image)).sum())} others."
            )
        self.mean_image.copy_(mean_image)

    @torch.jit.unused
    def set_normalisation(self, mean_image: torch.Tensor, standard_deviation: float) -> None:
        """Set the mean image and the scalar standard deviation (of training scans about it) of the normalisation.

        Raises:
            InputError: as :meth:`set_mean_image`, or a standard deviation that is not positive and finite.
        """
        if not 0.0 < float(standard_deviation) < float("inf"):
            raise InputError(f"standard_deviation: expected a positive number, got {float(standard_deviation)}.")
        self.set_mean_image(mean_image)
        self.standard_deviation.fill_(float(standard_deviation))

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Scans ``(B, channels, H, W)`` as the layers see them, of scans in [0, 1]."""
        return (x - self.mean_image) / self.standard_deviation
