"""Many trainings by the config of a bundle, each with overlays and settings of its own, in worker processes."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from dxa_monai.bundling.command_line import settled_value
from dxa_monai.errors import InputError, TrainingError, find_user_error
from dxa_monai.experiments.progress import trainings_bar
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.input_files import read_object
from dxa_monai.parallel.worker_pool import run_in_processes
from dxa_monai.runs.finished import FINISHED, tidy_finished
from dxa_monai.runs.ownership import letting_go

LOG_FILE, SETTINGS_FILE = "training.log", "settings.json"
TRACKING = ("tracking_uri", "experiment", "parent_run", "log_model")
"""Settings that may differ when an interrupted command goes on."""


class Stopped(TrainingError):
    """A training was asked to stop; it can go on."""


@dataclass(frozen=True, eq=False)
class Training:
    """A training that a command starts.

    Attributes:
        config_files: of the bundle, overlays after what they change.
        settings: what it sets besides, ``output_dir`` among it; plain types.
    """

    config_files: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Of the run."""
        return Path(self.settings["output_dir"])

    def parser(self) -> ConfigParser:
        """The training's config, ready to give components."""
        parser = ConfigParser()
        parser.read_config(list(self.config_files))
        files = deepcopy(parser.get())
        parser.update({name: settled_value(name, value, ConfigParser(files)) for name, value in self.settings.items()})
        parser.parse()
        return parser

    def record(self) -> dict[str, Any]:
        """What the training depends on, as it comes back from JSON."""
        chosen = {name: value for name, value in self.settings.items() if name not in TRACKING}
        recorded: dict[str, Any] = json.loads(
            json.dumps(chosen | {"config_sha256": config_digest(self.config_files)}, default=str)
        )
        return recorded


def run_trainings(trainings: Sequence[Training], workers: int, progress: bool = True) -> None:
    """Run trainings; what is finished already is left as it is.

    Args:
        trainings: each with a folder of its own.
        workers: processes of one thread each.
        progress: show on stderr how far they are.

    Raises:
        InputError: a setting is wrong, two trainings have one folder, or a folder holds a training of other settings.
        TrainingError: a training failed; the message names the folder with its log.
    """
    if len({training.folder for training in trainings}) != len(trainings):
        raise InputError("output_dir: expected a folder of its own for every training, got one twice.")
    for training in trainings:
        _refuse_other_settings(training)
    open_ones = [training for training in trainings if not tidy_finished(training.folder)]
    with trainings_bar([training.folder for training in trainings], shown=progress):
        for _ in run_in_processes(train_one, open_ones, (), max(1, workers)):
            pass


@letting_go()
def train_one(training: Training, live: Mapping[str, Any] | None = None) -> None:
    """Run one training in this process; what it prints goes to ``training.log``.

    Args:
        training: to be run, or gone on with.
        live: objects of this process that the config gets besides; not recorded.

    Raises:
        InputError: a setting is wrong.
        TrainingError: it cannot go on, or failed otherwise (the message then names the log).
    """
    from monai.bundle import run

    folder = output_folder(training.folder)
    with atomic_path(folder / SETTINGS_FILE) as temporary:
        temporary.write_text(json.dumps(training.record(), indent=2) + "\n")
    hook = sys.excepthook
    with (
        open(folder / LOG_FILE, "w", encoding="utf-8", errors="backslashreplace") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        try:
            # MONAI leaves out what is None, and the config would keep its own
            settings = {name: "$None" if value is None else value for name, value in training.settings.items()}
            run(config_file=list(training.config_files), resume=True, **settings, **(live or {}))
        except Exception as error:
            # The exception itself may hold what cannot be sent to another process.
            unexpected = TrainingError(f"{folder / LOG_FILE}: {type(error).__name__}: {error}")
            raise (find_user_error(error) or unexpected) from None
        except SystemExit as ended:
            if ended.code == 0 and (folder / FINISHED).exists():
                return  # another command finished it
            raise Stopped(f"{folder / LOG_FILE}: the training was ended from outside (SIGTERM).") from None
        finally:
            sys.excepthook = hook
            gc.collect()  # engines and handlers hold each other, and with them the cached scans of this training


def config_digest(config_files: Sequence[str]) -> str:
    """SHA-256 of the config files' bytes, in their order."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in config_files)).hexdigest()


def _refuse_other_settings(training: Training) -> None:
    path = training.folder / SETTINGS_FILE
    if not (training.folder / FINISHED).exists() or not path.is_file():
        return
    wanted, made_with = training.record(), read_object(path, "the settings of a training")
    other = next((name for name in sorted({*made_with, *wanted}) if made_with.get(name) != wanted.get(name)), None)
    if other is not None:
        raise InputError(
            f"{training.folder}: expected a training with {other} = {wanted.get(other)}, "
            f"got a finished one with {made_with.get(other)}; choose another output_dir."
        )
