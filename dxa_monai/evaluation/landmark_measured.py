"""Landmarks of virtual scans by the rules and by a network, held against the true ones, scan by scan.

Every scan is looked at in several ways, whose names are the table's groups:

- as it was taken, on the cohort's own scanner: of adults or of children without any condition, and by condition;
- scanned anew, person and all that is foreign, on a scanner that nobody was trained on;
- moved: copies of its maps, turned and shifted, with noise of their own;
- where the rules find none, any of these;
- in parts: the legs alone, the body without its legs, upside down. No cut lines can be drawn there, and to find none is
  right.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from dxa_monai.analysis.landmark_finder import LandmarkResult, find_landmarks
from dxa_monai.analysis.landmarks import LANDMARK_NAMES
from dxa_monai.analysis.region_cuts import region_map_from_landmarks
from dxa_monai.evaluation.agreement import dice
from dxa_monai.evaluation.perturbed import VirtualScanner, assign_scanners, draw_scanners, rescan
from dxa_monai.inference.landmark_finders import NetworkFinder
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import channels_first
from dxa_monai.scan.regions import REGION_GROUPS
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.truth import Truth
from dxa_monai.training.landmark_data import truth_with_landmarks
from dxa_monai.transforms.geometric import FieldGeometry, move_map, move_points
from dxa_monai.transforms.landmark_maps import maps_of_scan

RULES, NETWORK, FALLBACK = "rules", "network", "rules, then network"
ADULTS, CHILDREN, OTHER_SCANNER, MOVED, PARTS = (
    "adults",
    "children",
    "another scanner",
    "moved copies",
    "parts of a body",
)
WITHOUT_RULES = "rules find none"
DICE_REGIONS = ("head", "arms", "legs", "trunk", "ribs", "spine", "pelvis")
_ADULT_YEARS = 18.0
_ROTATION_DEGREES, _COLUMN_SHIFT, _ROW_SHIFT = 5.0, 0.05, 0.01
"""Of a moved copy, at most; shifts in fractions of the field."""
_NOISE_G_CM2 = (0.3, 0.3, 0.02)
"""Standard deviation that a copy's fat, lean and mineral get besides."""
Map = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class SeenScan:
    """One view of one scan.

    Attributes:
        groups: whose views it is one of.
        areal_density_g_cm2: ``(3, H, W)`` as measured.
        body: ``(H, W)`` bool.
        truth: landmarks in its pixels; None: no cut lines can be drawn.
        region_map: the true one; None: not known.
        pixel_spacing_mm: (row, column).
    """

    groups: tuple[str, ...]
    areal_density_g_cm2: Map
    body: Map
    truth: Map | None
    region_map: Map | None
    pixel_spacing_mm: tuple[float, float]


