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
    """

    areal_density_g_cm2: npt.NDArray[np.float32]
    region_map: npt.NDArray[np.uint8]
    pixel_spacing_mm: tuple[float, float]


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
    except InputError:
        raise
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{row['truth']}: expected the truth of a virtual scan, got {error!r}.") from error
    if areal.ndim != 3 or len(areal) != 3 or areal.shape[1:] != regions.shape or len(spacing) != 2:
        raise InputError(f"{row['truth']}: expected maps (3, H, W) and regions (H, W), got {areal.shape}.")
    return Truth(areal.astype(np.float32), regions, (spacing[0], spacing[1]))
