import gzip
import os

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan import io
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM
from dxa_monai.scan.io import FILE_ENDINGS, RawScan, checked_spacing, file_ending, file_stem, load_scan, save_scan
from tests.scan.examples import air_counts, body_counts

SPACING_MM = (12.71, 6.063)


@pytest.fixture(params=FILE_ENDINGS)
def ending(request):
    return request.param


def refusal(path, **arguments):
    """The sentence that load_scan refuses a file with."""
    with pytest.raises(InputError) as refused:
        load_scan(path, **arguments)
    sentence = str(refused.value)
    assert sentence.startswith(f"{path}: expected ")
    assert " got " in sentence
    assert "\n" not in sentence
    return sentence


def test_round_trip_is_exact(tmp_path, ending):
    path = tmp_path / f"person.visit{ending}"
    counts = body_counts()
    save_scan(RawScan(counts, SPACING_MM), path)
    scan = load_scan(path)
    np.testing.assert_array_equal(scan.counts, counts)
    assert scan.counts.dtype == np.uint16
    assert scan.counts.flags.c_contiguous
    assert scan.pixel_spacing_mm == (PIXEL_SPACING_MM if ending == ".npy" else SPACING_MM)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("value", [0, 16383])
def test_extreme_counts_round_trip(tmp_path, ending, value):
    path = tmp_path / f"scan{ending}"
    counts = np.full((150, 109, 6), value, np.uint16)
    save_scan(RawScan(counts), path)
    np.testing.assert_array_equal(load_scan(path).counts, counts)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 7), (1, 5)])
def test_other_grids_round_trip_when_asked_for(tmp_path, ending, shape):
    path = tmp_path / f"scan{ending}"
    counts = body_counts(shape)
    save_scan(RawScan(counts, SPACING_MM), path)
    np.testing.assert_array_equal(load_scan(path, spatial_shape=None).counts, counts)
    assert "(150, 109, 6), got " in refusal(path)


def test_same_scan_gives_same_bytes_under_any_name(tmp_path, ending):
    first, second = tmp_path / f"first{ending}", tmp_path / "deeper" / f"second{ending}"
    for path in (first, second):
        save_scan(RawScan(body_counts(), SPACING_MM), path)
    assert first.read_bytes() == second.read_bytes()


def test_argument_overrides_the_files_spacing(tmp_path, ending):
    path = tmp_path / f"scan{ending}"
    save_scan(RawScan(body_counts(), SPACING_MM), path)
    assert load_scan(path, pixel_spacing_mm=[10, 5]).pixel_spacing_mm == (10.0, 5.0)


def test_declared_channels_are_put_in_order(tmp_path, ending):
    path = tmp_path / f"scan{ending}"
    declared = tuple(reversed(CHANNELS))
    if ending == ".npz":
        np.savez(path, counts=body_counts()[..., ::-1])
    else:
        save_scan(RawScan(body_counts()[..., ::-1]), path)
    np.testing.assert_array_equal(load_scan(path, channels=declared).counts, body_counts())
    assert "low energy to attenuate more" in refusal(path)
    assert "got air_high, water" in refusal(path, channels=("air_high", "water"))


# A header, a part of the data and the last byte are what a broken transfer leaves out.
@pytest.mark.parametrize("kept", [0, 1, 4, 100, 127, 352, 1000, 0.5, -100, -8, -1])
def test_truncated_files_are_refused(tmp_path, ending, kept):
    whole, path = tmp_path / f"whole{ending}", tmp_path / f"scan{ending}"
    save_scan(RawScan(body_counts(), SPACING_MM), whole)
    content = whole.read_bytes()
    path.write_bytes(content[: round(len(content) * kept)] if kept == 0.5 else content[:kept])
    assert f"a whole {ending} file" in refusal(path)


def test_files_of_something_else_are_refused(tmp_path, ending):
    path = tmp_path / f"scan{ending}"
    path.write_bytes(b"patient;date\n" * 200)
    refusal(path)
    path.write_bytes(gzip.compress(b"patient;date\n" * 200))
    refusal(path)
    path.write_bytes(bytes(200_000))
    refusal(path)


@pytest.mark.parametrize("ending", [".npz", ".nii.gz"])
@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_byte_in_a_compressed_file_is_noticed(tmp_path, ending, place):
    path = tmp_path / f"scan{ending}"
    save_scan(RawScan(body_counts()), path)
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    path.write_bytes(content)
    refusal(path)


