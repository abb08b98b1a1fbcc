"""A raw scan as a coronal volume in patient space: NIfTI (read and written by nibabel) and NRRD / MetaImage (written by
itk).

A whole-body scan is a coronal projection, so it is stored as one coronal slice of three-dimensional space, and a viewer
shows it upright in its coronal pane, the patient's right on the left of the screen:

- first axis: columns, from the patient's right to left, spacing of the columns;
- second axis: one voxel from back to front, 1 mm thick (a projection has no depth);
- third axis: rows, from head to feet, spacing of the rows;
- the six channels, in the order of ``CHANNELS``: fourth axis of a NIfTI file (a viewer steps through them like time),
  vector components of an NRRD or MetaImage file.

Reading follows the orientation that the file states, so that a volume another tool has flipped or permuted comes back
as the same scan. A file of another layout is refused; nothing is guessed from sizes.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS, Array
from dxa_monai.scan.limits import read_scan_bytes
from dxa_monai.scan.nifti_header import MILLIMETRES_PER_UNIT, nifti_header
from dxa_monai.scan.volume_files import read_volume

_AXES = ("L", "A", "I")
"""Where the three axes point: to the patient's left, to the front (anterior), to the feet (inferior)."""
_DIRECTIONS_RAS = np.diag([-1.0, 1.0, -1.0])
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_DEPTH_MM = 1.0
_MOST_TILT_DEGREES = 5.0
"""Of an axis: a volume that lies farther off the body's would have to be resampled to be a projection along one."""
_NIFTI_SPACING_DECIMALS = 5
"""NIfTI stores spacing as float32; rounding to 10 nm gives the decimal number back that was written."""


def read_nifti(path: Path) -> tuple[Array, tuple[float, float]]:
    """Array ``(H, W, C)`` as stored and (row, column) spacing in mm of a NIfTI-1 file.

    The file is decompressed as a whole first, so that a missing end or a wrong checksum is noticed. Lengths in metres
    or micrometres become millimetres. A vector NIfTI ``(columns, 1, rows, 1, 6)``, as itk writes it, is read as well.

    Raises:
        InputError: the layout is not that of a coronal volume, the header is none of NIfTI-1, or the file states no
            orientation or two that disagree.
        Exception: whatever nibabel, gzip and zlib raise on a damaged file.
    """
    content = read_scan_bytes(path)
    header = nifti_header(content, path)
    image = nib.Nifti1Image.from_bytes(content)
    volume = np.asanyarray(image.dataobj)
    if volume.ndim == 5 and volume.shape[3] == 1:
        volume = volume[:, :, :, 0]
    millimetres = MILLIMETRES_PER_UNIT[header.get_xyzt_units()[0]]
    # Undone before it is rounded to the decimal number that was written: float32 holds seven digits of any unit.
    spacing_mm = [round(float(value) * millimetres, _NIFTI_SPACING_DECIMALS) for value in header.get_zooms()[:3]]
    return _slice_of(volume, image.affine[:3, :3], spacing_mm, path)


def write_nifti(counts: npt.NDArray[np.uint16], pixel_spacing_mm: tuple[float, float], path: Path) -> None:
    """Write ``(H, W, 6)`` counts as a NIfTI-1 file of shape ``(W, 1, H, 6)``; same input, same bytes."""
    _write_image(np.transpose(counts[:, None], (2, 1, 0, 3)), pixel_spacing_mm, " ".join(CHANNELS), path)


def write_nifti_map(
    values: Array, pixel_spacing_mm: tuple[float, float], description: str, path: Path, labels: bool = False
) -> None:
    """Write a map ``(H, W)`` as a NIfTI-1 file ``(W, 1, H)``, where a scan's would lie; same input, same bytes.

    Args:
        values: of a type that NIfTI has.
        pixel_spacing_mm: (row, column).
        description: what the values are, with their unit; at most 79 characters.
        path: ending in ``.nii`` or ``.nii.gz``.
        labels: the values are codes of regions.
    """
    _write_image(np.transpose(values[:, None], (2, 1, 0)), pixel_spacing_mm, description, path, labels)


