"""The report: every link leads somewhere, every number stands in its CSV, what is missing is said."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.paper.parts import FAILED, Outcome
from dxa_monai.paper.plan import GENERATION, PaperPlan, Part
from dxa_monai.paper.report import FIGURES, build_report, write_report
from dxa_monai.paper.tables import TABLES
from tests.paper.results import finished, write_results

SETTINGS = {"command": "python a <b>", "virtual": True, "preset": "small"}
_NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    return PaperPlan("small", Path("out"), (0,), bundles_dir=REPOSITORY / "bundles").parts()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, parts: list[Part]) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    write_results(folder)
    write_report(build_report(folder, parts, finished(parts), SETTINGS), folder)
    return folder


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.cells: list[str] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.links.append(str(found["href"]))
        if tag == "img":
            self.pictures.append(str(found["src"]))
        if tag in ("td", "th"):
            self.cells.append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells[-1] += data


def test_every_link_and_picture_is_there(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > len(TABLES) + len(FIGURES)
    for link in links:
        assert (folder / link).is_file(), link
    page = _Page((folder / "report.html").read_text())
    assert len(page.pictures) == len(FIGURES)
    assert all(picture.startswith("data:image/png;base64,iVBOR") for picture in page.pictures)
    assert set(links) - {figure.path for figure in FIGURES} == set(page.links) - {"https://arxiv.org/abs/2206.06663"}


def test_every_number_of_a_table_stands_in_its_csv(folder: Path, parts: list[Part]) -> None:
    report = build_report(folder, parts, finished(parts), SETTINGS)
    assert [table.name for table in report.tables] == list(TABLES)
    for table in report.tables:
        known = [
            float(cell)
            for path in (folder / source for source in table.sources)
            for row in csv.reader(path.open())
            for cell in row
            if _NUMBER.fullmatch(cell)
        ]
        ours = [place for place, name in enumerate(table.header) if not name.startswith("paper")]
        for row in table.rows:
            for number in (n for place in ours[1:] for n in _NUMBER.findall(row[place])):
                half = 0.5001 * 10.0 ** -len(number.partition(".")[2])
                assert any(abs(value - float(number)) <= half for value in known), (table.name, row[0], number)


def test_markdown_and_html_say_the_same(folder: Path) -> None:
    text, page = (folder / "report.md").read_text(), _Page((folder / "report.html").read_text())
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    in_markdown = [
        re.sub(r"\*\*|`|\[(CSV)\]\([^)]*\)", r"\1", cell.strip()) for row in rows for cell in row[1:-1].split(" | ")
    ]
    assert in_markdown == [cell.strip() for cell in page.cells]


def test_what_is_missing_is_said_and_the_rest_is_shown(folder: Path, parts: list[Part]) -> None:
    outcomes = finished(parts) | {GENERATION: Outcome(FAILED, "python b", "1", reason="a <b> was wrong.")}
    del outcomes["ablation"]
    report = build_report(folder, parts, outcomes, SETTINGS)
    assert "generation (tables 4 and 5: scans from meshes) failed: a <b> was wrong." in report.missing
    assert any(sentence.startswith("ablation") and "not asked for" in sentence for sentence in report.missing)
    assert {"table_1", "table_3"} <= {table.name for table in report.tables}
    assert not {"table_4", "table_5", "ablation"} & {table.name for table in report.tables}
    assert not [claim for claim in report.claims if claim.part in (GENERATION, "ablation")]


def test_a_table_that_cannot_be_read_costs_that_table(tmp_path: Path, parts: list[Part]) -> None:
    write_results(tmp_path)
    (tmp_path / "reconstruction" / "evaluation" / "image_quality.csv").write_text("arm\na\n")
    (tmp_path / "cohort" / "contact_sheet.png").unlink()
    report = build_report(tmp_path, parts, finished(parts), SETTINGS)
    assert [table.name for table in report.tables] == [name for name in TABLES if name != "table_1"]
    assert any(sentence.startswith("table_1: ") for sentence in report.missing)
    assert "cohort/contact_sheet.png: the picture is not there." in report.missing


def test_what_is_not_ours_is_text(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "python a &lt;b&gt;" in page
    assert "<b>" not in page
