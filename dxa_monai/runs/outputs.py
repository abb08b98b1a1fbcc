"""Whose file is that: a command writes where nothing is, or what it made itself.

A command says all it will write before it writes anything. What it will make is noted beside the outputs in
``.made_by_dxa_monai``; a file that is there and not noted belongs to somebody else and is not replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, remove_partial
from dxa_monai.input_files import read_object
from dxa_monai.runs.ownership import own_folder

NOTE_NAME = ".made_by_dxa_monai"
_MADE = "made"
_EXPECTED = "what commands have made in this folder"


def claim_outputs(folder: str | Path, names: Iterable[str], reserved: Iterable[str] = ()) -> Path:
    """Own a folder and note what a command will write there; to be called before the first write.

    The folder is made if need be. Who calls this lets go of it in the end (:mod:`dxa_monai.runs.ownership`).

    What killed commands left there under temporary names is deleted.

    Args:
        folder: of the outputs.
        names: of all files it will write, relative to the folder.
        reserved: names that other calls of the command write; no output can have one of them either.

    Returns:
        The folder.

    Raises:
        InputError: two outputs have one name, a file is there that no command noted (nothing was written then), or the
            folder cannot be written to or belongs to a command that is running.
    """
    names = list(names)
    refuse_one_name_twice(folder, [*names, *reserved])
    refuse_of_others(folder, names, noted(folder))
    folder = own_folder(folder)
    earlier = noted(folder)
    refuse_of_others(folder, names, earlier)
    remove_partial(folder, *{(folder / name).parent for name in names})
    if not set(names) <= set(earlier):
        write_note(folder, **{_MADE: sorted({*earlier, *names})})
    return folder


def refuse_one_name_twice(folder: str | Path, names: Sequence[str]) -> None:
    """Raise InputError if two outputs would be one file."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(
                f"{Path(folder) / name}: expected a file of its own for every output, got two of this name; give the "
                "scans other names, or list them in a manifest with a scan_id each."
            )
        seen.add(name)


def refuse_of_others(folder: str | Path, names: Iterable[str], made: Iterable[str] = ()) -> None:
    """Raise InputError if one of the names is that of a file that is not among those that were made here."""
    own = set(made)
    for name in names:
        path = Path(folder) / name
        if name not in own and _is_there(path):
            raise InputError(
                f"{path}: expected no such file, or one that this command made, got a file that it would replace; "
                "choose another output_dir, or move the file away."
            )


def noted(folder: str | Path) -> list[str]:
    """Files that commands claimed in a folder."""
    return list(read_note(folder).get(_MADE, []))


def read_note(folder: str | Path) -> dict[str, Any]:
    """What commands noted in a folder; empty where they noted nothing.

    Raises:
        InputError: the note cannot be read.
    """
    path = Path(folder) / NOTE_NAME
    if not _is_there(path):
        return {}
    note = read_object(path, _EXPECTED)
    made = note.get(_MADE, [])
    if not isinstance(made, list) or not all(isinstance(name, str) for name in made):
        raise InputError(f"{path}: expected {_EXPECTED}, got another content.")
    return note


def write_note(folder: Path, **entries: Any) -> None:
    """Change entries of a folder's note."""
    note: Mapping[str, Any] = read_note(folder) | entries
    with atomic_path(folder / NOTE_NAME) as temporary:
        temporary.write_text(json.dumps(note, indent=0) + "\n", encoding="utf-8")


def _is_there(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # a name that no file can have: whoever writes it says so
        return False
