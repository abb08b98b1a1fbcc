"""The worked example of docs/extending.md is what the repository holds, it is all, and a further measure is as easy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from monai.bundle import run

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.measures import BODY_MEASURES, PAPER_MEASURES, measures_of
from tests.bundles.tiny import ANTHROPOMETRY, bundle_files

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]

PAGE = "docs/extending.md"
MOST_FILES = 5
SEARCHED = ("dxa_monai", "bundles", "configs", "tests", "scripts", "benchmarks", "docs")
LIST, TABLE = "dxa_monai/scan/measures.py", "dxa_monai/phantom/anthropometry.py"

_ITEM = re.compile(r"^\d+\. `([^`]+)`.*?^   ```diff\n(.*?)^   ```$", re.DOTALL | re.MULTILINE)
_EXAMPLE = "forearm"
_FURTHER = "lower_forearm"


def example() -> dict[str, str]:
    """What the page says has to be written, by the file it goes into."""
    section = (REPOSITORY / PAGE).read_text().split("### Worked example", 1)[1].split("\n## ", 1)[0]
    return {file: "\n".join(re.findall(r"^   \+(.*)$", lines, re.MULTILINE)) for file, lines in _ITEM.findall(section)}


def test_the_page_names_few_files_and_they_hold_what_it_says() -> None:
    written = example()
    assert len({*written, PAGE}) <= MOST_FILES
    assert {LIST, TABLE, "docs/numbers.md"} <= written.keys()
    for file, text in written.items():
        assert text
        assert text in (REPOSITORY / file).read_text(), f"{PAGE} shows lines of {file} that are not there:\n{text}"


def test_no_other_file_knows_the_added_measures() -> None:
    """Else a stranger who follows the page would leave something half done."""
    added = set(BODY_MEASURES).difference(PAPER_MEASURES)
    assert added
    either = {re.sub("_(left|right)_", r"_(?:left|right|\\{[^}]*\\})_", name) for name in added}
    named = re.compile("|".join(rf"\b{name}\b" for name in sorted(either)))
    files = [
        path for top in SEARCHED for path in (REPOSITORY / top).rglob("*") if path.suffix in {".py", ".json", ".md"}
    ]
    files = [path for path in files if not {"runs", "models", "data"}.intersection(path.relative_to(REPOSITORY).parts)]
    # the metadata tell what the released network reads, which a test of the bundle compares with its weights
    files = [path for path in files if path.name != "metadata.json"]
    found = {path.relative_to(REPOSITORY).as_posix() for path in files if named.search(path.read_text())}
    assert found == {*example(), PAGE}


def test_every_measure_is_explained() -> None:
    """``{left,right}`` in docs/numbers.md stands for a column of either side."""
    section = (REPOSITORY / "docs/numbers.md").read_text().split("## Body measures", 1)[1].split("\n## ", 1)[0]
    explained = [
        name.replace("{left,right}", side)
        for name in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
        for side in (("left", "right") if "{left,right}" in name else ("",))
    ]
    assert sorted(explained) == sorted(BODY_MEASURES), "docs/numbers.md, body measures: write a line for each measure"


@pytest.fixture(scope="module")
def with_a_further_measure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package into which somebody has written, as the page says, a measure of the lower forearm."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(REPOSITORY / "dxa_monai", folder / "dxa_monai", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (LIST, TABLE):
        _write_further(folder / file, example()[file])
    return folder


def _write_further(path: Path, line: str) -> None:
    text = path.read_text()
    assert text.count(line) == 1
    path.write_text(text.replace(line, line + "\n" + line.replace(_EXAMPLE, _FURTHER)))


def _make_people(package: Path, count: int, output_dir: Path) -> subprocess.CompletedProcess[str]:
    script = (
        "from dxa_monai.errors import describe_user_error\n"
        "try:\n"
        "    from dxa_monai.phantom.cohort import generate_cohort\n"
        f"    generate_cohort({count}, {str(output_dir)!r}, workers=1, progress=False)\n"
        "except Exception as error:\n"
        "    raise SystemExit(describe_user_error(error)) from error\n"
    )
    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, check=False)


def test_a_further_measure_is_two_lines_of_code(with_a_further_measure: Path, tmp_path: Path) -> None:
    made = _make_people(with_a_further_measure, 1, tmp_path / "cohort")
    assert made.returncode == 0, made.stderr
    rows = read_manifest(tmp_path / "cohort" / "manifest.csv")
    further = [name.replace(_EXAMPLE, _FURTHER) for name in BODY_MEASURES if name.startswith(_EXAMPLE)]
    assert further
    assert measures_of(rows) == BODY_MEASURES
    measured = measures_of(rows, further)
    for name in measured:
        np.testing.assert_array_equal(rows[0][name], rows[0][name.replace(_FURTHER, _EXAMPLE)])

    # whoever has the package without it cannot add people to these
    refused = _make_people(REPOSITORY, 2, tmp_path / "cohort")
    assert refused.returncode == 1
    assert f"got one that was made with {', '.join(sorted(further))}; choose another folder" in refused.stderr


@pytest.mark.parametrize("forgotten", [LIST, TABLE])
def test_a_measure_in_one_place_alone_is_told(with_a_further_measure: Path, tmp_path: Path, forgotten: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(with_a_further_measure, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / forgotten, folder / forgotten)
    told = _make_people(folder, 1, tmp_path / "cohort")
    assert told.returncode == 1
    sentence = told.stderr.splitlines()[0]
    assert f"{_FURTHER}_left_circumference_cm, {_FURTHER}_right_circumference_cm in the" in told.stderr, sentence
    assert "dxa_monai/scan/measures.py" in told.stderr
    assert not (tmp_path / "cohort").exists()


def test_a_network_reads_what_was_added(measured_pairs: Path, tmp_path: Path) -> None:
    added = [name for name in BODY_MEASURES if name not in PAPER_MEASURES]
    measures = list(measures_of(read_manifest(measured_pairs), [*added, "total_volume_l"]))
    run(
        config_file=bundle_files("dxa_anthropometry", "train.json", "preset_small.json"),
        bundle_root=str(tmp_path),
        manifest=str(measured_pairs),
        measures=measures,
        output_dir=str(tmp_path / "run"),
        **ANTHROPOMETRY,
    )
    run(
        config_file=bundle_files("dxa_anthropometry", "inference.json"),
        input=str(measured_pairs.parent / "scans"),
        checkpoint=str(tmp_path / "run" / "best.pt"),
        output_dir=str(tmp_path / "inference"),
    )
    table = pd.read_csv(tmp_path / "inference" / "anthropometry.csv")
    assert list(table.columns) == ["scan_id", "scan", *measures]
    assert np.isfinite(table[measures].to_numpy()).all()


def test_the_loss_of_the_page_is_three_files_and_the_overlay_it_shows() -> None:
    page = (REPOSITORY / "docs" / "extending.md").read_text()
    section = page[page.index("### Worked example: the energy ratio") : page.index("## A bundle")]
    files = re.findall(r"^\d\. `([^`]+)`", section, re.MULTILINE)
    assert len(files) == 3
    assert all((REPOSITORY / file).is_file() for file in files)
    shown = json.loads(section.split("```json\n")[1].split("```")[0])
    assert shown == json.loads((REPOSITORY / files[1]).read_text())
    # nothing else has to know of it: that it trains and is recorded is tested with the bundle
    users = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "dxa_monai").rglob("*.py")
        if "EnergyRatioLoss" in path.read_text()
    }
    assert users <= {files[0], "dxa_monai/losses/__init__.py"}
