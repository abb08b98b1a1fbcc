"""Scanners that the analysis does not know, and virtual people scanned on them.

Each has its own voltages, filters, detector and photons (:meth:`Acquisition.perturbed`) and its own scan of the step
phantom. The people's true maps are scanned anew, so the analysis never meets the acquisition of the cohort.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import channels_first
from dxa_monai.scan.truth import Truth


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
            VirtualScanner(
                number,
                acquisition,
                calibrate_with_phantom(StepPhantom().scan(acquisition, noise), wheel=wheel_of(acquisition)),
            )
        )
    return scanners


def wheel_of(acquisition: Acquisition) -> WheelSegments:
    """What the maker of a scanner states of its wheel."""
    return WheelSegments(acquisition.air_segment, acquisition.bone_segment, acquisition.tissue_segment)


def assign_scanners(rows: Sequence[Mapping[str, Any]], count: int) -> dict[str, int]:
    """Number of the scanner of each person, in turn; a person's visits are all on one scanner."""
    people = sorted({str(row["subject_id"]) for row in rows})
    return {person: index % count for index, person in enumerate(people)}


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
    return torch.from_numpy(channels_first(counts))
