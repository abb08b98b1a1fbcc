"""Points with normals on a body's surface, the input of a point network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.mesh.geometry import face_centres, face_vectors, triangle_vectors, vertex_normals
from dxa_monai.mesh.io import BodyMesh

FIXED_STEP = 5
"""The published code takes every fifth vertex of its registered meshes."""
_SIDES_APART = 2.0
"""How many times the side of a piece normals count that differ by 1: the two sides of a finger are not one piece."""


def centred(mesh: BodyMesh) -> BodyMesh:
    """The mesh moved to where all bodies stand: lowest point at z = 0, centre of the surface over x = y = 0.

    Where the scanner had the person no longer matters, nor, because the centre is that of the surface and not of the
    vertices, how finely each part is triangulated. Nothing is scaled: a small and a large body of the same shape stay
    different.
    """
    areas = mesh.face_areas_m2
    centre = (areas[:, None] * face_centres(mesh.vertices_m, mesh.faces)).sum(axis=0) / areas.sum()
    origin = np.array([centre[0], centre[1], mesh.bounds_m[0, 2]])
    return replace(mesh, vertices_m=mesh.vertices_m - origin)


def sample_points(mesh: BodyMesh, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Points spread evenly by area over the surface, in random order.

    Faces are chosen by equal steps of the summed area (systematic sampling), so that each part of the body gets its
    share of points and only the place inside a face is random: the volume that 8192 points stand for varies half as
    much from draw to draw as with points drawn independently (PyTorch3D's ``sample_points_from_meshes``).

    Args:
        mesh: with faces that have an area.
        count: number of points.
        generator: a CPU generator; equal states give equal points.

    Returns:
        Points ``(count, 3)`` float32 in metres and the unit normals ``(count, 3)`` of their faces.

    Raises:
        InputError: ``count`` is not positive.
    """
    if count < 1:
        raise InputError(f"count: expected at least one point, got {count}.")
    offset, along, across = (
        torch.rand(size, 1, generator=generator, dtype=torch.float64).numpy() for size in (1, count, count)
    )
    summed = np.cumsum(mesh.face_areas_m2)
    steps = (np.arange(count) + offset[0, 0]) / count * summed[-1]
    chosen = np.minimum(np.searchsorted(summed, steps, side="right"), np.flatnonzero(mesh.face_areas_m2)[-1])
    chosen = chosen[torch.randperm(count, generator=generator).numpy()]
    first, second, third = (mesh.vertices_m[mesh.faces[chosen, corner]] for corner in range(3))
    root = np.sqrt(along)
    points = (1.0 - root) * first + root * (1.0 - across) * second + root * across * third
    normals = face_vectors(mesh.vertices_m, mesh.faces[chosen])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return torch.from_numpy(points).float(), torch.from_numpy(normals).float()


def point_cloud(mesh: BodyMesh, count: int, generator: torch.Generator) -> torch.Tensor:
    """What networks read of a body: ``(7, count)`` float32, pieces of its surface in random order.

    Rows are x, y, z in metres of a piece's centre, its outward unit normal, and its area in m2. The pieces are those of
    :func:`surface_pieces`: what is summed over the surface hardly depends on the mesh, and not at all on the generator,
    which says in which order they stand, so that the first ones are spread over the body as well.
    """
    centres, area_vectors = surface_pieces(mesh, count)
    areas = np.linalg.norm(area_vectors, axis=1, keepdims=True)
    normals = area_vectors / np.maximum(areas, np.finfo(np.float64).tiny)
    table = torch.from_numpy(np.concatenate([centres, normals, areas], axis=1)).float()
    return table[torch.randperm(count, generator=generator)].T.contiguous()


