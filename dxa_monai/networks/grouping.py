"""Sampling and grouping of points, the parts of PointNet++ [1]_ that have no weights, on PyTorch3D's kernels.

Shapes are ``(N, P, D)`` as in PyTorch3D: N clouds of up to P points of D numbers, of which the first ``lengths[n]``
belong to cloud n (all of them where ``lengths`` is None). Every index that a function here returns is that of a point
of the same cloud. PyTorch3D pads with -1 where there are too few points; here a point that is there already is repeated
instead, which changes no maximum over the group, so that what follows needs no mask. Traced for an export, without
lengths, :mod:`dxa_monai.networks.plain_grouping` stands in for the kernels.

References:
    .. [1] Qi, Yi, Su and Guibas, "PointNet++: deep hierarchical feature learning on point sets in a metric space",
       NeurIPS 2017, arXiv:1706.02413.
"""

from __future__ import annotations

from types import ModuleType

import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.plain_grouping import (
    exporting,
    plain_ball_neighbours,
    plain_farthest_points,
    stable_argsort,
)

PYTORCH3D_PACKAGE = "easypytorch3d==0.7.9.post1"
_GOLDEN_RATIO = 0.6180339887498949


def canonical_order(points: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """An order of the points that depends on their values alone, not on how they were listed.

    Farthest point sampling starts at the first point, and a ball query takes the first neighbours it meets; summation
    rounds. After this reordering all of them, and so a network, give bit for bit the same for any permutation of a
    cloud. The points are sorted by their coordinates (x first; further columns break ties) and then dealt out by the
    golden ratio: the point of rank r is at the place of frac(r x 0.618...) among all. So the first is the one with
    the smallest x, and the first k of a ball are spread over it instead of crowded at one side.

    Args:
        points: ``(N, P, D)``, finite.
        lengths: ``(N,)`` points in each cloud.

    Returns:
        ``(N, P)`` indices into ``points``; those beyond a cloud's length come last.
    """
    clouds, count, columns = points.shape
    place = torch.arange(count, device=points.device)
    beyond = torch.zeros(clouds, count, dtype=torch.bool, device=points.device)
    if lengths is not None:
        beyond = place >= lengths[:, None]
    keys = points.detach().masked_fill(beyond[..., None], float("inf"))
    order = place.expand(clouds, count)
    for column in reversed(range(columns)):  # stable sorts, the most significant column last
        order = order.gather(1, stable_argsort(keys[..., column].gather(1, order)))
    dealt = torch.frac(place.double() * _GOLDEN_RATIO).expand(clouds, count)
    return order.gather(1, stable_argsort(torch.where(beyond, 2.0, dealt)))


def farthest_points(points: torch.Tensor, count: int, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """Indices of points far from each other: the first point, then always the one farthest from all chosen so far.

    Runs in O(count x P). Two kinds of ties go to the lower index.

    Args:
        points: ``(N, P, 3)``, of any floating type; distances are those of float32.
        count: points to choose in each cloud.
        lengths: ``(N,)`` points in each cloud, at least 1.

    Returns:
        ``(N, count)`` indices into ``points``; a cloud with fewer points than ``count`` has its first one repeated.

    Raises:
        InputError: PyTorch3D is not installed.
    """
    if lengths is None and exporting():
        return plain_farthest_points(points, count)
    _, indices = _pytorch3d_ops().sample_farthest_points(points.detach().float(), lengths, K=count)
    return indices.clamp_min(0)


def ball_neighbours(
    points: torch.Tensor, centres: torch.Tensor, radius_m: float, count: int, lengths: torch.Tensor | None = None
) -> torch.Tensor:
    """Indices of the first ``count`` points (in the order of ``points``) nearer than ``radius_m`` to each centre.

    They are not the nearest ones: with more than ``count`` points in the ball, which are taken is up to their order
    (:func:`canonical_order`). A centre is a point of the cloud, so that its ball holds at least the centre itself.

    Args:
        points: ``(N, P, 3)`` in metres, of any floating type; distances are those of float32.
        centres: ``(N, M)`` indices into ``points``, as :func:`farthest_points` gives them.
        radius_m: radius of the ball, m.
        count: neighbours of a centre.
        lengths: ``(N,)`` points in each cloud.

    Returns:
        ``(N, M, count)`` indices into ``points``; where the ball holds fewer points the first of them is repeated.

    Raises:
        InputError: PyTorch3D is not installed.
    """
    if lengths is None and exporting():
        return plain_ball_neighbours(points, centres, radius_m, count)
    points = points.detach().float()
    indices = (
        _pytorch3d_ops()
        .ball_query(gather_points(points, centres), points, lengths2=lengths, K=count, radius=radius_m, return_nn=False)
        .idx
    )
    return torch.where(indices < 0, indices[..., :1], indices)


def gather_points(points: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Rows of ``points`` ``(N, P, C)`` at ``indices`` ``(N, ...)``, as ``(N, ..., C)``.

    The same as PyTorch3D's ``masked_gather`` of indices without -1, but without its copies of ``points`` for every
    neighbour: the backward pass then adds into ``(N, P, C)`` instead of ``(N, P, K, C)``.
    """
    clouds, count, channels = points.shape
    offsets = count * torch.arange(clouds, device=points.device).reshape(-1, *[1] * (indices.ndim - 1))
    rows = points.reshape(clouds * count, channels).index_select(0, (indices + offsets).flatten())
    return rows.reshape(*indices.shape, channels)


def _pytorch3d_ops() -> ModuleType:
    # Imported here: its extension is 200 MB, and only networks on points need it.
    try:
        import pytorch3d.ops
    except ImportError as error:
        raise InputError(
            f"pytorch3d: expected PyTorch3D for networks on points (pip install {PYTORCH3D_PACKAGE}), got '{error}'."
        ) from error
    return pytorch3d.ops
