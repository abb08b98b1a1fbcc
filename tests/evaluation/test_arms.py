"""One evaluation of arms for all tasks: what is written, what is tracked, and that a mistake leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.arms import ArmEvaluation, Findings
from dxa_monai.evaluation.generation import GenerationTask
from dxa_monai.evaluation.held_out import HeldOutPeople, TrainedArm
from dxa_monai.evaluation.measures import MeasuresTask
from dxa_monai.evaluation.reconstruction import ReconstructionTask
from dxa_monai.scan.format import CHANNELS
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.splits import split_by_subject
from tests.evaluation.run_folders import run_folder


class Counting:
    """A task that counts who is evaluated."""

    name = "counting"
    reserved = ("everybody",)
    figures = ("picture.png",)

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.seen: list[Any] = []

    def complete(self, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: dict(settings) for name, settings in arms.items()}

    def compare(
        self, arms: Sequence[TrainedArm], people: HeldOutPeople, seed: int, skipped: Mapping[str, str]
    ) -> Findings:
        self.seen.append((arms, people, seed, skipped))
        if self.fault is not None:
            raise self.fault
        table = pd.DataFrame({"arm": [arm.label for arm in arms], "scans": len(people.rows), "third": 1 / 3})

        def draw(folder: Path) -> dict[str, Path]:
            (folder / "picture.png").write_bytes(b"\x89PNG")
            return {"picture": folder / "picture.png"}

        return Findings({"counted": table, "again": table}, {"a/scans": len(people.rows)}, ["So many:", "many"], draw)


@pytest.fixture
def checkpoint(bar_cohort: Path, tmp_path: Path) -> Path:
    """A path in a run folder; there is no file."""
    return run_folder(tmp_path / "run", split_by_subject(read_manifest(bar_cohort)))


def test_tables_and_figures_are_written_and_told(
    checkpoint: Path, bar_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "not" / "yet"
    files = ArmEvaluation(Counting(), bar_cohort, out, {"b": checkpoint, "a": [checkpoint] * 2}, part="train").run()
    assert files == {
        "counted": out / "counted.csv",
        "again": out / "again.csv",
        "picture": out / "picture.png",
    }
    assert set(out.glob("[!.]*")) == set(files.values())
    table = pd.read_csv(files["counted"])
    assert list(table["arm"]) == ["b", "a"]
    assert set(table["scans"]) == {len(split_by_subject(read_manifest(bar_cohort))["train"])}
    assert table["third"].iloc[0] == pytest.approx(1 / 3, abs=1e-6)
    assert capsys.readouterr().out == f"So many:\nmany\nTables and figures: {out}\n"


def test_a_task_gets_the_people_the_seed_and_what_was_skipped(
    checkpoint: Path, bar_cohort: Path, tmp_path: Path
) -> None:
    task = Counting()
    reader = RawDXAReader(channels=CHANNELS[::-1])
    evaluation = ArmEvaluation(task, bar_cohort, tmp_path / "out", reader=reader, seed=5)
    arm = TrainedArm("a", (checkpoint,), "frozen")
    evaluation.of([arm], skipped={"imagenet": "not at hand"})
    ((arms, people, seed, skipped),) = task.seen
    assert (list(arms), seed, skipped) == ([arm], 5, {"imagenet": "not at hand"})
    assert people.part == "test"
    assert people.source == reader.source


def test_networks_of_another_scanner_are_told(
    checkpoint: Path, bar_cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = split_by_subject(read_manifest(bar_cohort))["train"]
    same = ScanSource().image(rows[0]["scan"])
    other = run_folder(tmp_path / "other", split_by_subject(read_manifest(bar_cohort)))
    for path, mean_image in ((checkpoint, same), (other, same + 0.1)):
        torch.save({"state": {"mean_image": mean_image}}, path)
    ArmEvaluation(Counting(), bar_cohort, tmp_path / "out", {"a": checkpoint, "b": other}).run()
    (told,) = (record.getMessage() for record in caplog.records)
    assert str(other) in told


@pytest.mark.parametrize(
    "task", [ReconstructionTask(), MeasuresTask(), GenerationTask("points")], ids=["images", "measures", "bodies"]
)
def test_an_unusable_checkpoint_leaves_nothing_behind(
    task: Any, checkpoint: Path, bar_cohort: Path, mesh_pairs: Path, tmp_path: Path
) -> None:
    manifest = mesh_pairs if isinstance(task, GenerationTask) else bar_cohort
    path = run_folder(tmp_path / "bad", split_by_subject(read_manifest(manifest)))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"best\.pt: expected"):
        ArmEvaluation(task, manifest, tmp_path / "out", {"arm": path}).run()
    assert not (tmp_path / "out").exists()


def test_a_mistake_adds_nothing_to_a_folder_that_is_there(checkpoint: Path, bar_cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "counted.csv").write_text("of yesterday")
    with pytest.raises(InputError, match="no luck"):
        ArmEvaluation(Counting(InputError("no luck")), bar_cohort, tmp_path / "out", {"a": checkpoint}).run()
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["of yesterday"]


def test_no_arm_and_a_reserved_name_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for arms, told in (({}, "got none"), (None, "got none"), ({"everybody": "a.pt"}, "'everybody', which names a")):
        with pytest.raises(InputError, match=f"arms: expected .*{told}"):
            ArmEvaluation(Counting(), tmp_path / "no_manifest.csv", tmp_path / "out", arms).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (ReconstructionTask(components=7), ["training_mean", "scan", "principal_components_7"]),
        (MeasuresTask(), ["training_mean", "ridge_on_silhouette_components", "ridge_on_image_components"]),
        (
            GenerationTask("points"),
            [
                "training_mean",
                "ridge_shape_to_image",
                "gaussian_process_shape_to_image",
                "ridge_shape_to_composition",
                "gaussian_process_shape_to_composition",
                "scan",
                "another_visit",
            ],
        ),
    ],
    ids=["images", "measures", "bodies"],
)
def test_names_of_baselines_are_refused_by_evaluation_and_comparison(
    task: Any, names: list[str], tmp_path: Path
) -> None:
    for name in names:
        with pytest.raises(InputError, match=f"arms: expected .*'{name}', which names a baseline"):
            ArmEvaluation(task, tmp_path / "no_manifest.csv", tmp_path / "out", {name: "a.pt"}).run()
        with pytest.raises(InputError, match=f"arms: expected .*'{name}', which names a baseline"):
            task.complete({name: {"generator": "random"}})


def test_a_folder_that_cannot_be_written_to_is_told(checkpoint: Path, bar_cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/out: expected a folder"):
        ArmEvaluation(Counting(), bar_cohort, tmp_path / "file" / "out", {"a": checkpoint}).run()


class Tracker:
    """Stands for MLflow."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    @contextmanager
    def __call__(
        self, tracking_uri: str, experiment: str, name: str, params: Mapping[str, Any], **others: Any
    ) -> Iterator[Tracker]:
        about = {"uri": tracking_uri, "experiment": experiment, "name": name, "params": params}
        self.runs.append(about | others | {"metrics": {}, "artifacts": []})
        yield self

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self.runs[-1]["metrics"] |= metrics

    def log_artifact(self, path: Path) -> None:
        self.runs[-1]["artifacts"].append(path)


