"""The same scan twice: found also when it was saved in another format, shifted by a pixel or two, made a bit noisy, or
stored with left and right exchanged (in radiological and neurological convention).

Two visits of one person differ by far more, since nobody lies down twice in the same way.

1. The signature of a scan is its attenuation above air, moved so that its centre of mass lies in the middle, averaged
   over 15 x 12 blocks, freed of its mean and of unit length. A shift does not change it, and noise hardly does.
2. Scans whose signatures are nearest neighbours within ``SIGNATURE_DISTANCE`` are candidates.
   The signature of the mirror image is the mirror image of the signature: each scan is also compared with all mirrored.
3. Of a candidate pair all pixels of the body and all channels are compared at the whole-pixel shift that fits best:
   their RMS difference over the standard deviation of the scan has to be below ``RESIDUAL``.

The two limits lie between what was measured for copies and for second visits (docs/own_scans.md). A copy that was
resampled by a fraction of a pixel differs like a second visit and is not found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import shift

from dxa_monai.scan.format import body_pixels

SIGNATURE_DISTANCE = 0.03
RESIDUAL = 0.05
BLOCKS = (15, 12)
_NEIGHBOURS = 6
_SHIFT_AROUND = (-1, 0, 1)

Counts = npt.NDArray[np.uint16]
Signature = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class DuplicatePair:
    """Two scans that are one: their places in the list (``first < second``), how little they differ, and whether the
    second has left and right exchanged.
    """

    first: int
    second: int
    signature_distance: float
    residual: float
    mirrored: bool = False


def signature(counts: Counts) -> Signature | None:
    """The signature ``(180,)`` of a scan ``(H, W, 6)``; None if it shows no body or is smaller than the blocks."""
    rows, columns = (size // blocks for size, blocks in zip(counts.shape[:2], BLOCKS, strict=True))
    attenuation = _above_air(counts)
    if rows == 0 or columns == 0 or not attenuation.any():
        return None
    centre = _centre_of_mass(attenuation)
    size = np.array([rows * BLOCKS[0], columns * BLOCKS[1]])
    top, left = (np.array(attenuation.shape) - size) // 2
    middle = (size - 1) / 2 + (top, left)  # of the blocks, so that a mirror image has the mirror image of the signature
    # linear interpolation: mass is kept, and a shift of a whole pixel gives the same image
    moved = shift(attenuation, middle - centre, order=1, mode="constant")
    blocks = moved[top : top + size[0], left : left + size[1]].reshape(BLOCKS[0], rows, BLOCKS[1], columns)
    flat = blocks.mean(axis=(1, 3)).ravel()
    flat = flat - flat.mean()
    length = float(np.linalg.norm(flat))
    return None if length == 0.0 else (flat / length).astype(np.float32)


def residual(first: Counts, second: Counts) -> float:
    """RMS difference of two scans over their standard deviation, in the body, at the shift that fits best.

    0 for a copy, about 0.09 and more for two visits. Infinite if the shapes differ or one of them shows no body.
    """
    bodies = [_above_air(counts) for counts in (first, second)]
    if first.shape != second.shape or not all(body.any() for body in bodies):
        return float("inf")
    offset = np.rint(_centre_of_mass(bodies[0]) - _centre_of_mass(bodies[1])).astype(int)
    return min(
        _residual_at(first, second, bodies, int(offset[0]) + down, int(offset[1]) + right)
        for down in _SHIFT_AROUND
        for right in _SHIFT_AROUND
    )


def near_duplicates(
    signatures: Sequence[Signature | None], load: Callable[[int], Counts], neighbours: int = _NEIGHBOURS
) -> list[DuplicatePair]:
    """The pairs of scans that are one, ordered.

    Args:
        signatures: of all scans; None is compared with nothing.
        load: the counts ``(H, W, 6)`` of a scan by its place in the list; called for candidates only.
        neighbours: how many of a scan's nearest signatures are looked at. Of more copies than these not all pairs are
            told, but each copy is told in some pair.
    """
    from sklearn.neighbors import NearestNeighbors  # only here: its import takes a second

    known = [place for place, each in enumerate(signatures) if each is not None]
    if len(known) < 2:
        return []
    table = np.stack([each for each in signatures if each is not None])
    index = NearestNeighbors(algorithm="brute").fit(table)
    candidates: dict[tuple[int, int, bool], float] = {}
    for mirrored in (False, True):
        asked = _mirrored(table) if mirrored else table
        # one more than asked for, as a scan is its own neighbour and often its own mirror image's
        distances, places = index.kneighbors(asked, n_neighbors=min(neighbours + 1, len(known)))
        candidates |= {
            (min(known[one], known[other]), max(known[one], known[other]), mirrored): float(distance)
            for one, (near, far) in enumerate(zip(places.tolist(), distances.tolist(), strict=True))
            for other, distance in zip(near, far, strict=True)
            if distance < SIGNATURE_DISTANCE and one != other
        }
    found: dict[tuple[int, int], DuplicatePair] = {}
    for (first, second, mirrored), distance in candidates.items():
        other = load(second)
        value = residual(load(first), np.ascontiguousarray(other[:, ::-1]) if mirrored else other)
        if value < RESIDUAL and ((first, second) not in found or value < found[first, second].residual):
            found[first, second] = DuplicatePair(first, second, distance, value, mirrored)
    return sorted(found.values(), key=lambda pair: (pair.first, pair.second))


def _mirrored(table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Signatures ``(N, 180)`` of the scans with left and right exchanged."""
    blocks = table.reshape(len(table), *BLOCKS)
    return np.ascontiguousarray(blocks[:, :, ::-1]).reshape(table.shape)


def _above_air(counts: Counts) -> npt.NDArray[np.float32]:
    """Mean attenuation ``(H, W)`` of all channels above the open air; 0 outside the body."""
    attenuation, air, body = body_pixels(counts)
    return np.where(body, attenuation - air, 0.0).astype(np.float32)


def _centre_of_mass(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    rows, columns = image.sum(axis=1, dtype=np.float64), image.sum(axis=0, dtype=np.float64)
    total = rows.sum()
    return np.array([rows @ np.arange(len(rows)), columns @ np.arange(len(columns))]) / total


def _residual_at(
    first: Counts, second: Counts, bodies: Sequence[npt.NDArray[np.float32]], down: int, right: int
) -> float:
    """With the second scan moved down and to the right; pixels that leave the field are left out."""
    height, width = first.shape[:2]
    here = (slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right)))
    there = (slice(max(0, -down), height + min(0, -down)), slice(max(0, -right), width + min(0, -right)))
    body = (bodies[0][here] > 0) | (bodies[1][there] > 0)
    if not body.any():
        return float("inf")
    one = first[here][body].astype(np.float32)
    other = second[there][body].astype(np.float32)
    spread = float(((one + other) / 2).std())
    return float("inf") if spread == 0.0 else float(np.sqrt(np.square(one - other).mean()) / spread)
