from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dxa_monai.errors import InputError
from dxa_monai.mesh import limits
from dxa_monai.mesh.parse import read_triangles
from tests.mesh.shapes import box, file_bytes, sphere

FORMS = ("ply", "ply-text", "obj", "stl", "stl-text", "glb")
PLY = b"ply\nformat %s 1.0\nelement vertex %d\nproperty float x\nproperty float y\nproperty float z\n"
PLY_FACES = b"element face %d\nproperty list uchar int vertex_indices\nend_header\n"
TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 0 1\n"


def gltf(change: Callable[[dict], None] = lambda header: None) -> bytes:
    """A .gltf with its buffer inside, after ``change`` has had its way with the header."""
    content = file_bytes(box(), "glb")
    (json_bytes,) = struct.unpack_from("<I", content, 12)
    header = json.loads(content[20 : 20 + json_bytes])
    data = content[28 + json_bytes :]
    header["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    change(header)
    return json.dumps(header).encode()


def _indices(header: dict) -> dict:
    return header["accessors"][header["meshes"][0]["primitives"][0]["indices"]]


def _placed(header: dict, **place: list[float]) -> None:
    """Every node by a matrix, and this."""
    for node in header["nodes"]:
        node.update({"matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], **place})


def as_file(content: bytes, form: str, folder: Path) -> Path:
    path = folder / f"body.{form.split('-')[0]}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_binary_and_text_give_the_same_triangles(form: str, tmp_path: Path) -> None:
    shape = sphere(subdivisions=1)
    vertices, faces = read_triangles(as_file(file_bytes(shape, form), form, tmp_path))
    np.testing.assert_allclose(vertices[faces], shape.vertices_m[shape.faces], atol=1e-6)
    assert (vertices.dtype, faces.dtype) == (np.float64, np.int64)
    assert len(vertices) == len(shape.vertices_m)


BAD: list[tuple[str, bytes, str]] = [
    ("ply", b"", "PLY file .* got an empty file"),
    ("ply", b"solid what\n", "expected a PLY file .* got 'solid what"),
    ("ply", b"ply\nend_header\n", "PLY format of ascii, .* got a header without one"),
    ("ply", b"ply\nformat ascii 1.0\nelement face many\nend_header\n", "PLY header line, got 'element face many'"),
    ("ply", PLY % (b"ascii", 3) + b"end_header\n0 0 0\n1 0 0\n0 0 1\n", "surface of triangles, got 3 points without"),
    ("ply", PLY % (b"ascii", 3) + PLY_FACES % 1 + b"0 0 0\n1 0 0\n0 0 1\n3 0 1 3\n", "indices from 0 to 2, got 0 to 3"),
    (
        "ply",
        PLY % (b"ascii", 3) + PLY_FACES % 1 + b"0 0 0\n1 0 0\n0 0 1\n3 0 1 -1\n",
        "indices from 0 to 2, got -1 to 1",
    ),
    ("ply", PLY % (b"ascii", 3) + PLY_FACES % 1 + b"0 0 nan\n1 0 inf\n0 0 1\n3 0 1 2\n", "NaN or infinity in 2 vert"),
    (
        "ply",
        PLY % (b"ascii", 30) + PLY_FACES % 9 + b"0 0 0\n",
        "at least 39 lines .* 30 vertex, 9 face, got 2: .* cut off",
    ),
    (
        "ply",
        PLY % (b"binary_little_endian", 4_000_000) + PLY_FACES % 1 + b"\0" * 99,
        "at least 48000001 bytes .* got 99",
    ),
    (
        "ply",
        PLY % (b"binary_little_endian", 10**12) + PLY_FACES % 1,
        "at most 5000000 elements 'vertex', got 10000000000",
    ),
    (
        "ply",
        PLY % (b"binary_little_endian", 1) + PLY_FACES % 1 + b"\0" * 12 + b"\xff",
        "whole .ply mesh .* same number",
    ),
    ("stl", b"", "STL file of at least 84 bytes, got 0"),
    ("stl", b"\0" * 80 + struct.pack("<I", 4_000_000_000) + b"\0" * 50, "200000000084 bytes for the 4000000000 faces"),
    ("stl", b"solid a\n facet normal 0 0 1\n  outer loop\n   vertex 0 0 0\n", "'endsolid' .* cut off"),
    ("stl", b"solid a\n facet\n vertex 0 0 x\n vertex 1 0 0\nendsolid a\n", "whole .stl mesh"),
    ("stl", b"\0" * 84, "surface of triangles, got nothing"),
    ("obj", b"", "surface of triangles, got nothing"),
    ("obj", b"hello", "surface of triangles, got nothing"),
    ("obj", TRIANGLE, "got 3 points without faces"),
    ("obj", TRIANGLE + b"f 1 2 0\n", r"got 'f 1 2 0' in line 4"),
    ("obj", TRIANGLE + b"f 1 2 4\n", "indices from 0 to 2, got 0 to 3"),
    ("obj", TRIANGLE + b"f 1 2 -4\n", r"got 'f 1 2 -4' in line 4"),
    ("obj", TRIANGLE + b"f 1 2\n", r"got 'f 1 2' in line 4"),
    ("obj", TRIANGLE + b"v 1 2\nf 1 2 3\n", r"got 'v 1 2' in line 4"),
    ("obj", b"v nan 0 0\n" + TRIANGLE + b"f 2 3 4\n", "NaN or infinity in 1 vert"),
    ("glb", b"", "GLB file"),
    ("glb", b"PK\3\4 a zip archive", "GLB file .* got 'PK"),
    ("glb", file_bytes(box(), "glb")[:-40], "whole GLB file of version 2 with"),
    ("gltf", b"{}", "whole glTF 2.0 header"),
    ("gltf", b"[" * 100_000, "expected JSON text, got "),
    ("gltf", b"[" * 300_000, "at most 200000 values, got 300000"),
    ("gltf", gltf(lambda header: header["asset"].update(version="1.0")), "glTF version 2, got '1.0'"),
    ("gltf", gltf(lambda header: header["accessors"][0].update(count=10**11)), "accessors inside their views"),
    ("gltf", gltf(lambda header: header["accessors"][0].pop("bufferView")), "sparse or empty"),
    ("gltf", gltf(lambda header: header["bufferViews"][0].update(byteLength=10**9)), "views inside their buffers"),
    ("gltf", gltf(lambda header: header["buffers"][0].update(byteLength=10**12)), "bytes of buffers, got 10000000000"),
    ("gltf", gltf(lambda header: header["buffers"][0].update(uri="../secret.bin")), "path inside"),
    (
        "gltf",
        gltf(lambda header: header["buffers"][0].update(uri="none.bin")),
        "buffer none.bin beside it, got no such",
    ),
    ("gltf", gltf(lambda header: header.update(skins=[{"joints": [0]}])), "moved by a skeleton"),
    ("gltf", gltf(lambda header: header["meshes"][0].update(weights=[0.5])), "active morph targets"),
    ("gltf", gltf(lambda header: header["nodes"][0].update(children=[1, 1])), "tree of at most"),
    (
        "gltf",
        gltf(lambda header: header.update(extensionsUsed=["KHR_draco_mesh_compression"])),
        "uncompressed geometry, got KHR_draco",
    ),
    ("gltf", gltf(lambda header: [item.update(normalized=True) for item in header["accessors"]]), "plain numbers"),
    ("gltf", gltf(lambda header: [item.update(componentType=5125) for item in header["accessors"]]), "plain numbers"),
    ("gltf", gltf(lambda header: _indices(header).update(componentType=5126)), "single whole numbers"),
    ("gltf", gltf(lambda header: _indices(header).update(type="VEC2", count=6)), "single whole numbers"),
    ("gltf", gltf(lambda header: [item.update(byteStride=1) for item in header["bufferViews"]]), "bytes every 1"),
    ("gltf", gltf(lambda header: [item.update(buffer=-1) for item in header["bufferViews"]]), "glTF 2.0 header"),
    ("gltf", gltf(lambda header: _placed(header, matrix=[1, 0, 0, 5, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])), "affine"),
    ("gltf", gltf(lambda header: _placed(header, scale=[2, 2, 2])), "affine matrix or by its parts"),
    ("glb", b"glTF" + struct.pack("<5I", 2, 0, 4, 0x4E4F534A, 0x20207D7B), "whole GLB file of version 2 with 0 bytes"),
    ("ply", PLY % (b"ascii", 3) + PLY % (b"ascii", 3) + PLY_FACES % 1, "PLY header line, got 'ply'"),
    (
        "ply",
        PLY % (b"ascii", 3) + b"element vertex 3\nproperty float x\n" + PLY_FACES % 1 + b"0 0 0\n" * 7,
        "a PLY header that says it once, got 'element vertex 3' again",
    ),
    ("ply", PLY % (b"ascii", 3) + b"property uchar x\n" + PLY_FACES % 1 + b"0 0 0\n" * 4, "'property uchar x' again"),
    ("ply", (PLY % (b"ascii", 3) + PLY_FACES % 1).replace(b" 1.0", b" 9.0") + b"0 0 0\n" * 4, "got 'format ascii 9.0'"),
]


@pytest.mark.parametrize(("form", "content", "sentence"), BAD)
def test_what_is_no_mesh_is_told_in_a_sentence(form: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    path = as_file(content, form, tmp_path)
    with pytest.raises(InputError, match=sentence) as raised:
        read_triangles(path)
    message = str(raised.value)
    assert str(tmp_path) in message or "path inside" in message
    assert "\n" not in message
    assert message.endswith(".")


def test_paths_that_are_no_mesh_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no such file"):
        read_triangles(tmp_path / "none.ply")
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(InputError, match="got a folder"):
        read_triangles(tmp_path / "folder.ply")
    with pytest.raises(InputError, match=r"expected a mesh file \(.ply, .obj, .stl, .glb, .gltf\), got '.pkl'"):
        read_triangles(tmp_path / "mesh.pkl")


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = as_file(file_bytes(box(), "ply"), "ply", tmp_path)
    with pytest.raises(InputError, match="decimate the mesh or raise max_bytes"):
        read_triangles(path, max_bytes=100)
    read_triangles(path, max_bytes=path.stat().st_size)


def test_long_texts_and_too_many_faces_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ELEMENTS", 10)
    for form in FORMS:
        with pytest.raises(InputError, match="at most 10 "):
            read_triangles(as_file(file_bytes(box(), form), form, tmp_path))
    monkeypatch.setattr(limits, "MAX_ELEMENTS", 100)
    monkeypatch.setattr(limits, "MAX_TEXT_BYTES", 100)
    for form in ("ply-text", "obj", "stl-text"):
        with pytest.raises(InputError, match="export the binary form"):
            read_triangles(as_file(file_bytes(box(), form), form, tmp_path))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_end_in_a_sentence_and_take_little_memory(form: str, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(file_bytes(box(), form))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path = as_file(bytes(content[:length]), form, tmp_path)
    tracemalloc.start()
    try:
        vertices, faces = read_triangles(path)
    except InputError as error:
        told = str(error)
    else:
        told = ""
        assert np.isfinite(vertices).all()
        assert 0 <= faces.min() <= faces.max() < len(vertices)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20e6
    assert "\n" not in told


def test_every_truncation_of_a_binary_file_is_noticed(tmp_path: Path) -> None:
    for form in ("ply", "stl", "glb"):
        whole = file_bytes(box(), form)
        for length in range(0, len(whole), 5):
            with pytest.raises(InputError):
                read_triangles(as_file(whole[:length], form, tmp_path))


def test_other_files_that_a_mesh_names_are_not_opened(tmp_path: Path) -> None:
    """The named file is a pipe without a writer: opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    obj = b"mtllib pipe\n" + TRIANGLE + b"usemtl a\nf 1/1 2/2 3/3\n"
    assert len(read_triangles(as_file(obj, "obj", tmp_path))[1]) == 1
    ply = (
        file_bytes(box(), "ply")
        .replace(b"ply\n", b"ply\ncomment TextureFile pipe\n", 1)
        .replace(b"binary", b"binary", 1)
    )
    content = ply.split(b"\n", 3)
    ply = b"\n".join([content[0], content[2], content[1], content[3]])
    assert len(read_triangles(as_file(ply, "ply", tmp_path))[1]) == 12
    image = gltf(lambda header: header.update(images=[{"uri": "pipe"}], textures=[{"source": 0}]))
    assert len(read_triangles(as_file(image, "gltf", tmp_path))[1]) == 12


def test_buffers_are_counted_as_often_as_they_are_read(tmp_path: Path) -> None:
    """One file of a kilobyte in twenty spellings is twenty kilobytes in memory."""
    (tmp_path / "b.bin").write_bytes(bytes(10_000))
    names = ["./" * times + "b.bin" for times in range(10)] + ["b.bin"] * 10
    path = as_file(gltf(lambda header: header.update(buffers=_many(header, names))), "gltf", tmp_path)
    with pytest.raises(InputError, match="at most 100000 bytes in files of buffers, got 200000"):
        read_triangles(path, max_bytes=100_000)


def _many(header: dict, names: list[str]) -> list[dict]:
    return header["buffers"] + [{"byteLength": 1, "uri": name} for name in names]


def test_obj_takes_polygons_groups_seams_and_relative_indices(tmp_path: Path) -> None:
    content = (
        b"o one\nv 0 0 0 1.0\nv 1 0 0\nv 1 0 1\nv 0 0 1\nvt 0 0\nvt 1 0\nf 1/1 2/2 \\\n3/1 4/2 # a square\n"
        b"g two\nv 9 9 9\nv 8 9 9\nv 8 8 9\nf -3 -2 -1\nl 1 2\n"
    )
    vertices, faces = read_triangles(as_file(content, "obj", tmp_path))
    assert len(vertices) == 7
    np.testing.assert_array_equal(faces, [[0, 1, 2], [0, 2, 3], [4, 5, 6]])


def test_ply_takes_quadrilaterals(tmp_path: Path) -> None:
    header = PLY % (b"ascii", 4) + b"element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    content = header + b"0 0 0\n1 0 0\n1 0 1\n0 0 1\n4 0 1 2 3\n3 0 1 2\n"
    vertices, faces = read_triangles(as_file(content, "ply", tmp_path))
    assert len(vertices) == 4
    assert sorted(map(sorted, faces.tolist())) == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]


def test_ply_keeps_vertices_at_texture_seams(tmp_path: Path) -> None:
    header = PLY % (b"ascii", 4) + b"element face 2\nproperty list uchar int vertex_indices\n"
    header += b"property list uchar float texcoord\nend_header\n0 0 0\n1 0 0\n1 0 1\n0 0 1\n"
    content = header + b"3 0 1 2 6 0 0 0 1 1 1\n3 0 2 3 6 1 0 1 1 0 0\n"
    vertices, faces = read_triangles(as_file(content, "ply", tmp_path))
    assert len(vertices) == 4
    np.testing.assert_array_equal(faces, [[0, 1, 2], [0, 2, 3]])


def test_a_scene_is_joined_in_place_and_mirrored_parts_keep_pointing_outwards(tmp_path: Path) -> None:
    solid = trimesh.creation.box((0.2, 0.2, 0.2))
    scene = trimesh.Scene()
    scene.add_geometry(solid, node_name="a", transform=trimesh.transformations.translation_matrix([0, 0, 1]))
    scene.add_geometry(solid, node_name="b", transform=np.diag([-1.0, 1.0, 2.0, 1.0]))
    path = as_file(scene.export(file_type="glb"), "glb", tmp_path)
    vertices, faces = read_triangles(path)
    assert len(faces) == 24
    np.testing.assert_allclose([vertices.min(axis=0), vertices.max(axis=0)], [[-0.1, -0.1, -0.2], [0.1, 0.1, 1.1]])
    assert trimesh.Trimesh(vertices, faces).volume == pytest.approx(0.008 + 0.016)


def test_the_order_of_a_scenes_parts_is_the_same_in_every_process(tmp_path: Path) -> None:
    """trimesh names the nodes of a mesh with several primitives at random."""

    def several(header: dict) -> None:
        primitives = header["meshes"][0]["primitives"]
        header["accessors"].append(dict(header["accessors"][primitives[0]["indices"]], count=18))
        primitives.append(dict(primitives[0], indices=len(header["accessors"]) - 1))

    path = as_file(gltf(several), "gltf", tmp_path)
    code = f"from dxa_monai.mesh.parse import read_triangles as r; print(r({str(path)!r})[1].tolist())"
    seen = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(seen) == 1


def several_modes(mode: int) -> bytes:
    """A second primitive of another mode beside the triangles."""

    def change(header: dict) -> None:
        primitives = header["meshes"][0]["primitives"]
        primitives.append(dict(primitives[0], mode=mode))

    return gltf(change)


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 5, 6])
def test_gltf_of_other_than_triangles_is_refused(mode: int, tmp_path: Path) -> None:
    """A plain reader leaves strips and fans out: half a body without a word."""
    with pytest.raises(InputError, match="expected triangles alone, got "):
        read_triangles(as_file(several_modes(mode), "gltf", tmp_path))
    assert len(read_triangles(as_file(several_modes(4), "gltf", tmp_path))[1]) == 24


@pytest.mark.parametrize(("name", "taken"), [("KHR_materials_unlit", True), ("EXT_mesh_secret", False)])
def test_gltf_that_requires_what_nobody_knows_is_refused(name: str, taken: bool, tmp_path: Path) -> None:
    path = as_file(gltf(lambda header: header.update(extensionsRequired=[name])), "gltf", tmp_path)
    if taken:
        assert len(read_triangles(path)[1]) == 12
    else:
        with pytest.raises(InputError, match=f"got one that requires {name}"):
            read_triangles(path)


def test_gltf_with_copies_made_by_an_extension_is_refused(tmp_path: Path) -> None:
    copies = {"EXT_mesh_gpu_instancing": {"attributes": {}}}
    path = as_file(gltf(lambda header: header["nodes"][0].update(extensions=copies)), "gltf", tmp_path)
    with pytest.raises(InputError, match="got copies made by EXT_mesh_gpu_instancing"):
        read_triangles(path)


def test_a_binary_stl_may_begin_with_solid(tmp_path: Path) -> None:
    content = b"solid by a CAD program facet".ljust(80) + file_bytes(box(), "stl")[80:]
    assert len(read_triangles(as_file(content, "stl", tmp_path))[1]) == 12
    text = file_bytes(box(), "stl-text")
    assert len(read_triangles(as_file(text.upper(), "stl", tmp_path))[1]) == 12


@pytest.mark.parametrize("form", ["ply", "ply-text"])
@pytest.mark.parametrize("comment", ["C:\\Users\\M\xfcller\\scan.ply".encode("latin-1"), b"the end_header of it", b""])
def test_comments_of_a_ply_are_nobodys_business(form: str, comment: bytes, tmp_path: Path) -> None:
    plain = file_bytes(box(), form)
    first, second, rest = plain.split(b"\n", 2)
    content = b"\n".join([first, second, b"comment " + comment, b"obj_info " + comment, rest])
    expected = read_triangles(as_file(plain, form, tmp_path))
    for found, wanted in zip(read_triangles(as_file(content, form, tmp_path)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_ply_strips_are_refused(tmp_path: Path) -> None:
    header = PLY % (b"ascii", 3) + b"element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    with pytest.raises(InputError, match="expected faces one by one, got them as 'tristrips'"):
        read_triangles(as_file(header + b"0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n", "ply", tmp_path))


@pytest.mark.parametrize("change", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r"),
                                    lambda text: text.replace(b"\n", b"\r\n"), lambda text: text.replace(b" ", b"\t"),
                                    lambda text: text.replace(b"v ", b" " * 40 + b"v\f"),
                                    lambda text: text.replace(b"f ", b"fo ")])  # fmt: skip
def test_an_obj_of_any_editor_is_the_same(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    vertices, faces = read_triangles(as_file(change(TRIANGLE + b"f 1 2 3\n"), "obj", tmp_path))
    np.testing.assert_array_equal(vertices, [[0, 0, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(faces, [[0, 1, 2]])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"f" + b" 1" * 40_000, "lines of at most 65536 bytes"),
        (b"v 0 0 0 2.0", "got 'v 0 0 0 2.0'"),
        (b"v 1_0 0 0", "got 'v 1_0 0 0'"),
        (b"surf 0 1 0 1 1 2 3", r"free-form curve or surface \(surf\) in line 4"),
    ],
)
def test_lines_of_an_obj_that_would_be_read_wrongly_are_refused(line: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_triangles(as_file(TRIANGLE + line + b"\nf 1 2 3\n", "obj", tmp_path))


@pytest.mark.parametrize("separator", [b"\r", b"\n\t", b"\n"])
def test_vertices_and_faces_of_an_obj_are_counted_wherever_they_stand(
    separator: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_ELEMENTS", 10)
    with pytest.raises(InputError, match="at most 10 "):
        read_triangles(as_file(separator.join([b"v 0 0 0"] * 20), "obj", tmp_path))
    with pytest.raises(InputError, match="at most 10 "):
        read_triangles(as_file(TRIANGLE + separator.join([b"f 1 2 3"] * 20), "obj", tmp_path))
