"""Where a result comes from: the revision of the code and a hash of the data."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from dxa_monai.errors import InputError
from dxa_monai.scan.io import scan_content
from dxa_monai.scan.manifest import read_manifest

UNKNOWN_REVISION = "unknown"
_UNREADABLE = b"unreadable"


def git_revision(file: str | Path = __file__) -> str:
    """The git commit that a file of this package was taken from, with ``-dirty`` if tracked files have changed since.

    ``unknown`` where git is missing or does not track the file: an installed package, or a downloaded bundle inside
    somebody else's repository.

    Args:
        file: of the repository in question.
    """
    path = Path(file).resolve()
    if _git(path, "ls-files", "--error-unmatch", "--", path.name) is None:
        return UNKNOWN_REVISION
    revision = _git(path, "rev-parse", "HEAD")
    if not revision:
        return UNKNOWN_REVISION
    changed = _git(path, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}-dirty" if changed else revision


def _git(file: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(file.parent), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def manifest_hash(path: str | Path) -> str:
    """SHA-256 (first 16 hex digits) of a manifest's bytes and of every scan file's bytes, in the manifest's order.

    It changes with any pixel, any column and the order of the rows, and not with the folder the data lie in. Reading
    costs about a second for 2,000 scans.

    A scan that the system cannot read counts as such: whether that ends the run is for those to say who need it.

    Args:
        path: of the manifest CSV.

    Raises:
        InputError: the manifest cannot be read.
    """
    rows = read_manifest(path)
    digest = hashlib.sha256(hashlib.sha256(Path(path).read_bytes()).digest())
    for row in rows:
        try:
            digest.update(hashlib.sha256(scan_content(row["scan"])).digest())
        except InputError:
            digest.update(_UNREADABLE)
    return digest.hexdigest()[:16]
