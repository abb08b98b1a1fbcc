"""What no training can get below: the loss of the perfect answer against noisy scans, where the truth is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.losses.dxa import DXALoss, noise_floor
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.truth import load_truth

NAME = "noise_floor.json"
_COHORT = "cohort.json"


def write_noise_floor(
    folder: str | Path,
    loss: DXALoss,
    rows: Sequence[Mapping[str, Any]],
    manifest: str | Path,
    source: ScanSource,
    scans: int = 4,
) -> None:
    """Write ``noise_floor.json`` into a run's folder: the noise floor of each view of the perceptual loss.

    The truth of a virtual scan is sent through the cohort's own acquisition without noise. Real scans have no known
    truth: nothing is written for them.

    Args:
        folder: of the run.
        loss: the perceptual loss.
        rows: manifest rows; the first ``scans`` of them that have a ``truth`` are taken.
        manifest: the cohort's manifest, beside which its ``cohort.json`` says how it was scanned.
        source: how the scans are read.
        scans: how many.

    Raises:
        InputError: a scan, its truth or ``cohort.json`` cannot be used.
    """
    cohort = Path(manifest).parent / _COHORT
    known = [row for row in rows if "truth" in row][:scans]
    if idist.get_rank() != 0 or not known or not cohort.exists():
        return
    try:
        acquisition = Acquisition.from_dict(json.loads(cohort.read_text(encoding="utf-8"))["acquisition"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{cohort}: expected how a virtual cohort was scanned, got {error!r}.") from error
    areal = [load_truth(row).areal_density_g_cm2 for row in known]
    noisy = source.images(known)
    with torch.no_grad():
        noise_free = acquisition.forward(torch.from_numpy(np.stack(areal))).clamp(0.0, 1.0)
    device = loss.raw_layer_weights.device
    floor = noise_floor(loss, noise_free.to(device), noisy.to(device))
    record = {"scans": [row["scan_id"] for row in known], "arm": loss.arm, "floor": floor}
    with atomic_path(Path(folder) / NAME) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
