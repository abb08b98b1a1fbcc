from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FixedTrial

from dxa_monai.errors import InputError
from dxa_monai.experiments.search_space import OWN_SETTINGS, Choice, Range, check_ids, read_space


def test_a_space_is_read_as_ranges_and_choices() -> None:
    rate, count, blocks = read_space(
        {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "network#channels": {"low": 4, "high": 16},
            "network#blocks": {"choices": [[1, 2], None, "a", 3]},
        }
    )
    assert rate == Range("learning_rate", 1e-4, 1e-2, log=True)
    assert isinstance(count, Range)
    assert (count.whole, rate.whole, count.log) == (True, False, False)
    assert isinstance(blocks, Choice)
    assert list(blocks.values.values()) == [[1, 2], None, "a", 3]


def test_what_is_suggested_has_the_type_of_the_space() -> None:
    parameters = read_space({"a": {"low": 1, "high": 9}, "b": {"low": 0.5, "high": 2}, "c": {"choices": [[1], 8]}})
    trial = FixedTrial({"a": 3, "b": 1.5, "c": "[1]"})
    assert [each.suggest(trial) for each in parameters] == [3, 1.5, [1]]
    assert [each.value(trial.params[each.name]) for each in parameters] == [3, 1.5, [1]]


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({}, r"space: expected at least one parameter, got \{\}"),
        ({"seed": {"low": 0, "high": 9}}, "got 'seed', which the search sets itself"),
        ({"a": {"low": 1}}, r'a: expected \{"low": \.\.\., .* got \{"low": 1\}'),
        ({"a": {"low": 1, "high": 2, "step": 1}}, "a: expected"),
        ({"a": {"low": 1, "high": 2, "choices": [1]}}, "a: expected"),
        ({"a": 3}, "a: expected .* got 3"),
        ({"a": {"low": 2, "high": 1}}, "a: expected two numbers, low below high, got 2 and 1"),
        ({"a": {"low": 1, "high": 1}}, "low below high"),
        ({"a": {"low": "1", "high": 2}}, "two numbers"),
        ({"a": {"low": False, "high": True}}, "two numbers"),
        ({"a": {"low": 0.0, "high": float("inf")}}, "two numbers"),
        ({"a": {"low": 0, "high": 2, "log": True}}, "a: expected a low above 0 for a logarithmic range, got 0"),
        ({"a": {"low": 1, "high": 2, "log": "yes"}}, "log to be true or false, got 'yes'"),
        ({"a": {"choices": []}}, r"a: expected a list of choices, got \[\]"),
        ({"a": {"choices": 4}}, "a: expected a list of choices, got 4"),
        ({"a": {"choices": [4, 8, 4]}}, "a: expected choices that differ"),
    ],
)
def test_a_broken_space_is_refused_in_a_sentence(space: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_space(space)


@pytest.mark.parametrize("name", OWN_SETTINGS)
def test_nothing_about_who_is_tested_can_be_searched(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}'"):
        read_space({name: {"choices": ["a", "b"]}})


def _config(folder: Path) -> list[str]:
    (folder / "train.json").write_text(json.dumps({"rate": 1, "network": {"_target_": "a.b"}, "steps": [{"x": 1}]}))
    return [str(folder / "train.json")]


@pytest.mark.parametrize("name", ["rate", "network#new", "network::new", "steps#0#new"])
def test_ids_of_the_config_and_new_arguments_of_its_components_are_known(name: str, tmp_path: Path) -> None:
    check_ids(_config(tmp_path), {}, read_space({name: {"low": 1, "high": 2}}))
    check_ids(_config(tmp_path), {name: 1}, [])


@pytest.mark.parametrize("name", ["rat", "net#new", "rate#new", "steps#1#new"])
def test_an_id_that_leads_nowhere_is_refused(name: str, tmp_path: Path) -> None:
    for overrides, parameters in (({name: 1}, []), ({}, read_space({name: {"low": 1, "high": 2}}))):
        with pytest.raises(InputError, match=rf"^{name}: expected a setting of .*train\.json"):
            check_ids(_config(tmp_path), overrides, parameters)


def test_a_setting_cannot_be_fixed_and_searched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="overrides do not fix, got 'rate' in both"):
        check_ids(_config(tmp_path), {"rate": 1}, read_space({"rate": {"low": 1, "high": 2}}))
