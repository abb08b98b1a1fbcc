"""Triangles as they lie in a PLY, OBJ, STL or glTF file: no unit, no axes, no judgement of the body.

Nothing but geometry is read: textures, materials and colours are passed over, and no other file is opened except the
buffers of a .gltf inside its own folder. What a file announces is compared with its size before memory is taken.
"""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import trimesh

from dxa_monai.errors import InputError
from dxa_monai.input_files import read_input
from dxa_monai.mesh.gltf import check_gltf_header
from dxa_monai.mesh.limits import MAX_FILE_BYTES, check_element_count, check_text_size
from dxa_monai.mesh.obj import read_obj
from dxa_monai.mesh.ply import checked_ply
from dxa_monai.mesh.topology import weld

MESH_ENDINGS = (".ply", ".obj", ".stl", ".glb", ".gltf")

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# What trimesh logs about damaged files is told by InputError; without a handler it would reach stderr as well.
logging.getLogger("trimesh").addHandler(logging.NullHandler())

_STL_HEADER_BYTES, _STL_FACE_BYTES = 84, 50


def read_triangles(path: str | os.PathLike[str], max_bytes: int = MAX_FILE_BYTES) -> tuple[FloatArray, IntArray]:
    """Vertices and triangles of a mesh file, in the file's own coordinates and order.

    The parts of a glTF scene are moved to their places and joined. STL holds no topology, so its equal corners are made
    one vertex; in the other formats vertices stay as they are, unused ones too.

    Args:
        path: file with one of ``MESH_ENDINGS``.
        max_bytes: largest file.

    Returns:
        Vertices ``(V, 3)`` float64, all finite, and faces ``(F, 3)`` int64, ``F > 0``, all indices below ``V``.

    Raises:
        InputError: no such file, another format, too large, cut off or damaged, no faces (a point cloud), NaN or
            infinite coordinates, an index that is no vertex, or content that :mod:`dxa_monai.mesh.gltf` refuses.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in MESH_ENDINGS:
        raise InputError(f"{path}: expected a mesh file ({', '.join(MESH_ENDINGS)}), got '{path.suffix or path.name}'.")
    content = read_input(path, max_bytes, "a mesh file", ": decimate the mesh or raise max_bytes")
    try:
        if ending == ".obj":
            parts = [read_obj(path, content)]
        else:
            buffers: Mapping[str, Path] = {}
            if ending == ".ply":
                content = checked_ply(path, content)
            elif ending == ".stl":
                _check_stl(path, content)
            else:
                buffers = check_gltf_header(path, content, max_bytes)
            parts = _parts_by_trimesh(content, ending, buffers)
    except InputError:
        raise
    except Exception as error:  # damaged files make the library raise errors of almost any type
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        hint = " (PLY faces must all have the same number of corners)" if ending == ".ply" else ""
        raise InputError(f"{path}: expected a whole {ending} mesh{hint}, got '{reason[:200]}'.") from error
    for vertices, faces in parts:
        _check_arrays(path, vertices, faces)
    vertices, faces = _joined(parts)
    if not len(faces):
        found = f"{len(vertices)} points without faces" if len(vertices) else "nothing"
        raise InputError(f"{path}: expected a surface of triangles, got {found}.")
    if ending == ".stl":
        faces, first = weld(vertices, faces)
        vertices = vertices[first]
    return vertices, faces


def _check_stl(path: Path, content: bytes) -> None:
    """A binary STL has exactly the bytes its header announces; one in text has its last line."""
    announced = struct.unpack_from("<I", content.ljust(_STL_HEADER_BYTES, b"\0"), _STL_HEADER_BYTES - 4)[0]
    expected = _STL_HEADER_BYTES + _STL_FACE_BYTES * announced
    text = content[:512].lstrip().lower().startswith(b"solid") and b"facet" in content[:4096].lower()
    if text and len(content) != expected:  # programs also begin binary files with "solid"
        check_text_size(path, len(content))
        lower = content.lower()
        check_element_count(path, lower.count(b"outer loop"), "faces")
        check_element_count(path, lower.count(b"\n") // 8, "faces of eight lines")
        if b"endsolid" not in lower[-1024:]:
            raise InputError(f"{path}: expected 'endsolid' at the end of the STL text, got a file that is cut off.")
        return
    if len(content) < _STL_HEADER_BYTES:
        raise InputError(f"{path}: expected an STL file of at least {_STL_HEADER_BYTES} bytes, got {len(content)}.")
    if len(content) != expected:
        raise InputError(
            f"{path}: expected {expected} bytes for the {announced} faces of its header, got {len(content)}."
        )
    check_element_count(path, announced, "faces")


class _Buffers(trimesh.resolvers.Resolver):
    """Lets trimesh read the buffers of a .gltf that were found inside its folder, and no other file."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def get(self, name: str) -> bytes:
        return read_input(self._files[name], MAX_FILE_BYTES, "a buffer of a mesh")

    def write(self, name: str, data: object) -> None:
        raise PermissionError(name)

    def namespaced(self, namespace: str) -> _Buffers:
        return self

    def keys(self) -> list[str]:
        return list(self._files)


def _parts_by_trimesh(content: bytes, ending: str, buffers: Mapping[str, Path]) -> list[tuple[FloatArray, IntArray]]:
    with warnings.catch_warnings():
        # numpy only warns of a number it cannot read, and would leave out the rest of the file.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="string or file could not be read")
        scene = trimesh.load_scene(
            io.BytesIO(content),
            file_type=ending[1:],
            resolver=_Buffers(buffers),
            process=False,
            validate=False,
            fix_texture=False,
            skip_materials=True,
        )
        parts = []
        # By the geometry's name first: trimesh names some nodes at random.
        for node in sorted(scene.graph.nodes_geometry, key=lambda node: (scene.graph[node][1], str(node))):
            transform, name = scene.graph[node]
            geometry = scene.geometry[name]
            vertices = np.asarray(geometry.vertices, dtype=np.float64).reshape(-1, 3)
            faces = np.asarray(getattr(geometry, "faces", ()), dtype=np.int64).reshape(-1, 3)
            if np.linalg.det(transform[:3, :3]) < 0.0:
                faces = faces[:, ::-1]  # a mirrored part would point inwards
            parts.append((vertices @ transform[:3, :3].T + transform[:3, 3], faces))
    return parts


def _check_arrays(path: Path, vertices: FloatArray, faces: IntArray) -> None:
    check_element_count(path, len(vertices), "vertices")
    check_element_count(path, len(faces), "faces")
    if len(faces) and not (faces.min() >= 0 and faces.max() < len(vertices)):
        raise InputError(
            f"{path}: expected face indices from 0 to {len(vertices) - 1}, got {faces.min()} to {faces.max()}."
        )
    broken = int((~np.isfinite(vertices).all(axis=1)).sum())
    if broken:
        raise InputError(f"{path}: expected finite coordinates, got NaN or infinity in {broken} vertices.")


def _joined(parts: list[tuple[FloatArray, IntArray]]) -> tuple[FloatArray, IntArray]:
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    vertices = [np.empty((0, 3))] + [vertices for vertices, _ in parts]
    faces = [np.empty((0, 3), dtype=np.int64)] + [
        faces + start for (_, faces), start in zip(parts, starts[:-1], strict=True)
    ]
    return np.concatenate(vertices), np.concatenate(faces)
