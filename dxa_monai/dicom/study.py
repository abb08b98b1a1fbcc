"""Whose scan it is, and which study it belongs to: from its DICOM file, from the manifest, or made up from its bytes.

==========================  ====================================================================
column of a manifest        attribute (PS3.3 C.7.1.1 Patient, C.7.2.1 General Study)
==========================  ====================================================================
``patient_id``              PatientID; without it, the ``subject_id``
``patient_name``            PatientName, as ``Family^Given``
``patient_birth_date``      PatientBirthDate, as ``19720305`` or ``1972-03-05``
``study_instance_uid``      StudyInstanceUID
``study_id``                StudyID
``study_date``              StudyDate, as the date of birth
``accession_number``        AccessionNumber
``sex``                     PatientSex
``age_years``               PatientAge, in whole years
``height_cm``               PatientSize
``mass_kg``                 PatientWeight
==========================  ====================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.scan.dicom_scan import read_headers
from dxa_monai.scan.io import scan_content
from dxa_monai.scan.people import POSSIBLE, as_date, is_number, is_woman

_NAMESPACE = uuid.UUID("d1bd4aa5-5f65-5e6f-9a38-4b0f2f6f6d0e")
"""Of the UIDs made here; any would do, but always the same."""
_LONG, _SHORT = 64, 16
_UID = re.compile(r"(?=.{1,64}$)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_LONGEST_NUMBER = 16
_AGE = re.compile(r"([0-9]{3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_ROUNDED = 0.5
"""Years that an age may be rounded by in a manifest."""
_NOT_IN_TEXT = re.compile(r"[\\\x00-\x1f\x7f]")


@dataclasses.dataclass(frozen=True)
class PatientStudy:
    """A person and a study, as DICOM writes them; empty where nothing is known.

    Attributes:
        study_instance_uid: of the study; never empty.
        patient_id: of the person.
        patient_name: ``Family^Given``.
        patient_birth_date: ``YYYYMMDD``.
        patient_sex: "M", "F", "O" or empty.
        patient_age: at the scan, as ``045Y``.
        patient_size: height in m.
        patient_weight: mass in kg.
        study_id: of the study, in the department.
        study_date: ``YYYYMMDD``.
        study_time: ``HHMMSS``.
        accession_number: of the order.
        sources: SOP class and instance UIDs of the DICOM files of the scan.
    """

    study_instance_uid: str
    patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    patient_size: str = ""
    patient_weight: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    sources: tuple[tuple[str, str], ...] = ()

    def digest(self) -> str:
        """Hash of all of it; tells whether objects that were written are of the same person and study."""
        return hashlib.sha256(json.dumps(dataclasses.astuple(self)).encode()).hexdigest()


def study_of(row: Mapping[str, Any]) -> PatientStudy:
    """The person and the study of a scan.

    Args:
        row: of the scan, with ``scan``, ``scan_id`` and what the manifest says (see above).

    Returns:
        What the scan's DICOM files say, what they do not say as in the manifest; age, height and mass, which the
        indices are made from, as in the manifest, and else as in the files; what nobody has (``999Y``) or DICOM has no
        such numbers for (``1,63``) counts as not said there. Without a study in either it is one of the scan's own,
        with a UID that follows from its bytes.

    Raises:
        InputError: file and manifest contradict each other, or a value cannot stand in DICOM.
    """
    headers = list(read_headers(Path(row["scan"])))
    header: Any = headers[0] if headers else {}
    stated = {name: _stated(header, keyword) for name, (keyword, _) in _COLUMNS.items()}
    for name, (_, checked) in _COLUMNS.items():
        given = str(row.get(name, "")).strip()
        if not given:
            continue
        value = checked(row, name, given)
        if stated[name] not in ("", value):
            raise InputError(f"{row['scan']}: expected {name} '{stated[name]}' as in the file, got '{value}'.")
        stated[name] = value
    if not stated["patient_id"]:
        stated["patient_id"] = _text(_LONG)(row, "patient_id", str(row.get("subject_id") or row["scan_id"]))
    if not stated["study_instance_uid"]:
        stated["study_instance_uid"] = uid_of("study", hashlib.sha256(scan_content(row["scan"])).hexdigest())
    return PatientStudy(
        **stated,
        patient_sex=_sex(row, _stated(header, "PatientSex")),
        patient_age=_age(row, _stated(header, "PatientAge")),
        patient_size=_measured(row, "height_cm", _stated(header, "PatientSize"), 0.01, 4),
        patient_weight=_measured(row, "mass_kg", _stated(header, "PatientWeight"), 1.0, 5),
        study_time=_stated(header, "StudyTime"),
        sources=tuple((_stated(each, "SOPClassUID"), _stated(each, "SOPInstanceUID")) for each in headers),
    )


def uid_of(*parts: str) -> str:
    """A UID that follows from texts, the same of the same ones (PS3.5 B.2: 2.25 and a UUID)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"


