import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dxa_monai.errors import InputError
from dxa_monai.scan.collect import collect_scans
from dxa_monai.scan.manifest import as_datalist, read_manifest, read_path_list, write_manifest
from dxa_monai.scan.people import MISSING_CODES


@pytest.fixture
def folder(tmp_path):
    """A data folder with four (empty) scan files, a mesh, and a file outside it."""
    data = tmp_path / "data"
    (data / "scans").mkdir(parents=True)
    for name in ("scans/p1_v1.npy", "scans/p1_v2.npy", "scans/p2_v1.nii.gz", "scans/p3_v1.npz", "p1.ply"):
        (data / name).touch()
    (tmp_path / "outside.npy").touch()
    return data


def manifest(folder, text):
    path = folder / "manifest.csv"
    path.write_text(text)
    return path


def refusal(function, path, *arguments, **options):
    with pytest.raises(InputError) as refused:
        function(path, *arguments, **options)
    sentence = str(refused.value)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    return sentence.removeprefix(str(path))


def test_read_manifest_parses_numbers_and_leaves_out_what_is_empty(folder):
    path = manifest(
        folder,
        "subject_id,scan,age_years,sex,mesh,visit,site,waist_circumference_cm\n"
        "007,scans/p1_v1.npy,41.5,F,p1.ply,1,A,81\n"
        "007,scans/p2_v1.nii.gz,,,,2,12,\n",
    )
    assert read_manifest(path) == [
        {
            "subject_id": "007",
            "scan": str(folder / "scans/p1_v1.npy"),
            "scan_id": "p1_v1",
            "age_years": 41.5,
            "sex": "F",
            "mesh": str(folder / "p1.ply"),
            "visit": 1.0,
            "site": "A",
            "waist_circumference_cm": 81.0,
        },
        {
            "subject_id": "007",
            "scan": str(folder / "scans/p2_v1.nii.gz"),
            "scan_id": "p2_v1",
            "visit": 2.0,
            "site": "12",
        },
    ]


def test_a_column_of_ones_own_may_have_capitals(folder):
    path = manifest(folder, "subject_id,scan,sex,Sex,Site\n1,scans/p1_v1.npy,F,female,North\n")
    (row,) = read_manifest(path)
    assert (row["sex"], row["Sex"], row["Site"]) == ("F", "female", "North")


def test_paths_may_be_absolute_or_relative_to_a_data_root(folder, tmp_path):
    path = tmp_path / "elsewhere.csv"
    path.write_text(f"subject_id,scan\n1,scans/p1_v1.npy\n2,{folder}/scans/p3_v1.npz\n")
    rows = read_manifest(path, data_root=folder)
    assert [row["scan"] for row in rows] == [str(folder / "scans/p1_v1.npy"), str(folder / "scans/p3_v1.npz")]


HEADER = "subject_id,scan,age_years\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("subject,scan\n1,scans/p1_v1.npy\n", ": expected a column subject_id, got subject, scan; "),
        ("scans/p1_v1.npy\n", ": expected columns subject_id and scan, got scans/p1_v1.npy; "),
        (
            "subject_id;scan\n1;a.npy\n",
            ": expected cells separated by commas, got semicolons in the header 'subject_id;scan'.",
        ),
        ("subject_id\tscan\n1\ta.npy\n", ": expected cells separated by commas, got tabs in the header "),
        (
            "subject_id,scan\n1,scans\\p1_v1.npy\n",
            ", line 2: expected a path with / between folders in column scan, got 'scans\\p1_v1.npy'.",
        ),
        (HEADER + "1,scans/p1_v1.npy,old\n", ", line 2: expected a number or nothing in column age_years, got 'old'."),
        (HEADER + "1,scans/p1_v1.npy,nan\n", ", line 2: expected a number or nothing in column age_years, got 'nan'."),
        (HEADER + "1,../outside.npy,\n", ", line 2: expected a scan inside the data folder "),
        (HEADER + "1,/etc/passwd.npy,\n", ", line 2: expected a scan inside the data folder "),
        (HEADER + "1,link.npy,\n", ", line 2: expected a scan inside the data folder "),
        (HEADER + "1,scans/p1_v1.png,\n", ", line 2: scans/p1_v1.png: expected a file ending in .npy"),
        (
            HEADER + "1,scans/p1_v1.npy,\n2,scans/p1_v1.npy,\n",
            ", line 3: expected a scan_id of its own for every row, got 'p1_v1' as in line 2.",
        ),
        (
            "subject_id,scan_id,scan\n1,a,scans/p1_v1.npy\n2,b,scans/../scans/p1_v1.npy\n",
            ", line 3: expected a scan of its own for every row, got '",
        ),
        (
            'subject_id,scan_id,scan\n1,"a\nb",scans/p1_v1.npy\n',
            ", line 3: expected a scan_id of visible characters, got 'a\\nb'.",
        ),
        (
            "subject_id,scan_id,scan\n1,a\x1b[2J,scans/p1_v1.npy\n",
            ", line 2: expected a scan_id of visible characters, got 'a\\x1b[2J'.",
        ),
        (
            "subject_id,scan_id,scan\n1,../a,scans/p1_v1.npy\n",
            ", line 2: expected a scan_id without / and \\, got '../a'.",
        ),
        (HEADER + "1,,3\n", ", line 2: expected a value in column scan, got an empty cell."),
        ("subject_id,scan,Sex\n1,scans/p1_v1.npy,F\n", ": expected the column sex in small letters, got Sex."),
        (
            "subject_id,scan,AGE_YEARS\n1,scans/p1_v1.npy,50\n",
            ": expected the column age_years in small letters, got AGE_YEARS.",
        ),
    ],
)
def test_what_is_wrong_in_a_manifest_is_told_with_its_line(folder, text, sentence):
    (folder / "link.npy").symlink_to(folder.parent / "outside.npy")
    told = refusal(read_manifest, manifest(folder, text))
    assert told.startswith(sentence)


