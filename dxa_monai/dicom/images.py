"""The picture of an analysis and the density that it was made of, as Secondary Capture images (PS3.3 A.8.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from dxa_monai.dicom.codes import AREAL_DENSITY, MODALITY, UNIT_CODES
from dxa_monai.dicom.study import PatientStudy
from dxa_monai.scan.dicom_checks import ORIENTATION

DENSITY_STEP_G_CM2 = 0.01
"""Of a stored value of the density image; 16 bits reach 655 g/cm2, ten times a body."""
_BRIGHTEST_QUANTILE = 0.995


def density_image(
    areal_density_g_cm2: npt.NDArray[np.floating[Any]],
    pixel_spacing_mm: tuple[float, float],
    study: PatientStudy,
    common: Mapping[str, Any],
) -> SCImage:
    """Fat, lean and bone mineral together on the scan's own grid, in 16 bits: what segments and numbers refer to.

    Args:
        areal_density_g_cm2: ``(3, H, W)``; noise below 0 is stored as 0.
        pixel_spacing_mm: (row, column).
        study: whose it is.
        common: what all objects of a scan have, for highdicom.
    """
    total = np.clip(np.nan_to_num(areal_density_g_cm2.sum(axis=0)) / DENSITY_STEP_G_CM2, 0, np.iinfo(np.uint16).max)
    stored = np.rint(total).astype(np.uint16)
    image = SCImage(
        stored,
        "MONOCHROME2",
        bits_allocated=16,
        coordinate_system="PATIENT",
        patient_orientation=ORIENTATION,
        pixel_spacing=pixel_spacing_mm,
        **_of(study),
        **common,
    )
    image.Modality, image.BurnedInAnnotation = MODALITY, "NO"
    image.WindowWidth = max(int(np.quantile(stored, _BRIGHTEST_QUANTILE)), 2)
    image.WindowCenter = image.WindowWidth // 2
    image.WindowCenterWidthExplanation = "soft tissue"
    values = Dataset()
    values.LUTLabel, values.LUTExplanation = "AREAL_DENSITY", AREAL_DENSITY.meaning
    values.RealWorldValueFirstValueMapped, values.RealWorldValueLastValueMapped = 0, int(np.iinfo(np.uint16).max)
    values.RealWorldValueIntercept, values.RealWorldValueSlope = 0.0, DENSITY_STEP_G_CM2
    values.MeasurementUnitsCodeSequence = [CodedConcept.from_code(UNIT_CODES["g/cm2"])]
    image.RealWorldValueMappingSequence = [values]
    _refer_to_sources(image, study)
    return image


def picture_image(rgb: npt.NDArray[np.uint8], study: PatientStudy, common: Mapping[str, Any]) -> SCImage:
    """The picture of an analysis ``(H, W, 3)`` as an image; the id of the scan may stand in it."""
    image = SCImage(
        rgb,
        "RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=ORIENTATION,
        **_of(study),
        **common,
    )
    image.Modality, image.BurnedInAnnotation = MODALITY, "YES"
    _refer_to_sources(image, study)
    return image


def rgb_of(picture: Path) -> npt.NDArray[np.uint8]:
    """``(H, W, 3)`` of a PNG."""
    from PIL import Image

    with Image.open(picture) as opened:
        return np.asarray(opened.convert("RGB"), dtype=np.uint8)


def _of(study: PatientStudy) -> dict[str, Any]:
    """A study as arguments of an image; other objects take it from the images."""
    return {
        "study_instance_uid": study.study_instance_uid,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name or None,
        "patient_birth_date": study.patient_birth_date or None,
        "patient_sex": study.patient_sex or None,
        "accession_number": study.accession_number or None,
        "study_id": study.study_id or None,
        "study_date": study.study_date or None,
        "study_time": study.study_time or None,
    }


def _refer_to_sources(image: SCImage, study: PatientStudy) -> None:
    """Name the DICOM files that the scan came in (PS3.3 C.12.4 General Reference)."""
    references = []
    for sop_class, instance in study.sources:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class, instance
        references.append(reference)
    if references:
        image.SourceImageSequence = references
