"""What a DICOM image says of its pixels, held against what counts are: nothing is applied, what differs is refused.

References:
    DICOM PS3.3: C.7.6.1 General Image, C.7.6.3 Image Pixel, C.8.11.3 DX Image (pixel intensity relationship), C.11.1
    Modality LUT, C.7.6.16.2.1 Pixel Measures, C.7.6.16.2.4 Plane Orientation, C.7.6.16.2.9 Pixel Value
    Transformation, 10.7.1 Pixel Spacing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dxa_monai.errors import InputError, shown

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

BITS_ALLOCATED = 16
BITS_STORED = (14, 15, 16)
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
"""Whether the least value is shown white or black: the stored values are the same."""
ORIENTATION = ("L", "F")
"""PatientOrientation: columns run to the patient's left, rows to the feet."""
_DIRECTIONS = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""ImageOrientationPatient that says the same."""
_IDENTITY = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def check_pixels(header: Dataset, path: Path) -> None:
    """Refuse an image whose stored values are not the counts of a scan, rows from head to feet.

    Args:
        header: of the file, without the pixels.
        path: for the sentence.

    Raises:
        InputError: not one 16-bit grey value a pixel, of which 14 to 16 bits are stored, the lowest; signed values of
            less than 16; a rescale other than by 1 and 0, or a modality lookup table; a signal that is not said to be
            logarithmic where anything is said of it; lossy compression; another orientation.
    """
    stored = header.get("BitsStored")
    known: dict[str, tuple[Any, ...]] = {
        "SamplesPerPixel": (1,),
        "PhotometricInterpretation": PHOTOMETRIC,
        "BitsAllocated": (BITS_ALLOCATED,),
        "BitsStored": BITS_STORED,
        "HighBit": (stored - 1 if isinstance(stored, int) else None,),
        "PixelRepresentation": (0, 1) if stored == BITS_ALLOCATED else (0,),
    }
    for keyword, values in known.items():
        if header.get(keyword) not in values:
            _refuse(path, keyword, " or ".join(map(str, values)), header.get(keyword))
    for keyword in ("Rows", "Columns"):
        if not isinstance(header.get(keyword), int):
            _refuse(path, keyword, "as one whole number", header.get(keyword))
    for group in (header, *_functional_groups(header, "PixelValueTransformationSequence")):
        for keyword, value in _IDENTITY.items():
            if group.get(keyword) is not None and float(group[keyword].value) != value:
                _refuse(path, keyword, f"{value:g}, as the stored values are the counts", group[keyword].value)
    if header.get("ModalityLUTSequence"):
        _refuse(path, "ModalityLUTSequence", "absent, as the stored values are the counts", "one")
    if header.get("PixelIntensityRelationship", "LOG") != "LOG":
        _refuse(path, "PixelIntensityRelationship", "LOG", header.PixelIntensityRelationship)
    if header.get("PixelIntensityRelationshipSign", -1) != -1:
        _refuse(
            path, "PixelIntensityRelationshipSign", "-1 (more is less X-ray)", header.PixelIntensityRelationshipSign
        )
    if header.get("LossyImageCompression", "00") != "00":
        _refuse(path, "LossyImageCompression", "00", header.LossyImageCompression)
    orientation = header.get("PatientOrientation")
    if orientation and tuple(orientation) != ORIENTATION:
        _refuse(path, "PatientOrientation", "\\".join(ORIENTATION), "\\".join(map(str, orientation)))
    for group in (header, *_functional_groups(header, "PlaneOrientationSequence")):
        directions = tuple(float(part) for part in group.get("ImageOrientationPatient") or ())
        if directions and directions != _DIRECTIONS:
            _refuse(path, "ImageOrientationPatient", shown(_DIRECTIONS), directions)


def pixel_kind(header: Dataset) -> np.dtype[np.generic]:
    """The type of the stored values of an image that :func:`check_pixels` let through."""
    return np.dtype("<i2" if header.PixelRepresentation else "<u2")


def pixel_spacing_mm(header: Dataset, path: Path) -> tuple[float, float] | None:
    """Distance between rows and between columns, by whichever attributes say it; None where none does.

    Raises:
        InputError: two of them disagree, or the aspect ratio disagrees with them.
    """
    stated = {keyword: header.get(keyword) for keyword in _SPACINGS}
    for number, group in enumerate(_functional_groups(header, "PixelMeasuresSequence"), start=1):
        stated[f"PixelMeasuresSequence {number}"] = group.get("PixelSpacing")
    found = {name: tuple(float(part) for part in value) for name, value in stated.items() if value}
    if not found:
        return None
    first = next(iter(found))
    for name, spacing in found.items():
        if spacing != found[first]:
            raise InputError(
                f"{path}: expected one pixel spacing, got {first} {found[first]} and {name} {spacing}; say which holds "
                "where the body lies with pixel_spacing_mm."
            )
    if len(found[first]) != 2:
        _refuse(path, first, "as two numbers (rows, columns) in mm", found[first])
    return found[first][0], found[first][1]


def _functional_groups(header: Dataset, macro: str) -> Iterator[Dataset]:
    """The items of a macro that enhanced multi-frame objects state for all frames or for each."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in header.get(name) or ():
            yield from group.get(macro) or ()


def _refuse(path: Path, keyword: str, expected: str, got: Any) -> None:
    raise InputError(f"{path}: expected {keyword} {expected}, got {'none' if got is None else shown(got)}.")
