"""NRRD and MetaImage: what other programs write is read as they mean it; any other line of a header is refused."""

from __future__ import annotations

import bz2
import gzip
import itertools
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import itk
import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.volume_files import read_volume
from tests.scan.examples import body_counts

COUNTS = body_counts((12, 9))
RAW = COUNTS.astype("<u2").tobytes()
NRRD = (
    "NRRD0005\n# made elsewhere\ntype: unsigned short\ndimension: 4\nspace: left-posterior-superior\nsizes: 6 9 1 12\n"
    "space directions: none (6.5,0,0) (0,-1,0) (0,0,-13)\nkinds: vector domain domain domain\nendian: little\n"
    "encoding: raw\nspace origin: (0,0,0)\n\n"
)
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "TransformMatrix = 1 0 0 0 -1 0 0 0 -1\nOffset = 0 0 0\nElementSpacing = 6.5 1 13\nDimSize = 9 1 12\n"
    "ElementNumberOfChannels = 6\nElementType = MET_USHORT\nElementDataFile = LOCAL\n"
)


def changed(header: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in header
        header = header.replace(old, new, 1)
    return header


def written(folder: Path, header: str, data: bytes = RAW) -> Path:
    path = folder / ("scan.nrrd" if "NRRD0" in header else "scan.mha")
    path.write_bytes(header.encode() + data)
    return path


VARIANTS: dict[str, tuple[str, bytes]] = {
    "nrrd": (NRRD, RAW),
    "nrrd, windows": (NRRD.replace("\n", "\r\n"), RAW),
    "nrrd, RAS": (
        changed(NRRD, ("left-posterior-superior", "RAS"), ("(6.5,0,0) (0,-1,0)", "(-6.5, 0, 0) (0,1,0)")),
        RAW,
    ),
    "nrrd, gzip": (changed(NRRD, ("raw", "gzip")), gzip.compress(RAW)),
    "nrrd, bzip2": (changed(NRRD, ("raw", "bzip2")), bz2.compress(RAW)),
    "nrrd, text": (
        changed(NRRD, ("raw", "ascii"), ("endian: little\n", "")),
        " ".join(map(str, COUNTS.ravel())).encode(),
    ),
    "nrrd, big endian": (changed(NRRD, ("little", "big")), COUNTS.astype(">u2").tobytes()),
    "nrrd, double": (changed(NRRD, ("unsigned short", "double")), COUNTS.astype("<f8").tobytes()),
    "nrrd, a note": (changed(NRRD, ("kinds", "my key:=data file: /etc/passwd\nkinds")), RAW),
    "nrrd, units": (changed(NRRD, ("kinds", 'space units: "mm" "mm" "mm"\nkinds')), RAW),
    "nrrd, channels last": (
        changed(
            NRRD, ("6 9 1 12", "9 1 12 6"), ("none (6.5,0,0) (0,-1,0) (0,0,-13)", "(6.5,0,0) (0,-1,0) (0,0,-13) none")
        ),
        np.moveaxis(COUNTS, -1, 0).astype("<u2").tobytes(),
    ),
    "nrrd, feet first": (changed(NRRD, ("(0,0,-13)", "(0,0,13)")), COUNTS[::-1].astype("<u2").tobytes()),
    "mha": (MHA, RAW),
    "mha, compressed": (
        changed(
            MHA, ("CompressedData = False", f"CompressedData = True\nCompressedDataSize = {len(zlib.compress(RAW))}")
        ),
        zlib.compress(RAW),
    ),
    "mha, big endian": (changed(MHA, ("MSB = False", "MSB = True")), COUNTS.astype(">u2").tobytes()),
    "mha, letters": (changed(MHA, ("Offset", "AnatomicalOrientation = RPS\nOffset")), RAW),
    "mha, mirrored": (
        changed(MHA, ("= 1 0 0 0 -1", "= -1 0 0 0 -1")),
        COUNTS[:, ::-1].astype("<u2").tobytes(),
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_other_programs_write_is_the_same_scan(name: str, tmp_path: Path) -> None:
    scan = load_scan(written(tmp_path, *VARIANTS[name]), spatial_shape=None)
    np.testing.assert_array_equal(scan.counts, COUNTS)
    assert scan.pixel_spacing_mm == (13.0, 6.5)


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_axes_mean_what_itk_means_by_them(order: tuple[int, ...], ending: str, tmp_path: Path) -> None:
    """itk writes a volume whose axes are exchanged and turned over; its directions, times itk's LPS, are ours."""
    direction = np.eye(3)[list(order)] * [1.0, -1.0, 1.0]
    image = itk.image_from_array(np.arange(2 * 3 * 4 * 6, dtype=np.uint16).reshape(2, 3, 4, 6), is_vector=True)
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(direction)))
    image.SetSpacing((2.0, 3.0, 5.0))
    itk.imwrite(image, str(tmp_path / f"a.{ending}"))
    volume = read_volume(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(volume.values, itk.array_from_image(image).transpose(2, 1, 0, 3))
    np.testing.assert_allclose(volume.directions_ras / np.linalg.norm(volume.directions_ras, axis=0),
                               np.diag([-1.0, -1.0, 1.0]) @ direction, atol=1e-12)  # fmt: skip
    assert volume.spacing_mm == [2.0, 3.0, 5.0]


HOSTILE: dict[str, tuple[str, str]] = {
    "no space": (changed(NRRD, ("space: left-posterior-superior\n", "")), "states its orientation"),
    "no directions": (
        changed(NRRD, ("space directions: none (6.5,0,0) (0,-1,0) (0,0,-13)", "spacings: nan 6.5 1 13")),
        "states its orientation",
    ),
    "a space of other axes": (changed(NRRD, ("left-posterior-superior", "3D-right-handed")), "'space' to be one of"),
    "spacings beside directions": (changed(NRRD, ("kinds", "spacings: nan 6.5 1 13\nkinds")), "spacings beside them"),
    "metres": (changed(NRRD, ("kinds", 'space units: "m" "m" "m"\nkinds')), "space units of mm"),
    "micrometres without quotes": (changed(NRRD, ("kinds", "space units: um um um\nkinds")), "space units of mm"),
    "places beside directions": (changed(NRRD, ("kinds", "axis mins: nan 0 0 0\nkinds")), "axis mins beside them"),
    "directions without end": (changed(NRRD, ("(6.5,0,0)", "(1e999,0,0)")), "3 numbers of vector"),
    "a data file": (changed(NRRD, ("encoding", "data file: other.raw\nencoding")), "data in the file itself"),
    "a data file, spelt otherwise": (
        changed(NRRD, ("encoding", "DATA  FILE: other.raw\nencoding")),
        "data in the file",
    ),
    "a data file without a blank": (changed(NRRD, ("encoding", "datafile:other.raw\nencoding")), "known fields"),
    "a data file after a return": (
        changed(NRRD, ("# made", "# a\rdata file: other.raw\r# made")),
        "no end of a header",
    ),
    "an empty line first": (changed(NRRD, ("type", "\ndata file: other.raw\ntype")), "with 'type', got none"),
    "comments without end": (changed(NRRD, ("# made", "#" * 70_000 + "\n# made")), "no end of a header"),
    "lines without end": (changed(NRRD, ("# made", "#\n" * 2000 + "# made")), "no end of a header"),
    "bytes to skip": (changed(NRRD, ("encoding", "byte skip: -1\nencoding")), "known fields, got 'byte skip: -1'"),
    "lines to skip": (changed(NRRD, ("encoding", "line skip: 3\nencoding")), "known fields"),
    "two encodings": (changed(NRRD, ("encoding", "encoding: gzip\nencoding")), "every field of the header once"),
    "an encoding of others": (changed(NRRD, ("raw", "hex")), "'encoding' to be one of"),
    "no order of bytes": (changed(NRRD, ("endian: little\n", "")), "with 'endian', got none"),
    "sizes that are none": (changed(NRRD, ("6 9 1 12", "6 9 1 -12")), "whole numbers of sizes"),
    "sizes of terabytes": (changed(NRRD, ("6 9 1 12", "6 90000 1000 120000")), "a whole .nrrd file, got 6 x 90000"),
    "too few directions": (changed(NRRD, ("none (6.5", "(6.5")), "a direction for each of 4 axes"),
    "directions of nothing": (changed(NRRD, ("(6.5,0,0)", "(0,0,0)")), "three axes with a direction each"),
    "directions of NaN": (changed(NRRD, ("(6.5,0,0)", "(nan,0,0)")), "3 numbers of vector"),
    "no matrix": (changed(MHA, ("TransformMatrix = 1 0 0 0 -1 0 0 0 -1\n", "")), "states its orientation"),
    "two matrices": (changed(MHA, ("Offset", "Rotation = 1 0 0 0 1 0 0 0 1\nOffset")), "TransformMatrix and Rotation"),
    "letters that deny the matrix": (
        changed(MHA, ("Offset", "AnatomicalOrientation = LPS\nOffset")),
        "one orientation, got AnatomicalOrientation LPS and a matrix of RPS",
    ),
    "another file": (changed(MHA, ("LOCAL", "other.raw")), "data in the file itself"),
    "a list of files": (changed(MHA, ("LOCAL", "LIST\nother.raw")), "data in the file itself"),
    "another file, spelt otherwise": (changed(MHA, ("ElementDataFile", "elementdatafile")), "data in the file itself"),
    "another file first": (changed(MHA, ("NDims", "ElementDataFile = other.raw\nNDims")), "data in the file itself"),
    "a header to skip": (changed(MHA, ("NDims", "HeaderSize = -1\nNDims")), "known fields, got 'HeaderSize = -1'"),
    "a size in another field": (changed(MHA, ("Offset", "ElementSize = 1 1 1\nOffset")), "two spacings"),
    "channels of terabytes": (changed(MHA, ("Channels = 6", "Channels = 600000000")), "a whole .mha file"),
    "a compressed size that is another": (
        changed(MHA, ("CompressedData = False", "CompressedData = True\nCompressedDataSize = 7")),
        "a whole .mha file",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_any_other_header_is_refused_and_nothing_else_is_opened(name: str, tmp_path: Path) -> None:
    """What the header names is a pipe without a writer: opening it would wait for ever."""
    os.mkfifo(tmp_path / "other.raw")
    header, sentence = HOSTILE[name]
    path = written(tmp_path, header)
    with pytest.raises(InputError, match=sentence) as told:
        load_scan(path, spatial_shape=None)
    assert str(told.value).startswith(f"{path}: expected ")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("bomb", [gzip.compress, bz2.compress])
def test_a_bomb_takes_no_more_room_than_was_announced(bomb: Callable[[bytes], bytes], tmp_path: Path) -> None:
    encoding = "gzip" if bomb is gzip.compress else "bzip2"
    path = written(tmp_path, changed(NRRD, ("raw", encoding)), bomb(bytes(100_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"expected 1296 bytes when decompressed, got more"):
            load_scan(path, spatial_shape=None)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
