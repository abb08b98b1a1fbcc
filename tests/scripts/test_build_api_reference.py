from __future__ import annotations

import doctest
import importlib
import inspect
import os
import sys

import pytest

from dxa_monai.bundling.release import REPOSITORY
from scripts.build_api_reference import PAGE, SUBPACKAGES, page


def test_the_committed_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text() == page(), "run python -m scripts.build_api_reference"


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_every_exported_name_is_there_and_says_what_it_is(name: str) -> None:
    package = importlib.import_module(f"dxa_monai.{name}")
    assert set(package.__all__) == set(dir(package))
    for exported in package.__all__:
        thing = getattr(package, exported)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), exported
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_the_examples_of_the_page_for_python_run_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # a bundle's command installs its own
    page_of_examples = os.path.join(REPOSITORY, "docs", "python.md")
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testfile(page_of_examples, module_relative=False, optionflags=flags)
    assert tried > 33
    assert failed == 0
