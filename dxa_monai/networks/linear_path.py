"""The linear part of an autoencoder of scans: principal components of the training scans."""

import torch
from torch import nn

from dxa_monai.errors import InputError


class LinearPath(nn.Module):
    r"""Codes of scans in fixed principal components, and the images that codes stand for.

    For components V (orthonormal rows) with standard deviations s of the training scans along them,

    .. math:: c = V x / s, \qquad \hat{x} = V^T (s \, c)

    so that the codes of training scans have mean 0 and variance 1, which is the prior of a VAE's latent code. Until
    :meth:`set_components` is called, codes and images are zero. Nothing here is trained.

    Args:
        components: number of components K.
        image_shape: ``(C, H, W)``.
    """

    components: torch.Tensor
    deviations: torch.Tensor

    def __init__(self, components: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("components", torch.zeros(components, *image_shape))
        self.register_buffer("deviations", torch.ones(components))

    @torch.jit.unused
    def set_components(self, components: torch.Tensor, deviations: torch.Tensor) -> None:
        """Set the components ``(K, C, H, W)`` and the standard deviations along them ``(K,)``.

        Raises:
            InputError: other shapes, or a deviation that is not positive.
        """
        if components.shape != self.components.shape or deviations.shape != self.deviations.shape:
            raise InputError(
                f"components: expected shape {tuple(self.components.shape)}, got {tuple(components.shape)}."
            )
        if not (deviations > 0).all():
            raise InputError("deviations: expected positive numbers, got one that is not.")
        self.components.copy_(components)
        self.deviations.copy_(deviations)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``(B, K)`` of images ``(B, C, H, W)`` from which the mean has been subtracted."""
        return x.flatten(1) @ self.components.flatten(1).T / self.deviations

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Images ``(B, C, H, W)``, without the mean, of codes ``(B, K)``."""
        images = (codes * self.deviations) @ self.components.flatten(1)
        return images.reshape(
            codes.shape[0], self.components.shape[1], self.components.shape[2], self.components.shape[3]
        )
