"""Points with normals on a body's surface, the input of a point network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.mesh.geometry import face_centres, vertex_normals
from dxa_monai.mesh.io import BodyMesh

if TYPE_CHECKING:
    from pytorch3d.structures import Meshes

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
    """Points drawn evenly by area from the surface (PyTorch3D ``sample_points_from_meshes``).

    The global random state is left as it was.

    Args:
        mesh: with faces that have an area.
        count: number of points.
        generator: a CPU generator; equal states give equal points.

    Returns:
        Points ``(count, 3)`` float32 in metres and the unit normals ``(count, 3)`` of their faces.

    Raises:
        InputError: ``count`` is not positive, or PyTorch3D is not installed.
    """
    if count < 1:
        raise InputError(f"count: expected at least one point, got {count}.")
    structures, ops = _pytorch3d()
    vertices = torch.from_numpy(mesh.vertices_m).float()
    surface: Meshes = structures.Meshes(verts=[vertices], faces=[torch.from_numpy(mesh.faces)])
    seed = int(torch.randint(2**62, (1,), generator=generator))
    # PyTorch3D draws from the global CPU generator. It is seeded by itself here: torch.manual_seed would also reseed
    # every GPU, which fork_rng(devices=()) does not put back.
    with torch.random.fork_rng(devices=()):
        torch.random.default_generator.manual_seed(seed)
        points, normals = ops.sample_points_from_meshes(surface, num_samples=count, return_normals=True)
    return points[0], normals[0]


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


def _pytorch3d() -> tuple[Any, Any]:
    try:
        from pytorch3d import ops, structures
    except ImportError as error:
        raise InputError(
            "pytorch3d: expected PyTorch3D for points on a mesh (pip install easypytorch3d==0.7.9.post1), "
            f"got '{error}'."
        ) from error
    return structures, ops
