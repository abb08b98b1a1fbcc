"""The study of a hyper-parameter search: one SQLite file that worker processes share and that outlives them."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dxa_monai.errors import InputError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

STUDY_FILE = "study.db"
RETRY_OF, REASON = "retry_of", "reason"
"""Notes of a trial: which trial that was cut off it repeats, and why it failed."""

_NAME, _IDENTITY = "search", "identity"
_DATABASE_PATIENCE_S = 60


def open_study(
    folder: Path, direction: str, sampler: BaseSampler | None = None, pruner: BasePruner | None = None
) -> Study:
    """The study of a folder, made if need be.

    Raises:
        InputError: ``study.db`` is there and is no study.
    """
    # the database's set-up would print its migration steps
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import optuna
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder.resolve() / STUDY_FILE
    try:
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _DATABASE_PATIENCE_S}}
        )
        return optuna.create_study(
            storage=storage,
            sampler=sampler,
            pruner=pruner,
            study_name=_NAME,
            direction=optuna.study.StudyDirection[direction.upper()],
            load_if_exists=True,
        )
    except DatabaseError as error:
        raise InputError(f"{path}: expected the study of a search, got '{error.orig}'.") from error


def claim(study: Study, identity: Mapping[str, Any], folder: Path) -> None:
    """Note what a new study is about, and refuse one that is about something else.

    Args:
        study: of the folder.
        identity: all that makes its trials comparable, plain types.
        folder: named in the message.

    Raises:
        InputError: it names the first difference.
    """
    wanted = json.loads(json.dumps(identity, default=str))
    found = study.user_attrs.get(_IDENTITY)
    if found is None:
        study.set_user_attr(_IDENTITY, wanted)
        return
    other = next((name for name in wanted if found.get(name) != wanted[name]), None)
    if other is not None:
        raise InputError(
            f"{folder}: expected a study with {other} = {wanted[other]}, got one with {found.get(other)}; "
            "choose another output_dir."
        )


def retry_cut_off(study: Study, names: Collection[str]) -> None:
    """Line up the trials of processes that were killed, with the same settings. Call it as the owner of the folder
    (:func:`dxa_monai.runs.ownership.own_folder`): what is running then belongs to nobody any more.

    Args:
        study: of the folder.
        names: of all that a trial draws. One that was killed before it had drawn them all has nothing to repeat: its
            draw is made again by the next trial.
    """
    from optuna.trial import TrialState

    lined_up = _retried(study)
    for trial in study.get_trials(deepcopy=False):
        if trial.state is TrialState.RUNNING:
            if trial.number not in lined_up and set(names) <= set(trial.params):
                study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
            # after the line before: a command that is killed between the two finds the trial again
            study.tell(trial.number, state=TrialState.FAIL)


def was_cut_off(trial: FrozenTrial) -> bool:
    """Whether a trial's process was killed: one that fails by itself says why."""
    return trial.state.name == "FAIL" and REASON not in trial.user_attrs


def trials_done(study: Study) -> int:
    """Trials that came to an end of their own, failed ones among them; those that were cut off do not count."""
    return sum(trial.state.is_finished() and not was_cut_off(trial) for trial in study.get_trials(deepcopy=False))


def _retried(study: Study) -> set[int]:
    notes = (trial.user_attrs for trial in study.get_trials(deepcopy=False))
    return {note[RETRY_OF] for note in notes if RETRY_OF in note}
