"""DICOM out: the picture of an analysis, its regions and its numbers, for an archive of images.

Input is read in :mod:`dxa_monai.scan.dicom_scan`.
"""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {"study": ["PatientStudy", "study_of"], "objects": ["dicom_names", "write_dicom"]},
)
