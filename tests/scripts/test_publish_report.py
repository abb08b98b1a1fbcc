"""A report under docs/, and pages whose tables are its tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.paper.pages import tables_of_page, with_tables
from dxa_monai.paper.plan import PaperPlan
from dxa_monai.paper.report import build_report, write_report
from dxa_monai.paper.tables import TABLES
from scripts.publish_report import LINK, PUBLISHED, marked_pages, publish_report
from tests.paper.results import finished, write_results

PAGE = """# A

<!-- paper: table_1 -->
old
<!-- end of table_1 -->

between

<!-- paper: table_5 -->
<!-- end of table_5 -->
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_results(folder)
    parts = PaperPlan("small", Path("out"), (0,), bundles_dir=REPOSITORY / "bundles").parts()
    write_report(build_report(folder, parts, finished(parts), {"command": "a", "virtual": True}), folder)
    return folder


def test_what_is_published_stands_alone_and_pages_have_its_tables(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "bundles" / "a" / "docs" / "README.md"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE)
    written = publish_report(run, tmp_path)
    assert page in written
    text = page.read_text()
    assert TABLES["table_1"][1](run).as_markdown() in text
    assert TABLES["table_5"][1](run).as_markdown() in text
    assert "old" not in text
    assert "\n\nbetween\n\n" in text
    report = tmp_path / PUBLISHED / "report.md"
    for link in LINK.findall(report.read_text()):
        assert (report.parent / link).is_file(), link
    publish_report(run, tmp_path)
    assert page.read_text() == text


def test_what_is_not_there_is_told_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.md: expected the report of configs/paper\.json"):
        publish_report(tmp_path / "nothing", tmp_path)
    with pytest.raises(InputError, match="table_9: expected one of table_1"):
        with_tables(PAGE.replace("table_1", "table_9"), run)
    with pytest.raises(InputError, match="expected the numbers of table_1"):
        with_tables(PAGE, tmp_path)


def test_the_bundles_pages_have_the_tables_of_the_published_report() -> None:
    pages = marked_pages(REPOSITORY)
    shown = [name for page in pages for name in tables_of_page(page.read_text())]
    assert len(shown) == len(set(shown)) > 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert with_tables(text, REPOSITORY / PUBLISHED) == text, f"{page}: python -m scripts.publish_report"


def test_the_published_report_leads_to_files_that_are_there() -> None:
    text = (REPOSITORY / PUBLISHED / "report.md").read_text(encoding="utf-8")
    for link in LINK.findall(text):
        assert (REPOSITORY / PUBLISHED / link).is_file(), link
    assert "## What the paper claims" in text
