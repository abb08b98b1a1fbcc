"""MLflow's database as a file: an address that leads to it, whole from the first moment, artifacts beside it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from filelock import FileLock

from dxa_monai.errors import InputError

SQLITE_PREFIX = "sqlite:///"
ARTIFACTS = "mlartifacts"
"""Folder beside the database."""
_NEEDS_ESCAPES = {"%", "?"}
_LOCK_SECONDS = 300
"""As long as the slowest disk may take to make a database."""


def sqlite_uri(database: Path) -> str:
    """The address of a database file, whatever characters its folder's path has.

    MLflow and SQLAlchemy disagree about escapes in an address, and take text alone, so a folder that would need escapes
    or whose name is no UTF-8 is named by an open file descriptor: the address is then good for this process alone.

    Raises:
        InputError: the file's own name has such characters.
    """
    if not _NEEDS_ESCAPES & set(str(database)) and _is_text(str(database)):
        return f"{SQLITE_PREFIX}{database}"
    if _NEEDS_ESCAPES & set(database.name):
        raise InputError(f"tracking_uri: expected a database whose name has no % or ?, got {database.name}.")
    return f"{SQLITE_PREFIX}/proc/self/fd/{_descriptor(database.parent)}/{database.name}"


def takes_artifacts(database: Path) -> bool:
    """Whether MLflow, which takes names for UTF-8, finds the folder of the artifacts in this Python."""
    folder = database.parent / ARTIFACTS
    return unquote(urlsplit(folder.as_uri()).path) == str(folder)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _descriptor(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def open_database(database: Path) -> None:
    """Make a database if there is none, and let its experiments know where their artifacts are today.

    It is made under another name, by one process at a time, and renamed when it is whole: a process that is killed
    meanwhile leaves none, and of several that begin together each finds the same.

    Args:
        database: absolute path of the file, in a folder that is there.
    """
    with FileLock(database.parent / f".{database.name}.lock", timeout=_LOCK_SECONDS, fallback_to_soft=False):
        if not database.exists():
            _make(database)
        _follow_the_folder(database)


def _make(database: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = database.with_name(f".{database.name}.new")
    new.unlink(missing_ok=True)  # of a process that was killed
    store = SqlAlchemyStore(sqlite_uri(new), (database.parent / ARTIFACTS).as_uri())
    store.engine.dispose()
    new.replace(database)


def _follow_the_folder(database: Path) -> None:
    """Let experiments, which keep absolute addresses, follow a project that was moved, or copied with its artifacts."""
    here = database.parent / ARTIFACTS
    with closing(sqlite3.connect(database, timeout=_LOCK_SECONDS)) as connection, connection:
        experiments = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
        for number, location in experiments:
            then = Path(os.fsdecode(unquote_to_bytes(urlsplit(location or "").path)))
            if then.name != ARTIFACTS or then == here or (then.exists() and not here.exists()):
                continue
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (here.as_uri(), number)
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE experiment_id = ? "
                "AND substr(artifact_uri, 1, ?) = ?",
                (here.as_uri(), len(location) + 1, number, len(location), location),
            )
