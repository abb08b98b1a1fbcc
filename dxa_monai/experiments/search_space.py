"""What a hyper-parameter search may change, as plain JSON: the space of a config's settings.

``{"learning_rate": {"low": 1e-4, "high": 1e-2, "log": true}, "batch_size": {"choices": [4, 8]}}``. Names are ids of the
training config, nested ones with ``#``. ``low`` and ``high`` that are both whole numbers give whole numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dxa_monai.bundling.known_ids import refuse_unknown_ids
from dxa_monai.errors import InputError

if TYPE_CHECKING:
    from optuna.trial import Trial

OWN_SETTINGS = (
    "manifest",
    "dataset_dir",
    "output_dir",
    "seed",
    "split_seed",
    "split_file",
    "tracking_uri",
    "experiment",
    "parent_run",
    "log_model",
)
"""What the search sets itself, the same for every trial or one for each. A split is nothing to choose by its result."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; drawn evenly, or evenly in their logarithm."""

    name: str
    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Trial) -> float:
        """The value for a trial."""
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def value(self, stored: float) -> float:
        """The value that a trial's entry in the study stands for."""
        return stored


@dataclass(frozen=True)
class Choice:
    """One of some values of any JSON type, by the text that stands for it in the study."""

    name: str
    values: Mapping[str, Any]

    def suggest(self, trial: Trial) -> Any:
        """The value for a trial."""
        return self.value(trial.suggest_categorical(self.name, list(self.values)))

    def value(self, stored: str) -> Any:
        """The value that a trial's entry in the study stands for."""
        return self.values[stored]


Parameter = Range | Choice


def read_space(space: Mapping[str, Any]) -> list[Parameter]:
    """Check a search space and return its parameters.

    Raises:
        InputError: it is empty, sets what the search itself sets, or a parameter is neither a range nor choices.
    """
    if not isinstance(space, Mapping) or not space:
        raise InputError(f"space: expected at least one parameter, got {space!r}.")
    taken = next((name for name in space if name in OWN_SETTINGS), None)
    if taken is not None:
        raise InputError(f"space: expected settings of the training, got '{taken}', which the search sets itself.")
    return [_parameter(name, description) for name, description in space.items()]


def check_ids(config_files: Sequence[str], overrides: Mapping[str, Any], parameters: Sequence[Parameter]) -> None:
    """Refuse names that a training config does not have, or that are both searched and fixed.

    Raises:
        InputError: see :func:`dxa_monai.bundling.known_ids.refuse_unknown_ids`; or a name is in both.
    """
    both = next((each.name for each in parameters if each.name in overrides), None)
    if both is not None:
        raise InputError(f"space: expected settings that overrides do not fix, got '{both}' in both.")
    refuse_unknown_ids(config_files, [*overrides, *(each.name for each in parameters)])


def _parameter(name: str, description: Any) -> Parameter:
    if isinstance(description, Mapping) and set(description) == {"choices"}:
        return _choice(name, description["choices"])
    if isinstance(description, Mapping) and {"low", "high"} <= set(description) <= {"low", "high", "log"}:
        return _range(name, **description)
    raise InputError(
        f'{name}: expected {{"low": ..., "high": ...}}, with "log": true or without, '
        f'or {{"choices": [...]}}, got {json.dumps(description, default=str)}.'
    )


def _choice(name: str, values: Any) -> Choice:
    if not isinstance(values, (list, tuple)) or not values:
        raise InputError(f"{name}: expected a list of choices, got {values!r}.")
    by_text = {value if isinstance(value, str) else json.dumps(value): value for value in values}
    if len(by_text) != len(values):
        raise InputError(f"{name}: expected choices that differ, got {list(values)}.")
    return Choice(name, by_text)


def _range(name: str, low: Any, high: Any, log: Any = False) -> Range:
    numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not math.isfinite(low) or not math.isfinite(high) or not low < high:
        raise InputError(f"{name}: expected two numbers, low below high, got {low!r} and {high!r}.")
    if not isinstance(log, bool):
        raise InputError(f"{name}: expected log to be true or false, got {log!r}.")
    if log and low <= 0:
        raise InputError(f"{name}: expected a low above 0 for a logarithmic range, got {low}.")
    return Range(name, low, high, log)
