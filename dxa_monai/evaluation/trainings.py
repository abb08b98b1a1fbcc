"""Many trainings by one config, each with settings of its own, in worker processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dxa_monai.errors import InputError, TrainingError, told_in_one_sentence
from dxa_monai.files import output_folder
from dxa_monai.handlers.run_folder import FINISHED
from dxa_monai.worker_pool import run_in_processes

LOG_FILE = "training.log"


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
        InputError: a setting is wrong, or two trainings have one folder.
        TrainingError: a training failed; the message names the folder with its log.
    """
    folders = [Path(each["output_dir"]) for each in settings]
    if len(set(folders)) != len(folders):
        raise InputError("output_dir: expected a folder of its own for every training, got one twice.")
    open_ones = [index for index, folder in enumerate(folders) if not (folder / FINISHED).exists()]
    bar = tqdm(total=len(settings), initial=len(settings) - len(open_ones), desc="trainings", disable=not progress)
    with bar:
        tasks = [dict(each) for each in settings]
        for _ in run_in_processes(train_one, open_ones, (list(config_files), tasks), max(1, workers)):
            bar.update()


def train_one(index: int, config_files: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> None:
    """Run one training of :func:`run_trainings` in this process; what it prints goes to ``training.log``.

    Raises:
        InputError: a setting is wrong.
        TrainingError: it failed otherwise.
    """
    from monai.bundle import run

    chosen = dict(settings[index])
    folder = output_folder(chosen["output_dir"])
    hook = sys.excepthook
    with open(folder / LOG_FILE, "w") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            run(config_file=list(config_files), **chosen)
        except Exception as error:
            # The exception itself may hold what cannot be sent to another process.
            sentence = told_in_one_sentence(error) or f"{folder / LOG_FILE}: {type(error).__name__}: {error}"
            kind = InputError if told_in_one_sentence(error) else TrainingError
            raise kind(sentence) from None
        finally:
            sys.excepthook = hook
