"""Does the same body in another topology give the same scan? Other triangulations of a mesh, and how far scans differ.

A network reads points of the surface, so the vertices should not matter. Two things differ all the same: the
points are others (as they are for another seed, which is the yardstick), and a coarse mesh is another surface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from trimesh.remesh import subdivide

from dxa_monai.errors import InputError
from dxa_monai.inference.meshes import predict_body
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import centred
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.scan.format import FULL_SCALE_NEPERS
from dxa_monai.transforms.point_clouds import CLOUD_POINTS

COARSE_FACES, FINE_FACES = 5_000, 100_000
ANOTHER_SEED = "another_seed"
"""The mesh as it is, other points: the difference that no topology can undercut."""

Retopologise = Callable[[BodyMesh], BodyMesh]


def subdivided(mesh: BodyMesh, faces: int = FINE_FACES) -> BodyMesh:
    """The same surface with at least ``faces`` triangles: each divided into four at its edges' middles, repeatedly."""
    while len(mesh.faces) < faces:
        vertices, divided = subdivide(mesh.vertices_m, mesh.faces)
        mesh = replace(mesh, vertices_m=vertices, faces=divided)
    return mesh


def clustered(mesh: BodyMesh, faces: int = COARSE_FACES) -> BodyMesh:
    """Another, coarser surface of about ``faces`` triangles: vertices in one cell of a grid become their mean.

    The cell is made smaller until there are at least ``faces`` triangles, or none is lost any more.
    """
    cell_m = np.sqrt(4.0 * mesh.face_areas_m2.sum() / faces)
    while True:
        coarse = _cluster(mesh, cell_m)
        if len(coarse.faces) >= min(faces, len(mesh.faces)):
            return coarse
        cell_m *= 0.97


def decimated(mesh: BodyMesh, faces: int = COARSE_FACES) -> BodyMesh:
    """The mesh simplified to ``faces`` triangles by quadric edge collapse (needs ``fast-simplification``).

    Raises:
        InputError: the package is not installed.
    """
    try:
        from fast_simplification import simplify
    except ImportError as error:
        raise InputError(
            f"fast_simplification: expected it for decimation (pip install fast-simplification), got '{error}'."
        ) from error
    vertices, kept = simplify(
        mesh.vertices_m.astype(np.float32), mesh.faces.astype(np.int32), target_count=min(faces, len(mesh.faces))
    )
    return replace(mesh, vertices_m=vertices.astype(np.float64), faces=kept.astype(np.int64))


def reordered(mesh: BodyMesh, rng: np.random.Generator) -> BodyMesh:
    """The same triangles in another order, with other vertex numbers and another first corner each."""
    order = rng.permutation(len(mesh.vertices_m))
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    turn = (np.arange(3) + rng.integers(3, size=(len(mesh.faces), 1))) % 3
    faces = np.take_along_axis(number[mesh.faces], turn, axis=1)
    return replace(mesh, vertices_m=mesh.vertices_m[order], faces=faces[rng.permutation(len(faces))])


def topologies(seed: int = 0) -> dict[str, Retopologise]:
    """The ways to write a body anew, by name; decimation only where its package is installed."""
    ways: dict[str, Retopologise] = {
        "reordered": lambda mesh: reordered(mesh, np.random.default_rng(seed)),
        f"subdivided_{FINE_FACES}": subdivided,
        f"clustered_{COARSE_FACES}": clustered,
    }
    try:
        import fast_simplification  # noqa: F401
    except ImportError:
        return ways
    return ways | {f"decimated_{COARSE_FACES}": decimated}


def topology_agreement(
    network: PseudoDXA,
    bodies: Sequence[BodyMesh],
    points: int = CLOUD_POINTS,
    ways: Mapping[str, Retopologise] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How far a network's scans of the same bodies in other topologies are from those of the bodies as they are.

    Args:
        network: in evaluation mode.
        bodies: meshes.
        points: of each.
        ways: other topologies by name; None: :func:`topologies`.
        seed: of the points, equal for all topologies.

    Returns:
        One row a body and topology, and one of ``ANOTHER_SEED``: ``body, topology, faces``, the PSNR between the two
        scans (dB; infinite where they are equal), and the mean and the largest absolute difference in nepers.
    """
    ways = topologies(seed) if ways is None else ways
    rows: list[dict[str, Any]] = []
    for body in bodies:
        plain = predict_body(network, centred(body), points, seed).image
        others = {name: (centred(way(body)), seed) for name, way in ways.items()}
        for name, (mesh, points_seed) in ({ANOTHER_SEED: (centred(body), seed + 1)} | others).items():
            scan = predict_body(network, mesh, points, points_seed).image
            rows.append({"body": body.source, "topology": name, "faces": len(mesh.faces)} | _difference(scan, plain))
    return pd.DataFrame(rows)


def _difference(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> dict[str, float]:
    difference = np.abs(first.astype(np.float64) - second)
    squared = float(np.square(difference).mean())
    return {
        "psnr_db": float(-10.0 * np.log10(squared)) if squared > 0.0 else float("inf"),
        "mean_difference_nepers": float(difference.mean()) * FULL_SCALE_NEPERS,
        "largest_difference_nepers": float(difference.max()) * FULL_SCALE_NEPERS,
    }


def _cluster(mesh: BodyMesh, cell_m: float) -> BodyMesh:
    cells = np.floor((mesh.vertices_m - mesh.vertices_m.min(axis=0)) / cell_m).astype(np.int64)
    _, label = np.unique(cells, axis=0, return_inverse=True)
    label = label.ravel()
    count = np.bincount(label)
    vertices = np.stack([np.bincount(label, column) / count for column in mesh.vertices_m.T], axis=1)
    faces = label[mesh.faces]
    first, second, third = faces.T
    faces = faces[(first != second) & (second != third) & (third != first)]
    # three vertices may carry several triangles now; one is enough
    _, once = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return replace(mesh, vertices_m=vertices, faces=faces[np.sort(once)])
