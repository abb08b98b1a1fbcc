"""The table of options against the configs that have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.bundling.option_kinds import Choice, ListOf
from dxa_monai.bundling.options import OPTIONS, Option
from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError

CONFIGS = [
    path
    for folder in [REPOSITORY / "configs", *sorted(REPOSITORY.glob("bundles/*/configs"))]
    for path in sorted(folder.glob("*.json"))
    if path.name != "metadata.json"
]
PARTS = {
    *("imports", "initialize", "run", "finalize", "about", "data", "run_record", "logs", "handlers", "rows", "scans"),
    *("train", "validate", "read_scan", "read_pair", "augmentation", "network", "network_def", "loss"),
    *("trial", "searched", "listener"),
}
"""What is no value that a user sets: lists of components, what is made of others, what a search sets."""


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Top-level ids that are neither a component nor one of ``PARTS``."""
    return {
        name: value
        for name, value in config.items()
        if name.lstrip("+") not in PARTS and "#" not in name and not (isinstance(value, dict) and "_target_" in value)
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_plain_value_of_a_config_is_declared_and_of_its_kind(path: Path) -> None:
    for name, value in _plain(json.loads(path.read_text())).items():
        assert name in OPTIONS, name
        if not (isinstance(value, str) and value.startswith(("$", "@"))):
            assert OPTIONS[name].read(name, value, nullable=value is None) == value


def test_every_option_is_one_of_a_config() -> None:
    found = {name for path in CONFIGS for name in _plain(json.loads(path.read_text()))}
    nested = {name for name in OPTIONS if "#" in name}
    assert set(OPTIONS) - nested == found
    assert all(name.partition("#")[0] in found for name in nested)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_says_what_it_is(name: str) -> None:
    option = OPTIONS[name]
    assert option.kind.expected
    assert option.meaning
    kind = option.kind.kind if isinstance(option.kind, ListOf) else option.kind
    if isinstance(kind, Choice):
        words = kind.expected.removeprefix("one of ").split(", ")
        assert [kind.read(word) for word in words] == words
        with pytest.raises(InputError, match=rf"^{name}: expected .*{words[0]}.*, got 'none of them'\.$"):
            option.read(name, "none of them")


def test_nothing_is_a_value_only_where_that_is_said() -> None:
    option = Option(Choice(("a",)), "")
    assert option.read("x", None, nullable=True) is None
    assert option.read("x", "None", nullable=True) is None
    assert Option(Choice(("a",)), "", nullable=True).read("x", "null") is None
    with pytest.raises(InputError, match=r"^x: expected one of a, got None\.$"):
        option.read("x", None)
    with pytest.raises(InputError, match=r"^x: expected one of a or None, got 'b'\.$"):
        option.read("x", "b", nullable=True)
