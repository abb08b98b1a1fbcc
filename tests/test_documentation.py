"""Every command in README and docs can be run as it stands: files, modules and options exist, links lead somewhere.

That the configs and scripts do what their pages say is tested with them; the first steps of a newcomer, who has nothing
but the repository, are run here.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dxa_monai.bundling.release import REPOSITORY

PAGES = sorted([REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("bundles/*/docs/*.md")])
_BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_MONAI_ACTIONS = {
    "run", "download", "download_large_files", "verify_metadata", "verify_net_in_out", "ckpt_export", "onnx_export"
}  # fmt: skip
_PLAIN = {"cd", "dask", "pip", "sha256sum", "mlflow", "apt-get", ".", "docker", "export", "grep", "hf", "mkdir"}
"""Programs of others."""


def commands(page: Path) -> list[list[str]]:
    """The words of each command in the page's shell blocks."""
    found = []
    for block in _BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if words:
                found.append(words)
    return found


CASES = [
    pytest.param(page, words, id=f"{page.relative_to(REPOSITORY)}-{place}")
    for page in PAGES
    for place, words in enumerate(commands(page))
]


def test_there_are_commands_on_the_pages() -> None:
    assert len(CASES) > 25
    assert len(PAGES) > 9


@pytest.mark.parametrize(("page", "words"), CASES)
def test_a_command_names_what_exists(page: Path, words: list[str]) -> None:
    if words[0] == "torchrun":  # starts what follows its own options, in several processes
        words = ["python", *words[words.index("-m") :]]
    program = Path(words[0]).name
    if program == "python" and words[1] == "-c":
        ast.parse(words[2])
    elif program == "python":
        assert words[1] == "-m", words
        module, arguments = words[2], words[3:]
        if module == "monai.bundle":
            _check_bundle_command(page, arguments)
        elif (REPOSITORY / (module.replace(".", "/") + ".py")).is_file():
            _check_options(module, arguments)
        else:
            assert find_spec(module) is not None, module
    elif "/" in words[0] and not words[0].startswith(".venv"):
        assert os.access(REPOSITORY / words[0], os.X_OK), words[0]
    else:
        assert program in _PLAIN, words


def _check_bundle_command(page: Path, arguments: list[str]) -> None:
    """The files and ids that a MONAI command names exist; MONAI itself takes an unknown id without a word."""
    action, options = arguments[0], dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert action in _MONAI_ACTIONS
    if action != "run":
        return
    given = options.pop("--config_file")
    names = ast.literal_eval(given) if given.startswith("[") else [given]
    # a downloaded bundle is its own root: docs/releases.md
    roots = [REPOSITORY, REPOSITORY / "bundles" / "dxa_vae"]
    config: dict[str, Any] = {}
    for name in names:
        (path,) = [root / name for root in roots if (root / name).is_file()][:1] or [None]
        assert path is not None, f"{page}: {name}"
        config |= json.loads(path.read_text())
    for option in options:
        known: Any = config
        for part in option.removeprefix("--").split("#"):
            assert isinstance(known, dict), option
            assert part in known, f"{page.name}: {option} is no id of {given}"
            known = known[part]


def _check_options(module: str, arguments: list[str]) -> None:
    """A script of ours takes the options that the page gives it."""
    source = (REPOSITORY / (module.replace(".", "/") + ".py")).read_text()
    for option in (word for word in arguments if word.startswith("--")):
        assert f'"{option}"' in source, f"{module} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.long
def test_a_newcomers_first_steps(tmp_path: Path) -> None:
    """The commands of the two pages about own scans and meshes that need no training, on three virtual people."""
    for name in ("bundles", "configs", "dxa_monai"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    pages = [tmp_path / "docs" / name for name in ("own_scans.md", "own_meshes.md")]
    steps = [words for page in pages for words in commands(page)]
    steps.sort(key=lambda words: "configs/cohort.json" not in words)
    done = 0
    for words in steps:
        if not any(word.endswith(("inference.json", "cohort.json")) for word in words):
            continue
        words = ["3" if before == "--count" else word for before, word in zip(["", *words], words, strict=False)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
        result = subprocess.run(
            [sys.executable, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, (words, result.stderr[-2000:])
        done += 1
    assert done == 5
    runs = tmp_path / "runs"
    assert len(pd.read_csv(runs / "body_composition" / "body_composition.csv")) >= 3
    assert len(pd.read_csv(runs / "from_meshes" / "body_composition.csv")) == 3
    assert len(list((runs / "reconstructions").rglob("*.npy"))) >= 3
    measures = pd.read_csv(next((runs / "measures").glob("*.csv")))
    assert measures["waist_circumference_cm"].between(40.0, 200.0).all()
