"""Whose scan it is: file and manifest agree, or it is told; what cannot stand in DICOM is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dxa_monai.dicom.study import study_of, uid_of
from dxa_monai.errors import InputError
from tests.scan.dicom_examples import STUDY_UID, write_dicom


@pytest.fixture
def row(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "a.npy").write_bytes(b"a scan")
    return {"scan": str(tmp_path / "a.npy"), "scan_id": "a"}


def test_without_a_study_it_follows_from_the_scan(row: dict[str, Any], tmp_path: Path) -> None:
    study = study_of(row | {"subject_id": "A01", "sex": "male"})
    assert (study.patient_id, study.patient_sex, study.sources) == ("A01", "M", ())
    assert study_of(row).patient_id == "a"
    assert study.study_instance_uid.startswith("2.25.")
    assert len(study.study_instance_uid) <= 64
    assert study_of(row).study_instance_uid == study.study_instance_uid
    (tmp_path / "a.npy").write_bytes(b"another scan")
    assert study_of(row).study_instance_uid != study.study_instance_uid
    assert uid_of("a", "b") == uid_of("a", "b") != uid_of("a", "c")


def test_the_manifest_names_a_study(row: dict[str, Any]) -> None:
    named = {
        "patient_id": "007",
        "patient_name": "Müller^Änne",
        "patient_birth_date": "1972-03-05",
        "study_instance_uid": "1.2.840.1",
        "study_id": "S1",
        "study_date": "20260131",
        "accession_number": "A9",
    }
    study = study_of(row | named)
    expected = named | {"patient_birth_date": "19720305"}
    assert {name: getattr(study, name) for name in named} == expected
    assert study.digest() != study_of(row | named | {"study_id": "S2"}).digest()


def test_a_file_names_its_study_and_is_not_contradicted(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 3, 4), np.uint16))
    row = {"scan": str(path), "scan_id": "a", "subject_id": "A01", "study_date": "2026-01-31"}
    study = study_of(row)
    assert (study.patient_id, study.study_instance_uid, study.patient_sex) == ("P-17", STUDY_UID, "F")
    assert len(study.sources) == 1
    with pytest.raises(InputError, match="expected patient_id 'P-17' as in the file, got 'P-18'"):
        study_of(row | {"patient_id": "P-18"})


def test_age_height_and_mass_are_the_manifests_or_else_the_files(tmp_path: Path) -> None:
    stated = {"PatientAge": "045Y", "PatientSize": "1.63", "PatientWeight": "71.5"}
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 3, 4), np.uint16), **stated)
    row = {"scan": str(path), "scan_id": "a", "subject_id": "A01"}

    def about(more: dict[str, Any]) -> tuple[str, str, str]:
        study = study_of(row | more)
        return study.patient_age, study.patient_size, study.patient_weight

    assert about({}) == ("045Y", "1.63", "71.5")
    assert about({"age_years": 46.2, "height_cm": 164.2, "mass_kg": 72.0}) == ("046Y", "1.642", "72")
    with pytest.raises(InputError, match=r"expected age_years of '045Y' as in the file, got 54\."):
        study_of(row | {"age_years": 54.0})
    nobody = write_dicom(tmp_path / "c.dcm", np.zeros((6, 3, 4), np.uint16), PatientAge="000Y")
    assert study_of(row | {"scan": str(nobody), "age_years": 54.0}).patient_age == "054Y"
    months = write_dicom(tmp_path / "b.dcm", np.zeros((6, 3, 4), np.uint16), PatientAge="018M")
    assert study_of(row | {"scan": str(months)}).patient_age == "018M"
    with pytest.raises(InputError, match=r"expected age_years of '018M' as in the file, got 54\."):
        study_of(row | {"scan": str(months), "age_years": 54.0})


def test_the_sex_of_a_file_is_not_contradicted(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 3, 4), np.uint16))
    row = {"scan": str(path), "scan_id": "a", "subject_id": "A01"}
    assert [study_of(row | {"sex": sex}).patient_sex for sex in ("Female ", "diverse")] == ["F", "F"]
    with pytest.raises(InputError, match="expected sex 'F' as in the file, got 'male'"):
        study_of(row | {"sex": "male"})
    other = write_dicom(tmp_path / "b.dcm", np.zeros((6, 3, 4), np.uint16), PatientSex="O")
    assert study_of(row | {"scan": str(other), "sex": "male"}).patient_sex == "O"


@pytest.mark.parametrize("size", [b"1,63", b"1\\63", b"1_63", b"tall", b"163 ", b"-1.6"])
def test_numbers_that_dicom_has_not_or_nobody_has_are_not_taken_from_a_file(size: bytes, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 3, 4), np.uint16), PatientSize="7.77", PatientAge="999Y")
    content = path.read_bytes()
    assert content.count(b"7.77") == 1
    path.write_bytes(content.replace(b"7.77", size))
    row = {"scan": str(path), "scan_id": "a", "subject_id": "A01"}
    study = study_of(row)
    assert (study.patient_age, study.patient_size) == ("", "")
    assert study_of(row | {"height_cm": 163.0, "age_years": 54.2}).patient_size == "1.63"


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("study_instance_uid", "1.02.3", "a UID"),
        ("study_instance_uid", "1", "a UID"),
        ("study_instance_uid", "1." * 40 + "1", "a UID"),
        ("study_id", "S" * 17, "at most 16 visible characters"),
        ("patient_id", "a\\b", "at most 64 visible characters"),
        ("patient_name", "a\nb", "at most 64 visible characters"),
        ("study_date", "31.1.2026", "a date as 19720305"),
        ("patient_birth_date", "1972-13-05", "a date as 19720305"),
    ],
)
def test_what_cannot_stand_in_dicom_is_refused(column: str, value: str, sentence: str, row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"a.npy: expected {column} as {sentence}"):
        study_of(row | {column: value})