def surface_pieces(mesh: BodyMesh, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The surface in small, nearly flat pieces of nearly equal area.

    Large faces are halved across their longest edge until none is larger than half a piece. Then the faces are halved
    by area, again and again, where they lie farthest apart in place or in direction (``_SIDES_APART``).
    Nothing is left out, and nothing is random: a sum of (centre . area vector) is the volume up to the curvature inside
    of a piece, whatever the mesh.

    Args:
        mesh: with faces that have an area.
        count: number of pieces.

    Returns:
        Centres ``(count, 3)`` in metres, and area vectors ``(count, 3)`` in m2, along the outward normal: the sum of
        those of the faces, so that pieces that are bent have a little less than their area.

    Raises:
        InputError: ``count`` is not positive.
    """
    if count < 1:
        raise InputError(f"count: expected at least one point, got {count}.")
    piece_m2 = float(mesh.face_areas_m2.sum()) / count
    corners = _halved(mesh.vertices_m[mesh.faces[mesh.face_areas_m2 > 0.0]], piece_m2)
    vectors = triangle_vectors(corners)
    areas, centres = np.linalg.norm(vectors, axis=1), corners.mean(axis=1)
    directions = _SIDES_APART * np.sqrt(piece_m2) * vectors / areas[:, None]
    order, starts = _pieces(np.concatenate([centres, directions], axis=1), areas, count)
    weights = areas[order]
    centres = np.add.reduceat(weights[:, None] * centres[order], starts) / np.add.reduceat(weights, starts)[:, None]
    return centres, np.add.reduceat(vectors[order], starts)


def _halved(corners: npt.NDArray[np.float64], piece_m2: float) -> npt.NDArray[np.float64]:
    """Triangles ``(F, 3, 3)``, none of them larger than half a piece."""
    done = []
    while len(corners):
        large = np.linalg.norm(triangle_vectors(corners), axis=1) > piece_m2 / 2.0
        done.append(corners[~large])
        corners = corners[large]
        longest = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2).argmax(axis=1)
        rows = np.arange(len(corners))
        first, second, third = (corners[rows, (longest + turn) % 3] for turn in range(3))
        middle = (first + second) / 2.0
        corners = np.concatenate([np.stack([first, middle, third], 1), np.stack([middle, second, third], 1)])
    return np.concatenate(done)


def _pieces(
    places: npt.NDArray[np.float64], areas: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Order of the faces, piece by piece, and where in it each of the ``count`` pieces starts."""
    order, starts, shares = np.arange(len(areas)), np.zeros(1, np.int64), np.array([count])
    while (shares > 1).any():
        piece = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
        ordered = places[order]
        least = np.minimum.reduceat(ordered, starts)
        extents = np.maximum.reduceat(ordered, starts) - least
        rows, axis = np.arange(len(starts)), extents.argmax(axis=1)
        # each piece its own interval of numbers, so that one sort sorts all
        first, width = least[rows, axis], np.maximum(2.0 * extents[rows, axis], np.finfo(np.float64).tiny)
        along = np.take_along_axis(ordered, axis[piece][:, None], axis=1)[:, 0]
        order = order[np.argsort(piece + (along - first[piece]) / width[piece], kind="stable")]
        summed = np.cumsum(areas[order])
        before = summed[starts] - areas[order[starts]]
        whole = np.add.reduceat(areas[order], starts)
        left = shares // 2
        # a face belongs to the side on which its middle lies; a piece that is not to be halved keeps all on the right
        second = (summed - areas[order] / 2.0 - before[piece]) * shares[piece] >= (left * whole)[piece]
        cuts = starts + np.add.reduceat(~second, starts, dtype=np.int64)
        halved = left > 0
        starts = np.sort(np.concatenate([starts, cuts[halved]]))
        shares = np.stack([left, shares - left], axis=1).ravel()
        shares = shares[shares > 0]
    return order, starts


def with_areas(points: torch.Tensor, normals: torch.Tensor, area_m2: float) -> torch.Tensor:
    """``(7, P)`` of points and normals ``(P, 3)``, each of which stands for an equal part of ``area_m2``."""
    areas = torch.full((len(points), 1), area_m2 / len(points))
    return torch.cat([points, normals, areas], dim=1).T.contiguous()


def fixed_vertices(
    mesh: BodyMesh, step: int = FIXED_STEP, vertex_count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every ``step``-th vertex with its normal: the same places on every body *of one topology* (published variant).

    Args:
        mesh: of the topology that a network was trained on.
        step: distance in the order of the vertices.
        vertex_count: number of vertices that the topology has; None takes any.

    Returns:
        Points ``(ceil(V / step), 3)`` float32 in metres and their unit normals, area-weighted over the faces around.

    Raises:
        InputError: another number of vertices, a step below 1, or a chosen vertex with no face around it.
    """
    if step < 1:
        raise InputError(f"step: expected at least 1, got {step}.")
    if vertex_count is not None and len(mesh.vertices_m) != vertex_count:
        raise InputError(
            f"{mesh.source}: expected the fixed topology of {vertex_count} vertices, got {len(mesh.vertices_m)}: "
            "sample points instead."
        )
    normals = vertex_normals(mesh.vertices_m, mesh.faces)[::step]
    lonely = ~normals.any(axis=1)
    if lonely.any():
        raise InputError(
            f"{mesh.source}: expected faces around each of the {len(normals)} fixed vertices, "
            f"got {int(lonely.sum())} without: sample points instead."
        )
    return torch.from_numpy(mesh.vertices_m[::step]).float(), torch.from_numpy(normals).float()


def with_noise(points: torch.Tensor, noise_mm: float, generator: torch.Generator) -> torch.Tensor:
    """Points with independent normal noise of the given standard deviation along each axis, as of a scanner."""
    return points + torch.randn(points.shape, generator=generator) * (noise_mm / 1000.0)