def test_one_run_is_tracked_with_all_files(
    checkpoint: Path, bar_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker()
    monkeypatch.setattr("dxa_monai.evaluation.arms.mlflow_run", tracker)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    evaluation = ArmEvaluation(Counting(), bar_cohort, tmp_path / "out", tracking_uri=uri, experiment="mine")
    arms = [TrainedArm("a", (checkpoint,)), TrainedArm("a", (checkpoint, checkpoint), "frozen")]
    files = evaluation.of(arms, {"preset": "small"}, parent_run="above")
    (run,) = tracker.runs
    assert (run["uri"], run["experiment"], run["name"], run["parent_run"]) == (uri, "mine", "counting", "above")
    assert run["params"]["arms"] == {"a": str(checkpoint), "a frozen": f"{checkpoint} {checkpoint}"}
    assert (run["params"]["preset"], run["params"]["part"]) == ("small", "test")
    assert {"dataset_hash", "git_revision"} <= set(run["params"])
    assert run["metrics"] == {"a/scans": len(split_by_subject(read_manifest(bar_cohort))["test"])}
    assert run["artifacts"] == list(files.values())
    evaluation.of(arms, tracked=False)
    assert tracker.runs[-1]["uri"] == ""


def test_a_wrong_address_of_the_tracker_is_told_first(tmp_path: Path) -> None:
    evaluation = ArmEvaluation(
        Counting(), tmp_path / "no_manifest.csv", tmp_path / "out", {"a": "a.pt"}, tracking_uri="nonsense://there"
    )
    with pytest.raises(InputError, match="nonsense"):
        evaluation.run()
