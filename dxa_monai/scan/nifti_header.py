"""The header of a NIfTI-1 file, held against its bytes and against itself before nibabel reads the image.

nibabel mends what it can: it takes another magic string, turns negative spacings over, prefers one of two orientations.

Cox RW et al.: A (sort of) new image data format standard: NIfTI-1. https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import nibabel as nib
import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.scan.limits import check_announced

MILLIMETRES_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
"""Of the header's unit of length; without one they are millimetres, as everywhere."""
_HEADER_BYTES, _FIRST_OFFSET, _MAGIC = 348, 352, b"n+1\0"
_CODES = range(6)
"""Not stated, scanner, aligned, Talairach, MNI and another template."""
_SAME = 2e-3
"""Relative difference of two statements of one matrix, which float32 and quaternions round."""


def nifti_header(content: bytes, path: Path) -> nib.Nifti1Header:
    """The header of a single-file NIfTI-1 image.

    Args:
        content: of the file, decompressed.
        path: for the sentence.

    Raises:
        InputError: no NIfTI-1 header, one that announces more or less data than there is, spacings that are no positive
            numbers, an unknown unit, no orientation, or an sform, a qform and a spacing that disagree.
    """
    if len(content) < _FIRST_OFFSET or content[344:348] != _MAGIC:
        got = f"{len(content)} bytes" if len(content) < _FIRST_OFFSET else repr(content[344:348])[1:]
        raise InputError(f"{path}: expected a whole {_ending(path)} file (NIfTI-1, magic 'n+1'), got {got}.")
    if _HEADER_BYTES not in (struct.unpack("<i", content[:4])[0], struct.unpack(">i", content[:4])[0]):
        raise InputError(f"{path}: expected a NIfTI-1 header of {_HEADER_BYTES} bytes, got another size.")
    header = nib.Nifti1Header(content[:_HEADER_BYTES], check=False)
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        raise InputError(f"{path}: expected 1 to 7 dimensions, got {dimensions}.")
    offset = float(header["vox_offset"])
    if not (_FIRST_OFFSET <= offset <= len(content) and offset == int(offset)):
        raise InputError(f"{path}: expected a whole {_ending(path)} file, got data that begin at byte {offset:g}.")
    shape = tuple(int(size) for size in header["dim"][1 : 1 + dimensions])
    check_announced(path, shape, header.get_data_dtype().itemsize, len(content) - int(offset))
    scaling = (float(header["scl_slope"]), float(header["scl_inter"]))
    if any(math.isinf(value) for value in scaling):
        raise InputError(f"{path}: expected a finite scl_slope and scl_inter, got {scaling[0]:g} and {scaling[1]:g}.")
    _check_space(header, path)
    return header


def _check_space(header: nib.Nifti1Header, path: Path) -> None:
    unit = _unit(header)
    if unit not in MILLIMETRES_PER_UNIT:
        raise InputError(f"{path}: expected lengths in mm, metres or micrometres, got '{unit}'.")
    spacing = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise InputError(f"{path}: expected positive spacings, got {', '.join(f'{value:g}' for value in spacing)}.")
    codes = {"sform": int(header["sform_code"]), "qform": int(header["qform_code"])}
    if not all(code in _CODES for code in codes.values()):
        raise InputError(
            f"{path}: expected sform and qform codes from 0 to 5, got {codes['sform']} and {codes['qform']}."
        )
    stated = [name for name, code in codes.items() if code > 0]
    if not stated:
        raise InputError(f"{path}: expected a NIfTI file that states its orientation, got sform and qform codes of 0.")
    matrices = {name: getattr(header, f"get_{name}")()[:3, :3] for name in stated}
    if not all(np.isfinite(matrix).all() for matrix in matrices.values()):
        raise InputError(f"{path}: expected a finite {' and '.join(stated)}, got NaN or infinity.")
    if len(matrices) == 2 and not _same(matrices["sform"], matrices["qform"], spacing):
        raise InputError(
            f"{path}: expected one orientation, got an sform ({_axes(matrices['sform'])}) and a qform "
            f"({_axes(matrices['qform'])}) that disagree; set the code of the wrong one to 0."
        )
    lengths = np.linalg.norm(matrices[stated[0]], axis=0)
    if not np.allclose(lengths, spacing, rtol=_SAME, atol=0.0):
        raise InputError(
            f"{path}: expected one spacing, got {', '.join(f'{value:g}' for value in spacing)} (pixdim) and "
            f"{', '.join(f'{value:g}' for value in lengths)} ({stated[0]})."
        )


def _unit(header: nib.Nifti1Header) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        return f"code {int(header['xyzt_units'])}"


def _same(first: np.ndarray, second: np.ndarray, spacing: np.ndarray) -> bool:
    """Whether matrices agree, each column within a small part of its axis' spacing."""
    return bool((np.abs(first - second) <= _SAME * spacing).all())


def _axes(matrix: np.ndarray) -> str:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    return "".join(str(code) for code in nib.aff2axcodes(affine))


def _ending(path: Path) -> str:
    return ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
