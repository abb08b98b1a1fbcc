"""Mesh encoder as in the published code: a PointNet with two T-Nets (Qi et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dxa_monai.networks.point_layers import LatentHead, PointMLP, place_points, scaled_extents
from dxa_monai.networks.rebuildable import Rebuildable


class TNet(nn.Module):
    """A square matrix for each body, from all its points; the identity at the start.

    Args:
        size: numbers of a point, and rows and columns of the matrix.
        channels: widths of the layers on each point; the maximum over the points follows.
        body_channels: widths of the layers after it.
        norm: see :class:`PointMLP`.
    """

    def __init__(self, size: int, channels: Sequence[int], body_channels: Sequence[int], norm: str) -> None:
        super().__init__()
        self.size = size
        self.point_layers = PointMLP(size, channels, norm)
        self.body_layers = PointMLP(channels[-1], body_channels, norm)
        self.to_matrix = nn.Linear(body_channels[-1], size * size)
        nn.init.zeros_(self.to_matrix.weight)
        with torch.no_grad():
            self.to_matrix.bias.copy_(torch.eye(size).flatten())

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Matrices ``(N, size, size)`` of points ``(N, P, size)``."""
        body = self.point_layers(points).amax(dim=1)
        return self.to_matrix(self.body_layers(body)).unflatten(1, (self.size, self.size))


class PointNetEncoder(Rebuildable):
    """Points of a body to mu and log-variance through two learnt transforms and one maximum over all points [1]_.

    The coordinates are multiplied by a 3 x 3 matrix, the features of a point by a second, larger one; both come from
    the points themselves (:class:`TNet`). :meth:`orthogonality_penalty` keeps them near rotations; add it to the
    loss with a small weight (0.001 in [1]_). As in :class:`dxa_monai.networks.pointnet2.PointNet2Encoder`, whose
    arguments and properties these are where the names are the same: coordinates stay in metres, the middle of the
    bounding box is the origin, its extents reach the head directly, and the order of the points changes nothing, bit
    for bit. A normal, where given, is not transformed.

    The default widths are those of [1]_; every point goes through all layers, so the cost grows with their number.

    Args:
        in_features: numbers of a point: 3, or 6 with its normal.
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        first_channels: widths of the layers on a point before the second transform.
        channels: widths of the layers on a point after it.
        transform_channels: ``channels`` of the two :class:`TNet`.
        transform_body_channels: ``body_channels`` of the two :class:`TNet`.
        head_channels: widths of the layers between the maximum and the heads.
        norm: see :class:`PointMLP`; ``"batch"`` as published.

    Raises:
        InputError: an unknown norm.

    References:
        .. [1] Qi, Su, Mo and Guibas, "PointNet: deep learning on point sets for 3D classification and segmentation",
           CVPR 2017, arXiv:1612.00593.
    """

    def __init__(
        self,
        in_features: int = 6,
        latent_channels: int = 512,
        latent_shape: Sequence[int] = (5, 4),
        first_channels: Sequence[int] = (64, 64),
        channels: Sequence[int] = (64, 128, 1024),
        transform_channels: Sequence[int] = (64, 128, 1024),
        transform_body_channels: Sequence[int] = (512, 256),
        head_channels: Sequence[int] = (512, 256),
        norm: str = "layer",
    ) -> None:
        super().__init__()
        self.in_features = int(in_features)
        self.input_transform = TNet(3, transform_channels, transform_body_channels, norm)
        self.first_layers = PointMLP(self.in_features, first_channels, norm)
        self.feature_transform = TNet(first_channels[-1], transform_channels, transform_body_channels, norm)
        self.layers = PointMLP(first_channels[-1], channels, norm)
        self.head = LatentHead(channels[-1] + 3, head_channels, latent_channels, latent_shape, norm)
        self._matrices: tuple[torch.Tensor, ...] = ()

    def forward(self, points: torch.Tensor, lengths: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Mu and log-variance; see :meth:`dxa_monai.networks.pointnet2.PointNet2Encoder.forward`."""
        placed, extents_m = place_points(points, self.in_features, lengths)
        # Points beyond a body's length are copies of its first one here: no maximum sees them.
        input_matrix = self.input_transform(placed[..., :3])
        features = self.first_layers(torch.cat([placed[..., :3] @ input_matrix, placed[..., 3:]], dim=-1))
        feature_matrix = self.feature_transform(features)
        self._matrices = (input_matrix, feature_matrix)
        body = self.layers(features @ feature_matrix).amax(dim=1)
        return self.head(torch.cat([body, scaled_extents(extents_m)], dim=-1))

    def orthogonality_penalty(self) -> torch.Tensor:
        """Penalty of both transforms of the last forward pass (:func:`orthogonality_penalty`), their sum, a scalar.

        Raises:
            RuntimeError: there was no forward pass yet.
        """
        if not self._matrices:
            raise RuntimeError("The transforms are those of the last forward pass, and there was none.")
        return torch.stack([orthogonality_penalty(matrices) for matrices in self._matrices]).sum()


def orthogonality_penalty(matrices: torch.Tensor) -> torch.Tensor:
    r"""Mean over the matrices A, ``(N, K, K)``, of :math:`\|I - A A^T\|_F^2` (arXiv:1612.00593, equation 2)."""
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return (identity - matrices @ matrices.transpose(1, 2)).square().sum(dim=(1, 2)).mean()
