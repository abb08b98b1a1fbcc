"""Which MLflow run belongs to a folder: noted before the run begins, so that no process can lose it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.input_files import read_object
from dxa_monai.tracking.server import without_password

NOTE_NAME = "mlflow_run.json"
"""In the folder of a training, a comparison, a search or an evaluation."""


@dataclass(frozen=True)
class RunNote:
    """What a folder knows of its MLflow run.

    Attributes:
        tracking_uri: where the run is kept.
        name: of the run, which no other run has; chosen before the run begins.
        run_id: None until MLflow has given one.
        about: digest of what was chosen (:func:`digest_of`).
        here: False for a note that lies in another folder than the one it was written in: a copy, whose run may be
            somebody else's.
    """

    tracking_uri: str
    name: str
    run_id: str | None = None
    about: str = ""
    here: bool = True


def digest_of(params: Mapping[str, Any]) -> str:
    """Of parameters, as MLflow gets them; the revision of the code does not count."""
    chosen = sorted((name, str(value)) for name, value in params.items() if name != "git_revision")
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:16]


def write_note(path: str | Path, note: RunNote) -> None:
    """Write a note; the folder is made if need be, and a password in the address is left out.

    Raises:
        InputError: it cannot be written.
    """
    path = Path(path)
    content = {
        "run_id": note.run_id,
        "tracking_uri": without_password(note.tracking_uri),
        "name": note.name,
        "about": note.about,
        "folder": str(output_folder(path.parent).resolve()),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_note(path: str | Path) -> RunNote | None:
    """The note of a folder; None where there is none that is whole."""
    path = Path(path)
    try:
        content = read_object(path, "the note of an MLflow run")
        here = content.get("folder") == str(path.parent.resolve())
        run_id = content["run_id"]
        name, about, uri = str(content.get("name", "")), str(content.get("about", "")), str(content["tracking_uri"])
        return RunNote(uri, name, None if run_id is None else str(run_id), about, here)
    except (InputError, OSError, KeyError):
        return None