def _write_image(
    volume: Array, pixel_spacing_mm: tuple[float, float], description: str, path: Path, labels: bool = False
) -> None:
    rows_mm, columns_mm = pixel_spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = _DIRECTIONS_RAS * (columns_mm, _DEPTH_MM, rows_mm)
    image = nib.Nifti1Image(volume, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode()
    if labels:
        image.header.set_intent("label")
    content = image.to_bytes()
    # mtime 0 and no file name in the gzip header: the bytes depend on the image alone
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.lower().endswith(".gz") else content)


def read_itk(path: Path) -> tuple[Array, tuple[float, float]]:
    """Array ``(H, W, C)`` as stored and (row, column) spacing in mm of an NRRD or MetaImage file.

    Raises:
        InputError: the layout is not that of a coronal volume, or see
            :func:`dxa_monai.scan.volume_files.read_volume`.
        Exception: what its decoders raise on a damaged file.
    """
    volume = read_volume(path)
    return _slice_of(volume.values, volume.directions_ras, volume.spacing_mm, path)


def write_itk(counts: npt.NDArray[np.uint16], pixel_spacing_mm: tuple[float, float], path: Path) -> None:
    """Write ``(H, W, 6)`` counts as an NRRD or MetaImage file (the ending says which) of size ``(W, 1, H)``."""
    import itk

    rows_mm, columns_mm = pixel_spacing_mm
    image = itk.image_from_array(np.ascontiguousarray(counts[:, None]), is_vector=True)
    image.SetSpacing((columns_mm, _DEPTH_MM, rows_mm))
    image.SetDirection(itk.matrix_from_array(_LPS_TO_RAS @ _DIRECTIONS_RAS))
    itk.imwrite(image, str(path))


def _slice_of(
    volume: Array, directions: Array, spacing_mm: list[float], path: Path
) -> tuple[Array, tuple[float, float]]:
    """The coronal slice ``(H, W, C)`` and its (row, column) spacing.

    Args:
        volume: ``(I, J, K, C)`` in any orientation.
        directions: ``(3, 3)``, columns along I, J, K in RAS; lengths do not matter.
        spacing_mm: along I, J, K.
        path: for the error sentence.
    """
    _check_directions(directions, path)
    if volume.ndim == 4:
        affine = np.eye(4)
        affine[:3, :3] = directions
        stated = nib.orientations.io_orientation(affine)
        change = nib.orientations.ornt_transform(stated, nib.orientations.axcodes2ornt(_AXES))
        turned = nib.orientations.apply_orientation(volume, change)
        if turned.shape[1] == 1 and turned.shape[3] == len(CHANNELS):
            axis_of = {int(target): source for source, target in enumerate(change[:, 0])}
            rows_mm, columns_mm = spacing_mm[axis_of[2]], spacing_mm[axis_of[0]]
            return turned[:, 0].transpose(1, 0, 2), (rows_mm, columns_mm)
    raise InputError(
        f"{path}: expected a coronal volume, one voxel deep from back to front, with {len(CHANNELS)} channels last, "
        f"got shape {volume.shape} with axes {''.join(_axis_codes(directions))}."
    )


def _axis_codes(directions: Array) -> list[str]:
    affine = np.eye(4)
    affine[:3, :3] = directions
    return [code or "?" for code in nib.orientations.aff2axcodes(affine)]


def _check_directions(directions: Array, path: Path) -> None:
    """Refuse axes without a direction, or that lie between those of the body."""
    lengths = np.linalg.norm(np.asarray(directions, dtype=np.float64), axis=0)
    if not (np.isfinite(directions).all() and (lengths > 0).all()):
        raise InputError(f"{path}: expected three axes with a direction each, got {np.asarray(directions).tolist()}.")
    cosines = np.abs(directions / lengths)
    tilt = float(np.degrees(np.arccos(np.clip(cosines.max(axis=0), 0.0, 1.0))).max())
    if tilt > _MOST_TILT_DEGREES or sorted(cosines.argmax(axis=0).tolist()) != [0, 1, 2]:
        raise InputError(
            f"{path}: expected an orientation along the body's axes, within {_MOST_TILT_DEGREES:g} degrees, "
            f"got axes {tilt:.0f} degrees off."
        )
