"""Files that lie about their size, that unpack without end, that point elsewhere or that hold code."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import load_pseudo_dxa, load_regressor, load_tensors, load_vae
from dxa_monai.runs.state_files import newest_state
from dxa_monai.scan.io import FILE_ENDINGS, RawScan, load_scan, save_scan
from dxa_monai.scan.limits import MAX_SCAN_BYTES, read_npz
from dxa_monai.scan.truth import load_truth
from tests.damage import FUZZING, damaged_bytes
from tests.scan.examples import body_counts

MEMORY_BYTES = 20e6
"""More than any of these may take while it is read: a whole scan in float64 and itk's own copies are below 5 MB."""


class Payload:
    """Pickled, it makes a file when it is opened."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sentinel,))


def _scan_bytes(ending: str, folder: Path) -> bytes:
    path = folder / f"whole{ending}"
    save_scan(RawScan(body_counts()), path)
    return path.read_bytes()


def _npy(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<u2", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(1000)


def _zip(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def _lying_nifti(whole: bytes) -> bytes:
    content = bytearray(whole)
    struct.pack_into("<8h", content, 40, 4, 32767, 1, 32767, 6, 1, 1, 1)  # dim
    return bytes(content)


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(whole: bytes) -> bytes:
        assert old in whole
        return whole.replace(old, new, 1)

    return change


LIARS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "npy of terabytes": (".npy", lambda _: _npy((10**6, 10**6, 6))),
    "npy of negative size": (".npy", lambda _: _npy((-150, -109, 6))),
    "npy longer than it says": (".npy", lambda whole: whole + b"more"),
    "npz of terabytes": (".npz", lambda _: _zip(("counts.npy", _npy((10**6, 10**6, 6))))),
    "npz bomb": (".npz", lambda _: _zip(("counts.npy", bytes(200_000_000)))),
    "npz bomb in many parts": (".npz", lambda _: _zip(*((f"{i}.npy", _npy((500,))) for i in range(40)))),
    "gzip bomb": (".nii.gz", lambda _: gzip.compress(bytes(200_000_000))),
    "gzip of many parts": (".nii.gz", lambda whole: gzip.compress(b"") * 10_000 + whole),
    "nifti of gigabytes": (".nii", _lying_nifti),
    "nifti of gigabytes, compressed": (".nii.gz", lambda whole: gzip.compress(_lying_nifti(gzip.decompress(whole)))),
    "nrrd of terabytes": (".nrrd", _replaced(b"109 1 150", b"109000 1000 150000")),
    "mha of terabytes": (".mha", _replaced(b"109 1 150", b"109000 1000 150000")),
}


@pytest.mark.parametrize("lie", LIARS)
def test_a_file_that_lies_about_its_size_is_refused_before_room_is_made(lie: str, tmp_path: Path) -> None:
    ending, change = LIARS[lie]
    path = tmp_path / f"scan{ending}"
    path.write_bytes(change(_scan_bytes(ending, tmp_path)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"expected .*, got ") as refused:
            load_scan(path)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * MAX_SCAN_BYTES
    finally:
        tracemalloc.stop()
    assert str(path) in str(refused.value)


def test_what_an_archive_declares_is_a_few_values(tmp_path: Path) -> None:
    for name in ("pixel_spacing_mm", "channels"):
        np.savez(tmp_path / "scan.npz", counts=body_counts(), **{name: np.zeros(1000)})
        with pytest.raises(InputError, match=rf"scan\.npz: expected a few values of {name}, got 1000\."):
            load_scan(tmp_path / "scan.npz")


def test_a_file_of_several_compressed_parts_and_padding_is_one(tmp_path: Path) -> None:
    """As bgzip writes them; parts may end anywhere in what is read at once."""
    whole = gzip.decompress(_scan_bytes(".nii.gz", tmp_path))
    parts = b"".join(gzip.compress(whole[begin : begin + 999]) for begin in range(0, len(whole), 999))
    (tmp_path / "parts.nii.gz").write_bytes(gzip.compress(b"") + parts + bytes(100_000))
    np.testing.assert_array_equal(load_scan(tmp_path / "parts.nii.gz").counts, body_counts())


@pytest.mark.parametrize(
    ("ending", "old", "new"),
    [
        (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = other.raw"),
        (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = LIST\n/etc/hostname"),
        (".mha", b"ElementDataFile = LOCAL", b"elementdatafile=/etc/hostname"),
        (".nrrd", b"encoding:", b"data file: other.raw\nencoding:"),
        (".nrrd", b"encoding:", b"DataFile: LIST\nencoding:"),
        (".nrrd", b"encoding:", b"datafile: /etc/hostname\nencoding:"),
    ],
)
def test_no_other_file_is_opened(ending: str, old: bytes, new: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    whole = _scan_bytes(ending, tmp_path)
    (tmp_path / "other.raw").write_bytes(whole[-150 * 109 * 12 :])
    path.write_bytes(_replaced(old, new)(whole))
    with pytest.raises(InputError, match="expected the data in the file itself, got a header with"):
        load_scan(path)


def _object_array(sentinel: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Payload(sentinel)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _checkpoint(sentinel: Path, path: Path, legacy: bool) -> None:
    content = {"architecture": {}, "state": {"weight": torch.zeros(2)}, "extra": Payload(sentinel)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


@pytest.mark.parametrize("name", ["scan.npy", "counts.npz", "leading.npz", "absolute.npz", "raw.npy", "truth.npz"])
def test_code_in_an_array_does_not_run(name: str, tmp_path: Path) -> None:
    sentinel, path = tmp_path / "sentinel", tmp_path / name
    pickled = _object_array(sentinel)
    member = {"leading.npz": "../../counts.npy", "absolute.npz": f"{tmp_path}/sentinel"}.get(name, "counts.npy")
    path.write_bytes(
        {"scan.npy": pickled, "raw.npy": pickle.dumps(Payload(sentinel))}.get(name, _zip((member, pickled)))
    )
    with pytest.raises(InputError):
        load_truth({"truth": str(path), "scan_id": "a"}) if name == "truth.npz" else load_scan(path)
    assert not sentinel.exists()


@pytest.mark.parametrize("member", ["../sentinel.npy", "/tmp/../sentinel.npy"])
def test_members_of_an_archive_lead_nowhere(member: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, body_counts())
    path = tmp_path / "folder" / "scan.npz"
    path.parent.mkdir()
    path.write_bytes(_zip((member, stream.getvalue()), ("counts.npy", stream.getvalue())))
    load_scan(path)  # what the archive holds besides is of no interest
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["folder", "scan.npz"]


def test_an_archive_with_two_arrays_of_one_name_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, body_counts())
    for first, second in (("counts.npy", "counts.npy"), ("counts.npy", "counts")):
        (tmp_path / "scan.npz").write_bytes(_zip((first, stream.getvalue()), (second, stream.getvalue())))
        with pytest.raises(InputError, match=r"scan\.npz: expected arrays of different names, got two of one name"):
            load_scan(tmp_path / "scan.npz")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("load", [load_tensors, load_vae, load_regressor, load_pseudo_dxa])
def test_code_in_a_checkpoint_does_not_run(load: Callable[[Path], Any], legacy: bool, tmp_path: Path) -> None:
    _checkpoint(tmp_path / "sentinel", tmp_path / "model.pt", legacy)
    with pytest.raises(InputError, match="expected a whole file of network weights"):
        load(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Payload(tmp_path / "sentinel")))
    with pytest.raises(InputError, match="expected a whole file of network weights"):
        load(tmp_path / "model.pt")
    assert not (tmp_path / "sentinel").exists()


def test_code_in_a_training_state_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "resume").mkdir()
    _checkpoint(tmp_path / "sentinel", tmp_path / "resume" / "iteration_000000001.pt", legacy=False)
    with pytest.raises(InputError, match="expected a whole state"):
        newest_state(tmp_path)
    assert not (tmp_path / "sentinel").exists()


def _is_told(content: bytes, ending: str, folder: Path) -> None:
    path = folder / f"fuzzed{ending}"
    path.write_bytes(content)
    scan, told = None, f"{path}: "
    tracemalloc.start()
    try:
        scan = load_scan(path)
    except InputError as error:
        told = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY_BYTES
    assert told.startswith(str(path))
    assert "\n" not in told
    assert scan is None or (scan.counts.shape == (150, 109, 6) and scan.counts.max() <= 16383)


@pytest.mark.parametrize("ending", FILE_ENDINGS)
@settings(max_examples=60, **FUZZING)
@given(data=st.data())
def test_damaged_files_end_in_a_sentence_and_take_little_memory(
    ending: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    _is_told(damaged_bytes(_whole(ending, folder), data), ending, folder)


@pytest.mark.parametrize("ending", FILE_ENDINGS)
@settings(max_examples=40, **FUZZING)
@given(content=st.binary(max_size=2000))
def test_random_bytes_end_in_a_sentence(ending: str, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    _is_told(content, ending, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@pytest.mark.parametrize("ending", FILE_ENDINGS)
@settings(max_examples=2000, **FUZZING)
@given(data=st.data())
def test_thousands_of_damaged_files(ending: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    _is_told(damaged_bytes(_whole(ending, folder), data), ending, folder)


_WHOLE: dict[str, bytes] = {}


def _whole(ending: str, folder: Path) -> bytes:
    if ending not in _WHOLE:
        _WHOLE[ending] = _scan_bytes(ending, folder)
    return _WHOLE[ending]


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_inflates_at_once_is_refused_in_little_memory(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("counts.npy", bytes(300_000_000))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        for read in (load_scan, read_npz):
            with pytest.raises(InputError, match="expected arrays as NumPy writes them, got another compression"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
