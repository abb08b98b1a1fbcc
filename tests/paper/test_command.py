"""The command as a user gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import run

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError, TrainingError, find_user_error
from dxa_monai.paper.command import reproduce_paper
from dxa_monai.paper.plan import PaperPlan
from tests.paper.results import finished, write_results


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_a_part_without_what_it_needs_leaves_a_report_and_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    with pytest.raises(RuntimeError) as raised:
        run(config_file="configs/paper.json", output_dir=str(folder), parts=["analysis"], tracking_uri="")
    sentence = str(find_user_error(raised.value))
    assert "got no results of analysis" in sentence
    assert "report.md says why" in sentence
    text = (folder / "report.md").read_text()
    assert "analysis (analysis against the truth) was not run: it needs pairs" in text
    assert "reconstruction (tables 1 and 2: reconstructions) was not asked for" in text
    assert (folder / "report.html").is_file()


def test_a_finished_paper_is_reported_again_and_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, database = tmp_path / "paper", tmp_path / "mlflow.db"
    write_results(folder)
    outcomes = finished(PaperPlan("small", folder, (0, 1, 2)).parts())
    monkeypatch.setattr("dxa_monai.paper.command.run_parts", lambda *_: outcomes)
    files = reproduce_paper(folder, tracking_uri=f"sqlite:///{database}")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    (paper,) = client.search_runs([client.get_experiment_by_name("paper").experiment_id])
    assert paper.info.status == "FINISHED"
    assert paper.data.metrics["minutes/generation"] == 1.5
    assert paper.data.metrics["verdicts/reproduced"] > 0
    kept = {artifact.path for artifact in client.list_artifacts(paper.info.run_id)}
    assert {"report.html", "report.md", "figure_2.png", "figure_3.png"} <= kept
    report = files["markdown"].read_text()
    assert "## What the paper claims" in report
    assert (
        '`python -m monai.bundle run --config_file configs/paper.json --preset small --seeds "[0, 1, 2]"`'
        in report.replace("'", '"')
    )


def test_wrong_settings_are_told_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    with pytest.raises(InputError, match="preset: expected one of small, medium, paper, got 'huge'"):
        reproduce_paper(folder, preset="huge")
    with pytest.raises(InputError, match=r"manifest: expected a CSV file.*nowhere"):
        reproduce_paper(folder, manifest=str(tmp_path / "nowhere.csv"))
    with pytest.raises(InputError, match=r"parts: expected some of cohort.*got tables"):
        reproduce_paper(folder, parts=["tables"])
    assert not folder.exists()


def test_a_folder_with_a_report_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(InputError, match=r"report\.md: expected no such file"):
        reproduce_paper(tmp_path, parts=["analysis"])
    assert (tmp_path / "report.md").read_text() == "mine"


def test_the_report_is_made_where_parts_failed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="got no results of analysis"):
        reproduce_paper(tmp_path / "paper", parts=["analysis"])
    assert (tmp_path / "paper" / "report.html").is_file()
