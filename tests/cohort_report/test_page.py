"""The page about a cohort is whole, repeats, says what it could not do, and its command works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dxa_monai.cohort_report.page import FIGURE_NAME, write_population_report
from tests.evaluation.cohort_rows import write_cohort

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_cohort(tmp_path_factory.mktemp("cohort") / "c")
    record = {"seed": 5, "children_share": 0.1, "refused": {"unreachable": 3}}
    (folder / "cohort.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def page(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_population_report(cohort, tmp_path_factory.mktemp("docs") / "cohort.md")


def test_page_is_whole(page: Path) -> None:
    text = page.read_text()
    assert "200 people, 180 adults" in text
    assert "20 children" in text
    assert "3 unreachable" in text
    assert "seed 5" in text
    assert not re.findall(r"[{}]|\bnan\b|None", text)
    for group in ("women (90)", "men (90)", "girls", "boys"):
        assert group in text
    assert (page.parent / "images" / FIGURE_NAME).stat().st_size > 10_000
    assert f"images/{FIGURE_NAME}" in text


def test_tables_have_as_many_cells_in_every_row(page: Path) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", page.read_text(), flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_page_repeats(cohort: Path, page: Path, tmp_path: Path) -> None:
    again = write_population_report(cohort, tmp_path / "cohort.md")
    assert again.read_bytes() == page.read_bytes()
    assert (tmp_path / "images" / FIGURE_NAME).read_bytes() == (page.parent / "images" / FIGURE_NAME).read_bytes()


def test_adults_without_meshes_or_record(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "c", people=60, meshes=False, children=0)
    text = write_population_report(folder, tmp_path / "page.md").read_text()
    assert "adults only" in text
    assert "too few T-pose meshes" in text
    assert "seed unknown" in text


def test_command(cohort: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/population.json", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = run("--dataset_dir", str(cohort), "--output", str(tmp_path / "page.md"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.md").is_file()
    wrong = run("--dataset_dir", str(tmp_path / "nowhere"), "--output", str(tmp_path / "page.md"))
    assert wrong.returncode != 0
    assert "nowhere" in wrong.stderr
    assert "Traceback" not in wrong.stderr
