"""What the networks on points of a body share: their input, layers on each point, and heads of the latent map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.encoder import INITIAL_LOG_VARIANCE, LOG_VARIANCE_RANGE
from dxa_monai.networks.grouping import canonical_order, gather_points

POINT_NORMS = ("layer", "batch", "none")
NOMINAL_EXTENTS_M = (1.7, 0.3, 1.7)
"""Width from hand to hand, depth and height of an adult in T-pose, subtracted from a body's."""
EXTENTS_SPREAD_M = 0.2
"""A difference from them that counts as 1: more than between most adults, less than from adult to child."""
_LOG_VARIANCE_WEIGHT_SD = 1e-3


class PointMLP(nn.Sequential):
    """For each of ``channels``: a linear layer, a normalisation and a ReLU, on the last axis of any shape.

    Args:
        in_channels: numbers of a point.
        channels: widths of the layers.
        norm: ``"layer"`` normalises each point over its channels: alike in training and evaluation, whatever the
            number of bodies or points. ``"batch"``, as published, over all points of the batch: in training with few
            bodies it takes away how they differ from each other in size, and in the head it needs two bodies.
            ``"none"``.

    Raises:
        InputError: an unknown norm.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], norm: str) -> None:
        if norm not in POINT_NORMS:
            raise InputError(f"norm: expected one of {', '.join(POINT_NORMS)}, got '{norm}'.")
        layers: list[nn.Module] = []
        for width in channels:
            # A bias before batch normalisation would be subtracted again.
            layers.append(nn.Linear(in_channels, width, bias=norm != "batch"))
            if norm == "layer":
                layers.append(nn.LayerNorm(width))
            elif norm == "batch":
                layers.append(_LastAxisBatchNorm(width))
            layers.append(nn.ReLU(inplace=True))
            in_channels = width
        super().__init__(*layers)


class LatentHead(nn.Module):
    """Layers on the features of a whole body, and its mu and log-variance as the generator's latent map.

    Args:
        in_features: numbers of a body.
        channels: widths of the layers before mu and log-variance.
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        norm: see :class:`PointMLP`.
    """

    def __init__(
        self, in_features: int, channels: Sequence[int], latent_channels: int, latent_shape: Sequence[int], norm: str
    ) -> None:
        super().__init__()
        self.latent_shape = (int(latent_channels), int(latent_shape[0]), int(latent_shape[1]))
        self.layers = PointMLP(in_features, channels, norm)
        width = [in_features, *channels][-1]
        size = self.latent_shape[0] * self.latent_shape[1] * self.latent_shape[2]
        self.mu = nn.Linear(width, size)
        self.log_variance = nn.Linear(width, size)
        nn.init.normal_(self.log_variance.weight, std=_LOG_VARIANCE_WEIGHT_SD)
        nn.init.constant_(self.log_variance.bias, INITIAL_LOG_VARIANCE)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mu and log-variance, each ``(B, latent_channels, *latent_shape)``, of features ``(B, in_features)``."""
        features = self.layers(features)
        mu = self.mu(features).unflatten(1, self.latent_shape)
        log_variance = self.log_variance(features).unflatten(1, self.latent_shape)
        return mu, log_variance.clamp(*LOG_VARIANCE_RANGE)


def scaled_extents(extents_m: torch.Tensor) -> torch.Tensor:
    """Extents ``(B, 3)`` in metres as numbers of order one, for a head beside features of a body.

    Layers that normalise see a body's size only through the sizes of its parts; this says it outright. Unscaled, in
    metres, its differences between people would be lost among features of order one.
    """
    return (extents_m - extents_m.new_tensor(NOMINAL_EXTENTS_M)) / EXTENTS_SPREAD_M


def place_points(
    points: torch.Tensor, in_features: int, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of bodies in canonical order, the middle of their bounding box at the origin, still in metres.

    The bounding box and not the mean: from one sample of 2048 points of a T-posed body to another, its middle moves by
    5, 1.4 and 0.6 mm (standard deviation in x, y and z), the mean of the points by 5, 1.4 and 9 mm.

    Args:
        points: ``(B, in_features, P)``: x, y, z in metres, then the normal or whatever else.
        in_features: numbers of a point.
        lengths: ``(B,)`` points of each body, or None: all P. Points beyond are not looked at.

    Returns:
        ``(B, P, in_features)`` with the points beyond a body's length replaced by its first, and ``(B, 3)`` the
        extents of the bounding boxes in metres.

    Raises:
        InputError: another shape, or lengths out of range.
    """
    if points.ndim != 3 or points.shape[1] != in_features or points.shape[2] == 0:
        raise InputError(f"points: expected shape (B, {in_features}, P), got {tuple(points.shape)}.")
    points = points.transpose(1, 2)
    if lengths is not None:
        if lengths.shape != points.shape[:1] or not ((lengths >= 1) & (lengths <= points.shape[1])).all():
            raise InputError(
                f"lengths: expected {points.shape[0]} numbers from 1 to {points.shape[1]}, got {lengths.tolist()}."
            )
        places = torch.arange(points.shape[1], device=points.device)
        points = torch.where((places < lengths[:, None])[..., None], points, points[:, :1])
    lowest, highest = points[..., :3].amin(dim=1), points[..., :3].amax(dim=1)
    middle = ((lowest + highest) / 2)[:, None]
    points = torch.cat([points[..., :3] - middle, points[..., 3:]], dim=-1)
    points = gather_points(points, canonical_order(points, lengths))
    if lengths is not None:
        points = torch.where((places < lengths[:, None])[..., None], points, points[:, :1])
    return points, highest - lowest


class _LastAxisBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of ``(..., C)`` over all but the last axis."""

    channel_axis = -1

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows = input.reshape(-1, input.shape[-1])
        if self.training and len(rows) == 1:
            raise InputError("norm: expected 'layer' for batches of one body, got 'batch'.")
        return super().forward(rows).reshape(input.shape)
