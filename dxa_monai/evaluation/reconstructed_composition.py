"""Body composition of reconstructions against that of the scans they were made from: the paper's table 2.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663, section 4.1.1.

Both are measured by the same analysis, in the regions found in the scan (as a reader copies his regions of interest
from one image to the other); bone is found in each image itself. Two rows tell how to read the others: what the
analysis says of the scans against the truth (its own ceiling), and the mean of the training people as the answer to
everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import r2_score
from tqdm import tqdm

from dxa_monai.analysis.bone import find_and_decompose
from dxa_monai.analysis.landmark_finder import find_landmarks
from dxa_monai.analysis.regions import region_map_from_landmarks
from dxa_monai.analysis.run_scanner import calibration_scans
from dxa_monai.analysis.scan_calibration import calibrate_with_scan
from dxa_monai.errors import InputError
from dxa_monai.evaluation.agreement import agreement
from dxa_monai.evaluation.composition import MEASURES_13
from dxa_monai.evaluation.linear_baseline import baseline_name, linear_reconstruction
from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model
from dxa_monai.scan.format import PIXEL_SPACING_MM, pixel_area_cm2
from dxa_monai.scan.regions import regional_totals
from dxa_monai.scan.source import ScanSource

MEASURES = (*MEASURES_13, "total_fat_percent")
ORIGINAL, MEAN, CEILING = "scan", "training_mean", "scan_against_truth"
_MEAN_SCANS = 100
"""So many training scans make their mean: its standard error is a tenth of the spread between people."""


def scanner_of(rows: Sequence[Mapping[str, Any]], path: str | Path | None) -> ScannerModel:
    """The scanner that analyses: from its file, or calibrated with some of the rows' scans, or nominal, which is said.

    Raises:
        InputError: the file is no scanner model.
    """
    if path is not None:
        return read_scanner_model(path)
    scans, spacing = calibration_scans(rows, ScanSource())
    try:
        if len(scans):
            return calibrate_with_scan(scans, pixel_spacing_mm=spacing)
        reason = "no scan shows a body in open air"
    except InputError as error:
        reason = str(error)
    print(f"Body composition is analysed as of the nominal scanner, uncalibrated: {reason}")
    return ScannerModel()


def measured_composition(
    rows: Sequence[Mapping[str, Any]],
    training_rows: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Sequence[DXAVAE]],
    scanner: ScannerModel,
    principal: LinearPath | None = None,
    device: str | torch.device = "cpu",
) -> pd.DataFrame:
    """What the analysis measures on scans and on their reconstructions.

    Args:
        rows: manifest rows of the people held out.
        training_rows: manifest rows of the training people.
        networks: trained networks, one a seed, by the name of their arm.
        scanner: the calibrated scanner.
        principal: principal components of the training scans, the linear baseline.
        device: where the networks are.

    Returns:
        One row a scan, source (``ORIGINAL``, ``MEAN``, the baseline, each arm) and seed: ``scan_id, subject_id, source,
        seed``, the ``MEASURES``, and ``true_{measure}`` where the manifest has it. Scans in which no whole body is
        found are left out; without training scans, so is ``MEAN``.
    """
    records = []
    mean_image = next(iter(networks.values()))[0].mean_image.detach().cpu()
    principal = None if principal is None else principal.cpu()
    average = _training_mean(training_rows, scanner)
    for row in tqdm(rows, desc="body composition", unit="scan"):
        raw = raw_image(row)
        found = analysed_regions(raw, scanner)
        if found is None:
            continue
        areal, region_map = found
        images: dict[tuple[str, int], torch.Tensor] = {}
        if principal is not None:
            images[baseline_name(principal), 0] = linear_reconstruction(principal, mean_image, raw)
        with torch.no_grad():
            for arm, of_seeds in networks.items():
                for place, network in enumerate(of_seeds):
                    images[arm, place] = network.reconstruct(raw.to(device)).cpu()
        about = {"scan_id": row["scan_id"], "subject_id": row["subject_id"]}
        truth = {f"true_{name}": row[name] for name in MEASURES if name in row}
        values = {(ORIGINAL, 0): regional_totals(areal, region_map, pixel_area_cm2())}
        if average:
            values[MEAN, 0] = average
        for key, image in images.items():
            values[key] = totals_in_regions(image, region_map, scanner)
        for (source, place), totals in values.items():
            records.append(
                about | {"source": source, "seed": place} | truth | {name: totals[name] for name in MEASURES}
            )
    return pd.DataFrame.from_records(records, columns=None if records else ["scan_id", "subject_id", "source", "seed"])


def table_2(measured: pd.DataFrame, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """The paper's table 2 with intervals over people.

    Args:
        measured: from :func:`measured_composition`.
        confidence: coverage of the intervals.
        seed: of the bootstrap.

    Returns:
        One row a source and measure: ``source, measure, seeds, people, scans, truth_mean`` (of what it is compared
        with), R2, RMSE, bias with ``_low`` and ``_high``, and ``r2_seed_sd``, how far the seeds lie apart. The rows of
        ``CEILING`` compare the scans with the truth, all others with the scans.
    """
    original = measured[measured["source"] == ORIGINAL].set_index("scan_id")
    tables = []
    for source, group in measured.groupby("source", sort=False):
        first = group[group["seed"] == group["seed"].iloc[0]]
        reference = original.loc[first["scan_id"]]
        for name in MEASURES:
            if source == ORIGINAL:
                if f"true_{name}" not in group:
                    continue
                wanted, label = first[f"true_{name}"].to_numpy(), CEILING
            else:
                wanted, label = reference[name].to_numpy(), str(source)
            wide = group.pivot(index="seed", columns="scan_id", values=name)[first["scan_id"]].to_numpy()
            statistics = agreement(wide, wanted, list(first["subject_id"]), confidence, seed=seed)
            spread = float(np.std([r2_score(wanted, each) for each in wide], ddof=1)) if len(wide) > 1 else np.nan
            about = {"source": label, "measure": name, "seeds": len(wide)}
            tables.append(about | statistics | {"r2_seed_sd": spread})
    return pd.DataFrame(tables)


def format_table_2(table: pd.DataFrame) -> str:
    """R2 (and, in brackets, RMSE) by measure and source, as text for the terminal."""
    sources = list(dict.fromkeys(table["source"]))
    cells = {(row["measure"], row["source"]): f"{row['r2']:.3f} ({row['rmse']:.3g})" for _, row in table.iterrows()}
    shown = pd.DataFrame(
        [[cells.get((name, source), "") for source in sources] for name in dict.fromkeys(table["measure"])],
        index=list(dict.fromkeys(table["measure"])),
        columns=sources,
    )
    return shown.to_string()


def table_2_as_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Table 2 as numbers for a tracker: ``{source}/{measure}_r2`` and ``_rmse``."""
    values = {
        f"{row['source']}/{row['measure']}_{name}": float(row[name])
        for _, row in table.iterrows()
        for name in ("r2", "rmse")
    }
    return {name: value for name, value in values.items() if np.isfinite(value)}


