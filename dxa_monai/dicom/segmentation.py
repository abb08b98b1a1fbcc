"""The regions of an analysis as a Segmentation (PS3.3 A.51): a segment for each region that has numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence, PixelMeasuresSequence
from highdicom.sc import SCImage
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept

import dxa_monai
from dxa_monai.analysis.polygons import polygon_coverage
from dxa_monai.analysis.segments import Point
from dxa_monai.dicom.codes import ALGORITHM_FAMILY, ANATOMICAL_STRUCTURE, POLYGON_SITE, SITES
from dxa_monai.dicom.study import uid_of
from dxa_monai.scan.dicom_checks import ORIENTATION
from dxa_monai.scan.regions import OVERLAPPING_REGIONS, REGION_GROUPS, android_gynoid
from dxa_monai.scan.trunk_parts import trunk_parts

_DEPTH_MM = 1.0
"""As of the coronal volumes of :mod:`dxa_monai.scan.coronal`: a projection has no depth, but readers ask for one."""
_HALF = 0.5
"""Share of a pixel from which on it is shown as part of android, gynoid or a polygon, whose numbers count shares."""


def region_masks(
    region_map: npt.NDArray[np.uint8], polygons: Mapping[str, Sequence[Point]] | None = None
) -> dict[str, npt.NDArray[np.bool_]]:
    """The pixels ``(H, W)`` of each region that has numbers.

    The first eight are the codes of :class:`dxa_monai.scan.regions.Region`, in their order; arms, legs, trunk, subtotal
    and total join them, android, gynoid, the parts of the trunk and the user's polygons overlap them.

    Args:
        region_map: ``(H, W)`` of :class:`dxa_monai.scan.regions.Region`.
        polygons: the user's regions in pixels.
    """
    masks = {name: np.isin(region_map, [int(code) for code in gathered]) for name, gathered in REGION_GROUPS.items()}
    for name, share in zip(OVERLAPPING_REGIONS, android_gynoid(region_map), strict=True):
        masks[name] = share >= _HALF
    masks |= {name: share >= _HALF for name, share in trunk_parts(region_map).items()}
    shape = (region_map.shape[0], region_map.shape[1])
    return masks | {name: polygon_coverage(points, shape) >= _HALF for name, points in (polygons or {}).items()}


def regions_object(
    masks: Mapping[str, npt.NDArray[np.bool_]],
    image: SCImage,
    pixel_spacing_mm: tuple[float, float],
    by_hand: bool,
    common: Mapping[str, Any],
) -> Segmentation:
    """Every region as one frame, also one without a pixel, so that segments and frames have the same numbers.

    Args:
        masks: of :func:`region_masks`.
        image: :func:`dxa_monai.dicom.images.density_image` on the same grid, which the segments refer to.
        pixel_spacing_mm: (row, column).
        by_hand: a person gave the landmarks.
        common: what all objects of a scan have, for highdicom.
    """
    kind = SegmentAlgorithmTypeValues.SEMIAUTOMATIC if by_hand else SegmentAlgorithmTypeValues.AUTOMATIC
    algorithm = AlgorithmIdentificationSequence("dxa_monai", ALGORITHM_FAMILY, dxa_monai.__version__)
    described = []
    for number, name in enumerate(masks, start=1):
        site, side = SITES.get(name, (POLYGON_SITE, None))
        segment = SegmentDescription(
            number,
            name.replace("_", " "),
            ANATOMICAL_STRUCTURE,
            site,
            kind if name in SITES else SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm,
            tracking_uid=uid_of("region", image.SOPInstanceUID, name),
            tracking_id=name,
        )
        if side is not None:
            segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
                CodedConcept.from_code(side)
            ]
        described.append(segment)
    regions = Segmentation(
        [image],
        np.stack(list(masks.values()), axis=-1)[None],
        SegmentationTypeValues.BINARY,
        described,
        device_serial_number="software",
        content_label="REGIONS",
        content_description="Regions of a DXA scan",
        omit_empty_frames=False,
        pixel_measures=PixelMeasuresSequence(pixel_spacing_mm, slice_thickness=_DEPTH_MM),
        **common,
    )
    regions.PatientOrientation = list(ORIENTATION)  # of images outside of a frame of reference (PS3.3 C.7.6.1.1.1)
    return regions
