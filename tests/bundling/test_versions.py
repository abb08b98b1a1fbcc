from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

import dxa_monai
from dxa_monai.bundling.command import begin_command
from dxa_monai.bundling.versions import version_remark


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``dxa_monai`` 1.1.0 runs from the bundle ``scans`` in this folder, and is the only one installed."""
    monkeypatch.setattr(dxa_monai, "__file__", str(tmp_path / "scans" / "dxa_monai" / "__init__.py"))
    monkeypatch.setattr(dxa_monai, "__version__", "1.1.0")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.1.0")
    return tmp_path


def test_one_version_everywhere_is_not_worth_a_word(copies: Path) -> None:
    assert version_remark({"name": "scans", "version": "1.1.0"}) is None
    assert version_remark({}) is None


def test_another_version_that_runs_instead_of_the_bundles_own_is_told(copies: Path) -> None:
    told = version_remark({"name": "scans", "version": "1.2.0"})
    assert told is not None
    assert f"{copies}/scans/dxa_monai: expected dxa_monai 1.2.0, the version of this bundle, got 1.1.0" in told


def test_another_version_that_is_installed_beside_the_bundles_own_is_told(
    copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.9.0")
    told = version_remark({"name": "scans", "version": "1.1.0"})
    assert told is not None
    assert "dxa_monai 0.9.0 is installed, but not used" in told
    # the repository's own package is no bundle's: what an old editable install says of its version does not matter
    assert version_remark({"name": "other", "version": "1.1.0"}) is None


def test_nothing_installed_is_fine(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert version_remark({"name": "scans", "version": "1.1.0"}) is None


def test_a_command_tells_it_on_stderr_and_goes_on(
    copies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.excepthook", None)
    begin_command({"name": "scans", "version": "1.2.0"})
    assert capsys.readouterr().err.startswith("warning: ")
    begin_command({"name": "scans", "version": "1.1.0"})
    begin_command()
    assert capsys.readouterr().err == ""


def test_what_comes_of_another_version_is_a_sentence_with_both(
    copies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.excepthook", None)
    begin_command({"name": "scans", "version": "1.2.0"})
    capsys.readouterr()
    error = RuntimeError("Failed to evaluate")
    error.__cause__ = TypeError("Comparison.__init__() got an unexpected keyword argument 'more'")
    assert sys.excepthook is not None
    sys.excepthook(RuntimeError, error, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"error: {copies}/scans/dxa_monai: expected dxa_monai 1.2.0, the version of this bundle, got 1.1.0"
    )
    assert line.endswith("TypeError, Comparison.__init__() got an unexpected keyword argument 'more'")
    begin_command({"name": "scans", "version": "1.1.0"})
    sys.excepthook(RuntimeError, error, None)
    assert "got an unexpected keyword" in capsys.readouterr().err
    begin_command()