def raw_image(row: Mapping[str, Any]) -> torch.Tensor:
    """The scan of a manifest row, ``(1, 6, H, W)`` in [0, 1]."""
    return ScanSource().image(row["scan"])[None]


def analysed_regions(
    raw: torch.Tensor, scanner: ScannerModel
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Areal densities ``(3, H, W)`` and region map ``(H, W)`` of a scan; None where no whole body is found."""
    areal = find_and_decompose(raw, scanner)[1][0].numpy()
    body = np.asarray(areal.any(axis=0))
    landmarks = find_landmarks(areal, body, PIXEL_SPACING_MM).landmarks
    return None if landmarks is None else (areal, region_map_from_landmarks(landmarks, body))


def totals_in_regions(image: torch.Tensor, region_map: np.ndarray[Any, Any], scanner: ScannerModel) -> dict[str, float]:
    """What the analysis measures on an image ``(1, 6, H, W)`` in the regions of a scan."""
    maps = find_and_decompose(image, scanner)[1][0].numpy()
    return regional_totals(maps, region_map, pixel_area_cm2())


def _training_mean(rows: Sequence[Mapping[str, Any]], scanner: ScannerModel) -> dict[str, float]:
    """Mean of each measure over scans spread evenly through the training people."""
    area_cm2 = pixel_area_cm2()
    step = -(-len(rows) // _MEAN_SCANS) or 1
    found = [analysed_regions(raw_image(row), scanner) for row in rows[::step]]
    totals = [regional_totals(*each, area_cm2) for each in found if each is not None]
    return {name: float(np.mean([total[name] for total in totals])) for name in MEASURES if totals}
