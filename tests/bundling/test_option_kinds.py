"""Text and values as the kinds of options read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dxa_monai.bundling.option_kinds import (
    Choice,
    Count,
    Device,
    Flag,
    Kind,
    ListOf,
    MappingOf,
    Number,
    PathTo,
    Text,
)

NAMES = ListOf(Choice(("air", "bone")))
READ: list[tuple[Kind, Any, Any]] = [
    (Flag(), "false", False),
    (Flag(), "False", False),
    (Flag(), "no", False),
    (Flag(), "0", False),
    (Flag(), "True", True),
    (Flag(), True, True),
    (Flag(), 1, True),
    (PathTo(), "20241129", "20241129"),
    (PathTo(), "001", "001"),
    (PathTo(), "a,b", "a,b"),
    (PathTo(), "$a#b%c@d", "$a#b%c@d"),
    (PathTo(), Path("a") / "b", "a/b"),
    (PathTo(may_be_empty=True), "", ""),
    (Text(), "1e3", "1e3"),
    (Count(), "007", 7),
    (Count(1), 3, 3),
    (Count(highest=4), "4", 4),
    (Number(), "1e-3", 0.001),
    (Number(0, 1), 1, 1),
    (Choice(("a", "b")), "b", "b"),
    (Choice("dxa_monai.scan.splits.SPLIT_NAMES"), "test", "test"),
    (NAMES, "air", ["air"]),
    (NAMES, "air,bone", ["air", "bone"]),
    (NAMES, "air, bone", ["air", "bone"]),
    (NAMES, "['air','bone']", ["air", "bone"]),
    (NAMES, ("air", "bone"), ["air", "bone"]),
    (ListOf(Text()), ".npy,.nii.gz", [".npy", ".nii.gz"]),
    (ListOf(Count()), "3", [3]),
    (ListOf(Count()), 3, [3]),
    (ListOf(Number(), 2), "[13.0,6.06]", [13.0, 6.06]),
    (ListOf(Number(), 2), "13.0,6.06", [13.0, 6.06]),
    (ListOf(Text(), may_be_empty=True), "[]", []),
    (MappingOf("arms"), "{'a': 'b'}", {"a": "b"}),
    (MappingOf("arms"), "{a: b}", {"a": "b"}),
    (Device(), "cpu", "$torch.device('cpu')"),
    (Device(), torch.device("cpu"), torch.device("cpu")),
]
REFUSED: list[tuple[Kind, Any]] = [
    *[(Flag(), given) for given in ("", "maybe", 2, 0.0, None, [])],
    *[(PathTo(), given) for given in ("", 20241129, True, ("a", "b"), None)],
    *[(Text(), given) for given in (1, None)],
    (Count(highest=4), 5),
    *[(Count(1), given) for given in ("two", "0", 0, -1, 1.0, "1.5", True, None)],
    *[(Number(0, 1), given) for given in ("two", "nan", "inf", 1.1, True, None, [1])],
    *[(Choice(("a", "b")), given) for given in ("A", "val", None, ["a"], {})],
    *[(NAMES, given) for given in ("fat", "air,fat", [], "[]", 1)],
    *[(ListOf(Number(), 2), given) for given in ("13", 13, "1,2,3", "a,b", ["1", None])],
    *[(MappingOf("arms"), given) for given in ("a,b", "a", {1: "a"}, [])],
    *[(Device(), given) for given in ("gpu", "cuda:99", "meta", None)],
]


@pytest.mark.parametrize(("kind", "given", "value"), READ)
def test_a_value_is_what_its_kind_makes_of_it(kind: Kind, given: Any, value: Any) -> None:
    read = kind.read(given)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("kind", "given"), REFUSED)
def test_what_is_none_of_its_kind_is_refused(kind: Kind, given: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the option makes the sentence
        kind.read(given)


def test_a_kind_says_what_it_expects() -> None:
    assert Count(1).expected == "a whole number of at least 1"
    assert Count(highest=4).expected == "a whole number from 0 to 4"
    assert Number(0, 1).expected == "a number from 0 to 1"
    assert PathTo("a folder").expected == "the path of a folder"
    assert ListOf(Number(), 2).expected == "a list of 2, each a number, such as [1,2]"
    assert ListOf(Text()).expected == "a list of any number, each a text, such as ['a','b']"
    assert NAMES.expected == "some of air, bone, written as a,b"
