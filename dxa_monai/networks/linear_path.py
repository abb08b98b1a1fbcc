"""The linear part of an autoencoder of scans: principal components of the training scans."""

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.scan.energy_basis import EnergyBasis


class LinearPath(nn.Module):
    r"""Codes of scans in fixed principal components, and the images that codes stand for.

    For components V (orthonormal rows) with standard deviations s of the training scans along them, and pixels that
    are taken to a few directions by A and back by S (:class:`dxa_monai.scan.energy_basis.EnergyBasis`),

    .. math:: c = V W A x / s, \qquad \hat{x} = S W^{-1} V^T (s \, c)

    with W how often each pixel counts (1, unless the basis says otherwise), so that the codes of training scans
    have mean 0 and variance 1, which is the prior of a VAE's latent code. Until :meth:`set_components` is called,
    codes and images are zero. Nothing here is trained.

    Args:
        components: number of components K.
        image_shape: ``(C, H, W)``.
        directions: D, of a pixel; None: its channels as they are, without A and S.
    """

    components: torch.Tensor
    deviations: torch.Tensor
    analysis: torch.Tensor
    synthesis: torch.Tensor
    pixel_weights: torch.Tensor
    __jit_unused_properties__ = ("basis",)

    def __init__(self, components: int, image_shape: tuple[int, int, int], directions: int | None = None) -> None:
        super().__init__()
        channels, rows, columns = image_shape
        self.in_basis = directions is not None
        size = channels if directions is None else directions
        self.register_buffer("components", torch.zeros(components, size, rows, columns))
        self.register_buffer("deviations", torch.ones(components))
        # Files of networks without a basis do not hold one.
        self.register_buffer("analysis", torch.eye(size, channels), persistent=self.in_basis)
        self.register_buffer("synthesis", torch.eye(channels, size), persistent=self.in_basis)
        self.register_buffer("pixel_weights", torch.ones(size, rows, columns), persistent=self.in_basis)

    @torch.jit.unused
    def set_components(
        self, components: torch.Tensor, deviations: torch.Tensor, basis: EnergyBasis | None = None
    ) -> None:
        """Set the components ``(K, D, H, W)``, the standard deviations along them ``(K,)`` and the basis.

        Raises:
            InputError: other shapes, a deviation or weight that is not positive, or a basis where none is expected, or
                none.
        """
        if (basis is not None) != self.in_basis or (basis is not None and basis.analysis.shape != self.analysis.shape):
            expected = f"one of shape {tuple(self.analysis.shape)}" if self.in_basis else "none"
            got = "none" if basis is None else f"one of shape {tuple(basis.analysis.shape)}"
            raise InputError(f"basis: expected {expected}, got {got}.")
        if components.shape != self.components.shape or deviations.shape != self.deviations.shape:
            raise InputError(
                f"components: expected shape {tuple(self.components.shape)}, got {tuple(components.shape)}."
            )
        if not (deviations > 0).all():
            raise InputError("deviations: expected positive numbers, got one that is not.")
        weights = None if basis is None else basis.pixel_weights
        if weights is not None and (weights.shape != self.pixel_weights.shape or not (weights > 0).all()):
            raise InputError(
                f"pixel_weights: expected positive numbers of shape {tuple(self.pixel_weights.shape)}, got others "
                f"of shape {tuple(weights.shape)}."
            )
        self.components.copy_(components)
        self.deviations.copy_(deviations)
        if basis is not None:
            self.analysis.copy_(basis.analysis)
            self.synthesis.copy_(basis.synthesis)
            self.pixel_weights.copy_(torch.ones_like(self.pixel_weights) if weights is None else weights)

    @property
    def basis(self) -> EnergyBasis | None:
        """The directions of a pixel; None: its channels."""
        return EnergyBasis(self.analysis, self.synthesis, self.pixel_weights) if self.in_basis else None

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``(B, K)`` of images ``(B, C, H, W)`` from which the mean has been subtracted."""
        pixels = x.flatten(2)
        if self.in_basis:
            pixels = self.pixel_weights.flatten(1) * torch.matmul(self.analysis, pixels)
        return pixels.flatten(1) @ self.components.flatten(1).T / self.deviations

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Images ``(B, C, H, W)``, without the mean, of codes ``(B, K)``."""
        pixels = (codes * self.deviations) @ self.components.flatten(1)
        pixels = pixels.reshape(codes.shape[0], self.components.shape[1], -1)
        if self.in_basis:
            pixels = torch.matmul(self.synthesis, pixels / self.pixel_weights.flatten(1))
        return pixels.reshape(codes.shape[0], -1, self.components.shape[2], self.components.shape[3])
