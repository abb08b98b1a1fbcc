"""Time and memory of the body-composition analysis on one core: raw scan in memory to report, without pictures.

    python -m benchmarks.body_composition --manifest data/cohort/manifest.csv

On scans of the default scanner. Processor time, so other programs on the machine hardly matter. The parts are timed by
themselves; "whole" also flags, adds up the regions and writes the JSON report.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dxa_monai.analysis.bone import decompose, find_and_decompose, find_bone
from dxa_monai.analysis.composition import analyse_scan
from dxa_monai.analysis.landmark_finder import find_landmarks
from dxa_monai.analysis.scan_calibration import calibrate_with_scan
from dxa_monai.inference.body_composition import analyse_scans
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.correction import find_correction
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import write_scanner_model
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import PIXEL_SPACING_MM, counts_to_unit
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.terminal import errors_as_sentence

TARGET_PER_SECOND = 20.0


def milliseconds(function: Callable[[torch.Tensor], object], scans: list[torch.Tensor]) -> float:
    """Mean processor time of a call on each of the scans, after one that is not counted."""
    function(scans[0])
    start = time.process_time()
    for scan in scans:
        function(scan)
    return 1e3 * (time.process_time() - start) / len(scans)


@errors_as_sentence()
def main() -> None:
    """Print a line a part, then scans per second and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", default="data/cohort/manifest.csv")
    parser.add_argument("--scans", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_manifest(arguments.manifest)[: arguments.scans]
    counts = [counts_to_unit(load_scan(row["scan"]).counts) for row in rows]
    scans = [torch.from_numpy(np.moveaxis(image, -1, 0).copy()) for image in counts]
    # With a phantom, scatter and blur are known and taken off every scan: all that there is to do.
    model = calibrate_with_phantom(StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0)))
    raw_scans = scans
    with torch.no_grad():
        corrections = [find_correction(scan, model) for scan in raw_scans]
        scans = [each.apply(scan[None])[0] for each, scan in zip(corrections, raw_scans, strict=True)]
        masks = {id(scan): find_bone(scan[None], model) for scan in scans}
        maps = {id(scan): decompose(scan[None], model, masks[id(scan)])[0].numpy() for scan in scans}

        def landmarks(scan: torch.Tensor) -> object:
            return find_landmarks(maps[id(scan)], masks[id(scan)].body[0, 0].numpy(), PIXEL_SPACING_MM)

        parts = {
            "calibration with 8 scans, once a run": milliseconds(
                lambda _: calibrate_with_scan(torch.stack(raw_scans[:8])), scans[:2]
            ),
            "correction": milliseconds(lambda scan: find_correction(scan, model).apply(scan[None]), raw_scans),
            "bone mask": milliseconds(lambda scan: find_bone(scan[None], model), scans),
            "decomposition": milliseconds(lambda scan: decompose(scan[None], model, masks[id(scan)]), scans),
            "bone mask and decomposition in one": milliseconds(
                lambda scan: find_and_decompose(scan[None], model), scans
            ),
            "landmarks": milliseconds(landmarks, scans),
            "all in memory": milliseconds(lambda scan: analyse_scan(scan, model), raw_scans),
        }
    with tempfile.TemporaryDirectory() as folder:
        write_scanner_model(model, Path(folder) / "model.json")
        start = time.process_time()
        analyse_scans(rows, Path(folder) / "out", Path(folder) / "model.json", progress=False)
        whole = 1e3 * (time.process_time() - start) / len(rows)
    for name, spent in parts.items():
        print(f"{name:38s} {spent:7.1f} ms")
    print(f"{'whole: file in, report out, no picture':38s} {whole:7.1f} ms")
    print(f"{1e3 / whole:.1f} scans/s on one core (asked for: {TARGET_PER_SECOND:g})")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, libraries included")


if __name__ == "__main__":
    main()
