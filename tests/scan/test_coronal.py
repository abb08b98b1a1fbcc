import itertools

import itk
import nibabel as nib
import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from tests.scan.examples import body_counts

SHAPE = (12, 9)
SPACING_MM = (12.71, 6.063)


@pytest.fixture
def counts():
    return body_counts(SHAPE)


@pytest.fixture
def nifti(tmp_path, counts):
    save_scan(RawScan(counts, SPACING_MM), tmp_path / "scan.nii")
    return nib.load(tmp_path / "scan.nii")


def assert_reads_as(path, counts):
    scan = load_scan(path, spatial_shape=None)
    np.testing.assert_array_equal(scan.counts, counts)
    assert scan.pixel_spacing_mm == SPACING_MM


def test_nifti_is_an_upright_coronal_slice(nifti, counts):
    assert nifti.shape == (SHAPE[1], 1, SHAPE[0], 6)
    assert nifti.get_data_dtype() == np.uint16
    assert nib.aff2axcodes(nifti.affine) == ("L", "A", "I")
    volume = np.asanyarray(nifti.dataobj)
    for row, column, channel in itertools.product((0, 4, 11), (0, 8), range(6)):
        assert volume[column, 0, row, channel] == counts[row, column, channel]
    assert bytes(nifti.header["descrip"]).rstrip(b"\0").decode() == " ".join(CHANNELS)
    # one row down is one row spacing towards the feet, one column on one column spacing to the patient's left (RAS: -x)
    np.testing.assert_allclose(nifti.affine @ [0, 0, 1, 1] - nifti.affine @ [0, 0, 0, 1], [0, 0, -12.71, 0], rtol=1e-6)
    np.testing.assert_allclose(nifti.affine @ [1, 0, 0, 1] - nifti.affine @ [0, 0, 0, 1], [-6.063, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(nifti.get_qform(), nifti.get_sform(), atol=1e-5)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAI", "ASR", "IPL", "SRA"])
def test_a_reoriented_nifti_is_the_same_scan(tmp_path, nifti, counts, axes):
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(nifti.affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    turned = nifti.as_reoriented(change)
    assert nib.aff2axcodes(turned.affine) == tuple(axes)
    nib.save(turned, tmp_path / "turned.nii.gz")
    assert_reads_as(tmp_path / "turned.nii.gz", counts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_a_nifti_stored_as_another_type_is_the_same_scan(tmp_path, nifti, counts, dtype):
    nib.save(nib.Nifti1Image(np.asanyarray(nifti.dataobj).astype(dtype), nifti.affine), tmp_path / "other.nii")
    assert_reads_as(tmp_path / "other.nii", counts)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_sees_the_same_slice_as_nibabel(tmp_path, nifti, counts, ending):
    path = tmp_path / f"scan{ending}"
    save_scan(RawScan(counts, SPACING_MM), path)
    image = itk.ImageFileReader[itk.VectorImage[itk.US, 3]].New(FileName=str(path))
    image.Update()
    image = image.GetOutput()
    assert tuple(itk.size(image)) == (SHAPE[1], 1, SHAPE[0])
    assert image.GetNumberOfComponentsPerPixel() == 6
    lps_from_index = itk.array_from_matrix(image.GetDirection()) * tuple(image.GetSpacing())
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ lps_from_index, nifti.affine[:3, :3], atol=1e-5)

    itk.imwrite(image, str(tmp_path / "from_itk.nii"))
    assert nib.load(tmp_path / "from_itk.nii").shape == (SHAPE[1], 1, SHAPE[0], 1, 6)
    assert_reads_as(tmp_path / "from_itk.nii", counts)


@pytest.mark.parametrize("flipped_axis", [0, 2])
@pytest.mark.parametrize("pixel_type", [np.uint16, np.int16, np.float32])
def test_a_flipped_itk_image_of_another_type_is_the_same_scan(tmp_path, counts, flipped_axis, pixel_type):
    array = np.flip(counts[:, None].astype(pixel_type), axis=2 - flipped_axis)
    image = itk.image_from_array(np.ascontiguousarray(array), is_vector=True)
    direction = np.diag([1.0, -1.0, -1.0])
    direction[flipped_axis, flipped_axis] *= -1
    image.SetDirection(itk.matrix_from_array(direction))
    image.SetSpacing((SPACING_MM[1], 1.0, SPACING_MM[0]))
    itk.imwrite(image, str(tmp_path / "flipped.nrrd"))
    assert_reads_as(tmp_path / "flipped.nrrd", counts)


def test_itk_values_beyond_14_bits_are_refused_not_wrapped(tmp_path, counts):
    array = counts[:, None].astype(np.float32)
    array[0, 0, 0, 0] = 65536 + 5
    image = itk.image_from_array(array, is_vector=True)
    image.SetDirection(itk.matrix_from_array(np.diag([1.0, -1.0, -1.0])))
    itk.imwrite(image, str(tmp_path / "scan.mha"))
    with pytest.raises(InputError, match=r"got \d+\.\.65541"):
        load_scan(tmp_path / "scan.mha", spatial_shape=None)


@pytest.mark.parametrize(
    "shape",
    [(12, 9, 6), (12, 9, 1, 6), (9, 1, 12, 5), (9, 1, 12), (9, 2, 12, 6), (9, 1, 12, 2, 6), (9, 12)],
)
def test_other_nifti_layouts_are_refused(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint16), np.diag([-6.0, 1.0, -13.0, 1.0])), tmp_path / "scan.nii")
    with pytest.raises(InputError, match=r"scan.nii: expected a coronal volume.* got shape"):
        load_scan(tmp_path / "scan.nii", spatial_shape=None)


def test_a_nifti_without_orientation_is_refused(tmp_path, nifti):
    bare = nib.Nifti1Image(np.asanyarray(nifti.dataobj), None)
    bare.header["sform_code"] = 0
    nib.save(bare, tmp_path / "bare.nii")
    with pytest.raises(InputError, match=r"bare\.nii: expected a NIfTI file that states its orientation"):
        load_scan(tmp_path / "bare.nii", spatial_shape=None)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("shape", [(12, 9, 6), (12, 1, 9)])
def test_other_itk_layouts_are_refused(tmp_path, shape, ending):
    path = tmp_path / f"scan{ending}"
    itk.imwrite(itk.image_from_array(np.zeros(shape, np.uint16), is_vector=shape[-1] == 6), str(path))
    with pytest.raises(InputError, match=f"scan{ending}: expected an? "):
        load_scan(path, spatial_shape=None)


def test_a_compressed_nifti_holds_neither_time_nor_name(tmp_path, counts):
    save_scan(RawScan(counts, SPACING_MM), tmp_path / "scan.nii.gz")
    header = (tmp_path / "scan.nii.gz").read_bytes()[:10]
    assert header[3] == 0  # RFC 1952: no flags, so no file name
    assert header[4:8] == bytes(4)  # and no time of modification
