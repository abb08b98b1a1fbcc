"""What a virtual scan truly holds, as a cohort keeps it beside the scan."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.scan.limits import read_npz


@dataclass(frozen=True, eq=False)
class Truth:
    """What a virtual scan holds.

    Attributes:
        areal_density_g_cm2: ``(3, H, W)`` float32.
        region_map: ``(H, W)`` uint8.
        pixel_spacing_mm: (row, column).
        landmarks: ``(L, 2)`` (row, column) in pixels of ``dxa_monai.analysis.landmarks.LANDMARK_NAMES``, also of those
            that lie outside the field; None: made before there were any (0.9.0).
        foreign_g_cm2: ``(3, H, W)`` what the scan shows beside the person, as fat, lean and mineral; None: nothing.
    """

    areal_density_g_cm2: npt.NDArray[np.float32]
    region_map: npt.NDArray[np.uint8]
    pixel_spacing_mm: tuple[float, float]
    landmarks: npt.NDArray[np.float64] | None = None
    foreign_g_cm2: npt.NDArray[np.float32] | None = None


def load_truth(row: Mapping[str, Any]) -> Truth:
    """The truth of a manifest row.

    Raises:
        InputError: the row has no truth, or the file is not one.
    """
    if "truth" not in row:
        raise InputError(f"{row['scan_id']}: expected a truth in the manifest (virtual scans have one), got none.")
    try:
        stored = read_npz(Path(row["truth"]))
        areal, regions = stored["areal_density_g_cm2"], stored["region_map"]
        spacing = [float(side) for side in stored["pixel_spacing_mm"]]
        landmarks, foreign = stored.get("landmarks"), stored.get("foreign_g_cm2")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{row['truth']}: expected the truth of a virtual scan, got {error!r}.") from error
    if areal.ndim != 3 or len(areal) != 3 or areal.shape[1:] != regions.shape or len(spacing) != 2:
        raise InputError(f"{row['truth']}: expected maps (3, H, W) and regions (H, W), got {areal.shape}.")
    if landmarks is not None and (landmarks.ndim != 2 or landmarks.shape[1] != 2 or landmarks.dtype.kind != "f"):
        raise InputError(f"{row['truth']}: expected landmarks as numbers (L, 2), got {landmarks.shape}.")
    if foreign is not None and foreign.shape != areal.shape:
        raise InputError(
            f"{row['truth']}: expected foreign_g_cm2 of the maps' shape {areal.shape}, got {foreign.shape}."
        )
    return Truth(
        areal.astype(np.float32),
        regions,
        (spacing[0], spacing[1]),
        None if landmarks is None else landmarks.astype(np.float64),
        None if foreign is None else foreign.astype(np.float32),
    )