def test_a_path_list_is_not_guessed_but_pointed_to_its_function(folder):
    told = refusal(read_manifest, manifest(folder, "scans/p1_v1.npy\nscans/p1_v2.npy\n"))
    assert "dxa_monai.scan.manifest.read_path_list" in told
    told = refusal(read_path_list, manifest(folder, "subject_id,scan\n1,scans/p1_v1.npy\n"))
    assert "line 1: expected one path a row, got 2 cells" in told
    assert "dxa_monai.scan.manifest.read_manifest" in told


def test_the_first_missing_file_is_named_and_all_are_counted(folder):
    path = manifest(folder, HEADER + "1,scans/p1_v1.npy,\n1,scans/a.npy,\n2,scans/b.npy,\n")
    assert refusal(read_manifest, path) == (
        f", line 3: expected the scan file {folder}/scans/a.npy, got no such file (2 missing in all)."
    )
    path = manifest(folder, "subject_id,scan,mesh\n1,scans/p1_v1.npy,none.ply\n")
    assert "expected the mesh file" in refusal(read_manifest, path)


def test_path_list_with_and_without_header(folder):
    bare = read_path_list(manifest(folder, "scans/p1_v1.npy\nscans/p2_v1.nii.gz\n"))
    headed = read_path_list(manifest(folder, "path\nscans/p1_v1.npy\nscans/p2_v1.nii.gz\n"))
    assert bare == headed
    assert [(row["subject_id"], row["scan_id"]) for row in bare] == [("p1_v1", "p1_v1"), ("p2_v1", "p2_v1")]


@pytest.mark.parametrize("pattern", [r"(p\d)_v", r"p\d"])
def test_a_pattern_finds_the_person_in_a_path(folder, pattern):
    path = manifest(folder, "scans/p1_v1.npy\nscans/p1_v2.npy\nscans/p3_v1.npz\n")
    assert [row["subject_id"] for row in read_path_list(path, subject_pattern=pattern)] == ["p1", "p1", "p3"]


def test_a_pattern_that_does_not_fit_is_refused(folder):
    path = manifest(folder, "scans/p1_v1.npy\n")
    assert ", line 1: expected a path that matches 'q', got " in refusal(read_path_list, path, subject_pattern="q")
    assert "to find a subject, got ''" in refusal(read_path_list, path, subject_pattern="p(x*)")
    with pytest.raises(InputError, match=r"^subject_pattern: expected a regular expression, got '\('"):
        read_path_list(path, subject_pattern="(")
    assert "got only a header" in refusal(read_path_list, manifest(folder, "path\n"))


