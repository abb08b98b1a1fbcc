"""Raw scans from and to files.

=================  ===============================================================================  =============
ending             what the file holds                                                              pixel spacing
=================  ===============================================================================  =============
``.npy``           uint16 ``(H, W, 6)``, the layout of the published code                           no
``.npz``           arrays ``counts`` (as above), ``pixel_spacing_mm`` ``(2,)``, ``channels`` (6,)   yes
``.nii .nii.gz``   coronal volume, see :mod:`dxa_monai.scan.coronal`                                yes
``.nrrd .mha``     coronal volume, see :mod:`dxa_monai.scan.coronal`                                yes
``.raw``           numbers as ``raw_layout.json`` says, see :mod:`dxa_monai.scan.raw_layout`        as it says
``.dcm``           six frames, see :mod:`dxa_monai.scan.dicom_scan`                                 if stated
``.dicom.json``    names six DICOM frames, see there                                                if stated
=================  ===============================================================================  =============

The last three are read and not written.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.input_files import read_input
from dxa_monai.scan.coronal import read_itk, read_nifti, write_itk, write_nifti
from dxa_monai.scan.dicom_scan import MAPPING_ENDING, mapped_files, read_dicom, read_dicom_mapping
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM, SCAN_SHAPE, Array, as_counts, check_counts
from dxa_monai.scan.limits import MAX_SCAN_BYTES, read_npy, read_npz, read_scan_bytes
from dxa_monai.scan.raw_layout import layout_of, read_raw

SPACING_RANGE_MM = (0.5, 50.0)
"""Distances that pixels of a whole-body scan can have: with less a body is a finger, with more it has ten rows."""
_MOST_DECLARED = 100
FILE_ENDINGS = (".npy", ".npz", ".nii", ".nii.gz", ".nrrd", ".mha")
"""Of formats that are read and written."""
READ_ENDINGS = (*FILE_ENDINGS, ".raw", ".dcm", MAPPING_ENDING)
"""Of formats that are read."""


@dataclass(frozen=True, eq=False)
class RawScan:
    """A raw scan as it lies on disk.

    Attributes:
        counts: uint16 ``(H, W, 6)`` in 0..16383, channels as in ``CHANNELS``.
        pixel_spacing_mm: distance between rows and between columns.
    """

    counts: npt.NDArray[np.uint16]
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM


def load_scan(
    path: str | os.PathLike[str],
    channels: Sequence[str] | None = None,
    pixel_spacing_mm: Sequence[float] | None = None,
    spatial_shape: tuple[int, int] | None = SCAN_SHAPE,
) -> RawScan:
    """Read a raw scan and refuse what cannot be one.

    Args:
        path: file with one of ``READ_ENDINGS``.
        channels: order of the channels in the file. None: as the file declares (``.npz``,
            ``.dicom.json``, the layout of a ``.raw``), else ``CHANNELS``.
        pixel_spacing_mm: distance between rows and between columns; it overrides the file's. None: the file's, and
            ``PIXEL_SPACING_MM`` where the file has none.
        spatial_shape: rows and columns that the scan must have; None takes any.

    Returns:
        The scan with its channels in the order of ``CHANNELS``.

    Raises:
        InputError: the file is missing, of another format, truncated or damaged, it announces another size than it
            has or more than a scan can have (:mod:`dxa_monai.scan.limits`), it declares other channels than the
            argument, or its content cannot be a scan (:func:`~dxa_monai.scan.format.check_counts`).
    """
    path = Path(path)
    ending = file_ending(path)
    file_spacing: Sequence[float] | None = None
    file_channels: Sequence[str] | None = None
    try:
        if ending == ".npy":
            array = _read_npy(path)
        elif ending == ".npz":
            array, file_spacing, file_channels = _read_npz(path)
        elif ending in (".nii", ".nii.gz"):
            array, file_spacing = read_nifti(path)
        elif ending == ".raw":
            array, file_spacing, file_channels = read_raw(path)
        elif ending == ".dcm":
            array, file_spacing = read_dicom(path, pixel_spacing_mm is not None)
        elif ending == MAPPING_ENDING:
            array, file_spacing = read_dicom_mapping(path, pixel_spacing_mm is not None)
            file_channels = CHANNELS
        else:
            array, file_spacing = read_itk(path)
    except InputError:
        raise
    except Exception as error:  # damaged files make the libraries raise errors of almost any type
        raise InputError(f"{path}: expected a whole {ending} file, got '{_reason(error)}'.") from error

    if channels is not None and file_channels is not None and list(channels) != list(file_channels):
        raise InputError(
            f"{path}: expected the declared channel order {', '.join(channels)}, "
            f"got a file with {', '.join(file_channels)}."
        )
    order = next((names for names in (channels, file_channels) if names is not None), CHANNELS)
    spacing = next((values for values in (pixel_spacing_mm, file_spacing) if values is not None), PIXEL_SPACING_MM)
    return RawScan(check_counts(array, path, spatial_shape, order), checked_spacing(spacing, path))


def save_scan(scan: RawScan, path: str | os.PathLike[str]) -> None:
    """Write a raw scan of any size in the format that the ending of ``path`` names; folders are made if need be.

    The file is whole or not there, and the same scan gives the same bytes. ``.npy`` does not hold the pixel spacing.

    Raises:
        InputError: unknown ending, counts or spacing that cannot be a scan's, or a folder that cannot be written to.
            The order of low and high energy is not judged, so that a poor reconstruction can be stored.
    """
    path = Path(path)
    ending = file_ending(path, FILE_ENDINGS)
    counts = as_counts(scan.counts, path, spatial_shape=None)
    spacing = checked_spacing(scan.pixel_spacing_mm, path)
    output_folder(path.parent)
    with atomic_path(path) as temporary:
        if ending == ".npy":
            np.save(temporary, counts, allow_pickle=False)
        elif ending == ".npz":
            np.savez_compressed(
                temporary, counts=counts, pixel_spacing_mm=np.array(spacing), channels=np.array(CHANNELS)
            )
        elif ending in (".nii", ".nii.gz"):
            write_nifti(counts, spacing, temporary)
        else:
            write_itk(counts, spacing, temporary)


def file_ending(path: str | os.PathLike[str], endings: Sequence[str] = READ_ENDINGS) -> str:
    """The one of ``endings`` that the path has, in lower case.

    Raises:
        InputError: it has none of them.
    """
    name = Path(path).name
    for ending in endings:
        if name.lower().endswith(ending):
            return ending
    raise InputError(f"{path}: expected a file ending in {', '.join(endings)}, got '{Path(path).suffix or name}'.")


def scan_content(path: str | os.PathLike[str]) -> bytes:
    """The bytes that a scan is read from, for a hash: of its file, and of those that say or hold the rest of it.

    Raises:
        InputError: a file cannot be read, or a ``.dicom.json`` is none.
    """
    path = Path(path)
    name = path.name.lower()
    others = mapped_files(path) if name.endswith(MAPPING_ENDING) else [layout_of(path)] if name.endswith(".raw") else []
    return b"".join(read_input(each, MAX_SCAN_BYTES, "a scan file") for each in (path, *others))


def file_stem(path: str | os.PathLike[str]) -> str:
    """The file's name without its folder and without its ending (``.nii.gz`` is one ending)."""
    return Path(path).name[: -len(file_ending(path))]


