import subprocess
from pathlib import Path

import numpy as np
import pytest

from dxa_monai.runs.provenance import UNKNOWN_REVISION, git_revision, manifest_hash
from dxa_monai.scan.manifest import read_manifest, write_manifest


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_revision_of_a_tracked_file(repository: Path) -> None:
    assert git_revision(repository / "code.py") == git(repository, "rev-parse", "HEAD")
    (repository / "output.csv").touch()
    assert not git_revision(repository / "code.py").endswith("-dirty")
    (repository / "code.py").write_text("a = 2\n")
    assert git_revision(repository / "code.py") == git(repository, "rev-parse", "HEAD") + "-dirty"


def test_somebody_elses_repository_is_not_ours(repository: Path) -> None:
    (repository / "downloaded.py").touch()
    assert git_revision(repository / "downloaded.py") == UNKNOWN_REVISION


def test_no_repository_or_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "code.py").touch()
    assert git_revision(tmp_path / "code.py") == UNKNOWN_REVISION
    monkeypatch.setenv("PATH", "")
    assert git_revision() == UNKNOWN_REVISION


def cohort(folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rows = []
    for name in ("a", "b"):
        np.save(folder / f"{name}.npy", rng.integers(0, 16384, size=(150, 109, 6), dtype=np.uint16))
        rows.append({"subject_id": name, "scan_id": name, "scan": str(folder / f"{name}.npy")})
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


def test_hash_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    first = manifest_hash(cohort(tmp_path / "one"))
    assert len(first) == 16
    assert first == manifest_hash(cohort(tmp_path / "two"))
    assert first != manifest_hash(cohort(tmp_path / "other", seed=1))


def test_hash_sees_one_pixel_and_one_column(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "one")
    first = manifest_hash(manifest)
    scan = np.load(tmp_path / "one/b.npy", allow_pickle=False)
    scan[75, 50, 3] ^= 1
    np.save(tmp_path / "one/b.npy", scan)
    second = manifest_hash(manifest)
    write_manifest([row | {"age_years": 40} for row in read_manifest(manifest)], manifest)
    assert len({first, second, manifest_hash(manifest)}) == 3
