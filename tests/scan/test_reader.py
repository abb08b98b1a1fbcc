import os
import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, LoadImage, LoadImaged, Rotate90d

from dxa_monai.errors import InputError, describe_user_error
from dxa_monai.scan.format import CHANNELS, counts_to_unit
from dxa_monai.scan.io import FILE_ENDINGS, RawScan, save_scan
from dxa_monai.scan.reader import RawDXAReader
from tests.scan.examples import body_counts

NAME = "dxa_monai.scan.reader.RawDXAReader"
SPACING_MM = (12.7, 6.1)


@pytest.fixture(params=FILE_ENDINGS)
def path(request, tmp_path):
    path = tmp_path / f"scan{request.param}"
    save_scan(RawScan(body_counts(), SPACING_MM), path)
    return path


@pytest.mark.parametrize("reader", [NAME, RawDXAReader, RawDXAReader(pixel_spacing_mm=SPACING_MM)])
def test_load_image_gives_rows_as_rows_and_spacing_in_the_affine(path, reader):
    image = LoadImaged(keys="image", reader=reader)({"image": path})["image"]
    assert isinstance(image, MetaTensor)
    assert image.shape == (6, 150, 109)
    assert image.dtype == torch.float32
    counts = body_counts()
    for channel in range(6):
        np.testing.assert_array_equal(image[channel].numpy(), counts_to_unit(counts[:, :, channel]))
    rows_mm, columns_mm = SPACING_MM
    if path.suffix == ".npy" and not isinstance(reader, RawDXAReader):
        rows_mm, columns_mm = 13.0, 6.06
    assert image.pixdim.tolist() == [rows_mm, columns_mm]
    np.testing.assert_array_equal(image.affine.numpy(), np.diag([rows_mm, columns_mm, 1, 1]))
    assert image.meta["channels"] == CHANNELS
    assert image.meta["filename_or_obj"] == str(path)
    assert list(image.meta["spatial_shape"]) == [150, 109]


def test_ensure_channel_first_finds_the_channels_where_they_are(path):
    loaded = LoadImage(reader=NAME)(path)
    ensured = LoadImage(reader=NAME, ensure_channel_first=True)(path)
    assert torch.equal(loaded, ensured)


def test_get_data_metadata(path):
    reader = RawDXAReader()
    array, metadata = reader.get_data(reader.read([path]))
    assert array.shape == (6, 150, 109)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert metadata["original_channel_dim"] == 0
    assert metadata["spacing"].tolist() == np.diag(metadata["affine"])[:2].tolist()
    again, _ = reader.get_data(reader.read(str(path)))
    np.testing.assert_array_equal(array, again)


def test_reader_arguments_by_name(tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, body_counts((20, 10))[..., ::-1])
    load = LoadImaged(
        keys="image",
        reader=NAME,
        channels=list(reversed(CHANNELS)),
        pixel_spacing_mm=[10, 5],
        spatial_shape=[20, 10],
    )
    image = load({"image": str(path)})["image"]
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(counts_to_unit(body_counts((20, 10))), -1, 0))
    assert image.pixdim.tolist() == [10.0, 5.0]


@pytest.mark.parametrize(
    "arguments",
    [{"channels": ["air_high"]}, {"pixel_spacing_mm": [0, 1]}],
)
def test_wrong_arguments_are_refused_at_construction(arguments):
    with pytest.raises(InputError, match=f"^{next(iter(arguments))}: expected"):
        RawDXAReader(**arguments)
    with pytest.raises(InputError):
        LoadImaged(keys="image", reader=NAME, **arguments)


@pytest.mark.parametrize("reader", [NAME, RawDXAReader, RawDXAReader()])
@pytest.mark.parametrize("fault", ["missing", "truncated", "swapped", "shape", "fractions"])
def test_the_sentence_survives_monai(tmp_path, reader, fault):
    path = tmp_path / "scan.npy"
    counts = body_counts()
    if fault == "truncated":
        np.save(path, counts)
        os.truncate(path, 1000)
    elif fault != "missing":
        broken = {"swapped": counts[..., [1, 0, 3, 2, 5, 4]], "shape": counts[:9], "fractions": counts_to_unit(counts)}
        np.save(path, broken[fault])
    load = Compose([LoadImaged(keys="image", reader=reader)])
    with pytest.raises(RuntimeError, match="applying transform") as raised:
        load({"image": str(path)})
    sentence = describe_user_error(raised.value)
    assert sentence is not None
    assert sentence.startswith(f"{path}: expected ")
    assert "\n" not in sentence


def test_the_sentence_survives_a_data_loader_with_workers(tmp_path):
    np.save(tmp_path / "scan.npy", body_counts()[:9])
    data = Dataset([{"image": str(tmp_path / "scan.npy")}], LoadImaged(keys="image", reader=NAME))
    with pytest.raises(Exception, match=r"\(9, 109, 6\)") as raised:
        next(iter(DataLoader(data, num_workers=1)))
    assert f"{tmp_path}/scan.npy: expected counts of shape" in str(raised.value)


def test_two_files_are_not_one_scan(tmp_path):
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, body_counts())
    with pytest.raises(InputError, match="expected one file a scan, got 2"):
        LoadImage(reader=RawDXAReader())([tmp_path / "a.npy", tmp_path / "b.npy"])


def test_scans_make_a_batch_and_follow_transforms(path):
    data = Dataset(
        [{"image": path, "scan_id": "a"}, {"image": path, "scan_id": "b"}],
        Compose([LoadImaged(keys="image", reader=RawDXAReader()), Rotate90d(keys="image")]),
    )
    batch = next(iter(DataLoader(data, batch_size=2)))
    assert batch["image"].shape == (2, 6, 109, 150)
    assert batch["scan_id"] == ["a", "b"]


def test_suffixes_and_pickling():
    reader = pickle.loads(pickle.dumps(RawDXAReader(pixel_spacing_mm=SPACING_MM)))
    assert reader.source.pixel_spacing_mm == SPACING_MM
    assert reader.verify_suffix(["a.npy", "b.NII.GZ"])
    assert not reader.verify_suffix("a.png")
