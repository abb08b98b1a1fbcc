"""Which Python the scripts take, with stand-ins for those that a machine may have."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from dxa_monai.bundling.release import REPOSITORY

BASH = shutil.which("bash") or "/bin/bash"
WORKS, BROKEN = 0, 127


def _python(path: Path, version: str, import_code: int = WORKS) -> Path:
    """A stand-in that tells its version, makes an environment of itself, and ends imports with ``import_code``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!{BASH}\n"
        'case "$*" in\n'
        f'    "-c import ensurepip, venv") exit {import_code} ;;\n'
        f'    "-c "*) echo {version} ;;\n'
        f'    "-m venv "*) {shutil.which("mkdir")} -p "$3/bin"; {shutil.which("cp")} "$0" "$3/bin/python" ;;\n'
        "esac\n"
    )
    path.chmod(0o755)
    return path


def _bash(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The line after ``scripts/python.sh``, where nothing is on the path but the folder's ``bin``."""
    (folder / "bin").mkdir(exist_ok=True)
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder / "home"), **variables}
    command = [BASH, "-c", f"set -euo pipefail\n. '{REPOSITORY}/scripts/python.sh'\n{line}"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def _chosen(folder: Path, **variables: str) -> str:
    done = _bash("choose_python", folder, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_newest_is_taken(tmp_path: Path) -> None:
    for version in ("3.10", "3.11", "3.12"):
        _python(tmp_path / "bin" / f"python{version}", version)
    assert _chosen(tmp_path) == "python3.12"
    _python(tmp_path / "bin" / "python3.13", "3.13")
    _python(tmp_path / "bin" / "python3.14", "3.14")
    assert _chosen(tmp_path) == "python3.13"


def test_one_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    """As pyenv's of versions that are not selected, and Debian's without the package that holds ensurepip."""
    _python(tmp_path / "bin" / "python3.13", "3.13", BROKEN)
    _python(tmp_path / "bin" / "python3.12", "3.12", 1)
    _python(tmp_path / "bin" / "python3.11", "3.11")
    assert _chosen(tmp_path) == "python3.11"


@pytest.mark.parametrize("variable", [None, "PYENV_ROOT"])
def test_one_that_pyenv_installed_needs_no_selection(variable: str | None, tmp_path: Path) -> None:
    root = tmp_path / "home" / ".pyenv" if variable is None else tmp_path / "elsewhere"
    variables = {} if variable is None else {variable: str(root)}
    _python(tmp_path / "bin" / "python3.12", "3.12", BROKEN)
    _python(tmp_path / "bin" / "python3.11", "3.11")
    lying = _python(root / "versions" / "3.12.10" / "bin" / "python", "3.12")
    _python(root / "versions" / "3.13.0t" / "bin" / "python", "3.13")  # without the global lock: no wheels
    assert _chosen(tmp_path, **variables) == str(lying)


def test_the_one_that_is_named_wins(tmp_path: Path) -> None:
    _python(tmp_path / "bin" / "python3.13", "3.13")
    assert _chosen(tmp_path, PYTHON="/opt/python") == "/opt/python"


def test_none_ends_in_one_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    _python(tmp_path / "bin" / "python3.13", "3.13", BROKEN)
    _python(tmp_path / "bin" / "python3.10", "3.10")
    for line in ("choose_python", ". scripts/environment.sh"):
        done = _bash(line, tmp_path, VENV=str(tmp_path / "venv"))
        assert done.returncode == 1
        (sentence,) = done.stderr.splitlines()
        assert sentence.startswith("expected Python 3.11, 3.12 or 3.13 with venv, got none; install one ")
        assert not (tmp_path / "venv").exists()


def test_an_environment_is_made_of_the_newest_and_kept(tmp_path: Path) -> None:
    environment = ". scripts/environment.sh && echo $VENV && python_version $VENV/bin/python"
    venv = str(tmp_path / "venv")
    _python(tmp_path / "bin" / "python3.11", "3.11")
    assert _bash(environment, tmp_path, VENV=venv).stdout.split() == [venv, "3.11"]
    _python(tmp_path / "bin" / "python3.13", "3.13")
    assert _bash(environment, tmp_path, VENV=venv).stdout.split() == [venv, "3.11"]


@pytest.mark.parametrize(
    ("version", "told"), [("3.10", "3.10"), ("3.14", "3.14"), ("no version; exit 1", "none that runs")]
)
def test_another_python_is_told_in_one_sentence(version: str, told: str, tmp_path: Path) -> None:
    named = _python(tmp_path / "python", version)
    done = _bash(". scripts/environment.sh", tmp_path, PYTHON=str(named), VENV=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stderr == f"{named}: expected Python 3.11, 3.12 or 3.13, got {told}; name another as PYTHON.\n"
    assert not (tmp_path / "venv").exists()

    old = _python(tmp_path / "old" / "bin" / "python", version)
    done = _bash(". scripts/environment.sh", tmp_path, VENV=str(tmp_path / "old"))
    assert done.returncode == 1
    sentence = f"expected Python 3.11, 3.12 or 3.13, got {told}; delete {tmp_path / 'old'} to have it made anew."
    assert done.stderr == f"{old}: {sentence}\n"


def test_the_same_versions_are_named_everywhere(tmp_path: Path) -> None:
    *older, newest = reversed(_bash("echo $pythons", tmp_path).stdout.split())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    python = "Programming Language :: Python :: "
    assert [name for name in project["project"]["classifiers"] if name.startswith(python)] == [
        python + version for version in (*older, newest)
    ]
    assert project["project"]["requires-python"] == f">={older[0]},<3.{int(newest.split('.')[1]) + 1}"
    assert project["tool"]["mypy"]["python_version"] == older[0]
    words = f"Python {', '.join(older)} or {newest}"
    assert _bash("echo $expected_python", tmp_path).stdout == f"expected {words}\n"
    for page in ("README.md", "requirements.txt"):
        assert words in (REPOSITORY / page).read_text()
