"""A bundle's own files from its folder and from the repository's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from dxa_monai.bundling.paths import in_bundle


def test_in_the_bundles_own_folder_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").touch()
    assert in_bundle("dxa_vae", "models/model.pt", tmp_path) == str(tmp_path / "models" / "model.pt")


def test_in_the_repository_it_is_below_bundles(tmp_path: Path) -> None:
    (tmp_path / "bundles" / "dxa_vae").mkdir(parents=True)
    wanted = tmp_path / "bundles" / "dxa_vae" / "models" / "model.pt"
    assert in_bundle("dxa_vae", "models/model.pt", tmp_path) == str(wanted)


def test_a_file_of_ones_own_comes_first_and_a_missing_one_is_named_where_it_belongs(tmp_path: Path) -> None:
    assert in_bundle("dxa_vae", "models/model.pt", tmp_path) == str(tmp_path / "models" / "model.pt")
    (tmp_path / "bundles" / "dxa_vae" / "models").mkdir(parents=True)
    (tmp_path / "bundles" / "dxa_vae" / "models" / "model.pt").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").touch()
    assert in_bundle("dxa_vae", "models/model.pt", tmp_path) == str(tmp_path / "models" / "model.pt")


def test_from_elsewhere_it_is_found_beside_the_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"imports": ["$from dxa_monai.bundling.paths import in_bundle"], "path": "$in_bundle('x', 'models/m.pt')"}
    (tmp_path / "x" / "configs").mkdir(parents=True)
    (tmp_path / "x" / "configs" / "a.json").write_text(json.dumps(content | {"initialize": ["$@path"]}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def found() -> str:
        (path,) = ConfigWorkflow(str(tmp_path / "x" / "configs" / "a.json"), workflow_type=None).initialize()
        return str(path)

    assert found() == "models/m.pt"
    (tmp_path / "x" / "models").mkdir()
    (tmp_path / "x" / "models" / "m.pt").touch()
    assert found() == str(tmp_path / "x" / "models" / "m.pt")
