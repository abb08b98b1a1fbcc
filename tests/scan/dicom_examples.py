"""DICOM files of raw scans as other programs write them, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from dxa_monai.scan.format import Array

STUDY_UID, SERIES_UID = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


def write_dicom(path: Path, frames: Array, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> Path:
    """Write ``(N, H, W)`` counts as a multi-frame secondary capture; ``changes`` by keyword, None deletes."""
    uid = f"{SERIES_UID}.{sum(path.name.encode()) + 1}"
    dataset = Dataset()
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.SOPInstanceUID = uid
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "Müller^Änne", "P-17"
    dataset.PatientBirthDate, dataset.PatientSex = "19720305", "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, SERIES_UID
    dataset.StudyDate, dataset.StudyID, dataset.AccessionNumber = "20260131", "S1", "A-9"
    dataset.Modality, dataset.ConversionType = "OT", "DI"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 14, 13, 0
    dataset.PixelSpacing = [12.71, 6.063]
    dataset.PatientOrientation = ["L", "F"]
    dataset.PixelData = np.ascontiguousarray(frames, dtype="<u2").tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(path, enforce_file_format=True)
    return path