def test_missing_file_folder_and_unknown_ending_are_refused(tmp_path, ending):
    assert refusal(tmp_path / f"nobody{ending}").endswith("got no such file.")
    (tmp_path / f"folder{ending}").mkdir()
    assert refusal(tmp_path / f"folder{ending}").endswith("got a folder.")
    assert "a file ending in .npy, .npz" in refusal(tmp_path / "scan.png")
    assert "got 'scan'" in refusal(tmp_path / "scan")


def test_pickles_are_never_opened(tmp_path):
    npy, npz = tmp_path / "scan.npy", tmp_path / "scan.npz"
    np.save(npy, np.array([{"counts": 1}], dtype=object), allow_pickle=True)
    np.savez(npz, counts=np.array([{"counts": 1}], dtype=object))
    assert "allow_pickle=False" in refusal(npy)
    assert "allow_pickle=False" in refusal(npz)


def test_an_archive_must_hold_counts(tmp_path):
    path = tmp_path / "scan.npz"
    np.savez(path, image=body_counts())
    assert refusal(path).endswith("expected an array 'counts', got image.")
    np.savez(path)
    assert refusal(path).endswith("expected an array 'counts', got an empty archive.")
    with open(path, "wb") as file:
        np.save(file, body_counts())
    assert refusal(path).endswith("expected an .npz archive of arrays, got a single array.")


def test_channels_of_an_archive_count_and_must_agree_with_the_declared_ones(tmp_path):
    path = tmp_path / "scan.npz"
    stored = tuple(reversed(CHANNELS))
    np.savez(path, counts=body_counts()[..., ::-1], channels=np.array(stored))
    np.testing.assert_array_equal(load_scan(path).counts, body_counts())
    np.testing.assert_array_equal(load_scan(path, channels=list(stored)).counts, body_counts())
    assert "got a file with tissue_low" in refusal(path, channels=CHANNELS)
    np.savez(path, counts=body_counts(), channels=np.array(["a", "b"]))
    assert "got a, b" in refusal(path)


@pytest.mark.parametrize(
    "spacing", [(0.0, 6.0), (-13.0, 6.0), (13.0, np.nan), (13.0,), (13.0, 6.0, 1.0), ("a", "b"), 7]
)
def test_spacing_must_be_two_positive_numbers(tmp_path, spacing):
    path = tmp_path / "scan.npy"
    np.save(path, body_counts())
    assert "two positive numbers (rows, columns) in mm" in refusal(path, pixel_spacing_mm=spacing)
    with pytest.raises(InputError, match=r"scan\.npz: expected a pixel spacing"):
        save_scan(RawScan(body_counts(), spacing), tmp_path / "scan.npz")
    assert os.listdir(tmp_path) == ["scan.npy"]
    assert checked_spacing([13, 6], "x") == (13.0, 6.0)


def test_what_is_no_scan_is_not_written(tmp_path, ending):
    path = tmp_path / "deeper" / f"scan{ending}"
    with pytest.raises(InputError, match=r"got 0\.\.20000"):
        save_scan(RawScan(np.full((150, 109, 6), 20000) * (np.arange(6) > 0)), path)
    assert not path.parent.exists()


def test_a_poor_reconstruction_can_be_stored(tmp_path):
    swapped = body_counts()[..., [1, 0, 3, 2, 5, 4]]
    save_scan(RawScan(swapped), tmp_path / "scan.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "scan.npy"), swapped)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, ending, monkeypatch):
    path = tmp_path / f"scan{ending}"
    save_scan(RawScan(body_counts(seed=1), SPACING_MM), path)
    before = path.read_bytes()

    def full_disk(*arguments, **options):
        raise OSError("No space left on device")

    for module, name in ((np, "save"), (np, "savez_compressed"), (io, "write_nifti"), (io, "write_itk")):
        monkeypatch.setattr(module, name, full_disk)
    with pytest.raises(InputError, match=r"expected room to write it, got 'No space left on device'"):
        save_scan(RawScan(body_counts(seed=2), SPACING_MM), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path, ending):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="expected a folder that can be written to"):
        save_scan(RawScan(air_counts()), tmp_path / "file" / f"scan{ending}")


def test_endings_and_stems():
    assert file_ending("a/B.NII.GZ") == ".nii.gz"
    assert file_stem("a/b.c.nii.gz") == "b.c"
    assert file_stem("a.npy/b.nii") == "b"
