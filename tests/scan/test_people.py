from __future__ import annotations

from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.people import MISSING_CODES, check_sexes, check_subjects, check_values, is_number, person_key
from dxa_monai.scan.splits import check_disjoint

PATH = Path("people.csv")


@pytest.mark.parametrize("subject", ["nan", "NA", "N/A", "#N/A", "None", "null", "-", ".", "?", "unknown", "-9"])
def test_what_says_that_nobody_is_known_is_nobody(subject: str) -> None:
    with pytest.raises(InputError, match=r"people\.csv, line 3: expected a subject_id, got '.*', which says that none"):
        check_subjects([(2, "P1"), (3, subject)], PATH)


@pytest.mark.parametrize(
    "subject",
    ["p1\u00e4", "P1A\u0308", "P1\u00c4 ", " P1\u00c4", "\uff301\u00c4", "P\u00b9\u00c4"],
    ids=["capitals", "two characters", "a blank behind", "a blank before", "wide", "superscript"],
)
def test_a_person_in_two_spellings_is_told(subject: str) -> None:
    with pytest.raises(
        InputError, match=r"line 9: expected one way to write a subject_id, got .* in line 2, .* one pers"
    ):
        check_subjects([(2, "P1\u00c4"), (9, subject)], PATH)
    check_subjects([(2, "P1\u00c4"), (3, "P1\u00c4"), (4, "P2\u00c4")], PATH)
    with pytest.raises(InputError, match="every subject in one split"):
        check_disjoint(
            {"train": [{"subject_id": "P1\u00c4", "scan_id": "a"}], "test": [{"subject_id": subject, "scan_id": "b"}]},
            PATH,
        )


@pytest.mark.parametrize("mark", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u202e", "\x07"])
def test_marks_that_cannot_be_seen_are_refused(mark: str) -> None:
    with pytest.raises(InputError, match=r"line 2: expected a subject_id of visible characters, got 'P"):
        check_subjects([(2, f"P{mark}1")], PATH)
    assert person_key("P\u200b1") == person_key("P1")


@pytest.mark.parametrize("cell", ["54", "54.2", "-1e3", "+.5", "007", "5."])
def test_numbers_as_all_programs_write_them(cell: str) -> None:
    assert is_number(cell)


@pytest.mark.parametrize(
    "cell", ["1_000", "\u0665\u0664", "nan", "inf", "1e999", "1,5", "0x10", "", " 1", "1 2", "\uff11"]
)
def test_what_python_alone_takes_for_a_number_is_none(cell: str) -> None:
    assert not is_number(cell)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("age_years", 777.0, "from 0 to 125 or an empty cell, got 777, a code for a missing value"),
        ("age_years", -5.0, "got -5, what nobody has"),
        ("height_cm", -9.0, "from 20 to 280 or an empty cell, got -9, a code"),
        ("height_cm", 1.75, "got 1.75, what nobody has"),
        ("mass_kg", 70_000.0, "got 70000, what nobody has"),
        ("waist_circumference_cm", 9999.0, "got 9999, a code for a missing value"),
        ("arm_left_volume_l", 0.0, "got 0, what nobody has"),
        ("total_fat_percent", 999.0, "got 999, a code"),
    ],
)
def test_what_nobody_has_is_told_with_its_row(column: str, value: float, told: str) -> None:
    with pytest.raises(InputError, match=f"people.csv, line 7: expected {column} .*{told}"):
        check_values([(2, {column: 60.0}), (7, {column: value})], PATH)


def test_a_code_in_a_column_without_limits_is_told_where_it_cannot_be_a_number() -> None:
    rows = [(line, {"total_fat_g": float(9000 + 10 * line)}) for line in range(2, 200)]
    check_values([*rows, (200, {"total_fat_g": 9999.0})], PATH)
    for more in ([99999.0] * 2, [-9.0] * 2, [9999.0] * 3):
        with pytest.raises(InputError, match=r"line 200: expected total_fat_g or an empty cell, got .*, a code"):
            check_values([*rows, *((200 + place, {"total_fat_g": code}) for place, code in enumerate(more))], PATH)
    check_values([(2, {"change_kg": -9.0}), (3, {"change_kg": -12.0}), (4, {"change_kg": 3.0})], PATH)
    assert {777.0, 8888.0, 99999.0, -99.0} <= MISSING_CODES


def test_a_person_of_two_sexes_is_told_and_two_words_of_one_are_not() -> None:
    rows = [
        (2, {"subject_id": "P1", "sex": "M"}),
        (3, {"subject_id": "P2", "sex": "F"}),
        (4, {"subject_id": "P1", "sex": "male"}),
        (5, {"subject_id": "P1"}),
        (6, {"subject_id": "P1", "sex": "diverse"}),
    ]
    check_sexes(rows, PATH)
    with pytest.raises(InputError, match=r"people\.csv, line 7: .* the person P1, got 'w' and, in line 2, 'M'\."):
        check_sexes([*rows, (7, {"subject_id": "P1", "sex": "w"})], PATH)


def test_a_manifest_is_looked_at(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.npy").touch()
    (tmp_path / "m.csv").write_text("subject_id,scan,sex\nP1,a.npy,F\nP1,b.npy,M\n")
    with pytest.raises(InputError, match="line 3: expected one sex of the person P1"):
        read_manifest(tmp_path / "m.csv")
    for cells, sentence in (
        ("P1,a.npy,50\np1,b.npy,51", "line 3: expected one way to write a subject_id"),
        ("P1,a.npy,50\nNA,b.npy,51", "line 3: expected a subject_id, got 'NA'"),
        ("P1,a.npy,50\nP2,b.npy,999", "line 3: expected age_years from 0 to 125"),
        ("P1,a.npy,50\nP2,b.npy,5_1", "line 3: expected a number or nothing in column age_years, got '5_1'"),
        ("P1,a.npy,50\nP2\0,b.npy,51", "got 'a null character'"),
    ):
        (tmp_path / "m.csv").write_text(f"subject_id,scan,age_years\n{cells}\n")
        with pytest.raises(InputError, match=sentence):
            read_manifest(tmp_path / "m.csv")