def test_written_manifest_has_a_stable_order_and_relative_paths(folder):
    rows = [
        {"zeta": 1, "scan": folder / "scans/p1_v1.npy", "alpha": None, "subject_id": "1", "mass_kg": np.float64(70.25)},
        {"subject_id": "2", "alpha": 0.1, "scan": "scans/p3_v1.npz", "mass_kg": float("nan")},
    ]
    write_manifest(rows, folder / "manifest.csv")
    assert (folder / "manifest.csv").read_text() == (
        "subject_id,scan_id,scan,mass_kg,alpha,zeta\n1,p1_v1,scans/p1_v1.npy,70.25,,1\n2,p3_v1,scans/p3_v1.npz,,0.1,\n"
    )
    assert "scan_id" not in rows[0]


numbers = st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: value not in MISSING_CODES)
ages_years = st.none() | st.floats(0.0, 125.0)


@given(ages=st.lists(ages_years, min_size=4, max_size=4), extra=st.lists(numbers, min_size=4, max_size=4))
def test_manifest_round_trip(tmp_path_factory, ages, extra):
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for index, (age, value) in enumerate(zip(ages, extra, strict=True)):
        (folder / f"{index}.npy").touch()
        row = {"subject_id": f"0{index // 2}", "scan_id": f"s{index}", "scan": str(folder / f"{index}.npy")}
        rows.append(row | {"total_fat_g": value} | ({} if age is None else {"age_years": age}))
    write_manifest(rows, folder / "manifest.csv")
    assert read_manifest(folder / "manifest.csv") == rows


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], ": expected at least one row to write, got none."),
        ([{"scan": "scans/p1_v1.npy"}], ", line 2: expected a value in column subject_id, got none."),
        ([{"subject_id": "1", "scan": "../outside.npy"}], ", line 2: expected a scan inside the data folder"),
        ([{"subject_id": "1", "scan": "scans/p1_v1.npy"}] * 2, ", line 3: expected a scan_id of its own"),
        ([{"subject_id": "1", "scan": "scans/p1_v1.npy", "Sex": "F"}], ": expected the column sex in small letters"),
        (
            [
                {"subject_id": "1", "scan": "scans/p1_v1.npy", "sex": "F"},
                {"subject_id": "1", "scan": "scans/p3_v1.npz", "sex": "M"},
            ],
            ", line 3: expected one sex of the person 1",
        ),
    ],
)
def test_a_manifest_that_could_not_be_read_is_not_written(folder, rows, sentence):
    before = sorted(os.listdir(folder))
    assert refusal(lambda path: write_manifest(rows, path), folder / "manifest.csv").startswith(sentence)
    assert sorted(os.listdir(folder)) == before


def test_datalist_has_the_same_keys_for_every_row():
    rows = [
        {"subject_id": "1", "scan_id": "a", "scan": "/a.npy", "age_years": 3.0},
        {"subject_id": "2", "scan_id": "b", "scan": "/b.npy"},
    ]
    assert as_datalist(rows) == [
        {"image": "/a.npy", "scan_id": "a", "subject_id": "1"},
        {"image": "/b.npy", "scan_id": "b", "subject_id": "2"},
    ]


def test_a_link_out_of_the_data_folder_is_named(tmp_path: Path) -> None:
    """As DataLad and git-annex keep files."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.npy").touch()
    (tmp_path / "data" / "scans").mkdir(parents=True)
    link = tmp_path / "data" / "scans" / "a.npy"
    link.symlink_to(tmp_path / "store" / "a.npy")
    (tmp_path / "data" / "m.csv").write_text("subject_id,scan\nP1,scans/a.npy\n")
    with pytest.raises(InputError, match=f"line 2: expected a scan inside .* which leaves it through the link {link}"):
        read_manifest(tmp_path / "data" / "m.csv")


def test_paths_are_taken_from_where_the_manifest_was_named(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "study" / "a.npy").touch()
    (tmp_path / "study" / "m.csv").write_text("subject_id,scan\nP1,a.npy\n")
    (tmp_path / "work" / "m.csv").symlink_to(tmp_path / "study" / "m.csv")
    with pytest.raises(InputError, match=f"paths are taken from {tmp_path / 'work'}, where m.csv is a link"):
        read_manifest(tmp_path / "work" / "m.csv")
    with pytest.raises(InputError, match=r"where m.csv is a link"):
        collect_scans(tmp_path / "work" / "m.csv")
    (tmp_path / "work" / "a.npy").touch()
    assert collect_scans(tmp_path / "work" / "m.csv")[0]["image"] == str(tmp_path / "work" / "a.npy")
