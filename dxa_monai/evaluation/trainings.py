"""Many trainings by one config, each with settings of its own, in worker processes."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dxa_monai.errors import InputError, TrainingError, find_user_error
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.handlers.run_folder import FINISHED
from dxa_monai.worker_pool import run_in_processes

LOG_FILE, SETTINGS_FILE = "training.log", "settings.json"
TRACKING = ("tracking_uri", "experiment", "parent_run")
"""Settings that may differ when an interrupted command goes on."""


def run_trainings(
    config_files: Sequence[str], settings: Sequence[Mapping[str, Any]], workers: int, progress: bool = True
) -> None:
    """Run a training bundle once for each settings; what is finished already is left as it is.

    Args:
        config_files: of the bundle, overlays after what they change.
        settings: what each training sets, ``output_dir`` among it; plain types.
        workers: processes of one thread each.
        progress: show a progress bar on stderr.

    Raises:
        InputError: a setting is wrong, two trainings have one folder, or a folder holds a training of other settings.
        TrainingError: a training failed; the message names the folder with its log.
    """
    folders = [Path(each["output_dir"]) for each in settings]
    if len(set(folders)) != len(folders):
        raise InputError("output_dir: expected a folder of its own for every training, got one twice.")
    for each, folder in zip(settings, folders, strict=True):
        _refuse_other_settings(folder, _recorded(config_files, each))
    open_ones = [index for index, folder in enumerate(folders) if not (folder / FINISHED).exists()]
    bar = tqdm(total=len(settings), initial=len(settings) - len(open_ones), desc="trainings", disable=not progress)
    with bar:
        tasks = [dict(each) for each in settings]
        for _ in run_in_processes(train_one, open_ones, (list(config_files), tasks), max(1, workers)):
            bar.update()


def train_one(
    index: int,
    config_files: Sequence[str],
    settings: Sequence[Mapping[str, Any]],
    live: Mapping[str, Any] | None = None,
) -> None:
    """Run one training of :func:`run_trainings` in this process; what it prints goes to ``training.log``.

    Args:
        index: which of the settings.
        config_files: see there.
        settings: see there.
        live: objects of this process that the config gets besides; not recorded.

    Raises:
        InputError: a setting is wrong.
        TrainingError: it cannot go on, or failed otherwise (the message then names the log).
    """
    from monai.bundle import run

    chosen = dict(settings[index])
    folder = output_folder(chosen["output_dir"])
    with atomic_path(folder / SETTINGS_FILE) as temporary:
        temporary.write_text(json.dumps(_recorded(config_files, chosen), indent=2) + "\n")
    hook = sys.excepthook
    with open(folder / LOG_FILE, "w") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            run(config_file=list(config_files), resume=True, **chosen, **(live or {}))
        except Exception as error:
            # The exception itself may hold what cannot be sent to another process.
            unexpected = TrainingError(f"{folder / LOG_FILE}: {type(error).__name__}: {error}")
            raise (find_user_error(error) or unexpected) from None
        except SystemExit:
            raise TrainingError(f"{folder / LOG_FILE}: the training was ended from outside (SIGTERM).") from None
        finally:
            sys.excepthook = hook
            gc.collect()  # engines and handlers hold each other, and with them the cached scans of this training


def config_digest(config_files: Sequence[str]) -> str:
    """SHA-256 of the config files' bytes, in their order."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in config_files)).hexdigest()


def _recorded(config_files: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a training depends on, as it comes back from JSON."""
    chosen = {name: value for name, value in settings.items() if name not in TRACKING}
    recorded: dict[str, Any] = json.loads(
        json.dumps(chosen | {"config_sha256": config_digest(config_files)}, default=str)
    )
    return recorded


def _refuse_other_settings(folder: Path, wanted: Mapping[str, Any]) -> None:
    path = folder / SETTINGS_FILE
    if not (folder / FINISHED).exists() or not path.is_file():
        return
    made_with = json.loads(path.read_text())
    other = next((name for name in sorted({*made_with, *wanted}) if made_with.get(name) != wanted.get(name)), None)
    if other is not None:
        raise InputError(
            f"{folder}: expected a training with {other} = {wanted.get(other)}, "
            f"got a finished one with {made_with.get(other)}; choose another output_dir."
        )
