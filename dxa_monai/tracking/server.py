"""Where MLflow keeps its runs: addresses that can be right, little patience with a server, why it did not answer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from dxa_monai.errors import InputError
from dxa_monai.files import output_folder
from dxa_monai.tracking.database import ARTIFACTS, SQLITE_PREFIX, sqlite_uri

SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql", "mssql")
"""The other databases that MLflow itself can write to, each with or without ``+driver``."""

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"

ANSWER_SECONDS = 5
"""MLflow's own defaults (7 retries of 120 s each) would hold up a training for minutes."""

UPLOAD_SECONDS = 60
"""A server may have to hand a checkpoint on to its store before it answers."""

REASON_CHARACTERS = 200

_REASONS = (
    (r"NameResolutionError|Name or service not known|getaddrinfo|name resolution", "its name is not known"),
    (r"Connection refused", "nothing listens there (connection refused)"),
    (r"[Tt]imed out|Timeout", "no answer in time"),
    (r"error code (\d{3})", r"it answered with HTTP status \1"),
    (r"too many (\d{3}) error responses", r"it answered with HTTP status \1"),
    (r"Connection aborted|Connection reset|RemoteDisconnected", "it broke off the connection"),
)


def check_tracking_uri(tracking_uri: str) -> None:
    """Refuse what cannot be the address of runs (empty: nothing is tracked); nothing is contacted, nothing is made.

    Raises:
        InputError: it is a plain folder, which MLflow no longer takes, or of no known kind, or has no host or database.
    """
    if not tracking_uri:
        return
    expected = "tracking_uri: expected sqlite:///path/mlflow.db or the address of an MLflow server (http://host:port)"
    shown = without_password(tracking_uri)
    scheme, separator, rest = tracking_uri.partition("://")
    if separator and scheme == "sqlite":
        if not tracking_uri.startswith(SQLITE_PREFIX) or rest.strip("/") == "" or rest.endswith("/"):
            raise InputError(f"{expected}, got '{shown}', which names no file.")
        if Path(tracking_uri.removeprefix(SQLITE_PREFIX)).is_dir():
            raise InputError(f"{expected}, got '{shown}', which is a folder.")
    elif separator and (scheme in SERVERS or scheme.partition("+")[0] in DATABASES):
        try:
            host, _ = urlsplit(tracking_uri).hostname, urlsplit(tracking_uri).port
        except ValueError as error:
            raise InputError(f"{expected}, got '{shown}' ({error}).") from error
        if not host or re.search(r"\s", tracking_uri):
            raise InputError(f"{expected}, got '{shown}', which names no host.")
    else:
        raise InputError(f"{expected}, got '{shown}'.")


def database_file(tracking_uri: str) -> Path | None:
    """The absolute path of a database in a file, as it is written, without escapes; None: it is none."""
    if not tracking_uri.startswith(SQLITE_PREFIX):
        return None
    return Path(tracking_uri.removeprefix(SQLITE_PREFIX)).absolute()


def resolve_tracking_uri(tracking_uri: str) -> tuple[str, str | None]:
    """An address for MLflow, and where the artifacts of a new experiment go (None: the server decides).

    Raises:
        InputError: see :func:`check_tracking_uri`; or the folder of the database cannot be written to.
    """
    check_tracking_uri(tracking_uri)
    database = database_file(tracking_uri)
    if database is None:
        return tracking_uri, None
    folder = output_folder(database.parent)
    return sqlite_uri(database), (folder / ARTIFACTS).as_uri()


def without_password(tracking_uri: str) -> str:
    """The address as it may be shown."""
    return re.sub(r"(://[^/@\s:'\"]*):[^/@\s'\"]*@", r"\1:***@", tracking_uri)


@contextmanager
def little_patience(seconds: int = ANSWER_SECONDS) -> Iterator[None]:
    """While it lasts, MLflow asks a server once and waits so long; variables that the user has set win."""
    chosen = {RETRIES: "0", TIMEOUT: str(seconds)}
    chosen_by_us = [name for name in chosen if name not in os.environ]
    os.environ.update({name: chosen[name] for name in chosen_by_us})
    try:
        yield
    finally:
        for name in chosen_by_us:
            del os.environ[name]


def reason_of(error: BaseException) -> str:
    """Why MLflow did not do what it should, in a few words."""
    text = str(error).strip()
    for pattern, words in _REASONS:
        found = re.search(pattern, text)
        if found:
            return found.expand(words)
    return without_password((text.splitlines() or [type(error).__name__])[0][:REASON_CHARACTERS])
