"""What a hyper-parameter search found: a table of its trials, the best settings, a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dxa_monai.errors import TrainingError
from dxa_monai.experiments.search_space import Choice, Parameter
from dxa_monai.experiments.search_study import REASON, RETRY_OF, was_cut_off
from dxa_monai.figures.search_overview import search_figure
from dxa_monai.files import atomic_path
from dxa_monai.scan.csv_table import write_frame

if TYPE_CHECKING:
    from optuna import Study

TABLE, BEST, FIGURE = "trials.csv", "best.json", "search.png"
FEWEST_FOR_IMPORTANCE = 10
"""Complete trials. Importance is the share of variance by functional ANOVA (Hutter et al., ICML 2014), which sees all
of them; Optuna's default compares the best tenth with the others, one trial of ten, and missed what the slices show."""


def trials_table(study: Study, parameters: Sequence[Parameter], metric: str) -> pd.DataFrame:
    """One row a trial: how it ended, its best validation value, and its settings in a column each.

    States are ``complete``, ``pruned``, ``failed`` (with ``reason``), ``cut off`` (its process was killed; another
    trial repeats its settings and says so in ``retry_of``), ``running`` and ``waiting``.
    """
    trials = study.get_trials(deepcopy=False)
    best = max if study.direction.name == "MAXIMIZE" else min
    rows = []
    for trial in trials:
        values = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
        state = {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
        about = {
            "trial": trial.number,
            "state": "cut off" if was_cut_off(trial) else state,
            metric: best(values) if values else math.nan,
            "epochs": len(trial.intermediate_values),
            "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else math.nan,
            "retry_of": trial.user_attrs.get(RETRY_OF, ""),
            "reason": trial.user_attrs.get(REASON, ""),
        }
        rows.append(about | {each.name: trial.params.get(each.name, "") for each in parameters})
    names = ["trial", "state", metric, "epochs", "seconds", "retry_of", "reason", *(each.name for each in parameters)]
    return pd.DataFrame(rows, columns=names)


def write_trials(study: Study, parameters: Sequence[Parameter], folder: Path, metric: str) -> Path:
    """Write ``trials.csv``, see :func:`trials_table`."""
    path = folder / TABLE
    write_frame(path, trials_table(study, parameters, metric), "%.8g")
    return path


def write_best(study: Study, parameters: Sequence[Parameter], fixed: Mapping[str, Any], folder: Path) -> Path:
    """Write ``best.json``: the settings of the best trial, those fixed for all trials among them.

    It is a config overlay, and the ``overrides`` of a comparison.

    Raises:
        TrainingError: no trial came to its end.
    """
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state.name == "COMPLETE" for trial in trials):
        reasons = [trial.user_attrs[REASON] for trial in trials if REASON in trial.user_attrs]
        last = f"the last one failed: {reasons[-1]}" if reasons else "none was trained to its end."
        raise TrainingError(f"{folder}: expected a trial that succeeds, got {len(trials)} that do not; {last}")
    chosen = study.best_trial.params
    path = folder / BEST
    with atomic_path(path) as temporary:
        settings = dict(fixed) | {each.name: each.value(chosen[each.name]) for each in parameters}
        temporary.write_text(json.dumps(settings, indent=4) + "\n")
    return path


def write_figure(study: Study, parameters: Sequence[Parameter], folder: Path, metric: str) -> Path:
    """Write ``search.png``: the values over the trials and over each setting, and how much each setting matters."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    table = trials_table(study, parameters, metric)
    enough = (table["state"] == "complete").sum() >= FEWEST_FOR_IMPORTANCE
    return search_figure(
        table,
        folder / FIGURE,
        metric,
        [each.name for each in parameters],
        greater_is_better=study.direction.name == "MAXIMIZE",
        logarithmic=[each.name for each in parameters if not isinstance(each, Choice) and each.log],
        importances=get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)) if enough else None,
    )
