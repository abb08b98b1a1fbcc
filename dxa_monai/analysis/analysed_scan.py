"""A scan's regions, and what images of that scan hold in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dxa_monai.analysis.bone import find_and_decompose
from dxa_monai.analysis.landmark_finder import find_landmarks
from dxa_monai.analysis.region_cuts import region_map_from_landmarks
from dxa_monai.physics.correction import find_correction
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import PIXEL_SPACING_MM, pixel_area_cm2
from dxa_monai.scan.regions import FloatArray, regional_sums, regional_totals


class AnalysedScan:
    """What the analysis finds in a scan, and how it measures images that are to equal that scan.

    Attributes:
        areal_density_g_cm2: ``(3, H, W)``.
        region_map: ``(H, W)``; None where no whole body is found.
    """

    def __init__(self, raw: torch.Tensor, scanner: ScannerModel) -> None:
        self._correction = find_correction(raw[0], scanner)
        self._scanner = scanner
        self.areal_density_g_cm2 = self._areal_density(raw)
        body = np.asarray(self.areal_density_g_cm2.any(axis=0))
        landmarks = find_landmarks(self.areal_density_g_cm2, body, PIXEL_SPACING_MM).landmarks
        self.region_map = None if landmarks is None else region_map_from_landmarks(landmarks, body)

    def totals(self, image: torch.Tensor | None = None) -> dict[str, float]:
        """What the analysis measures in the scan's regions: on the scan, or on an image ``(1, 6, H, W)`` of it.

        An image is taken through the correction of its scan. Above all its zero is the scan's: what a network makes of
        open air is no measurement.
        """
        if self.region_map is None:
            return {}
        maps = self.areal_density_g_cm2 if image is None else self._areal_density(image)
        return regional_totals(maps, self.region_map, pixel_area_cm2())

    def sums(self) -> FloatArray | None:
        """What the scan holds, of which the totals follow (:func:`dxa_monai.scan.regions.regional_sums`)."""
        return (
            None
            if self.region_map is None
            else regional_sums(self.areal_density_g_cm2, self.region_map, pixel_area_cm2())
        )

    def _areal_density(self, image: torch.Tensor) -> np.ndarray[Any, Any]:
        return find_and_decompose(self._correction.apply(image), self._scanner)[1][0].numpy()
