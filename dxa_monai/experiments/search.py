"""Hyper-parameter search over a training bundle: trials chosen by TPE [1]_ with Optuna [2]_, hopeless ones pruned.

Each trial is one training in a worker process. It sees the training and the validation people; nothing here reads the
scans of the people held out.

References:
    .. [1] Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011.
    .. [2] Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019,
       doi:10.1145/3292500.3330701.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.experiments.search_results import write_best, write_figure, write_trials
from dxa_monai.experiments.search_space import Parameter, check_ids, read_space
from dxa_monai.experiments.search_study import REASON, claim, open_study, retry_cut_off, trials_done
from dxa_monai.experiments.trainings import Stopped, Training, config_digest, train_one
from dxa_monai.files import remove_partial
from dxa_monai.parallel.worker_pool import run_in_processes
from dxa_monai.runs.finished import tidy_abandoned
from dxa_monai.runs.ownership import letting_go, own_folder
from dxa_monai.runs.provenance import git_revision, manifest_hash
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.tracked_run import TrackedRun, mlflow_run

DIRECTIONS = ("maximize", "minimize")
TRIALS_FOLDER = "trials"


@dataclass(frozen=True)
class Pruning:
    """A trial ends early if its best value so far is worse than the median of the complete trials at that epoch.

    Args:
        startup_trials: complete trials before the first may be pruned.
        from_epoch: first epoch after which a trial may be pruned.
    """

    startup_trials: int = 5
    from_epoch: int = 1


@dataclass(frozen=True)
class Search:
    """What the trials of a search have in common; sent to the worker processes."""

    folder: Path
    config_files: Sequence[str]
    parameters: Sequence[Parameter]
    direction: str
    seed: int
    pruning: Pruning | None
    settings: Mapping[str, Any]


class SettingsSearch:
    """Search a training's settings for those with the best validation metric.

    The study is kept in ``study.db``: the same command goes on where it was cut off, and one with more ``trials`` adds
    to those that are there. A trial that fails is noted with its reason and the search goes on.

    Args:
        config_files: training config of the bundle and its overlays; they hand ``listener`` to a
            :class:`dxa_monai.handlers.validation_listener.ValidationListener`.
        space: see :mod:`dxa_monai.experiments.search_space`.
        manifest: data of the trainings.
        output_dir: gets ``study.db``, ``trials/``, ``trials.csv``, ``best.json`` and ``search.png``.
        metric: name of what the listener hears.
        direction: ``maximize`` or ``minimize``.
        trials: how many in all, earlier ones counted in.
        seed: of the sampler and of every training.
        split_seed: of the split by person.
        workers: trainings at a time, of one thread each.
        overrides: further settings of all trainings.
        pruning: see :class:`Pruning`; None: every trial is trained to its end.
        tracking_files: overlays that track a training.
        tracking_uri: of MLflow; empty: not tracked. One run for the search, one below it for each trial.
        experiment: MLflow's name for what belongs together.
        about: what MLflow should know besides.

    Raises:
        InputError: a setting is wrong.
    """

    def __init__(
        self,
        config_files: Sequence[str],
        space: Mapping[str, Any],
        manifest: str | Path,
        output_dir: str | Path,
        metric: str,
        direction: str = "maximize",
        trials: int = 20,
        seed: int = 0,
        split_seed: int = 0,
        workers: int = 1,
        overrides: Mapping[str, Any] | None = None,
        pruning: Mapping[str, int] | None = None,
        tracking_files: Sequence[str] = (),
        tracking_uri: str = "",
        experiment: str = "search",
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if direction not in DIRECTIONS:
            raise InputError(f"direction: expected one of {', '.join(DIRECTIONS)}, got '{direction}'.")
        if trials < 1:
            raise InputError(f"trials: expected at least 1, got {trials}.")
        self.config_files = list(config_files)
        self.space = dict(space) if isinstance(space, Mapping) else space
        self.manifest = manifest
        self.output_dir = output_dir
        self.metric = metric
        self.direction = direction
        self.trials = trials
        self.seed = seed
        self.split_seed = split_seed
        self.workers = workers
        self.overrides = dict(overrides or {})
        self.pruning = _pruning(pruning)
        self.tracking_files = list(tracking_files)
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.about = dict(about or {})
        self.parameters = read_space(space)
        check_ids(config_files, self.overrides, self.parameters)

    @letting_go()
    def run(self) -> dict[str, Path]:
        """Run the trials that are not done yet.

        Returns:
            The written files by name.

        Raises:
            InputError: the folder holds another search or one that is running, or as the trainings say.
            TrainingError: no trial came to its end.
        """
        identity = {
            "space": self.space,
            "metric": self.metric,
            "direction": self.direction,
            "overrides": self.overrides,
            "seed": self.seed,
            "split_seed": self.split_seed,
            "config_sha256": config_digest(self.config_files),
            "dataset_hash": manifest_hash(self.manifest),
        }
        folder = own_folder(self.output_dir)
        remove_partial(folder)
        study = open_study(folder, self.direction)
        claim(study, identity, folder)
        for trial in (folder / TRIALS_FOLDER).glob("*"):
            tidy_abandoned(trial)  # one that was cut off is repeated under another number
        retry_cut_off(study, [each.name for each in self.parameters])
        about = {**self.about, **identity, "trials": self.trials, "git_revision": git_revision()}
        with mlflow_run(
            self.tracking_uri, self.experiment, "search", about, note=folder / NOTE_NAME, go_on=True
        ) as run:
            files = self._run_open_trials(study, folder, run)
        print(f"trial {study.best_trial.number} is the best: {self.metric} {study.best_value:.5g}, {files['best']}")
        return files

    def _run_open_trials(self, study: Any, folder: Path, run: TrackedRun) -> dict[str, Path]:
        settings = {
            **self.overrides,
            "manifest": str(self.manifest),
            "seed": self.seed,
            "split_seed": self.split_seed,
        }
        if run.active:
            settings |= {"tracking_uri": self.tracking_uri, "experiment": self.experiment, "parent_run": run.run_id}
            settings["log_model"] = False  # of trials that are thrown away
        configs = [*self.config_files, *(self.tracking_files if run.active else ())]
        common = Search(folder, configs, self.parameters, self.direction, self.seed, self.pruning, settings)
        open_ones = range(trials_done(study), self.trials)
        files = {"trials": write_trials(study, self.parameters, folder, self.metric)}
        with tqdm(total=self.trials, initial=self.trials - len(open_ones), desc="trials") as bar:
            for _ in run_in_processes(run_trial, open_ones, (common,), max(1, self.workers)):
                write_trials(study, self.parameters, folder, self.metric)
                bar.update()
        files["best"] = write_best(study, self.parameters, self.overrides, folder)
        files["figure"] = write_figure(study, self.parameters, folder, self.metric)
        run.log_metrics({f"best_{self.metric}": study.best_value})
        for path in files.values():
            run.log_artifact(path)
        return files


def run_trial(place: int, search: Search) -> None:
    """Draw the settings of a trial, train with them and note how it ended.

    Args:
        place: of the trial in the search. Together with the search's seed it seeds the draw, so that a search that was
            cut off goes on with the draws that it would have made.
        search: what all trials have in common.

    Raises:
        InputError: a setting is wrong and no trial has succeeded yet, so it is not for this trial's own settings. The
            trial counts as cut off.
    """
    from optuna.pruners import MedianPruner, NopPruner
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    sampler = TPESampler(seed=int(np.random.SeedSequence([search.seed, place]).generate_state(1)[0]))
    stop = search.pruning
    pruner = MedianPruner(stop.startup_trials, stop.from_epoch) if stop else NopPruner()
    study = open_study(search.folder, search.direction, sampler, pruner)
    trial = study.ask()
    chosen = {each.name: each.suggest(trial) for each in search.parameters}
    settings = dict(search.settings) | chosen
    settings["output_dir"] = str(search.folder / TRIALS_FOLDER / f"{trial.number:04d}")
    settings |= {"trial": trial.number, "searched": chosen}
    values: list[float] = []
    pruned = False

    def listener(epoch: int, value: float) -> bool:
        nonlocal pruned
        values.append(value)
        trial.report(value, epoch)
        pruned = trial.should_prune()
        return pruned

    def fail(reason: str) -> None:
        trial.set_user_attr(REASON, reason)
        study.tell(trial, state=TrialState.FAIL)

    try:
        train_one(Training(tuple(search.config_files), settings), {"listener": listener})
    except Stopped:
        raise  # the trial counts as cut off
    except (InputError, TrainingError) as error:
        succeeded = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if isinstance(error, InputError) and not succeeded:
            raise
        fail(str(error))
        return
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        fail(f"expected a finite validation metric, got {values}.")
    elif pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, max(finite) if search.direction == "maximize" else min(finite))


def _pruning(given: Mapping[str, int] | None) -> Pruning | None:
    if given is None:
        return None
    names = {each.name for each in fields(Pruning)}
    wrong = next((name for name, count in given.items() if name not in names or not _is_count(count)), None)
    if wrong is not None:
        raise InputError(
            f"pruning: expected whole numbers from 0 for {', '.join(sorted(names))}, got {wrong} = {given[wrong]}."
        )
    return Pruning(**given)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
