"""Writes the precision of repeated scans of virtual people, which ``configs/changes.json`` takes unless told otherwise.

    python -m monai.bundle run --config_file configs/cohort.json --count 960 --seed 1 --output_dir data/pairs
    python -m scripts.build_virtual_precision

A fifth of the people of a cohort were scanned twice, and lay down anew. All of them are analysed with a scanner that
was calibrated with its step phantom; ``dxa_monai/evaluation/data/virtual_precision.csv`` is what they tell.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from dxa_monai.evaluation.precision import VIRTUAL, measure_precision, write_precision
from dxa_monai.inference.body_composition import analyse_scans
from dxa_monai.inference.scanner_calibration import calibrate_scanner
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import unit_to_counts
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.manifest import read_manifest


def main() -> None:
    """Analyse and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=Path("data/pairs/manifest.csv"))
    parser.add_argument("--output_dir", type=Path, default=Path("runs/virtual_precision"))
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    rows = read_manifest(chosen.manifest)
    visits = Counter(row["subject_id"] for row in rows)
    repeated = [row for row in rows if visits[row["subject_id"]] > 1]
    phantom = StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0))
    counts = unit_to_counts(np.moveaxis(phantom.numpy(), 0, -1))
    scan, model = chosen.output_dir / "phantom.npy", chosen.output_dir / "scanner_model.json"
    save_scan(RawScan(counts), scan)
    calibrate_scanner(scan, model)
    table = analyse_scans(repeated, chosen.output_dir / "analysis", model, workers=chosen.workers)
    write_precision(measure_precision(table, chosen.output_dir), VIRTUAL)
    print(f"{len(repeated)} scans of {len({row['subject_id'] for row in repeated})} people: {VIRTUAL}")


if __name__ == "__main__":
    main()
