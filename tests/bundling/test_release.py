"""Zips that are built, downloaded from a server on this machine, and run without the repository."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.apps.utils import HashCheckError
from monai.bundle import download, download_large_files

import dxa_monai
from dxa_monai.bundling import release
from dxa_monai.bundling.identity import check_zip, differences
from dxa_monai.bundling.release import (
    REPOSITORY,
    SUMS_FILE,
    build_release,
    bundle_folders,
    refuse_untracked,
    write_large_files,
)
from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import save_network
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.splits import split_by_subject, write_split
from tests.analysis.cohort import cohort_manifest
from tests.bundles.networks import tiny_regressor, tiny_vae

Network = DXAVAE | AnthropometryRegressor
VERSION = dxa_monai.__version__
NAMES = [bundle.name for bundle in bundle_folders(REPOSITORY / "bundles")]


def _copy_bundles(folder: Path) -> Path:
    return Path(shutil.copytree(REPOSITORY / "bundles", folder, ignore=shutil.ignore_patterns("models", "runs")))


@pytest.fixture(scope="module", autouse=True)
def any_revision() -> Iterator[None]:
    """Whoever works on the package may have files that git does not track yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "refuse_untracked", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {"dxa_vae": tiny_vae(), "dxa_anthropometry": tiny_regressor()}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, networks: dict[str, Network]) -> Path:
    """The repository's bundles with tiny weights; those of scans that are analysed, or analyse, are their own."""
    folder = _copy_bundles(tmp_path_factory.mktemp("release") / "bundles")
    for name, network in networks.items():
        (folder / name / "models").mkdir()
        save_network(network, folder / name / "models" / "model.pt")
    for name in ("pseudo_dxa", "dxa_body_composition"):
        shutil.copytree(REPOSITORY / "bundles" / name / "models", folder / name / "models")
    return folder


@pytest.fixture(scope="module")
def dist(bundles: Path) -> Path:
    build_release(bundles.parent / "dist", bundles)
    return bundles.parent / "dist"


