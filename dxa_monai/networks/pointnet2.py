"""Mesh encoder in the manner of PointNet++: points of a body to the mean and log-variance of a scan's latent map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.grouping import ball_neighbours, farthest_points, gather_points
from dxa_monai.networks.point_layers import LatentHead, PointMLP, place_points, scaled_extents
from dxa_monai.networks.rebuildable import Rebuildable

SMALL_LEVELS: tuple[dict[str, Any], ...] = (
    {"centres": 256, "radii_m": [0.1], "neighbours": [16], "channels": [[32, 32, 64]]},
    {"centres": 64, "radii_m": [0.3], "neighbours": [16], "channels": [[64, 64, 128]]},
)
"""Single-scale grouping that a CPU trains: with 2048 points of a body of 1.9 m2, about 30 lie in a ball of 0.1 m."""
_LEVEL_KEYS = {"centres", "radii_m", "neighbours", "channels"}


class SetAbstraction(nn.Module):
    r"""One level of PointNet++: centres far from each other, a ball of neighbours around each, a PointNet on each ball.

    For a centre i, its neighbours j within a radius r, positions x (m) and features f,

    .. math:: f'_i = \max_j \mathrm{MLP}\left(\frac{x_j - x_i}{r}, f_j\right)

    r is a constant in metres, so that local shape is seen at its true size. With several radii (multi-scale
    grouping) their features are joined.

    Args:
        in_channels: C, features of a point.
        centres: M, points that remain; a cloud of fewer has its first repeated.
        radii_m: radius of the ball at each scale, m.
        neighbours: points of a ball at each scale.
        channels: widths of the MLP at each scale.
        norm: see :class:`PointMLP`.
    """

    def __init__(
        self,
        in_channels: int,
        centres: int,
        radii_m: Sequence[float],
        neighbours: Sequence[int],
        channels: Sequence[Sequence[int]],
        norm: str,
    ) -> None:
        super().__init__()
        self.centres = centres
        self.radii_m = tuple(radii_m)
        self.neighbours = tuple(neighbours)
        self.scales = nn.ModuleList(PointMLP(3 + in_channels, widths, norm) for widths in channels)
        self.out_channels = sum(widths[-1] for widths in channels)

    def forward(
        self, positions: torch.Tensor, features: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions ``(N, M, 3)`` and features ``(N, M, out_channels)`` of the centres.

        Args:
            positions: ``(N, P, 3)`` in metres.
            features: ``(N, P, C)``.
            lengths: ``(N,)`` points in each cloud.
        """
        indices = farthest_points(positions, self.centres, lengths)
        centres = gather_points(positions, indices)
        points = torch.cat([positions, features], dim=-1)
        joined = []
        for mlp, radius_m, count in zip(self.scales, self.radii_m, self.neighbours, strict=True):
            group = gather_points(points, ball_neighbours(positions, indices, radius_m, count, lengths))
            local = (group[..., :3] - centres[:, :, None]) / radius_m
            joined.append(mlp(torch.cat([local, group[..., 3:]], dim=-1)).amax(dim=2))
        return centres, torch.cat(joined, dim=-1)


class PointNet2Encoder(Rebuildable):
    """Points of a body to mu and log-variance through set abstraction [1]_ and one PointNet on what remains.

    The size of a body in metres survives. Nothing is scaled to a unit sphere: balls have a radius in metres, the last
    PointNet sees the places of the centres in metres, and the extents of the bounding box go to the head directly.
    Where the body stands does not matter: the middle of its bounding box becomes the origin. The order of its points
    does not matter either, bit for bit (:func:`canonical_order`).

    As published but for the extents, layer instead of batch normalisation (see :class:`PointMLP`), and a head without
    dropout. Multi-scale grouping is a level with several radii.

    Args:
        in_features: numbers of a point: 3 for x, y, z in metres, 6 with the unit normal behind them.
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        levels: for each level ``centres`` (points that remain) and, one entry a scale, ``radii_m``, ``neighbours``
            and ``channels`` (widths of the MLP): see :class:`SetAbstraction` and ``SMALL_LEVELS``.
        global_channels: widths of the PointNet on the last centres.
        head_channels: widths of the layers between the pooled features and the heads.
        norm: ``"layer"``, ``"batch"`` or ``"none"``; see :class:`PointMLP`.

    Raises:
        InputError: a level with other keys or of unequal lengths, a number that is not positive, or an unknown norm.

    References:
        .. [1] Qi, Yi, Su and Guibas, "PointNet++: deep hierarchical feature learning on point sets in a metric
           space", NeurIPS 2017, arXiv:1706.02413.
    """

    def __init__(
        self,
        in_features: int = 6,
        latent_channels: int = 512,
        latent_shape: Sequence[int] = (5, 4),
        levels: Sequence[Mapping[str, Any]] = SMALL_LEVELS,
        global_channels: Sequence[int] = (128, 256),
        head_channels: Sequence[int] = (256,),
        norm: str = "layer",
    ) -> None:
        super().__init__()
        self.in_features = int(in_features)
        plain_levels = [_plain_level(i, level) for i, level in enumerate(levels)]
        self.levels = nn.ModuleList()
        width = self.in_features - 3
        for level in plain_levels:
            abstraction = SetAbstraction(width, **level, norm=norm)
            self.levels.append(abstraction)
            width = abstraction.out_channels
        self.global_layers = PointMLP(3 + width, global_channels, norm)
        self.head = LatentHead(global_channels[-1] + 3, head_channels, latent_channels, latent_shape, norm)

    def forward(self, points: torch.Tensor, lengths: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Mu and log-variance, each ``(B, latent_channels, *latent_shape)``.

        Args:
            points: ``(B, in_features, P)``.
            lengths: ``(B,)`` points of each body, where they differ; points beyond have no influence.

        Raises:
            InputError: another shape, lengths out of range, or PyTorch3D is not installed.
        """
        placed, extents_m = place_points(points, self.in_features, lengths)
        positions, features = placed[..., :3], placed[..., 3:]
        for level in self.levels:
            positions, features = level(positions, features, lengths)
            lengths = None  # every body has the level's number of centres now
        body = self.global_layers(torch.cat([positions, features], dim=-1)).amax(dim=1)
        return self.head(torch.cat([body, scaled_extents(extents_m)], dim=-1))


def _plain_level(index: int, level: Mapping[str, Any]) -> dict[str, Any]:
    """A level as plain types, checked."""
    if set(level) != _LEVEL_KEYS:
        raise InputError(f"levels[{index}]: expected {', '.join(sorted(_LEVEL_KEYS))}, got {', '.join(sorted(level))}.")
    plain: dict[str, Any] = {
        "centres": int(level["centres"]),
        "radii_m": [float(radius_m) for radius_m in level["radii_m"]],
        "neighbours": [int(count) for count in level["neighbours"]],
        "channels": [[int(width) for width in widths] for widths in level["channels"]],
    }
    scales = [len(plain[name]) for name in ("radii_m", "neighbours", "channels")]
    if scales[0] == 0 or len(set(scales)) > 1 or not all(plain["channels"]):
        raise InputError(f"levels[{index}]: expected one radius, number and list of channels a scale, got {scales}.")
    if min(plain["centres"], *plain["radii_m"], *plain["neighbours"], *chain(*plain["channels"])) <= 0:
        raise InputError(f"levels[{index}]: expected positive numbers, got {plain}.")
    return plain
