"""DICOM in: the stored values are the counts, or the file is refused; nothing is applied to them."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dxa_monai.errors import InputError
from dxa_monai.scan.collect import collect_scans
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM
from dxa_monai.scan.io import load_scan, scan_content
from tests.damage import FUZZING, damaged_bytes, damaged_json
from tests.scan.dicom_examples import write_dicom
from tests.scan.examples import body_counts

COUNTS = body_counts((12, 9))
FRAMES = np.moveaxis(COUNTS, -1, 0)


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as told:
        load_scan(path, spatial_shape=None)
    sentence = str(told.value)
    assert "expected " in sentence
    assert "got " in sentence
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """A mapping of six single-frame files."""
    for index, name in enumerate(CHANNELS):
        write_dicom(tmp_path / f"{name}.dcm", FRAMES[index : index + 1])
    return mapping(tmp_path)


def mapping(folder: Path, **changes: Any) -> Path:
    channels = {name: {"file": f"{name}.dcm"} for name in CHANNELS} | changes
    (folder / "a.dicom.json").write_text(json.dumps({"version": 1, "channels": channels}))
    return folder / "a.dicom.json"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_six_frames_are_the_channels_as_declared(syntax: str, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", FRAMES, syntax)
    scan = load_scan(path, spatial_shape=None)
    np.testing.assert_array_equal(scan.counts, COUNTS)
    assert scan.pixel_spacing_mm == (12.71, 6.063)
    turned = write_dicom(tmp_path / "b.dcm", FRAMES[::-1], syntax)
    np.testing.assert_array_equal(load_scan(turned, CHANNELS[::-1], spatial_shape=None).counts, COUNTS)


@pytest.mark.parametrize(
    "changes",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"BitsStored": 16, "HighBit": 15},
        {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1},
        {"RescaleSlope": 1, "RescaleIntercept": 0},
        {"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1},
        {"PatientOrientation": ""},
        {"PatientOrientation": None},
        {"PixelSpacing": None, "ImagerPixelSpacing": [12.71, 6.063]},
    ],
)
def test_what_changes_no_value_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    scan = load_scan(write_dicom(tmp_path / "a.dcm", FRAMES, **changes), spatial_shape=None)
    np.testing.assert_array_equal(scan.counts, COUNTS)
    assert scan.pixel_spacing_mm == (12.71, 6.063)


def test_without_a_spacing_it_is_the_nominal_one_or_the_declared(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", FRAMES, PixelSpacing=None)
    assert load_scan(path, spatial_shape=None).pixel_spacing_mm == PIXEL_SPACING_MM
    path = write_dicom(tmp_path / "a.dcm", FRAMES, ImagerPixelSpacing=[14, 7])
    assert "got PixelSpacing (12.71, 6.063) and ImagerPixelSpacing (14.0, 7.0)" in refusal(path)
    assert load_scan(path, pixel_spacing_mm=[13, 6], spatial_shape=None).pixel_spacing_mm == (13.0, 6.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"RescaleSlope": 2}, "RescaleSlope 1, as the stored values are the counts, got '2.0'"),
        ({"RescaleIntercept": -1024}, "RescaleIntercept 0, as the stored values are the counts, got '-1024.0'"),
        ({"ModalityLUTSequence": [item(LUTDescriptor=[2, 0, 16])]}, "ModalityLUTSequence absent"),
        (
            {
                "SharedFunctionalGroupsSequence": [
                    item(PixelValueTransformationSequence=[item(RescaleSlope=0.5, RescaleIntercept=0)])
                ]
            },
            "RescaleSlope 1, as the stored values are the counts, got '0.5'",
        ),
        (
            {"PerFrameFunctionalGroupsSequence": [item(PixelMeasuresSequence=[item(PixelSpacing=[1, 2])])]},
            r"one pixel spacing, got PixelSpacing \(12.71, 6.063\) and PixelMeasuresSequence 1 \(1.0, 2.0\)",
        ),
        ({"PhotometricInterpretation": "RGB"}, "PhotometricInterpretation MONOCHROME1 or MONOCHROME2, got 'RGB'"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel 1, got 3"),
        ({"BitsAllocated": 8}, "BitsAllocated 16, got 8"),
        ({"BitsStored": 12, "HighBit": 11}, "BitsStored 14 or 15 or 16, got 12"),
        ({"BitsStored": None}, "BitsStored 14 or 15 or 16, got none"),
        ({"HighBit": 15}, "HighBit 13, got 15"),
        ({"PixelRepresentation": 1}, "PixelRepresentation 0, got 1"),
        ({"PixelIntensityRelationship": "LIN"}, "PixelIntensityRelationship LOG, got 'LIN'"),
        ({"PixelIntensityRelationshipSign": 1}, r"PixelIntensityRelationshipSign -1 \(more is less X-ray\), got 1"),
        ({"LossyImageCompression": "01"}, "LossyImageCompression 00, got '01'"),
        ({"PatientOrientation": ["R", "F"]}, r"PatientOrientation L\\F, got 'R"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "ImageOrientationPatient"),
        ({"PixelPaddingValue": int(COUNTS[0, 0, 0])}, "counts everywhere, got pixels of the PixelPaddingValue"),
        ({"NumberOfFrames": 5}, "whole .dcm file, got 5 x 12 x 9 values of 2 bytes announced, and 1296 bytes"),
        ({"Rows": 65535, "Columns": 65535}, "whole .dcm file, got 6 x 65535 x 65535 values of 2 bytes announced"),
        ({"Rows": 0}, "whole .dcm file, got 6 x 0 x 9 values"),
        ({"NumberOfFrames": -6}, "whole .dcm file, got -6 x 12 x 9 values"),
        ({"Rows": [12, 12]}, "Rows as one whole number"),
        ({"Columns": None}, "Columns as one whole number, got none"),
        ({"PixelData": None}, r"with its pixels \(7FE0,0010\)"),
    ],
)
def test_what_would_change_a_value_is_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", FRAMES, **changes)
    with pytest.raises(InputError, match=sentence):
        load_scan(path, spatial_shape=None)
    assert refusal(path).startswith(f"{path}: expected ")


@pytest.mark.parametrize(
    "syntax", [JPEG2000Lossless, RLELossless, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.3.4"]
)
def test_other_transfer_syntaxes_are_named_and_nothing_is_inflated(syntax: str, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", FRAMES)
    content, own = path.read_bytes(), ExplicitVRLittleEndian.encode()
    at = content.index(own)
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    head = content[: at - 2] + len(value).to_bytes(2, "little") + value
    path.write_bytes(head + content[at + len(own) + len(own) % 2 :])
    sentence = refusal(path)
    assert "of the transfer syntaxes Implicit VR Little Endian, Explicit VR Little Endian, got '" in sentence
    assert "decompress it first" in sentence


def test_every_shorter_file_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", FRAMES)
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        assert refusal(path).startswith(f"{path}: expected ")


@settings(max_examples=40, **FUZZING)
@given(data=st.data())
def test_damaged_files_end_in_a_sentence_and_take_little_memory(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_dicom(tmp_path_factory.getbasetemp() / "damaged.dcm", FRAMES)
    path.write_bytes(damaged_bytes(path.read_bytes(), data))
    told = f"{path}: "
    tracemalloc.start()
    try:
        load_scan(path, spatial_shape=None)
    except InputError as error:
        told = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10e6
    assert told.startswith(str(path))
    assert "\n" not in told


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ("2800209affffffff" + "feff00e000000000" * 2_001, "expected a header of at most 2000 items of sequences"),
        ("2800209a40420f00" + "00" * 1_000_000, "pixels (7FE0,0010) within the first 1000000 bytes"),
        ("2800209a000000f0", "got 2046 bytes without the end of them"),
        ("2800209affffffff" + "feff00e0ffffffff2800209affffffff" * 1_500, "whole .dcm file, got "),
    ],
    ids=["items", "a megabyte", "longer than the file", "items in items"],
)
def test_a_header_of_endless_parts_is_not_read_to_its_end(parts: str, sentence: str, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", FRAMES, ImplicitVRLittleEndian)
    whole = path.read_bytes()
    at = whole.index(bytes.fromhex("28000200"))  # SamplesPerPixel
    path.write_bytes(whole[:at] + bytes.fromhex(parts) + whole[at:])
    assert sentence in refusal(path)


def test_six_files_are_the_channels_that_the_mapping_says(six: Path) -> None:
    scan = load_scan(six, spatial_shape=None)
    np.testing.assert_array_equal(scan.counts, COUNTS)
    assert scan.pixel_spacing_mm == (12.71, 6.063)
    exchanged = mapping(six.parent, air_high={"file": "bone_high.dcm"}, bone_high={"file": "air_high.dcm", "frame": 1})
    np.testing.assert_array_equal(load_scan(exchanged, spatial_shape=None).counts, COUNTS[..., [2, 1, 0, 3, 4, 5]])


def test_a_mapping_may_take_frames_of_one_file(tmp_path: Path) -> None:
    write_dicom(tmp_path / "all.dcm", FRAMES[::-1])
    named = {name: {"file": "all.dcm", "frame": 6 - index} for index, name in enumerate(CHANNELS)}
    np.testing.assert_array_equal(load_scan(mapping(tmp_path, **named), spatial_shape=None).counts, COUNTS)


def test_a_folder_counts_a_mapping_as_one_scan(six: Path) -> None:
    write_dicom(six.parent / "other.dcm", FRAMES)
    assert [entry["scan_id"] for entry in collect_scans(six.parent)] == ["a", "other"]


def test_the_files_belong_to_what_is_hashed(six: Path) -> None:
    before = scan_content(six)
    write_dicom(six.parent / "bone_low.dcm", FRAMES[:1])
    assert scan_content(six) != before


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"air_high": {"file": "../a.dcm"}}, "expected air_high in a file below"),
        ({"air_high": {"file": "/etc/passwd"}}, "expected air_high in a file below"),
        ({"air_high": {"file": "a\0.dcm"}}, "expected air_high in a file below"),
        ({"air_high": {"file": "air_high.dcm", "frame": 2}}, "expected a frame of air_high.dcm, which has 1"),
        ({"air_high": {"file": "air_high.dcm", "frame": 0}}, "expected air_high as"),
        ({"air_high": {"file": "air_high.dcm", "slope": 2}}, "expected air_high as"),
        ({"air_high": "air_high.dcm"}, "expected air_high as"),
        ({"air_high": {"file": "bone_high.dcm"}}, "a frame of its own for every channel, got frame 1 of bone_high.dcm"),
        ({"air_high": {"file": "nothing.dcm"}}, "nothing.dcm: expected a scan file, got no such file"),
        ({"air": {"file": "air_high.dcm"}}, "expected the channels air_high, "),
    ],
)
def test_a_mapping_that_is_none_is_told(named: dict[str, Any], sentence: str, six: Path) -> None:
    path = mapping(six.parent, **named)
    with pytest.raises(InputError, match=sentence):
        load_scan(path, spatial_shape=None)
    refusal(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"PatientID": "P-18"}, "expected PatientID 'P-17' as in air_high.dcm, got 'P-18'"),
        ({"StudyInstanceUID": "1.2.3"}, "expected StudyInstanceUID '1.2.826"),
        (
            {"PixelSpacing": [13, 6]},
            r"expected a pixel spacing of \(12.71, 6.063\) as in air_high.dcm, got \(13.0, 6.0\)",
        ),
        ({"PixelSpacing": None}, "expected a pixel spacing of .* got None"),
        ({"Rows": 9, "Columns": 12}, "expected Rows 12 as in air_high.dcm, got 9"),
    ],
)
def test_files_of_two_scans_are_refused(changes: dict[str, Any], sentence: str, six: Path) -> None:
    path = write_dicom(six.parent / "tissue_low.dcm", FRAMES[5:], **changes)
    with pytest.raises(InputError, match=sentence) as told:
        load_scan(six, spatial_shape=None)
    assert str(told.value).startswith(str(path))


def test_a_channel_that_is_a_pipe_is_not_waited_for(six: Path) -> None:
    (six.parent / "bone_low.dcm").unlink()
    os.mkfifo(six.parent / "bone_low.dcm")
    assert "bone_low.dcm: expected a scan file, got a pipe" in refusal(six)
    with pytest.raises(InputError, match="got a pipe"):
        scan_content(six)


@settings(max_examples=25, **FUZZING)
@given(data=st.data())
def test_damaged_mappings_end_in_a_sentence(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = mapping(tmp_path_factory.getbasetemp())
    path.write_bytes(damaged_json(path.read_text(), data))
    assert refusal(path)
