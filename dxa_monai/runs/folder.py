"""The folder of a training run: what was run, on whom, and whether it came to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from dxa_monai.bundling.command import running_config
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder, remove_partial
from dxa_monai.input_files import read_object
from dxa_monai.runs.finished import FINISHED, refuse_finished
from dxa_monai.runs.outputs import claim_outputs, noted, refuse_of_others, write_note
from dxa_monai.runs.ownership import let_go
from dxa_monai.runs.state_files import FOLDER, remove_states, state_files
from dxa_monai.scan.splits import SPLIT_FILE_NAME, write_split
from dxa_monai.tracking.server import without_password

RECORD, CONFIG, METRICS = "run.json", "config.json", "metrics.csv"
FILES = (
    *(RECORD, CONFIG, FINISHED, SPLIT_FILE_NAME, METRICS, "last.pt", "best.pt", "mlflow_run.json"),
    *("noise_floor.json", "scanner_model.json", "quarantine.csv", "duplicates.csv"),
)
"""What a training may write into its folder, besides the folders of states and of scans with which it failed."""
_EXPECTED = "the record of a run"
_KINDS = {
    "reader": dict,
    "split_seed": int,
    "training_pairs": int,
    "trunk": str,
    "preset": str,
    "open_air_counts": list,
}
"""Of entries that other commands rely on, where a run has them."""
_OF_A_RUN = {"dataset_hash", "git_revision"}
"""Of its record."""

MAY_CHANGE = {
    *(
        "resume",
        "save_every_s",
        "num_workers",
        "mesh_workers",
        "cache_rate",
        "device",
        "amp",
        "network",
        "version",
        "git_revision",
        # what was fitted before training, which rounding changes from one processor to the next
        "r2",
        "r2_left_out",
        "moved_sd",
        "missing_before",
        "missing_after",
        "open_air_counts",
    ),
    *("bundle_root", "output_dir", "clouds_dir", "dataset_dir", "manifest", "data"),
    *("tracking_uri", "experiment", "parent_run", "mlflow_run"),
}
"""Of the record and of the config, when a run is resumed: how and where it is run and told of. The record's hash of the
data says whether those are the same."""


def check_run(folder: str | Path) -> None:
    """Refuse, before anything is written, a folder that a training cannot have.

    Raises:
        InputError: the folder holds a finished run, or a file of one of the names of ``FILES`` that no training made.
    """
    refuse_finished(folder)
    refuse_of_others(folder, FILES, FILES if _is_of_a_run(Path(folder)) else noted(folder))


def claim_run(folder: str | Path) -> None:
    """Claim what a training writes, see :func:`dxa_monai.runs.outputs.claim_outputs`; to be called before it writes.

    Raises:
        InputError: see :func:`check_run`, or the folder cannot be written to.
    """
    check_run(folder)
    if idist.get_rank() == 0:
        if _is_of_a_run(Path(folder)):
            write_note(Path(folder), made=list(FILES))
        claim_outputs(folder, FILES)


def _is_of_a_run(folder: Path) -> bool:
    """Whether a folder holds a run of before there were notes."""
    path = folder / RECORD
    return path.is_file() and not noted(folder) and set(read_record(path)) >= _OF_A_RUN


def begin_run(
    folder: str | Path,
    record: Mapping[str, Any],
    split: Mapping[str, Sequence[Mapping[str, Any]]],
    resume: bool = False,
) -> None:
    """Write ``run.json`` (what is run), ``config.json`` (the whole config) and ``split.csv`` (on whom) before training.

    ``config.json`` is the config that calls this, overlays and command line merged; run again, it does the same.

    A folder that holds a finished run is left alone, and one whose run was interrupted and left a state
    (:mod:`dxa_monai.runs.state_files`) is used again only to go on with it.

    Args:
        folder: of the run; made if need be.
        record: settings of the run, plain types.
        split: manifest rows by the name of their part, as :func:`dxa_monai.scan.splits.split_by_subject` gives them.
        resume: go on with the folder's interrupted run if there is one.

    Raises:
        InputError: the folder cannot be written to, holds a finished run, an interrupted one (without ``resume``), or
            one of other settings (with ``resume``).
    """
    if idist.get_rank() != 0:
        return
    path = output_folder(folder)
    claim_run(path)
    if state_files(path):
        if not resume:
            raise InputError(
                f"{path}: expected a folder without an interrupted run, got one; go on with it (--resume True), "
                "delete it or choose another."
            )
        _refuse_other_settings(path, record)
    remove_partial(path, path / FOLDER)
    with atomic_path(path / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
    config = running_config()
    if config is not None:
        text = without_password(json.dumps(config, indent=2, default=str))
        with atomic_path(path / CONFIG) as temporary:
            temporary.write_text(text + "\n")
    write_split(split, path)


def _refuse_other_settings(folder: Path, record: Mapping[str, Any]) -> None:
    _refuse_other(folder / RECORD, {"record": record})
    config = running_config()
    if config is not None and (folder / CONFIG).is_file():
        _refuse_other(folder / CONFIG, {"config": config})


def _refuse_other(path: Path, now: Mapping[str, Any]) -> None:
    (prefix,) = now
    earlier = _literals({prefix: read_object(path, f"the {prefix} of a run")})
    current = _literals(json.loads(json.dumps(now, default=str)))
    for name in sorted({*earlier, *current}):
        if earlier.get(name) != current.get(name):
            raise InputError(
                f"{path}: expected to go on with {name.removeprefix(prefix + '#')} {earlier.get(name)}, "
                f"got {current.get(name)}; a run is resumed with the settings and the data it began with."
            )


def _literals(settings: Any, name: str = "") -> dict[str, Any]:
    """What is no expression or reference, by its id as on the command line (``loss_def#pixel_weight``)."""
    if isinstance(settings, Mapping):
        kept = {key: value for key, value in settings.items() if "#" in name or key not in MAY_CHANGE}
        return {
            inner: value
            for key, each in kept.items()
            for inner, value in _literals(each, f"{name}#{key}" if name else key).items()
        }
    if isinstance(settings, list):
        return {k: v for i, each in enumerate(settings) for k, v in _literals(each, f"{name}#{i}").items()}
    return {} if isinstance(settings, str) and settings.startswith(("$", "@")) else {name: settings}


def read_record(checkpoint: str | Path) -> dict[str, Any]:
    """``run.json`` beside a checkpoint; empty where there is none.

    Raises:
        InputError: it cannot be read.
    """
    path = Path(checkpoint).parent / RECORD
    if not path.is_file():
        return {}
    record = read_object(path, _EXPECTED)
    wrong = [name for name, kind in _KINDS.items() if not isinstance(record.get(name), kind | None)]
    if wrong:
        raise InputError(f"{path}: expected {_EXPECTED}, got '{record[wrong[0]]}' for {wrong[0]}.")
    return record


def finish_run(folder: str | Path, **outcome: Any) -> None:
    """Write ``finished.json`` with the run's outcome (plain types): what lies in the folder is whole.

    States to resume from are deleted.
    """
    if idist.get_rank() != 0:
        return
    with atomic_path(Path(folder) / FINISHED) as temporary:
        temporary.write_text(json.dumps(outcome, indent=2) + "\n")
    remove_states(folder)
    let_go(folder)
