"""The JSON header of a glTF 2.0 file (.gltf, .glb) against the bytes it refers to, and what a body scan cannot hold.

Khronos Group. glTF 2.0 Specification. https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dxa_monai.errors import InputError
from dxa_monai.files import path_inside
from dxa_monai.input_files import parse_json
from dxa_monai.mesh.limits import check_element_count

_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_COMPRESSIONS = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
_HARMLESS_EXTENSIONS = ("KHR_mesh_quantization", "KHR_texture_transform", "KHR_texture_basisu", "KHR_lights_punctual")
_HARMLESS_BEGINNINGS = ("KHR_materials_", "EXT_texture_")
"""Of extensions that a file may require: they change how a surface looks, or say what positions may be stored as."""
_COPIES = "EXT_mesh_gpu_instancing"
_QUANTISATION = "KHR_mesh_quantization"
_FLOAT, _QUANTISED, _INDICES = 5126, (5120, 5121, 5122, 5123, 5126), (5121, 5123, 5125)
"""Component types of positions, with the extension and without, and of indices."""
_PLACES = {"translation", "rotation", "scale"}
_TRIANGLES = 4
_MODES = ("points", "lines", "line loops", "line strips", "triangles", "triangle strips", "triangle fans")
_JSON_CHUNK = 0x4E4F534A
_MAX_NODES = 10_000


def check_gltf_header(path: Path, content: bytes, max_bytes: int) -> dict[str, Path]:
    """Refuse what announces more data than there is, or geometry that a plain reader would get wrong.

    Refused: compressed geometry, strips and fans, extensions that are required and may change the geometry, sparse or
    normalised positions, skins and active morph targets (their vertices move before they are drawn), nodes with two
    parents, and buffers outside the file's folder.

    Args:
        path: the file.
        content: its bytes.
        max_bytes: limit of all buffers, views and accessors, each.

    Returns:
        The buffer files that the header names (usually one for .gltf, none for .glb) by the name it uses.

    Raises:
        InputError: any of the above, or the header cannot be read.
    """
    try:
        header = _json_header(path, content)
        buffer_bytes, files = _buffers(path, header, max_bytes)
        _check_data(path, header, buffer_bytes, max_bytes)
        _check_geometry(path, header)
        _check_nodes(path, header)
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected a whole glTF 2.0 header, got one that cannot be read ({type(error).__name__})."
        ) from error
    return files


def _json_header(path: Path, content: bytes) -> dict[str, Any]:
    if content.startswith(b"glTF"):
        _, version, length, json_bytes, chunk = struct.unpack_from("<5I", content.ljust(20, b"\0"))
        if version != 2 or chunk != _JSON_CHUNK or not 20 + json_bytes <= length <= len(content):
            raise InputError(
                f"{path}: expected a whole GLB file of version 2 with {length} bytes, "
                f"got version {version} and {len(content)} bytes."
            )
        content = content[20 : 20 + json_bytes]
    elif path.suffix.lower() == ".glb":
        raise InputError(f"{path}: expected a GLB file (glTF ...), got {content[:12].decode('latin-1')!a}.")
    header = parse_json(content, path)
    version = header["asset"]["version"]
    if not str(version).startswith("2"):
        raise InputError(f"{path}: expected glTF version 2, got {version!r}.")
    compressed = sorted(set(header.get("extensionsUsed", [])) & set(_COMPRESSIONS))
    if compressed:
        raise InputError(f"{path}: expected uncompressed geometry, got {', '.join(compressed)}.")
    required = [str(name) for name in header.get("extensionsRequired", [])]
    unknown = [
        name for name in required if name not in _HARMLESS_EXTENSIONS and not name.startswith(_HARMLESS_BEGINNINGS)
    ]
    if unknown:
        raise InputError(
            f"{path}: expected a file that plain glTF readers can show, got one that requires {unknown[0]}."
        )
    return dict(header)


def _buffers(path: Path, header: dict[str, Any], max_bytes: int) -> tuple[list[int], dict[str, Path]]:
    """Announced size of each buffer, and those that are files of their own."""
    sizes = [_natural(buffer["byteLength"]) for buffer in header.get("buffers", [])]
    if sum(sizes) > max_bytes:
        raise InputError(f"{path}: expected at most {max_bytes} bytes of buffers, got {sum(sizes)}.")
    names = [str(buffer["uri"]) for buffer in header.get("buffers", []) if "uri" in buffer]
    if not all(name.isprintable() for name in names):
        raise ValueError("a name with control characters")
    files = {name: path_inside(path.parent, unquote(name)) for name in names if not name.startswith("data:")}
    for name, file in files.items():
        if not file.is_file():
            raise InputError(f"{path}: expected the buffer {name} beside it, got no such file.")
    # A buffer that is named twice is read twice, and whole, however little of it is used.
    held = sum(files[name].stat().st_size for name in names if name in files)
    if held > max_bytes:
        raise InputError(f"{path}: expected at most {max_bytes} bytes in files of buffers, got {held}.")
    return sizes, files


def _check_data(path: Path, header: dict[str, Any], buffer_bytes: list[int], max_bytes: int) -> None:
    views = header.get("bufferViews", [])
    for view in views:
        if _natural(view.get("byteOffset", 0)) + _natural(view["byteLength"]) > buffer_bytes[_natural(view["buffer"])]:
            raise InputError(f"{path}: expected views inside their buffers, got one of {view['byteLength']} bytes.")
    accessors = header.get("accessors", [])
    sizes = []
    for accessor in accessors:
        item = _COMPONENT_BYTES[accessor["componentType"]] * _COMPONENTS[accessor["type"]]
        sizes.append(_natural(accessor["count"]) * item)
        if "sparse" in accessor or "bufferView" not in accessor:
            raise InputError(f"{path}: expected accessors that lie in a buffer, got a sparse or empty one.")
        view = views[_natural(accessor["bufferView"])]
        stride = _natural(view.get("byteStride", item))
        if stride < item:
            raise InputError(f"{path}: expected items one behind the other, got {item} bytes every {stride}.")
        needed = _natural(accessor.get("byteOffset", 0)) + max(accessor["count"] - 1, 0) * stride + item
        if accessor["count"] and needed > view["byteLength"]:
            raise InputError(
                f"{path}: expected accessors inside their views, got {accessor['count']} items "
                f"in {view['byteLength']} bytes."
            )
    # Views and accessors may overlap in the file, but each is copied when it is read.
    for what, total in (("views", sum(view["byteLength"] for view in views)), ("accessors", sum(sizes))):
        if total > 2 * max_bytes:
            raise InputError(f"{path}: expected at most {2 * max_bytes} bytes of {what}, got {total}.")


def _check_geometry(path: Path, header: dict[str, Any]) -> None:
    if header.get("skins"):
        raise InputError(
            f"{path}: expected a still mesh, got one moved by a skeleton: export it with the pose applied."
        )
    moved = [*header.get("meshes", []), *header.get("nodes", [])]
    if any(any(item.get("weights", [])) for item in moved):
        raise InputError(f"{path}: expected a still mesh, got active morph targets: export it with them applied.")
    for mesh in header.get("meshes", []):
        for primitive in mesh["primitives"]:
            mode = _natural(primitive.get("mode", _TRIANGLES))
            if mode != _TRIANGLES:
                raise InputError(f"{path}: expected triangles alone, got {_MODES[mode]}: export plain triangles.")
            positions = _accessor(header, primitive["attributes"]["POSITION"])
            kinds = _QUANTISED if _QUANTISATION in header.get("extensionsUsed", []) else (_FLOAT,)
            plain = positions["type"] == "VEC3" and positions["componentType"] in kinds
            if positions.get("normalized") or not plain:
                raise InputError(f"{path}: expected positions as three plain numbers, got normalised or other ones.")
            indices = _accessor(header, primitive["indices"]) if "indices" in primitive else None
            if indices is not None and (indices["type"] != "SCALAR" or indices["componentType"] not in _INDICES):
                raise InputError(f"{path}: expected indices as single whole numbers, got other ones.")


def _check_nodes(path: Path, header: dict[str, Any]) -> None:
    """Each node has at most one parent, and all copies of meshes together are not too many."""
    nodes = header.get("nodes", [])
    for node in nodes:
        _check_place(path, node)
    if any(_COPIES in node.get("extensions", {}) for node in nodes):
        raise InputError(f"{path}: expected every part where it is, got copies made by {_COPIES}.")
    children = [child for node in nodes for child in node.get("children", [])]
    children += header["scenes"][_natural(header.get("scene", 0))].get("nodes", []) if header.get("scenes") else []
    if len(nodes) > _MAX_NODES or len({_natural(child) for child in children}) < len(children):
        raise InputError(
            f"{path}: expected a tree of at most {_MAX_NODES} nodes, got {len(nodes)} with {len(children)} links."
        )
    corners = [
        sum(_corners(header, primitive) for primitive in mesh["primitives"]) for mesh in header.get("meshes", [])
    ]
    check_element_count(path, sum(corners[_natural(node["mesh"])] for node in nodes if "mesh" in node) // 3, "faces")


def _check_place(path: Path, node: dict[str, Any]) -> None:
    """A node is placed in one way, by a matrix that leaves parallels parallel or by its parts."""
    matrix = node.get("matrix")
    if matrix is None:
        return
    if len(matrix) != 16 or [matrix[place] for place in (3, 7, 11, 15)] != [0, 0, 0, 1] or _PLACES & node.keys():
        raise InputError(f"{path}: expected nodes placed by one affine matrix or by its parts, got another placement.")


def _corners(header: dict[str, Any], primitive: dict[str, Any]) -> int:
    return int(_accessor(header, primitive.get("indices", primitive["attributes"]["POSITION"]))["count"])


def _accessor(header: dict[str, Any], index: Any) -> dict[str, Any]:
    return dict(header["accessors"][_natural(index)])


def _natural(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or int(value) != value:
        raise ValueError(f"{value} is no size")
    return int(value)