@pytest.fixture(scope="module")
def url(dist: Path) -> Iterator[str]:
    """Where a server on this machine offers the zips."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(dist))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def downloaded(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every bundle, the first one by MONAI's command."""
    folder = tmp_path_factory.mktemp("downloaded")
    for name in NAMES:
        source = f"{url}/{name}_v{VERSION}.zip"
        if name == "dxa_vae":
            given = ["--name", name, "--url", source, "--bundle_dir", str(folder)]
            _python("-m", "monai.bundle", "download", *given, cwd=folder)
        else:
            download(name=name, url=source, bundle_dir=folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def other_installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages, a ``dxa_monai`` among them that nothing can be done with."""
    folder = tmp_path_factory.mktemp("site")
    about = folder / "dxa_monai-0.0.1.dist-info"
    (folder / "dxa_monai").mkdir()
    about.mkdir()
    (folder / "dxa_monai" / "__init__.py").write_text("raise ImportError('the wrong dxa_monai')\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dxa_monai\nVersion: 0.0.1\n")
    return folder


def _python(*arguments: str, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python as somebody does who has the dependencies and not this repository."""
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def test_same_files_give_the_same_bytes(bundles: Path, dist: Path, tmp_path: Path) -> None:
    # copied files have other times and, here, other permissions
    copy = Path(shutil.copytree(bundles, tmp_path / "bundles", copy_function=shutil.copyfile))
    for path in copy.rglob("*.json"):
        path.chmod(0o600)
    (copy / "dxa_vae" / "configs" / "__pycache__").mkdir()
    (copy / "dxa_vae" / "configs" / "__pycache__" / "x.pyc").write_bytes(b"x")
    again = build_release(tmp_path / "dist", copy)
    assert [path.name for path in again] == [f"{name}_v{VERSION}.zip" for name in NAMES]
    for path in [*again, tmp_path / "dist" / SUMS_FILE]:
        assert path.read_bytes() == (dist / path.name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_zip_holds_what_the_bundle_needs_and_nothing_else(dist: Path, name: str) -> None:
    with zipfile.ZipFile(dist / f"{name}_v{VERSION}.zip") as archive:
        names = archive.namelist()
    assert names == sorted(names)
    inside = {path.removeprefix(f"{name}/") for path in names}
    assert len(inside) == len(names)
    assert inside >= {"LICENSE", "requirements.txt", "docs/releases.md"} | set(release.BUNDLE_FILES)
    assert inside >= {f"samples/{each}" for each in ("README.md", "manifest.csv", "scan.npz", "body.ply")}
    package = {f"dxa_monai/{path.relative_to(REPOSITORY / 'dxa_monai')}" for path in _sources()}
    assets = {path for path in inside if path.startswith("dxa_monai/") and path not in package}
    assert package <= inside
    assert assets == {
        "dxa_monai/analysis/data/nhanes_white.csv",
        "dxa_monai/analysis/data/nhanes_white_source.txt",
        "dxa_monai/evaluation/data/virtual_precision.csv",
        "dxa_monai/evaluation/data/virtual_precision_source.txt",
        "dxa_monai/landmarks/data/page.css",
        "dxa_monai/landmarks/data/page.html",
        "dxa_monai/landmarks/data/page.js",
        "dxa_monai/landmarks/data/picture.js",
        "dxa_monai/pages/data/base.html.jinja",
        "dxa_monai/pages/data/report.html.jinja",
        "dxa_monai/pages/data/report.md.jinja",
        "dxa_monai/pages/data/scan.html.jinja",
        "dxa_monai/pages/data/scans.html.jinja",
        "dxa_monai/paper/data/published.csv",
        "dxa_monai/paper/data/published_source.txt",
        "dxa_monai/phantom/data/skeleton.npz",
        "dxa_monai/phantom/data/skeleton_LICENSE.txt",
        "dxa_monai/physics/data/spectra.npz",
        "dxa_monai/physics/data/spectra_source.txt",
    }
    assert {path.split("/")[0] for path in inside} <= {
        "LICENSE",
        "requirements.txt",
        "configs",
        "docs",
        "models",
        "samples",
        "dxa_monai",
    }


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_zip_s_pages_lead_into_the_zip(dist: Path, name: str) -> None:
    with zipfile.ZipFile(dist / f"{name}_v{VERSION}.zip") as archive:
        names = set(archive.namelist())
        pages = {path: archive.read(path).decode() for path in names if path.endswith(".md")}
    assert f"{name}/docs/README.md" in pages
    links = [
        (path, target)
        for path, text in pages.items()
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
        if "://" not in target
    ]
    assert all(posixpath.normpath(f"{posixpath.dirname(path)}/{target}") in names for path, target in links), links
    here = (REPOSITORY / "bundles" / name / "docs" / "README.md").read_text()
    assert (here == pages[f"{name}/docs/README.md"]) == ("](../../" not in here)


def _sources() -> list[Path]:
    return list((REPOSITORY / "dxa_monai").rglob("*.py"))


def test_the_documented_check_finds_a_tampered_zip(dist: Path, tmp_path: Path) -> None:
    victim = tmp_path / f"dxa_vae_v{VERSION}.zip"
    for name in (victim.name, SUMS_FILE):
        shutil.copyfile(dist / name, tmp_path / name)

    def check(name: str = victim.name) -> subprocess.CompletedProcess[str]:
        command = f'grep -F "  {name}" {SUMS_FILE} | sha256sum --check --strict'
        return subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 'grep -F "  dxa_vae_v0.9.0.zip" SHA256SUMS | sha256sum --check --strict' in _page("releases.md")
    assert (check().returncode, check().stdout) == (0, f"{victim.name}: OK\n")
    other = Path(shutil.copyfile(victim, tmp_path / f"dxa_vae_v{VERSION} (1).zip"))
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("dxa_vae/dxa_monai/scan/more.py", "print('not ours')\n")
    assert check(other.name).returncode != 0
    assert "OK" not in check(other.name).stdout
    shutil.copyfile(other, victim)
    assert check().returncode != 0
    assert f"{victim.name}: FAILED" in check().stdout


def test_a_downloaded_bundle_is_the_release_byte_for_byte(downloaded: Path, dist: Path) -> None:
    for name in NAMES:
        zipped = dist / f"{name}_v{VERSION}.zip"
        check_zip(dist / SUMS_FILE, zipped)
        kinds = {each.partition(":")[0] for each in differences(downloaded / name, zipped)}
        assert kinds <= {"extra folder", "extra file"}, kinds  # compiled files, where a test has run it
        assert not [each for each in differences(downloaded / name, zipped) if "__pycache__" not in each]


def _page(name: str) -> str:
    return (REPOSITORY / "docs" / name).read_text()


def test_a_downloaded_bundle_infers_without_the_repository_and_tells_of_another_version(
    downloaded: Path, other_installed: Path, bar_cohort: Path, tmp_path: Path
) -> None:
    scans = bar_cohort.parent / "scans"
    arguments = ["--config_file", "configs/inference.json", "--input", str(scans), "--output_dir", str(tmp_path)]
    bundle = downloaded / "dxa_vae"
    result = _python("-m", "monai.bundle", "run", *arguments, cwd=bundle, path=str(other_installed))
    for row in read_manifest(bar_cohort):
        assert load_scan(tmp_path / "reconstructions" / f"{row['scan_id']}.npy").counts.shape == (150, 109, 6)
    told = f"warning: dxa_monai 0.0.1 is installed, but not used: this bundle runs with its own {VERSION}, {bundle}/"
    assert told in result.stderr


RUN_ALL = """
import json, os, sys
from monai.bundle import run

for bundle, arguments in json.loads(sys.argv[1]):
    os.chdir(os.path.join(sys.argv[2], bundle))
    run(**arguments)
import dxa_monai
print(dxa_monai.__file__)
"""
"""One process for several commands, since imports take most of their time."""


def test_every_network_and_measurement_works_as_downloaded(
    downloaded: Path,
    networks: dict[str, Network],
    bar_cohort: Path,
    mesh_pairs: Path,
    tmp_path: Path,
) -> None:
    write_split(split_by_subject(read_manifest(bar_cohort)), tmp_path)
    evaluate = {
        "config_file": "configs/evaluate.json",
        "dataset_dir": str(bar_cohort.parent),
        "arms": {"no_dxa": "models/model.pt"},
        "split_file": str(tmp_path),
        "components": 3,
        "composition": False,
        "output_dir": str(tmp_path / "vae"),
    }
    inference = {"config_file": "configs/inference.json"}
    measure = inference | {"input": str(bar_cohort.parent / "scans"), "output_dir": str(tmp_path / "measures")}
    compose = inference | {"input": str(cohort_manifest()), "output_dir": str(tmp_path / "bc"), "pictures": False}
    mesh = {"unit": "m"}
    (tmp_path / "meshes").mkdir()
    shutil.copy(mesh_pairs.parent / "meshes" / "QP00.ply", tmp_path / "meshes")
    bodies = inference | {"input": str(tmp_path / "meshes"), "output_dir": str(tmp_path / "scans")}
    bodies |= {"mesh": mesh, "pictures": False}
    write_split(split_by_subject(read_manifest(mesh_pairs)), tmp_path / "pairs")
    compare = {
        "config_file": "configs/evaluate.json",
        "manifest": str(mesh_pairs),
        "arms": {"random": "models/model.pt"},
        "split_file": str(tmp_path / "pairs"),
        "clouds_dir": str(tmp_path / "clouds"),
        "mesh": mesh,
        "output_dir": str(tmp_path / "pseudo"),
    }
    runs = [["dxa_vae", evaluate], ["dxa_anthropometry", measure], ["dxa_body_composition", compose]]
    runs += [["pseudo_dxa", bodies], ["pseudo_dxa", compare]]
    result = _python("-c", RUN_ALL, json.dumps(runs), str(downloaded), cwd=downloaded / "dxa_vae")
    assert result.stdout.splitlines()[-1] == str(downloaded / "dxa_vae" / "dxa_monai" / "__init__.py")

    table = pd.read_csv(tmp_path / "vae" / "image_quality.csv").set_index("arm")
    assert np.isfinite(table.loc["no_dxa", "psnr_db"])
    measured = pd.read_csv(tmp_path / "measures" / "anthropometry.csv").set_index("scan_id")
    row = read_manifest(bar_cohort)[0]
    scan = torch.from_numpy(load_scan(row["scan"]).counts.astype(np.float32) / 16383).permute(2, 0, 1)
    with torch.no_grad():
        here = networks["dxa_anthropometry"](scan[None])[0].numpy()
    np.testing.assert_allclose(
        measured.loc[row["scan_id"], list(networks["dxa_anthropometry"].measures)], here, rtol=1e-4
    )
    composition = pd.read_csv(tmp_path / "bc" / "body_composition.csv")
    assert len(composition) > 0
    (predicted,) = (tmp_path / "scans" / "scans").glob("*.npy")
    assert (tmp_path / "scans" / "materials" / predicted.name).is_file()
    assert load_scan(predicted).counts.shape == (150, 109, 6)
    assert np.isfinite(pd.read_csv(tmp_path / "pseudo" / "image_quality.csv").set_index("arm").loc["random", "psnr_db"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"version": "9.9.9"},
            rf"metadata.json: expected version {VERSION}, that of the dxa_monai in the zip, got 9.9.9",
        ),
        ({"changelog": {}}, f"expected a changelog entry of version {VERSION}"),
        ({"changelog": None}, f"expected a changelog entry of version {VERSION}"),
        ({"changelog": f"{VERSION}: a text"}, f"expected a changelog entry of version {VERSION}"),
        ({"changelog": [VERSION]}, f"expected a changelog entry of version {VERSION}"),
        ({"changelog": {VERSION: " "}}, f"expected a changelog entry of version {VERSION}"),
        ({"changelog": {VERSION: None}}, f"expected a changelog entry of version {VERSION}"),
        ({"name": "other"}, "expected the name dxa_vae, that of the folder, got other"),
    ],
)
def test_metadata_that_belongs_to_another_bundle_or_version_is_refused(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    path = _copy_bundles(tmp_path / "bundles") / "dxa_vae" / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=told):
        build_release(tmp_path / "dist", tmp_path / "bundles")
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("missing", ["LICENSE", "docs/README.md", "docs/data_license.txt"])
def test_a_bundle_without_licences_or_readme_is_refused(tmp_path: Path, missing: str) -> None:
    (_copy_bundles(tmp_path / "bundles") / "dxa_vae" / missing).unlink()
    with pytest.raises(InputError, match=missing):
        build_release(tmp_path / "dist", tmp_path / "bundles", ["dxa_vae"])


