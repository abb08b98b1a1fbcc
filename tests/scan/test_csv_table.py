import csv
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dxa_monai.errors import InputError
from dxa_monai.scan.csv_table import read_lines, read_table, write_frame, write_table


def test_lines_are_numbered_as_in_an_editor_and_blank_ones_skipped(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbfa, b \r\n\r\n1 ,2\r\n,\r\n3,4\r\n")
    assert read_lines(path) == [(1, ["a", "b"]), (3, ["1", "2"]), (5, ["3", "4"])]
    assert read_table(path, ["a"]) == [(3, {"a": "1", "b": "2"}), (5, {"a": "3", "b": "4"})]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", ": expected a CSV file with rows, got an empty file."),
        (b"\n ,\n", ": expected a CSV file with rows, got an empty file."),
        (b"a,b\n", ": expected at least one row, got only a header."),
        (b"b,c\n1,2\n", ": expected a column a, got b, c."),
        (b"a,a\n1,2\n", ": expected a name of its own for every column, got 'a' in a, a."),
        (b"a,\n1,2\n", ": expected a name of its own for every column, got '' in a, ."),
        (b"a,b\n1,2\n1\n", ", line 3: expected 2 cells, got 1."),
        (b"a,b\n1,2,3\n", ", line 2: expected 2 cells, got 3."),
        (b"a,b\n1,2\n,2\n", ", line 3: expected a value in column a, got an empty cell."),
        (b"a,b\n\xff\xfe,2\n", ": expected a CSV file in UTF-8, got "),
        (b'a,b\n"1"x,2\n', ": expected a CSV file in UTF-8, got "),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, sentence):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_table(path, ["a"])
    assert str(refused.value).startswith(f"{path}{sentence}")
    assert "\n" not in str(refused.value)


def test_of_a_wide_table_similar_columns_are_named_or_else_the_first(tmp_path):
    path = tmp_path / "table.csv"
    names = ["scan_id", "age_years", *(f"region_{number}_g" for number in range(150))]
    write_table(path, names, [dict.fromkeys(names, "1")])
    with pytest.raises(InputError, match=r"expected a column age_year, got age_years and 151 others\.$"):
        read_table(path, ["age_year"])
    with pytest.raises(
        InputError, match=r"got scan_id, age_years, region_0_g, .*, region_17_g and 132 others; it tells\.$"
    ):
        read_table(path, ["zzz"], "; it tells")


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.csv: expected a CSV file, got no such file\."):
        read_lines(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"expected a CSV file, got a folder"):
        read_lines(tmp_path)


cells = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).map(str.strip)


@given(rows=st.lists(st.tuples(cells.filter(bool), cells), min_size=1, max_size=5))
def test_written_cells_are_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    write_table(path, ["a", "b"], [{"a": a, "b": b or None} for a, b in rows])
    assert [row for _, row in read_table(path, ["a"])] == [{"a": a, "b": b} for a, b in rows]


def test_a_failed_write_leaves_nothing(tmp_path):
    def rows():
        yield {"a": 1}
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_table(tmp_path / "table.csv", ["a"], rows())
    assert os.listdir(tmp_path) == []


CELLS = [
    "=1+1",
    "+1+1",
    "-a",
    "@SUM(1)",
    "\tx",
    "\rx",
    "'=1",
    "''=1",
    "'",
    "'a",
    "-",
    "=",
    "plain",
    "-1.5",
    "+3",
    "1e-3",
]


def test_cells_that_a_spreadsheet_would_run_are_harmless_and_come_back_as_they_were(tmp_path: Path) -> None:
    columns = ["=name", "number"]
    write_table(tmp_path / "a.csv", columns, [{"=name": cell, "number": -2.5} for cell in CELLS])
    table = pd.DataFrame({"=name": CELLS, "number": -2.5})
    write_frame(tmp_path / "b.csv", table)
    for path in (tmp_path / "a.csv", tmp_path / "b.csv"):
        with open(path, newline="") as file:
            raw = list(csv.reader(file))
        assert all(not cell or cell[0] not in "=+@\t\r" or cell == "+3" for row in raw for cell in row)
        assert all(not cell.startswith("-") or float(cell) < 0 for row in raw for cell in row)
        (_, header), *lines = read_lines(path)
        assert header == columns
        assert [cells for _, cells in lines] == [[cell, "-2.5"] for cell in CELLS]