def _stated(header: Any, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()


def _sex(row: Mapping[str, Any], stated: str) -> str:
    woman = is_woman(row.get("sex"))
    given = "" if woman is None else "F" if woman else "M"
    if given and stated in ("M", "F") and stated != given:
        raise InputError(f"{row['scan']}: expected sex '{stated}' as in the file, got '{row['sex']}'.")
    return stated if stated in ("M", "F", "O") else given


def _age(row: Mapping[str, Any], stated: str) -> str:
    match = _AGE.fullmatch(stated)
    years = int(match[1]) / _PER_YEAR[match[2]] if match else math.inf
    known = 0.0 < years <= POSSIBLE["age_years"][1]  # 000Y stands for an age that nobody entered
    given = row.get("age_years")
    if not isinstance(given, float):
        return stated if known else ""
    if known and abs(years - given) > 1.0 + _ROUNDED:
        raise InputError(f"{row['scan']}: expected age_years of '{stated}' as in the file, got {given:g}.")
    return f"{int(given):03d}Y"


def _measured(row: Mapping[str, Any], name: str, stated: str, factor: float, digits: int) -> str:
    given = row.get(name)
    if isinstance(given, float):
        return f"{given * factor:.{digits}g}"
    lowest, highest = (limit * factor for limit in POSSIBLE[name])
    possible = len(stated) <= _LONGEST_NUMBER and is_number(stated) and lowest <= float(stated) <= highest
    return stated if possible else ""


def _text(longest: int) -> Callable[[Mapping[str, Any], str, str], str]:
    def checked(row: Mapping[str, Any], name: str, given: str) -> str:
        if len(given) > longest or _NOT_IN_TEXT.search(given):
            raise _refused(row, name, f"at most {longest} visible characters without a backslash", given)
        return given

    return checked


def _checked_uid(row: Mapping[str, Any], name: str, given: str) -> str:
    if not _UID.fullmatch(given):
        raise _refused(row, name, "a UID (numbers with dots between them, at most 64 characters)", given)
    return given


def _checked_date(row: Mapping[str, Any], name: str, given: str) -> str:
    date = as_date(given)
    if not date:
        raise _refused(row, name, "a date as 19720305", given)
    return date


def _refused(row: Mapping[str, Any], name: str, expected: str, given: str) -> InputError:
    return InputError(f"{row['scan']}: expected {name} as {expected}, got {given[:80]!a}.")


_COLUMNS: dict[str, tuple[str, Callable[[Mapping[str, Any], str, str], str]]] = {
    "patient_id": ("PatientID", _text(_LONG)),
    "patient_name": ("PatientName", _text(_LONG)),
    "patient_birth_date": ("PatientBirthDate", _checked_date),
    "study_instance_uid": ("StudyInstanceUID", _checked_uid),
    "study_id": ("StudyID", _text(_SHORT)),
    "study_date": ("StudyDate", _checked_date),
    "accession_number": ("AccessionNumber", _text(_SHORT)),
}
"""By column: the attribute, and what may stand there."""