def test_a_link_is_refused(tmp_path: Path) -> None:
    bundles = _copy_bundles(tmp_path / "bundles")
    (bundles / "dxa_vae" / "models").mkdir()
    (bundles / "dxa_vae" / "models" / "model.pt").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match=r"model\.pt: expected a file, got a link"):
        build_release(tmp_path / "dist", bundles, ["dxa_vae"])


def _link(path: Path) -> None:
    """What is there, or nothing, stands elsewhere and is linked to."""
    elsewhere = path.parents[2] / f"elsewhere_{path.name}"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.touch()
    path.symlink_to(elsewhere)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (lambda root: os.mkfifo(root / "docs" / "pipe"), "docs/pipe: expected a file, got a pipe"),
    "pipe as metadata": (
        lambda root: (root / "configs/metadata.json").unlink() or os.mkfifo(root / "configs/metadata.json"),
        "expected folders of bundles|expected a file",
    ),
    "page not UTF-8": (lambda root: (root / "docs/README.md").write_bytes(b"caf\xe9"), "expected a page of UTF-8"),
    "name not UTF-8": (
        lambda root: (root / os.fsdecode(b"docs/caf\xe9")).touch(),
        "expected a name of printable UTF-8",
    ),
    "name with a line break": (lambda root: (root / "docs/a\nb").touch(), "expected a name of printable UTF-8"),
    "metadata not UTF-8": (lambda root: (root / "configs/metadata.json").write_bytes(b"\xe9"), "expected JSON"),
    "deep metadata": (lambda root: (root / "configs/metadata.json").write_text("[" * 100_000), "expected JSON"),
    "metadata that says two things": (
        lambda root: (root / "configs/metadata.json").write_text('{"name": "other", "name": "dxa_body_composition"}'),
        "metadata.json: expected every name once, got 'name' twice",
    ),
    "metadata without end": (lambda root: os.truncate(root / "configs/metadata.json", 10**12), "of at most 2 MB"),
    "licence that is a link": (lambda root: _link(root / "LICENSE"), "LICENSE: expected a file, got a link"),
    "page that is a link": (lambda root: _link(root / "docs/README.md"), "README.md: expected a file, got a link"),
    "metadata that are a link": (
        lambda root: _link(root / "configs/metadata.json"),
        "json: expected a file, got a link",
    ),
    "names of large files that are a link": (
        lambda root: _link(root / "large_files.yml"),
        "yml: expected a file, got a",
    ),
    "link to a folder": (
        lambda root: (root / "docs/more").symlink_to("/etc"),
        "docs/more: expected a file, got a link",
    ),
    "metadata that is null": (lambda root: (root / "configs/metadata.json").write_text("null"), "expected the name"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_bundle_that_cannot_be_released_as_it_is_ends_in_a_sentence(name: str, tmp_path: Path) -> None:
    bundles = _copy_bundles(tmp_path / "bundles")
    spoil, told = SPOILED[name]
    spoil(bundles / "dxa_body_composition")
    with pytest.raises(InputError, match=told):
        build_release(tmp_path / "dist", bundles, ["dxa_body_composition"])
    assert not list((tmp_path / "dist").glob("*")) + list((tmp_path / "dist").glob(".*"))


def test_what_git_does_not_track_is_no_part_of_a_release(tmp_path: Path) -> None:
    bundles = _copy_bundles(tmp_path / "bundles")

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(bundles), *arguments], check=True, capture_output=True)

    git("init")
    git("add", "--all")
    bundle = bundles / "dxa_body_composition"
    refuse_untracked(bundle, bundle.rglob("*"))
    for name in ("docs/patients.csv", "configs/ignored.json"):
        path = bundles / "dxa_body_composition" / name
        path.touch()
        (bundles / ".gitignore").write_text("ignored.json\n")
        with pytest.raises(InputError, match=rf"{path}: expected files of a release to be tracked by git, got 1"):
            refuse_untracked(bundle, bundle.rglob("*"))
        path.unlink()


