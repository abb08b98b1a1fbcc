"""The linear part of a mesh-to-scan network: from thickness maps of the surface to codes of the scan."""

# No ``from __future__ import annotations`` here, so that TorchScript can read the annotations.
import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.kernel_readout import KernelReadout
from dxa_monai.networks.shape_maps import CELL_M, ShapeMaps


class ShapePath(nn.Module):
    r"""Codes of a scan by ridge regression on principal components of the body's thickness maps (:class:`ShapeMaps`).

    With v the maps of a body, m and s their mean and scale and V components of the training bodies (orthonormal rows),

    .. math:: u = V \frac{v - m}{s}, \qquad c = b + W u

    It also says how unlike the training bodies a body is: the length of what V leaves of (v - m) / s, over the largest
    of the training bodies when they were left out of the fit. Nothing here is trained; until it is fitted
    (:mod:`dxa_monai.training.shape_fit`), codes are zero.

    Args:
        components: of shape, K.
        codes: numbers that are predicted.
        cell_m: side of a cell of the thickness maps.

    Raises:
        InputError: a number out of its range.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    components: torch.Tensor
    farthest: torch.Tensor

    def __init__(self, components: int, codes: int, cell_m: float = CELL_M) -> None:
        super().__init__()
        if components < 1 or codes < 1:
            raise InputError(
                f"shape_components: expected at least one component and one code of a linear path, got {components} "
                f"and {codes}."
            )
        self.maps = ShapeMaps(cell_m)
        self.register_buffer("mean", torch.zeros(self.maps.size))
        self.register_buffer("scale", torch.ones(self.maps.size))
        self.register_buffer("components", torch.zeros(components, self.maps.size))
        self.register_buffer("farthest", torch.ones(()))
        self.readout = KernelReadout(components, codes)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Codes ``(B, codes)`` of points ``(B, 7, P)``."""
        return self.readout(self.shape_codes(points))

    def shape_codes(self, points: torch.Tensor) -> torch.Tensor:
        """u ``(B, components)`` of points ``(B, 7, P)``."""
        return self._deviations(points) @ self.components.T

    def unlikeness(self, points: torch.Tensor) -> torch.Tensor:
        """``(B,)``: 1 is as far from the components as the farthest training body; see the class."""
        deviations = self._deviations(points)
        explained = (deviations @ self.components.T).square().sum(dim=1)
        return (deviations.square().sum(dim=1) - explained).clamp_min(0.0).sqrt() / self.farthest

    def _deviations(self, points: torch.Tensor) -> torch.Tensor:
        return (self.maps(points) - self.mean) / self.scale
