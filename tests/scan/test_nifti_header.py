from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from tests.scan.examples import body_counts

SHAPE = (12, 9)
SPACING_MM = (12.71, 6.063)


@pytest.fixture
def nifti(tmp_path: Path) -> nib.Nifti1Image:
    save_scan(RawScan(body_counts(SHAPE), SPACING_MM), tmp_path / "scan.nii")
    return nib.load(tmp_path / "scan.nii")


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("meter", 1e-3), ("micron", 1e3), ("unknown", 1.0)])
def test_lengths_become_millimetres(tmp_path: Path, nifti: nib.Nifti1Image, unit: str, scale: float) -> None:
    affine = nifti.affine.copy()
    affine[:3, :3] *= scale
    image = nib.Nifti1Image(np.asanyarray(nifti.dataobj), affine)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "other.nii")
    scan = load_scan(tmp_path / "other.nii", spatial_shape=None)
    assert scan.pixel_spacing_mm == pytest.approx(SPACING_MM, rel=1e-6)
    np.testing.assert_array_equal(scan.counts, body_counts(SHAPE))


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("turn", [-1.0, 0.5])
def test_an_sform_and_a_qform_that_disagree_are_refused(
    tmp_path: Path, nifti: nib.Nifti1Image, axis: int, turn: float
) -> None:
    other = nifti.affine.copy()
    other[:, axis] *= turn
    nifti.set_sform(other, code=1)
    (tmp_path / "two.nii").write_bytes(nifti.to_bytes())
    with pytest.raises(InputError, match=r"two.nii: expected one orientation, got an sform .* that disagree"):
        load_scan(tmp_path / "two.nii", spatial_shape=None)
    nifti.header["sform_code"] = 0
    (tmp_path / "one.nii").write_bytes(nifti.to_bytes())
    load_scan(tmp_path / "one.nii", spatial_shape=None)


@pytest.mark.parametrize("degrees", [0.0, 3.0, 30.0])
def test_a_volume_off_the_bodys_axes_is_refused(tmp_path: Path, nifti: nib.Nifti1Image, degrees: float) -> None:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]]) @ nifti.affine[:3, :3]
    nib.save(nib.Nifti1Image(np.asanyarray(nifti.dataobj), affine), tmp_path / "tilted.nii")
    if degrees < 5.0:
        np.testing.assert_array_equal(load_scan(tmp_path / "tilted.nii", spatial_shape=None).counts, body_counts(SHAPE))
    else:
        with pytest.raises(InputError, match="along the body's axes, within 5 degrees, got axes 30 degrees off"):
            load_scan(tmp_path / "tilted.nii", spatial_shape=None)


PLACES = {
    "magic of a pair of files": (344, b"ni1\0", "magic 'n.1'"),
    "no magic": (344, b"abcd", "magic 'n.1'"),
    "another header size": (0, struct.pack("<i", 540), "header of 348 bytes"),
    "offset inside the header": (108, struct.pack("<f", 100.0), "begin at byte 100"),
    "offset beyond the file": (108, struct.pack("<f", 1e9), r"begin at byte 1e\+09"),
    "offset between bytes": (108, struct.pack("<f", 352.5), "begin at byte 352.5"),
    "offset that is none": (108, struct.pack("<f", float("nan")), "begin at byte nan"),
    "spacing of 0": (80, struct.pack("<f", 0.0), "positive spacings, got 0"),
    "spacing below 0": (80, struct.pack("<f", -6.063), "positive spacings, got -6"),
    "spacing that is none": (80, struct.pack("<f", float("inf")), "positive spacings, got inf"),
    "spacing that the sform denies": (80, struct.pack("<f", 7.0), "expected one (spacing|orientation), got "),
    "no dimensions": (40, struct.pack("<h", 0), "1 to 7 dimensions, got 0"),
    "negative size": (42, struct.pack("<h", -9), "a whole .nii file"),
    "an unknown unit": (123, b"\x07", "lengths in mm, metres or micrometres, got 'code 7'"),
    "a code that nobody knows": (254, struct.pack("<h", 99), "sform and qform codes from 0 to 5, got 99"),
    "a slope without end": (112, struct.pack("<f", float("inf")), "a finite scl_slope and scl_inter, got inf and"),
    "an sform of NaN": (280, struct.pack("<f", float("nan")), "a finite sform"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_header_that_cannot_be_right_is_refused(tmp_path: Path, nifti: nib.Nifti1Image, name: str) -> None:
    place, new, sentence = PLACES[name]
    content = bytearray((tmp_path / "scan.nii").read_bytes())
    content[place : place + len(new)] = new
    (tmp_path / "bad.nii").write_bytes(content)
    with pytest.raises(InputError, match=sentence) as told:
        load_scan(tmp_path / "bad.nii", spatial_shape=None)
    assert str(told.value).startswith(f"{tmp_path / 'bad.nii'}: expected ")