def test_what_a_killed_build_left_is_tidied_up(tmp_path: Path) -> None:
    left = tmp_path / "dist" / f".dxa_vae_v{VERSION}.abcdefgh.partial.0.zip"
    left.parent.mkdir()
    left.touch()
    build_release(left.parent, names=["dxa_body_composition"])
    assert not left.exists()


def test_large_weights_are_downloaded_by_their_sum_or_not_at_all(tmp_path: Path) -> None:
    bundle = _copy_bundles(tmp_path / "bundles") / "dxa_vae"
    run = tmp_path / "run"
    run.mkdir()
    save_network(tiny_vae(), run / "model.pt")
    (run / "run.json").write_text('{"preset": "paper"}')
    (run / "split.csv").write_text("split,subject_id,scan_id\n")
    path = write_large_files(bundle, run / "model.pt", (run / "model.pt").as_uri())
    fetched = bundle / "models" / "paper"
    assert {each.name for each in fetched.iterdir()} == {"run.json", "split.csv"}
    download_large_files(bundle_path=str(bundle))
    assert (fetched / "model.pt").read_bytes() == (run / "model.pt").read_bytes()
    with zipfile.ZipFile(next(iter(build_release(tmp_path / "dist", bundle.parent, ["dxa_vae"])))) as archive:
        assert {"dxa_vae/large_files.yml", "dxa_vae/models/paper/split.csv"} <= set(archive.namelist())

    (fetched / "model.pt").unlink()
    (run / "model.pt").write_bytes(b"something else")
    with pytest.raises(HashCheckError, match="sha256 hash check"):
        download_large_files(bundle_path=str(bundle), large_file_name=None)
    assert path.read_text().count("sha256") == 1


@pytest.mark.parametrize(
    ("missing", "url", "sentence"),
    [
        ("model.pt", "https://example.org/model.pt", "expected a file, got none"),
        ("run.json", "https://example.org/model.pt", "expected a file, got none"),
        ("preset", "https://example.org/model.pt", "expected the preset that the weights were trained with, got None"),
        ("JSON", "https://example.org/model.pt", "expected the record of a run"),
        ("", "example.org/model.pt", "expected one that begins with https://"),
    ],
)
def test_large_files_mistakes_are_told_and_leave_nothing(tmp_path: Path, missing: str, url: str, sentence: str) -> None:
    bundle = _copy_bundles(tmp_path / "bundles") / "dxa_vae"
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "run.json").write_text('{"preset": "paper"}')
    if missing in ("preset", "JSON"):
        (tmp_path / "run.json").write_text("{}" if missing == "preset" else "[" * 100_000)
    elif missing:
        (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=sentence):
        write_large_files(bundle, tmp_path / "model.pt", url)
    assert not (bundle / "large_files.yml").exists()
