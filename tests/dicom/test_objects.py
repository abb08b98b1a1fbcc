"""DICOM out: what is read back is what was written, to the digit; another tool finds no error."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image

import dxa_monai
from dxa_monai.dicom.codes import DESIGNATOR, INDEX_CODES, QUANTITY_CODES, SITES, UNIT_CODES
from dxa_monai.dicom.images import DENSITY_STEP_G_CM2
from dxa_monai.dicom.objects import KINDS, USE, dicom_names, dicom_paths, write_dicom
from dxa_monai.scan.format import PIXEL_SPACING_MM
from dxa_monai.scan.regions import REGION_GROUPS, Region
from scripts.validate_dicom import VALIDATOR, faults
from tests.dicom.examples import FLAG, THIGH, analysis
from tests.scan.dicom_examples import STUDY_UID
from tests.scan.dicom_examples import write_dicom as write_scan

COMPOSITION, REPORT = analysis()
PERSON = {"age_years": 54.2, "sex": "female", "height_cm": 163.0, "mass_kg": 71.5}


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scan = tmp_path_factory.mktemp("scan") / "a.npy"
    scan.write_bytes(b"a scan")
    return {"scan": str(scan), "scan_id": "a", "subject_id": "A01", **PERSON}


@pytest.fixture(scope="module")
def written(row: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("out")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70, 3)).astype(np.uint8)).save(folder / "a.png")
    told = write_dicom(row, COMPOSITION, REPORT, PIXEL_SPACING_MM, folder, folder / "a.png", THIGH)
    return folder, told


def read(folder: Path, kind: str) -> Any:
    return pydicom.dcmread(folder / "dicom" / f"a_{kind}.dcm")


def test_density_and_picture_are_read_back(written: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = written
    image = read(folder, "density")
    expected = np.clip(COMPOSITION.areal_density_g_cm2.sum(axis=0), 0, None)
    slope = image.RealWorldValueMappingSequence[0].RealWorldValueSlope
    assert slope == DENSITY_STEP_G_CM2
    np.testing.assert_allclose(image.pixel_array * slope, expected, atol=0.5001 * slope)
    assert image.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "g/cm2"
    assert tuple(image.PixelSpacing) == PIXEL_SPACING_MM
    assert list(image.PatientOrientation) == ["L", "F"]
    np.testing.assert_array_equal(read(folder, "picture").pixel_array, np.asarray(Image.open(folder / "a.png")))
    assert (image.BurnedInAnnotation, read(folder, "picture").BurnedInAnnotation) == ("NO", "YES")


def test_segments_are_the_regions(written: tuple[Path, dict[str, Any]]) -> None:
    regions = highdicom.seg.segread(written[0] / "dicom" / "a_regions.dcm")
    masks = regions.get_pixels_by_source_instance([read(written[0], "density").SOPInstanceUID])[0]
    names = [segment.TrackingID for segment in regions.SegmentSequence]
    assert names == [*SITES, *THIGH]
    for code in Region:
        if code:
            np.testing.assert_array_equal(masks[..., code - 1], COMPOSITION.region_map == code)
            assert REGION_GROUPS[names[code - 1]] == (code,)
    total = masks[..., names.index("total")]
    np.testing.assert_array_equal(total, COMPOSITION.region_map > 0)
    assert 0 < masks[..., names.index("android")].sum() < total.sum()
    assert int(masks[..., names.index("right_thigh")].sum()) == pytest.approx(14 * 13.25, rel=0.1)
    left = regions.SegmentSequence[Region.LEFT_ARM - 1].SegmentedPropertyTypeCodeSequence[0]
    assert left.CodeValue == "53120007"
    assert left.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_every_number_stands_in_the_report_beside_its_segment(written: tuple[Path, dict[str, Any]]) -> None:
    document = highdicom.sr.srread(written[0] / "dicom" / "a_report.dcm")
    groups = document.content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == list(REPORT["regions"])
    for number, group in enumerate(groups, start=1):
        name = group.tracking_identifier
        expected = {
            (code.value, UNIT_CODES[REPORT["units"][quantity]].value): REPORT["regions"][name][quantity]
            for quantity, code in QUANTITY_CODES.items()
        }
        found = {(each.name.value, each.unit.value): each.value for each in group.get_measurements()}
        if name == "total":
            assert found.pop(("FMI", "kg/m2")) == pytest.approx(REPORT["indices"]["fat_mass_index_kg_m2"], rel=1e-12)
            for code in list(INDEX_CODES.values())[1:]:
                assert [found.pop(key) for key in list(found) if key[0] == code.value], code
        assert found == expected
        site, side = SITES.get(name, (None, None))
        assert site is None or group.finding_sites[0].value.value == site.value
        assert side is None or group.finding_sites[0].laterality.value == side.value
        (segment,) = [item for item in group[0].ContentSequence if item.name.value == "121214"]
        assert segment.ReferencedSOPSequence[0].ReferencedFrameNumber == number
        assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == read(written[0], "regions").SOPInstanceUID


def test_use_and_flags_stand_in_every_object(written: tuple[Path, dict[str, Any]]) -> None:
    for kind in KINDS:
        dataset = read(written[0], kind)
        assert "not for diagnosis" in dataset.SeriesDescription
        assert dataset.ContentQualification == "RESEARCH"
        assert "SyntheticData" not in dataset
        if kind != "report":
            assert dataset.ImageComments == f"{USE}\n{FLAG['name']}: {FLAG['sentence']}"
    texts = read(written[0], "report").ContentSequence[-1].ContentSequence
    told = [(item.ConceptNameCodeSequence[0].CodeValue, item.TextValue) for item in texts]
    program = f"dxa_monai {dxa_monai.__version__}, method newton"
    assert told == [("INTENDED_USE", USE), ("ANALYSIS", program), ("FLAG", f"{FLAG['name']}: {FLAG['sentence']}")]
    assert {item.ConceptNameCodeSequence[0].CodingSchemeDesignator for item in texts} == {DESIGNATOR}


def test_objects_are_of_one_person_and_study_and_their_uids_follow_from_them(
    written: tuple[Path, dict[str, Any]], row: dict[str, Any], tmp_path: Path
) -> None:
    folder, told = written
    datasets = {kind: read(folder, kind) for kind in KINDS}
    for kind, dataset in datasets.items():
        assert (dataset.PatientID, dataset.PatientSex, dataset.PatientAge) == ("A01", "F", "054Y")
        assert (float(dataset.PatientSize), float(dataset.PatientWeight)) == (1.63, 71.5)
        assert dataset.StudyInstanceUID == told["study_instance_uid"]
        assert dataset.SOPInstanceUID == told["sop_instance_uids"][kind]
    assert len({dataset.SeriesInstanceUID for dataset in datasets.values()}) == 4
    again = write_dicom(row, COMPOSITION, REPORT, PIXEL_SPACING_MM, tmp_path, folder / "a.png", THIGH)
    assert again == told
    assert dicom_paths(again, tmp_path, "a") == [tmp_path / name for name in dicom_names("a", True)]
    changed = json.loads(json.dumps(REPORT))
    changed["regions"]["head"]["fat_g"] += 1.0
    other = write_dicom(row, COMPOSITION, changed, PIXEL_SPACING_MM, tmp_path, None, THIGH)
    assert other["study_instance_uid"] == told["study_instance_uid"]
    assert not set(other["sop_instance_uids"].values()) & set(told["sop_instance_uids"].values())
    assert set(other["sop_instance_uids"]) == {"density", "regions", "report"}


def test_a_refused_virtual_scan_from_dicom_says_why_and_where_it_is_from(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.dcm", np.zeros((6, 12, 9), np.uint16))
    refused = dataclasses.replace(COMPOSITION, totals={}, region_map=np.zeros_like(COMPOSITION.region_map))
    report = REPORT | {"regions": {}, "indices": {}, "flags": [FLAG | {"fatal": True}]}
    row = {"scan": str(scan), "scan_id": "a", "truth": "truth.npz", "sex": "diverse"}
    told = write_dicom(row, refused, report, PIXEL_SPACING_MM, tmp_path)
    assert (told["study_instance_uid"], set(told["sop_instance_uids"])) == (STUDY_UID, {"density", "report"})
    for kind in ("density", "report"):
        dataset = read(tmp_path, kind)
        assert (dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate) == ("Müller^Änne", "P-17", "19720305")
        assert (dataset.StudyID, dataset.StudyDate, dataset.AccessionNumber) == ("S1", "20260131", "A-9")
        assert dataset.SyntheticData == "YES"
    source = read(tmp_path, "density").SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == pydicom.dcmread(scan).SOPInstanceUID
    assert read(tmp_path, "report").CompletionFlag == "PARTIAL"
    (group,) = highdicom.sr.srread(tmp_path / "dicom" / "a_report.dcm").content.get_image_measurement_groups()
    assert group.get_measurements() == []


@pytest.mark.skipif(shutil.which(VALIDATOR) is None, reason="apt-get install dicom3tools")
def test_another_tool_finds_no_error(written: tuple[Path, dict[str, Any]]) -> None:
    for name in dicom_names("a", True):
        assert faults(written[0] / name) == []


@pytest.mark.skipif(shutil.which(VALIDATOR) is None, reason="apt-get install dicom3tools")
def test_the_other_tool_would_tell_an_error(written: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    dataset = read(written[0], "regions")
    del dataset.SegmentSequence[0].SegmentLabel
    dataset.save_as(tmp_path / "a.dcm")
    assert any("SegmentLabel" in fault for fault in faults(tmp_path / "a.dcm"))