def measure_landmarks(
    rows: Sequence[Mapping[str, Any]],
    network: NetworkFinder,
    model: ScannerModel,
    scanners: int = 3,
    copies: int = 10,
    seed: int = 0,
    source: ScanSource | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Find the landmarks of all views of all scans.

    Args:
        rows: manifest rows with ``truth``, landmarks included.
        network: whose landmarks are judged.
        model: of the scanner that the rows' scans are from.
        scanners: number of other scanners; people take turns.
        copies: moved copies of each scan without a condition.
        seed: of scanners, noise and moves.
        source: how the scans are read; None: as the files declare.
        progress: show a progress bar on stderr.

    Returns:
        One row a view, group and finder: ``scan_id, subject_id, group, finder, found, ms`` (NaN for rules, then
        network), ``{landmark}_cm`` (distance; NaN where none was found, or the true one is outside the field), ``seen``
        (number of true landmarks in the field) and ``dice_{region}`` of ``DICE_REGIONS``.

    Raises:
        InputError: a scan or its truth cannot be used.
    """
    source = ScanSource() if source is None else source
    others = draw_scanners(scanners, seed)
    scanner_of = assign_scanners(rows, scanners)
    records: list[dict[str, Any]] = []
    for number, row in enumerate(tqdm(rows, unit="scan", disable=not progress)):
        rng = np.random.default_rng([seed, number])
        scan = source.read(row["scan"])
        raw = torch.from_numpy(channels_first(scan.counts))
        other = others[scanner_of[str(row["subject_id"])]]
        for view in _views(row, raw, model, other, truth_with_landmarks(row), copies, seed, rng):
            records += _judged(row, view, network)
    return pd.DataFrame.from_records(records)


def _views(
    row: Mapping[str, Any],
    raw: torch.Tensor,
    model: ScannerModel,
    other: VirtualScanner,
    truth: Truth,
    copies: int,
    seed: int,
    rng: np.random.Generator,
) -> Iterator[SeenScan]:
    conditions = tuple(str(row.get("conditions") or "").split())
    plain = CHILDREN if float(row.get("age_years") or _ADULT_YEARS) < _ADULT_YEARS else ADULTS
    spacing = truth.pixel_spacing_mm
    own = SeenScan(
        conditions or (plain,), *maps_of_scan(raw, model, spacing), truth.landmarks, truth.region_map, spacing
    )
    yield own
    foreign = 0.0 if truth.foreign_g_cm2 is None else truth.foreign_g_cm2
    seen = (truth.areal_density_g_cm2 + foreign).astype(np.float32)
    again = rescan(replace(truth, areal_density_g_cm2=seen), other.acquisition, seed, str(row["scan_id"]))
    maps, body = maps_of_scan(again, other.phantom_model, spacing)
    yield replace(own, groups=(OTHER_SCANNER,), areal_density_g_cm2=maps, body=body)
    if conditions:
        return
    for _ in range(copies):
        yield _moved(own, rng)
    yield from _parts(own)


def _moved(view: SeenScan, rng: np.random.Generator) -> SeenScan:
    assert view.truth is not None
    geometry = FieldGeometry(
        rng.uniform(-_ROTATION_DEGREES, _ROTATION_DEGREES),
        rng.uniform(-_ROW_SHIFT, _ROW_SHIFT),
        rng.uniform(-_COLUMN_SHIFT, _COLUMN_SHIFT),
    )
    stacked = torch.from_numpy(np.concatenate([view.areal_density_g_cm2, view.body[None]]).astype(np.float32))
    moved = move_map(stacked, geometry, view.pixel_spacing_mm).numpy()
    body = moved[3] > 0.5
    noise = rng.standard_normal(moved[:3].shape) * np.array(_NOISE_G_CM2)[:, None, None]
    noise[1] = -noise[0] + 0.3 * noise[1]  # the noise of fat and lean cancels, as in a decomposition
    shape = (int(body.shape[0]), int(body.shape[1]))
    points = move_points(view.truth, geometry, shape, view.pixel_spacing_mm)
    return SeenScan((MOVED,), (moved[:3] + noise) * body, body, points, None, view.pixel_spacing_mm)


def _parts(view: SeenScan) -> Iterator[SeenScan]:
    assert view.truth is not None
    crotch = int(view.truth[LANDMARK_NAMES.index("crotch"), 0])
    rows = np.arange(view.body.shape[0])[:, None]
    for kept in (rows > crotch, rows < crotch):
        body = view.body & kept
        yield SeenScan((PARTS,), view.areal_density_g_cm2 * body, body, None, None, view.pixel_spacing_mm)
    turned = view.areal_density_g_cm2[:, ::-1], view.body[::-1]
    yield SeenScan((PARTS,), *turned, None, None, view.pixel_spacing_mm)


def _judged(row: Mapping[str, Any], view: SeenScan, network: NetworkFinder) -> list[dict[str, Any]]:
    given = view.areal_density_g_cm2, view.body, view.pixel_spacing_mm
    found: dict[str, tuple[LandmarkResult, float]] = {}
    for name, finder in ((RULES, find_landmarks), (NETWORK, network)):
        start = time.perf_counter()
        result = finder(*given)
        found[name] = result, 1000.0 * (time.perf_counter() - start)
    by_rules = found[RULES][0].landmarks is not None
    found[FALLBACK] = found[RULES if by_rules else NETWORK][0], float("nan")
    known = {"scan_id": row["scan_id"], "subject_id": row["subject_id"]}
    groups = (*view.groups, WITHOUT_RULES) if view.truth is not None and not by_rules else view.groups
    return [
        known | {"group": group, "finder": name, "ms": taken} | _distances(result, view) | _overlaps(result, view)
        for group in groups
        for name, (result, taken) in found.items()
    ]


def _distances(result: LandmarkResult, view: SeenScan) -> dict[str, Any]:
    apart = np.full(len(LANDMARK_NAMES), np.nan)
    seen = 0
    if view.truth is not None:
        inside = ((view.truth >= -0.5) & (view.truth <= np.array(view.body.shape) - 0.5)).all(axis=1)
        seen = int(inside.sum())
        if result.landmarks is not None:
            points = np.array([result.landmarks.point(name) for name in LANDMARK_NAMES])
            off_cm = (points - view.truth) * np.array(view.pixel_spacing_mm) / 10.0
            apart[inside] = np.linalg.norm(off_cm, axis=1)[inside]
    about = {f"{name}_cm": float(value) for name, value in zip(LANDMARK_NAMES, apart, strict=True)}
    return {"found": result.landmarks is not None, "seen": seen} | about


def _overlaps(result: LandmarkResult, view: SeenScan) -> dict[str, float]:
    """Dice of the regions that the landmarks cut the true silhouette into."""
    if result.landmarks is None or view.region_map is None:
        return {f"dice_{name}": float("nan") for name in DICE_REGIONS}
    cut = region_map_from_landmarks(result.landmarks, view.region_map > 0)
    return {
        f"dice_{name}": dice(np.isin(cut, REGION_GROUPS[name]), np.isin(view.region_map, REGION_GROUPS[name]))
        for name in DICE_REGIONS
    }
