"""Mending a body scan: only what :mod:`dxa_monai.mesh.checks` knows of, each mend told in a phrase."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dxa_monai.mesh.geometry import bounds, face_areas, face_centres, face_vectors
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.topology import disagreeing_faces, find_holes, pieces, repeated_faces, weld

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SurfaceState:
    """What the faces of a mesh amount to; shares are of the whole area.

    Attributes:
        piece_count: number of separate pieces.
        other_pieces_share: area outside the largest piece.
        other_pieces_outreach_m: how far the others reach beyond the largest piece's box, along one axis.
        doubled_share: area of faces that stand there a second time.
        disagreeing_share: area of faces wound against the surface around them.
        volume_m3: signed volume about the surface's own centre; negative if it is turned inside out.
        holes_share: area of the flattest patches over all holes.
    """

    piece_count: int
    other_pieces_share: float
    other_pieces_outreach_m: float
    doubled_share: float
    disagreeing_share: float
    volume_m3: float
    holes_share: float


def survey(mesh: BodyMesh) -> SurfaceState:
    """The state of a mesh whose faces have an area together."""
    areas, faces = mesh.face_areas_m2, mesh.faces
    total_m2 = float(areas.sum())
    welded, first = weld(mesh.vertices_m, faces)
    places = mesh.vertices_m[first]
    solid = areas > 0.0
    doubled = repeated_faces(welded) & solid
    once = solid & ~doubled
    piece = pieces(places, welded[once], areas[once])
    outreach = np.abs(bounds(places, welded[once]) - bounds(places, welded[once][piece == 0]))
    wrong = disagreeing_faces(welded[once], areas[once])
    wound = _turned(welded[once], wrong)
    return SurfaceState(
        piece_count=int(piece.max()) + 1,
        other_pieces_share=float(areas[once][piece > 0].sum() / areas[once].sum()),
        other_pieces_outreach_m=float(outreach.max()),
        doubled_share=float(areas[doubled].sum()) / total_m2,
        disagreeing_share=float(areas[once][wrong].sum() / areas[once].sum()),
        volume_m3=_volume_m3(places, wound),
        holes_share=float(find_holes(places, wound).areas_m2.sum() / areas[once].sum()),
    )


def repaired(mesh: BodyMesh, others: bool, max_holes: float) -> BodyMesh:
    """Mend, in this order: faces without area, doubled faces, other pieces, winding, direction, holes.

    Vertices keep their numbers, so that a fixed topology stays one; each closed hole adds a vertex at the end.

    Args:
        mesh: its faces have an area together.
        others: drop all but the largest piece.
        max_holes: holes are closed if together they are at most this share of the area, else all are left.

    Returns:
        The mesh with ``mends`` saying what was done, or the same mesh if there was nothing to do.
    """
    vertices, faces, mends = mesh.vertices_m, mesh.faces, []
    solid = mesh.face_areas_m2 > 0.0
    if not solid.all():
        mends.append(f"dropped {int((~solid).sum())} faces without area")
        faces = faces[solid]
    doubled = repeated_faces(weld(vertices, faces)[0])
    if doubled.any():
        mends.append(f"dropped {int(doubled.sum())} doubled faces")
        faces = faces[~doubled]
    if others:
        welded, first = weld(vertices, faces)
        piece = pieces(vertices[first], welded, face_areas(vertices, faces))
        share = face_areas(vertices, faces)[piece > 0].sum() / face_areas(vertices, faces).sum()
        mends.append(f"kept the largest of {int(piece.max()) + 1} pieces (dropped {share:.1%} of the surface)")
        faces = faces[piece == 0]
    wrong = disagreeing_faces(weld(vertices, faces)[0], face_areas(vertices, faces))
    if wrong.any():
        mends.append(f"turned {int(wrong.sum())} faces wound against the others")
        faces = _turned(faces, wrong)
    if _volume_m3(vertices, faces) < 0.0:
        mends.append("turned the surface outwards")
        faces = _turned(faces, np.ones(len(faces), dtype=bool))
    vertices, faces, closed = _with_holes_closed(vertices, faces, max_holes)
    if closed:
        mends.append(f"closed {closed} holes")
    if not mends:
        return mesh
    return replace(mesh, vertices_m=vertices, faces=faces, mends=(*mesh.mends, *mends))


def _with_holes_closed(vertices: FloatArray, faces: IntArray, max_holes: float) -> tuple[FloatArray, IntArray, int]:
    """A fan over each hole around the mean of its corners, and how many there were."""
    welded, first = weld(vertices, faces)
    holes = find_holes(vertices[first], welded)
    count = len(holes.areas_m2)
    if not count or holes.areas_m2.sum() > max_holes * face_areas(vertices, faces).sum():
        return vertices, faces, 0
    edges = first[holes.edges]
    corners = np.bincount(holes.hole, minlength=count)[:, None]
    sums = np.stack([np.bincount(holes.hole, vertices[edges[:, 0], axis], count) for axis in range(3)], axis=1)
    fans = np.column_stack([edges[:, 1], edges[:, 0], len(vertices) + holes.hole])
    return np.concatenate([vertices, sums / corners]), np.concatenate([faces, fans]), count


def _turned(faces: IntArray, which: npt.NDArray[np.bool_]) -> IntArray:
    return np.where(which[:, None], faces[:, ::-1], faces)


def _volume_m3(vertices: FloatArray, faces: IntArray) -> float:
    """Divergence theorem about the surface's centre, so that holes change the size of the result but not its sign."""
    vectors, centres = face_vectors(vertices, faces), face_centres(vertices, faces)
    areas = np.linalg.norm(vectors, axis=1)
    centre = (areas[:, None] * centres).sum(axis=0) / areas.sum()
    return float(np.einsum("ij,ij->", vectors, centres - centre) / 3.0)
