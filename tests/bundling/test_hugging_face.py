"""Releases as repositories of Hugging Face, downloaded by MONAI from a stand-in on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import dxa_monai
from dxa_monai.bundling import release
from dxa_monai.bundling.hugging_face import CARD, lay_out_repository
from dxa_monai.bundling.identity import differences
from dxa_monai.bundling.release import REPOSITORY, SUMS_FILE, build_release, bundle_folders
from dxa_monai.errors import InputError
from scripts.lay_out_hugging_face import main
from tests.bundling.hugging_face_hub import hub_with

VERSION = dxa_monai.__version__
NAMES = [bundle.name for bundle in bundle_folders(REPOSITORY / "bundles")]
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Zips of the repository's bundles; whoever works on the package may have files that git does not track yet."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "refuse_untracked", lambda *_: None)
        build_release(folder)
    return folder


@pytest.fixture(scope="module")
def laid_out(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository of every bundle."""
    folder = tmp_path_factory.mktemp("hugging_face")
    for name in NAMES:
        lay_out_repository(dist / f"{name}_v{VERSION}.zip", dist / SUMS_FILE, folder, "somebody")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_repository_holds_the_release_and_a_card(name: str, dist: Path, laid_out: Path) -> None:
    assert differences(laid_out / name, dist / f"{name}_v{VERSION}.zip") == [f"extra file: {CARD}"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_hugging_face_reads_and_all_that_the_page_says(name: str, dist: Path, laid_out: Path) -> None:
    card = (laid_out / name / CARD).read_text()
    _, front, text = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] == "apache-2.0"
    assert "Apache License" in (laid_out / name / "LICENSE").read_text()
    assert about["library_name"] == "monai"
    assert {"monai", "medical"} <= set(about["tags"])
    assert f"--repo somebody/{name} --version {VERSION}" in text
    assert f"`{name}_v{VERSION}.zip`, SHA-256 `" in text
    page = (laid_out / name / "docs" / "README.md").read_text()
    assert _LINK.sub("", text).endswith(_LINK.sub("", page.partition("\n")[2]))
    for target in _LINK.findall(text):
        assert "://" in target or (laid_out / name / target).is_file(), target


def test_monai_downloads_it_from_the_hub(dist: Path, laid_out: Path, tmp_path: Path) -> None:
    if find_spec("huggingface_hub") is None:
        pytest.skip("huggingface_hub is not installed (requirements-dev.txt)")
    name = "dxa_vae"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    given = ["--source", "huggingface_hub", "--repo", f"somebody/{name}", "--name", name]
    command = [sys.executable, "-m", "monai.bundle", "download", *given, "--bundle_dir", str(tmp_path / "bundles")]
    with hub_with(laid_out / name, f"somebody/{name}", VERSION) as (url, asked):
        subprocess.run(command, env=environment | {"HF_ENDPOINT": url}, check=True, capture_output=True, cwd=tmp_path)
    # whatever is there besides is the card, and what huggingface_hub notes
    found = differences(tmp_path / "bundles" / name, dist / f"{name}_v{VERSION}.zip")
    assert f"extra file: {CARD}" in found
    assert not [each for each in found if ".cache" not in each and each != f"extra file: {CARD}"]
    # without --version it is that of the last tag
    api = f"GET /api/models/somebody/{name}"
    assert [each for each in asked if api in each][:2] == [f"{api}/refs", f"{api}/revision/{VERSION}"]
    assert not [each for each in asked if each.split()[0] not in ("GET", "HEAD")]


def test_the_command_writes_the_folder_and_nothing_twice(
    dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped = dist / f"dxa_body_composition_v{VERSION}.zip"
    given = [str(zipped), "--owner", "somebody", "--output_dir", str(tmp_path)]
    main(given)
    folder = tmp_path / "dxa_body_composition"
    assert capsys.readouterr().out == f"{folder}\nupload: hf upload somebody/{folder.name} {folder} .\n"
    with pytest.raises(SystemExit, match=r"error: .*dxa_body_composition: expected no such folder yet, got one"):
        main(given)


@pytest.mark.parametrize("owner", ["", "some body", "../x", "a/b", "-a", "a\n"])
def test_a_name_that_owns_nothing_is_refused(owner: str, dist: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="owner: expected a name of Hugging Face"):
        lay_out_repository(dist / f"dxa_vae_v{VERSION}.zip", dist / SUMS_FILE, tmp_path, owner)
    assert not list(tmp_path.iterdir())


def test_a_zip_that_is_no_release_is_refused(dist: Path, tmp_path: Path) -> None:
    victim = Path(shutil.copy(dist / f"dxa_body_composition_v{VERSION}.zip", tmp_path))
    with zipfile.ZipFile(victim, "a") as archive:
        archive.writestr("dxa_body_composition/secrets.txt", "token")
    with pytest.raises(InputError, match="it was changed"):
        lay_out_repository(victim, dist / SUMS_FILE, tmp_path / "out", "somebody")
    assert not (tmp_path / "out").exists()
