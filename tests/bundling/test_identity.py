"""A folder is a release only if every byte is, and nothing is there besides."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dxa_monai.bundling.identity import check_zip, differences, main, read_sums
from dxa_monai.bundling.release import _sha256
from dxa_monai.errors import InputError

FILES = {
    "configs/train.json": b"{}",
    "configs/logging.conf": b"[loggers]",
    "dxa_monai/__init__.py": b"",
    "docs/README.md": b"page",
    "large_files.yml": yaml.safe_dump(
        {
            "large_files": [
                {
                    "path": "models/paper/model.pt",
                    "url": "https://example.org/model.pt",
                    "hash_val": "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7",  # of "world"
                    "hash_type": "sha256",
                }
            ]
        }
    ).encode(),
}


def _write_release(folder: Path, version: str = "1.0.0", **changed: bytes) -> Path:
    path = folder / f"net_v{version}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (FILES | changed).items():
            archive.writestr(f"net/{name}", content)
    return path


def _write_sums(folder: Path, *paths: Path) -> Path:
    (folder / "SHA256SUMS").write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in paths))
    return folder / "SHA256SUMS"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = _write_release(tmp_path)
    _write_sums(tmp_path, path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    return path


def test_a_release_and_what_was_unpacked_from_it_are_told_so(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = release.parent
    main([str(folder / "SHA256SUMS"), str(release), str(folder / "net")])
    assert "byte for byte, and nothing else" in capsys.readouterr().out
    (folder / "net" / "models" / "paper").mkdir(parents=True)
    (folder / "net" / "models" / "paper" / "model.pt").write_bytes(b"world")
    assert differences(folder / "net", release) == []


def _rename(root: Path) -> None:
    (root / "dxa_monai" / "__init__.py").unlink()
    (root / "configs" / "logging.conf").rename(root / "configs" / "x.conf")


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "changed": (lambda root: (root / "configs" / "train.json").write_text("{ }"), ["changed: configs/train.json"]),
    "missing": (lambda root: (root / "docs" / "README.md").unlink(), ["missing: docs/README.md"]),
    "renamed": (
        _rename,
        [
            "missing: configs/logging.conf",
            "missing: dxa_monai/__init__.py",
            "extra file: configs/x.conf (renamed from configs/logging.conf)",
        ],
    ),
    "module": (lambda root: (root / "torch.py").touch(), ["extra file: torch.py"]),
    "entry point": (lambda root: (root / "x.dist-info").mkdir(), ["extra folder: x.dist-info"]),
    "compiled": (
        lambda root: (root / "dxa_monai" / "__pycache__").mkdir() or (root / "dxa_monai/__pycache__/a.pyc").touch(),
        ["extra folder: dxa_monai/__pycache__", "extra file: dxa_monai/__pycache__/a.pyc"],
    ),
    "debugger": (lambda root: (root / ".pdbrc").touch(), ["hidden extra file: .pdbrc"]),
    "repository": (lambda root: (root / ".git").mkdir(), ["hidden extra folder: .git"]),
    "link": (lambda root: (root / "more").symlink_to("/etc"), ["extra link: more"]),
    "pipe": (lambda root: os.mkfifo(root / "pipe"), ["extra device, pipe or socket: pipe"]),
    "not UTF-8": (lambda root: (root / os.fsdecode(b"caf\xe9")).touch(), ["extra file: caf\udce9"]),
    "link in its place": (
        lambda root: (
            (root / "docs/README.md").rename(root / "../x") and (root / "docs/README.md").symlink_to("../../x")
        ),
        ["link in its place: docs/README.md"],
    ),
    "folder in its place": (
        lambda root: (root / "docs/README.md").unlink() or (root / "docs/README.md").mkdir(),
        ["folder in its place: docs/README.md"],
    ),
    "other weights": (
        lambda root: (root / "models/paper").mkdir(parents=True) or (root / "models/paper/model.pt").write_bytes(b"x"),
        ["changed: models/paper/model.pt"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_difference_is_named_and_none_passes(
    name: str, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = release.parent
    change, told = CHANGES[name]
    change(folder / "net")
    assert sorted(differences(folder / "net", release)) == sorted(told)
    with pytest.raises(SystemExit, match="do not run it"):
        main([str(folder / "SHA256SUMS"), str(release), str(folder / "net")])
    assert capsys.readouterr().out == ""


def test_files_of_terabytes_and_folders_without_end_are_differences_like_others(release: Path) -> None:
    """Holes take no room, and reading them for hours would not tell more than their size does."""
    root = release.parent / "net"
    for name in ("configs/train.json", "large"):
        with open(root / name, "ab") as file:
            file.truncate(10**13)
    deep = "/".join("a" * 1200)
    at = os.open(root, os.O_RDONLY)
    for name in deep.split("/"):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    told = differences(root, release)
    subprocess.run(
        ["rm", "-r", root / "a"], check=True
    )  # Python's own rmtree, which tidies up after tests, calls itself
    assert {"changed: configs/train.json", "extra file: large", f"extra folder: {deep}"} <= set(told)
    assert len(told) == 2 + 1200


def test_a_tampered_zip_of_another_name_beside_the_good_one_is_refused(release: Path) -> None:
    folder = release.parent
    sums = folder / "SHA256SUMS"
    other = Path(shutil.copy(release, folder / "net_v1.0.0 (1).zip"))
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("net/more.py", "print('not ours')")
    with pytest.raises(InputError, match=r"expected one of the releases that .* names \(net_v1.0.0.zip\), got another"):
        check_zip(sums, other)
    check_zip(sums, release)
    shutil.copy(other, release)
    with pytest.raises(InputError, match="it was changed"):
        check_zip(sums, release)


def test_an_older_release_under_the_name_of_a_newer_one_is_refused(tmp_path: Path) -> None:
    old, new = _write_release(tmp_path), _write_release(tmp_path, "1.1.0", more=b"x")
    sums = _write_sums(tmp_path, old, new)
    shutil.copy(old, new)
    with pytest.raises(InputError, match=r"expected the release net_v1\.0\.0\.zip under its own name, got it renamed"):
        check_zip(sums, new)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"abc  net.zip\n",
        b"\xff\n",
        b"<html>",
        b"0" * 64 + b"  ../net.zip\n",
        (b"0" * 64 + b"  a\n") * 2,
        b"0" * 2_000_000,
    ],
    ids=["empty", "short", "not UTF-8", "page", "path", "twice", "long"],
)
def test_what_are_no_sums_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(text)
    with pytest.raises(InputError, match="SHA256SUMS: expected"):
        read_sums(tmp_path / "SHA256SUMS")


def test_pipes_links_and_the_bundle_s_own_copy_are_refused(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = release.parent
    os.mkfifo(folder / "pipe.zip")
    with pytest.raises(InputError, match=r"pipe\.zip: expected a file"):
        check_zip(folder / "SHA256SUMS", folder / "pipe.zip")
    (folder / "link").symlink_to(folder / "net")
    with pytest.raises(InputError, match="link: expected the folder of a bundle"):
        differences(folder / "link", release)
    monkeypatch.setattr("dxa_monai.bundling.identity.__file__", str(folder / "net" / "dxa_monai" / "identity.py"))
    with pytest.raises(InputError, match="run the command somewhere else"):
        differences(folder / "net", release)


def test_names_cannot_command_the_terminal(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = release.parent
    (folder / "net" / "a\x1b[2J\nb").touch()
    with pytest.raises(SystemExit):
        main([str(folder / "SHA256SUMS"), str(release), str(folder / "net")])
    assert capsys.readouterr().err == "extra file: a\\x1b[2J\\nb\n"
