"""Whether a downloaded bundle is a release: byte for byte, by sums that you trust.

    python -m dxa_monai.bundling.identity SHA256SUMS dxa_vae_v0.9.0.zip
    python -m dxa_monai.bundling.identity SHA256SUMS dxa_vae_v0.9.0.zip bundles/dxa_vae

First the zip, under the name that it has: its bytes have to be those that ``SHA256SUMS`` lists for that name. Then the
folder that it was unpacked to: every file has to be there with the bytes of the zip, and nothing else, hidden files,
links and empty folders included. Weights that the release names in ``large_files.yml`` may be there with the sum named.

Everything depends on where ``SHA256SUMS`` is from. Nothing of the bundle is run; call it in a checkout or an installed
package of your own, not in the bundle's folder, whose own ``dxa_monai`` Python would take for this one.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from dxa_monai.errors import InputError
from dxa_monai.terminal import errors_as_sentence, printable

LARGE_FILES = "large_files.yml"
"""Where MONAI looks for what ``monai.bundle download_large_files`` is to fetch."""
_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\x00-\x1f]+)")
_MOST_SUMS_BYTES = 1_000_000
_SHOWN = 40
_CHUNK_BYTES = 1 << 20


def check_zip(sums: str | Path, path: str | Path) -> None:
    """Refuse a zip whose bytes are not those that the sums list for its name.

    Args:
        sums: file as ``sha256sum`` writes it.
        path: of the zip.

    Raises:
        InputError: the sums cannot be read, do not name the zip, or its bytes are others; of bytes that the sums list
            for another name this name is told.
    """
    path = Path(path)
    listed = read_sums(sums)
    found = _sum_of(path)
    if listed.get(path.name) == found:
        return
    names = [name for name, value in listed.items() if value == found]
    if names:
        raise InputError(f"{path}: expected the release {names[0]} under its own name, got it renamed.")
    if path.name not in listed:
        known = ", ".join(listed)
        raise InputError(f"{path}: expected one of the releases that {sums} names ({known}), got another.")
    raise InputError(f"{path}: expected the SHA-256 {listed[path.name]} of {sums}, got {found}; it was changed.")


def read_sums(path: str | Path) -> dict[str, str]:
    """SHA-256 by file name, of a file as ``sha256sum`` writes it.

    Raises:
        InputError: it cannot be read, a line is no sum with a name, or a name is there twice.
    """
    try:
        text = _read(Path(path), _MOST_SUMS_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected sums as sha256sum writes them, got '{error}'.") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{path}: expected sums as sha256sum writes them, got another line {number}.")
        if match[2] in sums:
            raise InputError(f"{path}: expected one sum of {match[2]}, got two.")
        sums[match[2]] = match[1]
    if not sums:
        raise InputError(f"{path}: expected sums as sha256sum writes them, got an empty file.")
    return sums


def differences(folder: str | Path, release: str | Path) -> list[str]:
    """How a folder differs from the release that it was unpacked from; empty if it does not.

    Args:
        folder: of the bundle.
        release: its zip, which :func:`check_zip` has found to be one.

    Returns:
        For each difference what kind it is and where.

    Raises:
        InputError: the folder cannot be read, or this very module lies in it.
    """
    root = Path(folder)
    if root.is_symlink() or not root.is_dir():
        raise InputError(f"{root}: expected the folder of a bundle, got none of its own.")
    if Path(__file__).resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{root}: expected to be compared by a dxa_monai of your own, got the one in this very folder; run the "
            "command somewhere else."
        )
    expected, sizes, folders, fetched = _of_release(release)
    there = dict(_entries(root))
    extra = [name for name in there if name not in {*expected, *folders, *fetched}]
    missing = [name for name in expected if name not in there]
    told = [f"missing: {name}" for name in missing]
    lost = {expected[name]: name for name in missing}
    for name in sorted(there):
        kind = there[name]
        hidden = "hidden " if any(part.startswith(".") for part in name.split("/")) else ""
        if kind == "file" and name in {**expected, **fetched}:
            other_size = name in sizes and _size(root / name) != sizes[name]
            if other_size or _sum_of(root / name) != (expected | fetched)[name]:
                told.append(f"changed: {name}")
        elif name in extra and kind == "file":
            like_one = _size(root / name) in {sizes[each] for each in missing}
            earlier = lost.get(_sum_of(root / name)) if like_one else None
            told.append(f"{hidden}extra file: {name}" + (f" (renamed from {earlier})" if earlier else ""))
        elif name in extra or kind != ("folder" if name in folders else "file"):
            told.append(f"{hidden}extra {kind}: {name}" if name in extra else f"{kind} in its place: {name}")
    return told


def _of_release(release: str | Path) -> tuple[dict[str, str], dict[str, int], set[str], dict[str, str]]:
    """A release's files: their sums and sizes, its folders, and sums of what may be fetched; names below its root."""
    sums: dict[str, str] = {}
    sizes: dict[str, int] = {}
    fetched: dict[str, str] = {}
    with zipfile.ZipFile(release) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            inside = name.partition("/")[2]
            sums[inside], sizes[inside] = hashlib.sha256(content).hexdigest(), len(content)
            if inside == LARGE_FILES:
                files = yaml.safe_load(content)["large_files"]
                fetched = {file["path"]: file["hash_val"] for file in files if file["hash_type"] == "sha256"}
    folders = {
        "/".join(name.split("/")[:depth]) for name in (*sums, *fetched) for depth in range(1, name.count("/") + 1)
    }
    return sums, sizes, folders, fetched


def _entries(root: Path) -> Iterator[tuple[str, str]]:
    """Whatever lies in a folder, by its name below it, and what it is; no link is followed."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            found = list(os.scandir(root / below))
        except OSError as error:
            raise InputError(f"{root / below}: expected a folder, got '{error.strerror}'.") from error
        for entry in found:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_symlink():
                yield name, "link"
            elif entry.is_dir(follow_symlinks=False):
                yield name, "folder"
                waiting.append(name)
            else:
                yield name, "file" if entry.is_file(follow_symlinks=False) else "device, pipe or socket"


def _size(path: Path) -> int:
    """Of a file; one of another size is not read, which a file of terabytes would take hours for."""
    try:
        return path.lstat().st_size
    except OSError as error:
        raise InputError(f"{path}: expected a file, got '{error.strerror}'.") from error


def _sum_of(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path, most_bytes: int) -> bytes:
    content = b""
    for chunk in _chunks(path):
        content += chunk
        if len(content) > most_bytes:
            raise InputError(f"{path}: expected at most {most_bytes} bytes, got more.")
    return content


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a plain file; a link is not followed, and nothing waits for the other end of a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError(f"{path}: expected a file, got something else.")
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise InputError(f"{path}: expected a file, got '{error.strerror}'.") from error


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Check the zip, and the folder if there is one, that the command line names; exit with 1 at any difference.

    Args:
        arguments: instead of those of the command line.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) not in (2, 3):
        raise SystemExit("usage: python -m dxa_monai.bundling.identity SHA256SUMS NAME_vX.Y.Z.zip [FOLDER]")
    sums, release, *folders = given
    check_zip(sums, release)
    found = [each for folder in folders for each in differences(folder, release)]
    for each in found[:_SHOWN]:
        print(printable(each), file=sys.stderr)
    if found:
        raise SystemExit(printable(f"error: {folders[0]}: {len(found)} differences from {release}; do not run it"))
    print(printable(f"{release}: the release that {sums} lists"))
    for folder in folders:
        print(printable(f"{folder}: the same files, byte for byte, and nothing else"))


if __name__ == "__main__":
    main()
