"""Shapes with known answers, and ways to spoil a body."""

from __future__ import annotations

import numpy as np
import trimesh

from dxa_monai.mesh.io import BodyMesh


def body(mesh: trimesh.Trimesh, source: str = "shape") -> BodyMesh:
    return BodyMesh(np.array(mesh.vertices, dtype=np.float64), np.array(mesh.faces, dtype=np.int64), source)


def box(extents: tuple[float, float, float] = (0.5, 0.3, 1.7)) -> BodyMesh:
    return body(trimesh.creation.box(extents))


def sphere(radius: float = 0.85, subdivisions: int = 4) -> BodyMesh:
    return body(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))


def tube(corners: int = 16, radius: float = 0.3, height: float = 1.6) -> BodyMesh:
    """An open tube: two holes, each a regular polygon."""
    angles = 2.0 * np.pi * np.arange(corners) / corners
    rim = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    vertices = np.concatenate([np.insert(rim, 2, 0.0, axis=1), np.insert(rim, 2, height, axis=1)])
    here = np.arange(corners)
    there = (here + 1) % corners
    faces = np.concatenate(
        [np.stack([here, there, there + corners], axis=1), np.stack([here, there + corners, here + corners], axis=1)]
    )
    return BodyMesh(vertices, faces.astype(np.int64))


def joined(*meshes: BodyMesh) -> BodyMesh:
    starts = np.cumsum([0] + [len(mesh.vertices_m) for mesh in meshes[:-1]])
    return BodyMesh(
        np.concatenate([mesh.vertices_m for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        meshes[0].source,
    )


def moved(mesh: BodyMesh, x: float = 0.0, y: float = 0.0, z: float = 0.0, scale: float = 1.0) -> BodyMesh:
    return BodyMesh(mesh.vertices_m * scale + np.array([x, y, z]), mesh.faces, mesh.source)


def turned(mesh: BodyMesh, rows: list[list[float]]) -> BodyMesh:
    """The mesh after a rotation with these rows."""
    return BodyMesh(mesh.vertices_m @ np.array(rows, dtype=float).T, mesh.faces, mesh.source)


def cut_above(mesh: BodyMesh, share_of_height: float) -> BodyMesh:
    """What is left of a body above a part of its height, open at the cut."""
    level = mesh.bounds_m[0, 2] + share_of_height * mesh.height_m
    keep = (mesh.vertices_m[mesh.faces][:, :, 2] > level).all(axis=1)
    return BodyMesh(mesh.vertices_m, mesh.faces[keep], mesh.source)


def file_bytes(mesh: BodyMesh, ending: str) -> bytes:
    """The mesh in a file format, written by trimesh."""
    solid = trimesh.Trimesh(mesh.vertices_m, mesh.faces, process=False)
    if ending == "ply-text":
        data = solid.export(file_type="ply", encoding="ascii")
    elif ending == "stl-text":
        data = solid.export(file_type="stl_ascii")
    else:
        data = solid.export(file_type=ending)
    return data.encode() if isinstance(data, str) else bytes(data)
