"""Time and memory of the pictures of reports: does drawing scan after scan take more and more memory?

    python -m benchmarks.pictures --manifest data/cohort/manifest.csv --scans 50

Processor time, on one thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch

from dxa_monai.analysis.composition import analyse_scan
from dxa_monai.figures.scan_report import composition_figure
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.scan.format import PIXEL_SPACING_MM
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.terminal import errors_as_sentence

_WARM_UP = 10


def resident_megabytes() -> float:
    """What this process holds in memory now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@errors_as_sentence()
def main() -> None:
    """Print milliseconds of processor time a picture, and what memory grew by after the first ten."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", default="data/cohort/manifest.csv")
    parser.add_argument("--scans", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source, rows = ScanSource(), read_manifest(arguments.manifest)
    model = scanner_of_rows(rows[:8], source)
    analysed = [analyse_scan(source.image(row["scan"]), model) for row in rows[: arguments.scans]]
    held, spent = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.scans):
            begun = time.process_time()
            path = Path(folder) / "picture.png"
            composition_figure(analysed[number % len(analysed)], "a scan", PIXEL_SPACING_MM, {}, path)
            spent.append(time.process_time() - begun)
            held.append(resident_megabytes())
    print(f"{1e3 * sum(spent[1:]) / max(len(spent) - 1, 1):.0f} ms a picture")
    begin = min(_WARM_UP, len(held) - 1)
    print(f"memory {held[begin]:.0f} MB after {begin + 1} pictures, {held[-1]:.0f} MB after {len(held)}")


if __name__ == "__main__":
    main()