def checked_spacing(spacing_mm: Sequence[float], source: object) -> tuple[float, float]:
    """The spacing as two floats, refused unless both are within ``SPACING_RANGE_MM``.

    Raises:
        InputError: it is not a pair of such numbers.
    """
    try:
        if isinstance(spacing_mm, str) or any(isinstance(value, bool | np.bool_ | str) for value in spacing_mm):
            raise TypeError
        rows_mm, columns_mm = (float(value) for value in spacing_mm)
    except (TypeError, ValueError, OverflowError):
        rows_mm = columns_mm = 0.0
    lowest, highest = SPACING_RANGE_MM
    if not (lowest <= rows_mm <= highest and lowest <= columns_mm <= highest):
        raise InputError(
            f"{source}: expected a pixel spacing of two positive numbers (rows, columns) in mm, from {lowest:g} to "
            f"{highest:g}, got {spacing_mm}."
        )
    return rows_mm, columns_mm


def _read_npy(path: Path) -> Array:
    content = read_scan_bytes(path)
    array: Array = read_npy(path, io.BytesIO(content), len(content))
    return array


def _read_npz(path: Path) -> tuple[Array, Sequence[float] | None, Sequence[str] | None]:
    arrays = read_npz(path)
    if "counts" not in arrays:
        raise InputError(f"{path}: expected an array 'counts', got {', '.join(sorted(arrays)) or 'an empty archive'}.")
    for name in ("pixel_spacing_mm", "channels"):
        if name in arrays and arrays[name].size > _MOST_DECLARED:
            raise InputError(f"{path}: expected a few values of {name}, got {arrays[name].size}.")
    spacing = arrays["pixel_spacing_mm"].tolist() if "pixel_spacing_mm" in arrays else None
    channels = [str(name) for name in np.ravel(arrays["channels"])] if "channels" in arrays else None
    return arrays["counts"], spacing, channels


def _reason(error: Exception) -> str:
    """What went wrong, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (" ".join(lines) or type(error).__name__).rstrip(".")
