"""Bundles as files that others download: one zip each, the same bytes from the same input, and their SHA-256 sums."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import yaml

import dxa_monai
from dxa_monai.bundling.identity import LARGE_FILES
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder, path_inside, remove_partial
from dxa_monai.input_files import read_json
from dxa_monai.runs.folder import read_record

REPOSITORY = Path(__file__).resolve().parents[2]
METADATA = Path("configs", "metadata.json")
SUMS_FILE = "SHA256SUMS"

_BUNDLE_FOLDERS = ("configs", "docs", "models")
BUNDLE_FILES = ("LICENSE", METADATA.as_posix(), "docs/README.md", "docs/data_license.txt")
"""What every bundle has to have."""
_SHARED_FILES = {"requirements.txt": "requirements.txt", "docs/releases.md": "docs/releases.md"}
"""Files of the repository that every zip gets, and where."""
_SAMPLES = "samples"
"""Folder of the repository with a virtual person to try a bundle on; every zip gets it."""
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)#]+)(?:#[^)]*)?\)")
"""In a page: its text and where it leads, without the place within that page."""
_VERSION = re.compile(r"\d+\.\d+\.\d+")
# The earliest time a zip can hold: no clock, no file system and no time zone decides about the bytes.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_UNIX, _PERMISSIONS = 3, 0o100644


def bundle_folders(bundles_dir: str | Path, names: Sequence[str] = ()) -> list[Path]:
    """The bundles among the folders of ``bundles_dir``: those with ``configs/metadata.json``, by name.

    Args:
        bundles_dir: folder of bundles.
        names: take these only; empty: all.

    Raises:
        InputError: no bundle there, or none of a name.
    """
    found = {path.parents[1].name: path.parents[1] for path in sorted(Path(bundles_dir).glob(f"*/{METADATA}"))}
    missing = [name for name in names if name not in found]
    if missing or not found:
        raise InputError(
            f"{bundles_dir}: expected folders of bundles{''.join(f', {name} among them' for name in missing)}, "
            f"each with {METADATA}, got {', '.join(found) or 'none'}."
        )
    return [path for name, path in found.items() if not names or name in names]


def build_release(
    output_dir: str | Path, bundles_dir: str | Path = REPOSITORY / "bundles", names: Sequence[str] = ()
) -> list[Path]:
    """Write ``NAME_vX.Y.Z.zip`` of every bundle and ``SHA256SUMS`` of these zips to ``output_dir``.

    A zip holds one folder, ``NAME``: the bundle's ``configs``, ``docs``, ``models`` (where it has weights) and
    ``LICENSE``, the package ``dxa_monai`` with its data and their licences, ``requirements.txt``, and ``samples``, a
    virtual person. Same files, same bytes, on any machine: entries are sorted and stored uncompressed, with one time
    and one permission. Links of its pages that lead to pages of the repository become plain text.

    All bundles are checked before the first file is written; files of the same name are replaced. Where git is at hand,
    a zip holds only files that git tracks.

    Args:
        output_dir: folder to write to; is made if need be.
        bundles_dir: folder of bundles.
        names: build these only; empty: all.

    Returns:
        The zips.

    Raises:
        InputError: no such bundle, or one that cannot be released as it is (:func:`bundle_version`): a file that is a
            link or a pipe, cannot be read, is not tracked by git, or has a name or text that is not UTF-8.
    """
    versions = {bundle: bundle_version(bundle) for bundle in bundle_folders(bundles_dir, names)}
    contents = {bundle: _contents(bundle) for bundle in versions}
    for bundle in versions:
        refuse_untracked(bundle, contents[bundle].values())
    folder = output_folder(output_dir)
    remove_partial(folder)
    zips = []
    for bundle, version in versions.items():
        path = folder / f"{bundle.name}_v{version}.zip"
        with atomic_path(path) as temporary:
            _write_zip(temporary, bundle.name, contents[bundle])
        zips.append(path)
    with atomic_path(folder / SUMS_FILE) as temporary:
        temporary.write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in zips))
    return zips


def bundle_version(bundle: Path) -> str:
    """The version of a bundle that can be released: that of ``dxa_monai``, which its zip holds, with a changelog entry.

    One version for both means that a zip's name says which code is in it, and that no two zips of one name differ.

    Raises:
        InputError: a file is missing, ``metadata.json`` cannot be read, or its name or version is another.
    """
    for name in BUNDLE_FILES:
        if not os.path.lexists(bundle / name):
            raise InputError(f"{bundle / name}: expected a file that every bundle has, got none.")
        _refuse_no_file(bundle / name)
    path = bundle / METADATA
    metadata = read_json(path, "the metadata of a bundle", unique=True)
    if not isinstance(metadata, Mapping) or metadata.get("name") != bundle.name:
        got = metadata.get("name") if isinstance(metadata, Mapping) else type(metadata).__name__
        raise InputError(f"{path}: expected the name {bundle.name}, that of the folder, got {got}.")
    version, wanted = metadata.get("version"), dxa_monai.__version__
    if version != wanted or not _VERSION.fullmatch(wanted):
        raise InputError(f"{path}: expected version {wanted}, that of the dxa_monai in the zip, got {version}.")
    changelog = metadata.get("changelog")
    entry = changelog.get(version) if isinstance(changelog, Mapping) else None
    if not isinstance(entry, str) or not entry.strip():
        raise InputError(f"{path}: expected a changelog entry of version {version}, got none.")
    return wanted


def write_large_files(bundle: Path, weights: Path, url: str) -> Path:
    """Name weights too large to commit, where they will be, and their SHA-256 in a bundle's ``large_files.yml``.

    MONAI downloads them to ``models/{folder}/model.pt`` of the bundle, ``folder`` being the preset they were trained
    with as their ``run.json`` says. The small files beside the weights are copied there now and belong to the bundle.

    Args:
        bundle: folder of the bundle.
        weights: file, with ``run.json`` beside it.
        url: of that file, once it is uploaded.

    Returns:
        The file written.

    Raises:
        InputError: there is no such bundle, no such weights, or the URL is not one.
    """
    (bundle,) = bundle_folders(bundle.parent, [bundle.name])
    about = weights.parent / "run.json"
    for path in (weights, about):
        if not path.is_file():
            raise InputError(f"{path}: expected a file, got none.")
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise InputError(f"url: expected one that begins with https://, http:// or file://, got '{url}'.")
    preset = read_record(weights).get("preset")
    if not isinstance(preset, str):
        raise InputError(f"{about}: expected the preset that the weights were trained with, got {preset}.")
    target = Path("models", preset)
    folder = output_folder(path_inside(bundle, target))
    for path in sorted(weights.parent.iterdir()):
        if path.suffix in (".csv", ".json"):
            with atomic_path(folder / path.name) as temporary:
                shutil.copyfile(path, temporary)
    entry = {"path": f"{target}/model.pt", "url": url, "hash_val": _sha256(weights), "hash_type": "sha256"}
    with atomic_path(bundle / LARGE_FILES) as temporary:
        temporary.write_text(yaml.safe_dump({"large_files": [entry]}, sort_keys=False))
    return bundle / LARGE_FILES


def _contents(bundle: Path) -> dict[str, Path]:
    """Files by their names in the zip, below its root folder."""
    contents = {name: REPOSITORY / source for name, source in _SHARED_FILES.items()}
    contents |= {path.relative_to(REPOSITORY).as_posix(): path for path in _files(REPOSITORY / _SAMPLES)}
    for folder in _BUNDLE_FOLDERS:
        contents |= {path.relative_to(bundle).as_posix(): path for path in _files(bundle / folder)}
    contents |= {name: bundle / name for name in ("LICENSE", LARGE_FILES) if os.path.lexists(bundle / name)}
    for path in contents.values():
        _refuse_no_file(path)
    package = Path(dxa_monai.__file__).resolve().parent
    for path in _files(package):
        # The package's assets and their licences lie in folders called data (pyproject.toml: package-data).
        if path.suffix == ".py" or path.parent.name == "data":
            contents[f"dxa_monai/{path.relative_to(package).as_posix()}"] = path
    return contents


def _files(folder: Path) -> list[Path]:
    files = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if "__pycache__" in parts or any(part.startswith(".") for part in parts):
            continue
        if path.is_symlink() or not path.is_dir():
            files.append(path)
    return files


def _refuse_no_file(path: Path) -> None:
    """Raise InputError for what a zip cannot hold, or cannot hold under its name on any system."""
    if not str(path).isprintable():
        raise InputError(f"{str(path)!a}: expected a name of printable UTF-8, which any system can hold, got another.")
    if path.is_symlink():
        raise InputError(f"{path}: expected a file, got a link, which a zip cannot hold.")
    if not path.is_file():
        raise InputError(f"{path}: expected a file, got a pipe, a device or a folder, which a zip cannot hold.")


def refuse_untracked(bundle: Path, files: Iterable[Path]) -> None:
    """Refuse files that git does not track: what lies beside the sources by chance is no part of a release.

    Nothing is refused where git is missing, or where neither bundle nor package lies in a repository.

    Raises:
        InputError: it names the first of them.
    """
    found: set[Path] = set()
    for folder in (bundle, Path(dxa_monai.__file__).parent):
        command = ["git", "-C", str(folder), "ls-files", "--others", "-z"]
        try:
            listed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        found |= {folder.resolve() / os.fsdecode(name) for name in listed.split(b"\0") if name}
    untracked = sorted(found.intersection(path.resolve() for path in files))
    if untracked:
        raise InputError(
            f"{untracked[0]}: expected files of a release to be tracked by git, got {len(untracked)} that are not."
        )


def _write_zip(path: Path, root: str, contents: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(f"{root}/{name}", _TIMESTAMP)
            entry.create_system = _UNIX
            entry.external_attr = _PERMISSIONS << 16
            # Not deflated: another zlib compresses to other bytes, and weights and tables are compressed already.
            entry.compress_type = zipfile.ZIP_STORED
            archive.writestr(entry, _content(contents[name], name, contents))


def _content(path: Path, name: str, contents: Mapping[str, Path]) -> bytes:
    try:
        content = path.read_bytes()
        return _self_contained(content.decode(), name, contents).encode() if name.endswith(".md") else content
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read, got '{error.strerror}'.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a page of UTF-8, got '{error}'.") from error


def _self_contained(page: str, name: str, contents: Mapping[str, Path]) -> str:
    """A Markdown page whose links that lead out of the zip are plain text."""

    def link_or_text(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) in contents
        return match[0] if inside or "://" in target else text

    return LINK.sub(link_or_text, page)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
