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
from dxa_monai.evaluation.search_results import write_best, write_figure, write_trials
from dxa_monai.evaluation.search_space import Parameter, check_ids, read_space
from dxa_monai.evaluation.search_study import REASON, claim, only_search, open_study, retry_cut_off, trials_done
from dxa_monai.evaluation.trainings import config_digest, train_one
from dxa_monai.files import output_folder
from dxa_monai.handlers.provenance import manifest_hash
from dxa_monai.handlers.tracking import mlflow_run
from dxa_monai.worker_pool import run_in_processes

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


def search_settings(
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
    params: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Search a training's settings for those with the best validation metric.

    The study is kept in ``study.db``: the same command goes on where it was cut off, and one with more ``trials`` adds
    to those that are there. A trial that fails is noted with its reason and the search goes on.

    Args:
        config_files: training config of the bundle and its overlays; they hand ``listener`` to a
            :class:`dxa_monai.handlers.validation_listener.ValidationListener`.
        space: see :mod:`dxa_monai.evaluation.search_space`.
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
        params: what MLflow should know besides.

    Returns:
        The written files by name.

    Raises:
        InputError: a setting is wrong, or the folder holds another search or one that is running.
        TrainingError: no trial came to its end.
    """
    if direction not in DIRECTIONS:
        raise InputError(f"direction: expected one of {', '.join(DIRECTIONS)}, got '{direction}'.")
    if trials < 1:
        raise InputError(f"trials: expected at least 1, got {trials}.")
    fixed = dict(overrides or {})
    parameters = read_space(space)
    check_ids(config_files, fixed, parameters)
    stop = _pruning(pruning)
    identity = {
        "space": space,
        "metric": metric,
        "direction": direction,
        "overrides": fixed,
        "seed": seed,
        "split_seed": split_seed,
        "config_sha256": config_digest(config_files),
        "dataset_hash": manifest_hash(manifest),
    }
    folder = output_folder(output_dir)
    with only_search(folder):
        study = open_study(folder, direction)
        claim(study, identity, folder)
        retry_cut_off(study, [each.name for each in parameters])
        about = dict(params or {}) | identity | {"trials": trials}
        with mlflow_run(tracking_uri, experiment, "search", about, enabled=bool(tracking_uri)) as run:
            settings = fixed | {"manifest": str(manifest), "seed": seed, "split_seed": split_seed}
            if run.active:
                settings |= {"tracking_uri": tracking_uri, "experiment": experiment, "parent_run": run.run_id}
            configs = [*config_files, *(tracking_files if run.active else ())]
            common = Search(folder, configs, parameters, direction, seed, stop, settings)
            open_ones = range(trials_done(study), trials)
            files = {"trials": write_trials(study, parameters, folder, metric)}
            with tqdm(total=trials, initial=trials - len(open_ones), desc="trials") as bar:
                for _ in run_in_processes(run_trial, open_ones, (common,), max(1, workers)):
                    write_trials(study, parameters, folder, metric)
                    bar.update()
            files["best"] = write_best(study, parameters, fixed, folder)
            files["figure"] = write_figure(study, parameters, folder, metric)
            run.log_metrics({f"best_{metric}": study.best_value})
            for path in files.values():
                run.log_artifact(path)
    print(f"trial {study.best_trial.number} is the best: {metric} {study.best_value:.5g}, {files['best']}")
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
        train_one(0, search.config_files, [settings], {"listener": listener})
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
