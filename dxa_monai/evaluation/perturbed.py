"""Scanners that the analysis does not know, and virtual people scanned on them.

Each has its own voltages, filters, detector and photons (:meth:`Acquisition.perturbed`) and its own scan of the step
phantom. The people's true maps are scanned anew, so the analysis never meets the acquisition of the cohort.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.scanner_model import ScannerModel, calibrate_with_phantom
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import counts_to_unit


@dataclass(frozen=True)
class VirtualScanner:
    """A scanner with what its owner knows of it.

    Attributes:
        number: from 0.
        acquisition: what it is; the analysis must not see it.
        phantom_model: calibrated with its scan of the step phantom.
    """

    number: int
    acquisition: Acquisition
    phantom_model: ScannerModel


@dataclass(frozen=True, eq=False)
class Truth:
    """What a virtual scan holds.

    Attributes:
        areal_density_g_cm2: ``(3, H, W)`` float32.
        region_map: ``(H, W)`` uint8.
        pixel_spacing_mm: (row, column).
    """

    areal_density_g_cm2: npt.NDArray[np.float32]
    region_map: npt.NDArray[np.uint8]
    pixel_spacing_mm: tuple[float, float]


def draw_scanners(count: int, seed: int, base: Acquisition | None = None) -> list[VirtualScanner]:
    """Perturbed scanners; each depends on the seed and its own number alone.

    Args:
        count: how many.
        seed: of the draw and of the phantom scans' noise.
        base: the scanner they differ from; default: the default ``Acquisition``.

    Raises:
        InputError: ``count`` is not positive.
    """
    if count < 1:
        raise InputError(f"scanners: expected at least 1, got {count}.")
    base = Acquisition() if base is None else base
    scanners = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        acquisition = base.perturbed(rng)
        noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
        scanners.append(
            VirtualScanner(number, acquisition, calibrate_with_phantom(StepPhantom().scan(acquisition, noise)))
        )
    return scanners


def assign_scanners(rows: Sequence[Mapping[str, Any]], count: int) -> dict[str, int]:
    """Number of the scanner of each person, in turn; a person's visits are all on one scanner."""
    people = sorted({str(row["subject_id"]) for row in rows})
    return {person: index % count for index, person in enumerate(people)}


def load_truth(row: Mapping[str, Any]) -> Truth:
    """The truth of a manifest row.

    Raises:
        InputError: the row has no truth, or the file is not one.
    """
    if "truth" not in row:
        raise InputError(f"{row['scan_id']}: expected a truth in the manifest (virtual scans have one), got none.")
    try:
        with np.load(Path(row["truth"]), allow_pickle=False) as stored:
            areal, regions = stored["areal_density_g_cm2"], stored["region_map"]
            spacing = [float(side) for side in stored["pixel_spacing_mm"]]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{row['truth']}: expected the truth of a virtual scan, got {error!r}.") from error
    if areal.ndim != 3 or len(areal) != 3 or areal.shape[1:] != regions.shape or len(spacing) != 2:
        raise InputError(f"{row['truth']}: expected maps (3, H, W) and regions (H, W), got {areal.shape}.")
    return Truth(areal.astype(np.float32), regions, (spacing[0], spacing[1]))


def rescan(truth: Truth, acquisition: Acquisition, seed: int, scan_id: str) -> torch.Tensor:
    """Scan a virtual person on a scanner, with noise and 14 bits.

    Args:
        truth: what lies in the field.
        acquisition: the scanner.
        seed: of the noise, together with ``scan_id``, so that the order of the scans does not matter.
        scan_id: name of the scan.

    Returns:
        ``(6, H, W)`` in [0, 1].
    """
    state = np.random.SeedSequence([seed, zlib.crc32(scan_id.encode())]).generate_state(1, np.uint64)[0]
    noise = torch.Generator().manual_seed(int(state >> 1))
    counts = acquisition.scan(torch.from_numpy(truth.areal_density_g_cm2)[None], noise)[0]
    return torch.from_numpy(np.moveaxis(counts_to_unit(counts), -1, 0).copy())
