"""The scans that a user names: a file, a folder or a manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.input_files import files_below
from dxa_monai.scan.dicom_scan import MAPPING_ENDING, mapped_files
from dxa_monai.scan.io import READ_ENDINGS, file_stem
from dxa_monai.scan.manifest import read_manifest


def collect_scans(source: str | os.PathLike[str]) -> list[dict[str, str]]:
    """List the scans of a file, of a folder with its subfolders, or of a manifest (``.csv``).

    In a folder every file with one of ``READ_ENDINGS`` counts as a scan; hidden files are left out, others told.
    DICOM files that a ``.dicom.json`` names are the channels of its scan and none of their own.

    Args:
        source: path of the scan, folder or manifest.

    Returns:
        A MONAI data list ordered by path: ``image`` (absolute path), ``scan_id`` (the manifest's; otherwise the file
        name without its ending) and ``relative`` (path below the folder or the manifest's folder); of a manifest also
        ``subject_id``.

    Raises:
        InputError: there is no such path, it holds no scan or a link to a folder, or the manifest is faulty.
    """
    path = Path(source).resolve()
    if path.is_dir():
        files, others = files_below(path, READ_ENDINGS)
        channels = {part for file in files if file.name.lower().endswith(MAPPING_ENDING) for part in mapped_files(file)}
        files = [file for file in files if file.resolve() not in channels]
        if not files:
            raise InputError(f"{source}: expected a folder with scans ({', '.join(READ_ENDINGS)}), got none in it.")
        if others:
            named = ", ".join(f"{count} {ending}" for ending, count in others.items())
            print(f"{source}: {len(files)} scans; other files are left out: {named}")
        return [_entry(file, file_stem(file), path) for file in files]
    if path.suffix.lower() == ".csv":
        # relative to the folder that was named, as wherever a manifest is read, also where the file is a link
        root = Path(source).parent.resolve()
        return [
            _entry(Path(row["scan"]), row["scan_id"], root) | {"subject_id": row["subject_id"]}
            for row in read_manifest(source)
        ]
    if not path.is_file():
        raise InputError(f"{source}: expected a scan, a folder of scans or a manifest, got no such path.")
    return [_entry(path, file_stem(path), path.parent)]


def check_scan_ids(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse scans of the same name, since outputs are named after it.

    Raises:
        InputError: it names the first two.
    """
    first: dict[str, str] = {}
    for row in rows:
        earlier = first.setdefault(row["scan_id"], row["scan"])
        if earlier != row["scan"]:
            raise InputError(
                f"{row['scan']}: expected a file name of its own for every scan, got that of {earlier}; "
                "list the scans in a manifest with a scan_id each."
            )


def _entry(file: Path, scan_id: str, root: Path) -> dict[str, str]:
    return {"image": str(file), "scan_id": scan_id, "relative": file.relative_to(root).as_posix()}
