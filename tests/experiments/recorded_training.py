"""A training that is over in no time and leaves in its folder what a real one does, states to go on from included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from dxa_monai.files import atomic_path
from dxa_monai.networks.checkpoint import write_tensors
from dxa_monai.runs.finished import leave_if_finished
from dxa_monai.runs.folder import begin_run, finish_run
from dxa_monai.runs.state_files import newest_state, write_state
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.splits import split_by_subject
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.tracked_run import PARENT_TAG, TrackedRun, report_outcome

EPOCHS = 1
_HERE = "tests.experiments.recorded_training"
_PART = {"_target_": f"{_HERE}.Part"}
CONFIG: dict[str, Any] = {
    "imports": [f"$from {_HERE} import train"],
    "manifest": "",
    "output_dir": "",
    "arm": "",
    "seed": 0,
    "resume": False,
    "tracking_uri": "",
    "experiment": "",
    "parent_run": "",
    "data": _PART,
    "start": _PART,
    "network_def": _PART,
    "run": ["$train(@output_dir, @manifest, @arm, @seed, @resume, @tracking_uri, @experiment, @parent_run)"],
}


class Part:
    """Data, start or network that a comparison has a look at before the first training."""

    def check(self) -> None:
        """All is well."""

    def architecture(self) -> dict[str, Any]:
        """The same for all arms."""
        return {}


def write_config(folder: Path) -> list[str]:
    """The training's config file."""
    (folder / "train.json").write_text(json.dumps(CONFIG))
    return [str(folder / "train.json")]


def train(
    output_dir: str,
    manifest: str,
    arm: str,
    seed: int,
    resume: bool,
    tracking_uri: str,
    experiment: str,
    parent_run: str,
) -> None:
    """Count epochs; the best network is how many there were."""
    if resume:
        leave_if_finished(output_dir)
    folder = Path(output_dir)
    record = {"arm": arm, "seed": seed}
    begin_run(folder, record, split_by_subject(read_manifest(manifest)), resume)
    state = newest_state(folder) or {"epoch": torch.tensor(0)}
    tags = {PARENT_TAG: parent_run} if parent_run else {}
    run = TrackedRun(tracking_uri, experiment, arm, record, tags, note=folder / NOTE_NAME, go_on=resume)
    with report_outcome(run):
        for epoch in range(int(state["epoch"]) + 1, EPOCHS + 1):
            with atomic_path(folder / "best.pt") as temporary:
                write_tensors({"epoch": torch.tensor(epoch)}, temporary)
            run.log_metrics({"epoch": epoch}, epoch)
            write_state(folder, epoch, {"epoch": torch.tensor(epoch)})
    finish_run(folder, epoch=EPOCHS)
