"""What hangs together in a triangle mesh: equal vertices, pieces, orientation, holes.

Vertices are ``(V, 3)`` float64 in metres, faces ``(F, 3)`` int64 indices. Everything works on *welded* faces, in which
vertices at the same place are one, because formats split vertices at texture seams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

JOINING_GAP_M = 0.001
"""Pieces closer than this belong together: the seams between the cameras of a scanner are such cracks."""


def weld(vertices: FloatArray, faces: IntArray) -> tuple[IntArray, IntArray]:
    """Give vertices at exactly the same place one index.

    Returns:
        Faces ``(F, 3)`` with indices into the ``W`` places, and for each place its first vertex, ``(W,)``, ascending.
    """
    places = vertices + 0.0  # -0.0 and 0.0 are the same place
    order = np.lexsort(places.T)
    in_order = places[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = ~_equal_rows(in_order[1:], in_order[:-1])
    group_of_rank = np.cumsum(is_new) - 1
    first = np.full(int(is_new.sum()), len(vertices), dtype=np.int64)
    np.minimum.at(first, group_of_rank, order)
    # Number the places by their first vertex, so that a mesh without doubles keeps its own numbering.
    by_first = np.argsort(first)
    number = np.empty_like(by_first)
    number[by_first] = np.arange(len(first))
    place_of_vertex = np.empty(len(vertices), dtype=np.int64)
    place_of_vertex[order] = number[group_of_rank]
    return place_of_vertex[faces], first[by_first]


def repeated_faces(welded: IntArray) -> BoolArray:
    """``(F,)`` whether an earlier face has the same three corners, whichever way round."""
    corners = np.sort(welded, axis=1)
    order = np.lexsort((np.arange(len(corners)), *corners.T))
    in_order = corners[order]
    repeated = np.zeros(len(corners), dtype=bool)
    repeated[order[1:]] = _equal_rows(in_order[1:], in_order[:-1])
    return repeated


def pieces(vertices: FloatArray, welded: IntArray, areas: FloatArray) -> IntArray:
    """``(F,)`` number of the piece that each face belongs to; 0 is the piece with the largest area.

    Faces belong together when they share a corner, or when corners are less than ``JOINING_GAP_M`` apart.

    Args:
        vertices: ``(W, 3)`` places of the welded corners.
        welded: ``(F, 3)``.
        areas: ``(F,)``.
    """
    links = np.concatenate([welded[:, :2], welded[:, 1:]])
    labels = _components(links, len(vertices))
    used = np.unique(welded)
    if len(np.unique(labels[used])) > 1:
        close = cKDTree(vertices[used]).query_pairs(JOINING_GAP_M, output_type="ndarray")
        labels = _components(np.concatenate([links, used[close]]), len(vertices))
    label_of_face = labels[welded[:, 0]]
    area = np.bincount(label_of_face, areas, minlength=labels.max() + 1)
    rank = np.empty(len(area), dtype=np.int64)
    rank[np.argsort(-area, kind="stable")] = np.arange(len(area))
    return rank[label_of_face]


def disagreeing_faces(welded: IntArray, areas: FloatArray) -> BoolArray:
    """``(F,)`` which faces are wound against the majority (by area) of the surface around them.

    Two faces at an edge agree when they run along it in opposite directions. Every face is a pair of nodes, "as it is"
    and "turned over"; edges link nodes that agree, and the linked sets are the two consistent ways to wind a surface.
    Edges of three or more faces say nothing. A surface that cannot be wound consistently has no such faces.
    """
    count = len(welded)
    edge, face, forward = _half_edges(welded, int(welded.max()) + 1)
    second = np.flatnonzero(_second_of_two(edge))
    left, right = face[second - 1], face[second]
    agree = forward[second - 1] != forward[second]
    links = np.concatenate(
        [
            np.column_stack([left, np.where(agree, right, right + count)]),
            np.column_stack([left + count, np.where(agree, right + count, right)]),
        ]
    )
    labels = _components(links, 2 * count)
    as_is, turned = labels[:count], labels[count:]
    sheet = np.minimum(as_is, turned)
    is_turned = (as_is != turned) & (as_is != sheet)
    area = np.bincount(sheet, areas, minlength=labels.max() + 1)
    turned_area = np.bincount(sheet[is_turned], areas[is_turned], minlength=len(area))
    mostly_turned = turned_area > area / 2.0
    return np.asarray(is_turned != (mostly_turned[sheet] & (as_is != turned)))


@dataclass(frozen=True, eq=False)
class Holes:
    """Open boundary of a surface.

    Attributes:
        edges: ``(E, 2)`` boundary edges in welded indices, along their face.
        hole: ``(E,)`` number of the hole that each belongs to.
        areas_m2: ``(number of holes,)`` area of the flattest patch over each hole: the length of its vector area, which
            is all that a patch of any shape adds to the closed surface's (zero) sum of face vectors.
    """

    edges: IntArray
    hole: IntArray
    areas_m2: FloatArray


def find_holes(vertices: FloatArray, welded: IntArray) -> Holes:
    """The boundary edges (those of a single face), grouped by the corners they share.

    Args:
        vertices: ``(W, 3)`` places of the welded corners.
        welded: ``(F, 3)`` consistently wound.
    """
    edge, _, forward = _half_edges(welded, len(vertices))
    alone = np.ones(len(edge), dtype=bool)
    alone[1:] &= edge[1:] != edge[:-1]
    alone[:-1] &= edge[1:] != edge[:-1]
    low, high = np.divmod(edge[alone], len(vertices))
    edges = np.where(forward[alone, None], np.column_stack([low, high]), np.column_stack([high, low]))
    if not len(edges):
        return Holes(edges, np.empty(0, dtype=np.int64), np.empty(0))
    corners, local = np.unique(edges, return_inverse=True)
    local = local.reshape(-1, 2)
    hole = _components(local, len(corners))[local[:, 0]]
    count = int(hole.max()) + 1
    centres = _sums(hole, vertices[edges[:, 0]], count) / np.bincount(hole, minlength=count)[:, None]
    twice = np.cross(vertices[edges[:, 0]] - centres[hole], vertices[edges[:, 1]] - centres[hole])
    return Holes(edges, hole, np.linalg.norm(_sums(hole, twice, count) / 2.0, axis=1))


def _sums(group: IntArray, rows: FloatArray, count: int) -> FloatArray:
    """``(count, 3)`` sum of the rows of each group."""
    return np.stack([np.bincount(group, column, count) for column in rows.T], axis=1)


def _components(links: IntArray, count: int) -> IntArray:
    graph = scipy.sparse.coo_matrix((np.ones(len(links), dtype=np.int8), (links[:, 0], links[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _half_edges(welded: IntArray, count: int) -> tuple[IntArray, IntArray, BoolArray]:
    """The 3F sides of the faces, sorted by edge.

    Returns:
        The edge as ``low * count + high``, the face, and whether the side runs from low to high, ``(3F,)`` each.
    """
    start, end = welded.T.ravel(), np.roll(welded, -1, axis=1).T.ravel()
    face = np.tile(np.arange(len(welded)), 3)
    edge = np.minimum(start, end) * count + np.maximum(start, end)
    order = np.argsort(edge, kind="stable")
    return edge[order], face[order], (start < end)[order]


def _second_of_two(edge: IntArray) -> BoolArray:
    """Where the second of exactly two equal edges stands."""
    same = np.zeros(len(edge) + 2, dtype=bool)  # same[i + 1]: edge i equals the one before
    same[2:-1] = edge[1:] == edge[:-1]
    return np.asarray(same[1:-1] & ~same[:-2] & ~same[2:])


def _equal_rows(left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> BoolArray:
    """Compared column by column, many times faster than ``all`` over a short axis."""
    equal = np.ones(len(left), dtype=bool)
    for column in range(left.shape[1]):
        equal &= left[:, column] == right[:, column]
    return equal
