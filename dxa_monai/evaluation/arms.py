"""Trained arms compared on people held out: tables, figures, one tracked run. What is compared is said by a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from dxa_monai.evaluation.held_out import (
    HeldOutPeople,
    TrainedArm,
    held_out_people,
    refuse_baseline_names,
    trained_arms,
)
from dxa_monai.runs.another_background import tell_another_background
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.runs.provenance import git_revision, manifest_hash
from dxa_monai.scan.csv_table import write_frame
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.server import check_tracking_uri
from dxa_monai.tracking.tracked_run import mlflow_run


@dataclass(frozen=True, eq=False)
class Findings:
    """What a task found.

    Attributes:
        tables: by name; each becomes ``{name}.csv``.
        metrics: numbers for a tracker.
        text: lines for the terminal.
        draw: writes figures into a folder; their paths by name.
    """

    tables: Mapping[str, pd.DataFrame]
    metrics: Mapping[str, float] = field(default_factory=dict)
    text: Sequence[str] = ()
    draw: Callable[[Path], Mapping[str, Path]] = lambda folder: {}


class Task(Protocol):
    """What trained arms are compared in."""

    name: str
    """Of the run in MLflow."""
    reserved: tuple[str, ...]
    """Names of baselines, which no arm can have."""
    figures: tuple[str, ...]
    """Files that :attr:`Findings.draw` may write."""

    def complete(self, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Settings by arm of a comparison, with what one arm has to know of the others: by default nothing.

        Raises:
            InputError: an arm has the name of a baseline, or lacks what it needs.
        """
        refuse_baseline_names(arms, self.reserved)
        return {name: dict(settings) for name, settings in arms.items()}

    def compare(
        self, arms: Sequence[TrainedArm], people: HeldOutPeople, seed: int, skipped: Mapping[str, str]
    ) -> Findings:
        """Compare arms and baselines on the people held out.

        Args:
            arms: trained.
            people: with the training people, for baselines.
            seed: of the bootstrap.
            skipped: arms that could not be trained, and why.

        Raises:
            InputError: a checkpoint cannot be used, or the manifest lacks something.
        """


class ArmEvaluation:
    """Compare trained arms on people held out and write what was found.

    Args:
        task: what is compared.
        manifest: that holds the people.
        output_dir: gets the tables and figures.
        arms: checkpoint, or checkpoints of several seeds, by the name of the arm, in the order in which they are shown;
            a comparison trains its own.
        split_file: who is in which part; empty: the split in the run folders of the checkpoints.
        part: of the split that is evaluated.
        reader: how scans are read; what it does not declare is read as in training.
        seed: of the bootstrap.
        tracking_uri: of MLflow; empty: nothing is tracked.
        experiment: MLflow's name for what belongs together.
    """

    def __init__(
        self,
        task: Task,
        manifest: str | Path,
        output_dir: str | Path,
        arms: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
        split_file: str | Path = "",
        part: str = "test",
        reader: RawDXAReader | None = None,
        seed: int = 0,
        tracking_uri: str = "",
        experiment: str = "dxa_monai",
    ) -> None:
        self.task = task
        self.manifest = manifest
        self.output_dir = Path(output_dir)
        self.arms = dict(arms or {})
        self.split_file = split_file
        self.part = part
        self.source = None if reader is None else reader.source
        self.seed = seed
        self.tracking_uri = tracking_uri
        self.experiment = experiment

    def run(self) -> dict[str, Path]:
        """Evaluate the arms.

        Returns:
            The written files by name.

        Raises:
            InputError: see :func:`dxa_monai.evaluation.held_out.held_out_people` and the task; or the folder cannot be
                written to.
        """
        return self.of(trained_arms(self.arms, self.task.reserved))

    @letting_go()
    def of(
        self,
        arms: Sequence[TrainedArm],
        params: Mapping[str, Any] | None = None,
        skipped: Mapping[str, str] | None = None,
        parent_run: str | None = None,
        tracked: bool = True,
    ) -> dict[str, Path]:
        """Evaluate arms that a comparison has trained.

        Args:
            arms: trained.
            params: what MLflow should know besides.
            skipped: arms that could not be trained, and why.
            parent_run: id of the MLflow run that this one is shown below.
            tracked: False: this one is not tracked, whatever ``tracking_uri`` says.
        """
        uri = self.tracking_uri if tracked else ""
        check_tracking_uri(uri)
        people = held_out_people(self.manifest, arms, self.part, self.split_file, self.source)
        networks = [path for arm in arms for path in arm.checkpoints]
        tell_another_background([row["scan"] for row in people.rows], networks, people.source)
        about = {
            **(params or {}),
            "arms": {arm.label: " ".join(map(str, arm.checkpoints)) for arm in arms},
            "part": self.part,
            "dataset_hash": manifest_hash(self.manifest),
            "git_revision": git_revision(),
        }
        folder = self.output_dir
        name = self.task.name
        note = folder / NOTE_NAME
        with mlflow_run(uri, self.experiment, name, about, local_log=folder, parent_run=parent_run, note=note) as run:
            found = self.task.compare(arms, people, self.seed, skipped or {})
            # made only now, so that a mistake leaves nothing behind
            claim_outputs(folder, [*(f"{table}.csv" for table in found.tables), *self.task.figures])
            files = {table: folder / f"{table}.csv" for table in found.tables}
            for table, path in files.items():
                write_frame(path, found.tables[table])
            files |= found.draw(folder)
            run.log_metrics(found.metrics)
            for path in files.values():
                run.log_artifact(path)
        print("\n".join(found.text))
        print(f"Tables and figures: {folder}")
        return files
