"""Points with normals on a body's surface, the input of a point network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.mesh.geometry import face_centres, face_vectors, vertex_normals
from dxa_monai.mesh.io import BodyMesh

FIXED_STEP = 5
"""The published code takes every fifth vertex of its registered meshes."""


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
    """What networks read of a body: ``(7, count)`` float32, points of :func:`sample_points` with normals and areas.

    Rows are x, y, z in metres, the outward unit normal, and the area in m2 that each point stands for: their sum is
    that of the skin.
    """
    points, normals = sample_points(mesh, count, generator)
    return with_areas(points, normals, float(mesh.face_areas_m2.sum()))


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
