import os

import numpy as np
import pytest
import torch
from monai.transforms import LoadImaged, SaveImage, SaveImaged

from dxa_monai.errors import InputError
from dxa_monai.scan.format import PIXEL_SPACING_MM
from dxa_monai.scan.io import FILE_ENDINGS, RawScan, load_scan, save_scan
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.writer import RawDXAWriter
from tests.scan.examples import body_counts

NAME = "dxa_monai.scan.writer.RawDXAWriter"
SPACING_MM = (12.7, 6.1)


def saver(tmp_path, ending, writer=NAME, **options):
    return SaveImaged(
        keys="image",
        writer=writer,
        output_dir=tmp_path / "out",
        output_ext=ending,
        output_postfix="again",
        separate_folder=False,
        print_log=False,
        **options,
    )


@pytest.mark.parametrize("ending", FILE_ENDINGS)
@pytest.mark.parametrize("writer", [NAME, RawDXAWriter])
def test_what_was_read_is_written_count_by_count(tmp_path, ending, writer):
    save_scan(RawScan(body_counts(), SPACING_MM), tmp_path / "scan.npz")
    item = LoadImaged(keys="image", reader=RawDXAReader())({"image": tmp_path / "scan.npz"})
    saver(tmp_path, ending, writer)(item)
    assert os.listdir(tmp_path / "out") == [f"scan_again{ending}"]
    scan = load_scan(tmp_path / "out" / f"scan_again{ending}")
    np.testing.assert_array_equal(scan.counts, body_counts())
    assert scan.pixel_spacing_mm == (PIXEL_SPACING_MM if ending == ".npy" else SPACING_MM)


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32, torch.float16])
def test_arrays_and_tensors_without_metadata_get_the_nominal_spacing(tmp_path, kind):
    image = np.zeros((6, 20, 10))
    image[1::2] = 1.5
    image[0] = -0.5
    image = torch.from_numpy(image).to(kind) if isinstance(kind, torch.dtype) else image.astype(kind)
    save = SaveImage(writer=NAME, output_ext=".npz", print_log=False)
    save(image, filename=tmp_path / "scan")
    scan = load_scan(tmp_path / "scan.npz", spatial_shape=None)
    assert scan.pixel_spacing_mm == PIXEL_SPACING_MM
    assert np.unique(scan.counts[..., 1::2]).tolist() == [16383]
    assert np.unique(scan.counts[..., ::2]).tolist() == [0]


def test_spacing_is_read_off_a_rotated_affine():
    angle = np.deg2rad(5.0)
    affine = np.eye(4)
    affine[:2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(SPACING_MM)
    writer = RawDXAWriter()
    writer.set_metadata({"affine": torch.from_numpy(affine)})
    assert writer.pixel_spacing_mm == pytest.approx(SPACING_MM)


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((3, 20, 10)), r"got \(3, 20, 10\)"),
        (np.zeros((6, 20)), r"got \(6, 20\)"),
        (np.full((6, 2, 2), np.nan), "got 24 that are NaN or infinite"),
    ],
)
def test_what_is_no_scan_is_not_written(tmp_path, image, got):
    with pytest.raises(InputError, match=got):
        RawDXAWriter().set_data_array(image)
    with pytest.raises(RuntimeError, match=got):
        SaveImage(writer=NAME, output_ext=".npy", print_log=False)(image, filename=tmp_path / "scan")
    assert os.listdir(tmp_path) == []


def test_options_that_would_change_the_counts_are_refused(tmp_path):
    with pytest.raises(InputError, match="scale: expected None"):
        RawDXAWriter(scale=255)
    with pytest.raises(InputError, match="resample: expected False"):
        RawDXAWriter().set_metadata({}, resample=True)
    with pytest.raises(InputError, match="channel_dim -1"):
        RawDXAWriter().set_data_array(np.zeros((6, 2, 2)), channel_dim=-1)
    with pytest.raises(InputError, match="expected set_data_array before write"):
        RawDXAWriter().write(tmp_path / "scan.npy", verbose=False)
