"""Two processes and one folder."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import pytest

from dxa_monai.cohort_report.page import QUANTITIES, write_population_report
from dxa_monai.errors import InputError
from dxa_monai.figures.contact_sheet import write_contact_sheet
from dxa_monai.inference.scanner_calibration import calibrate_scanner
from dxa_monai.runs.ownership import LOCK_NAME, let_go, letting_go, own_folder
from tests.analysis.cohort import cohort_manifest, cohort_rows

_NOBODY: dict[str, list[Any]] = {name: [] for name in ("age_years", "sex", *QUANTITIES)}
REFUSED = "expected a folder that no other command is writing, got one that"
_OWN_IT = (
    "import sys; from dxa_monai.runs.ownership import own_folder; own_folder(sys.argv[1]); print(flush=True); input()"
)


@contextmanager
def owned_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """While it lasts, a process of its own has the folder."""
    command = [sys.executable, "-c", _OWN_IT, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_second_process_is_told_who_has_the_folder_until_that_one_dies(tmp_path: Path) -> None:
    with owned_by_another_process(tmp_path / "out") as process:
        with pytest.raises(InputError) as told:
            own_folder(tmp_path / "out")
        sentence = str(told.value)
        assert sentence.startswith(
            f"{tmp_path / 'out'}: {REFUSED} process {process.pid} on {platform.node()} has had for"
        )
        assert sentence.endswith("wait for its end, or choose another output_dir.")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with letting_go():
            assert own_folder(tmp_path / "out") == tmp_path / "out"
            assert json.loads((tmp_path / "out" / LOCK_NAME).read_text())["pid"] == os.getpid()


def _refused(folder: Path) -> bool:
    """Whether another process would be refused."""
    lock = filelock.FileLock(folder / LOCK_NAME, timeout=0)  # another open file, as another process would have
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    lock.release()
    return False


def test_one_process_may_own_a_folder_in_parts_and_lets_go_at_the_end_of_the_whole(tmp_path: Path) -> None:
    @letting_go()
    def part(folder: Path) -> None:
        own_folder(folder)

    with letting_go():
        own_folder(tmp_path)
        part(tmp_path / ".." / tmp_path.name)
        assert _refused(tmp_path)
        part(tmp_path / "below")
        assert not _refused(tmp_path / "below")
    assert not _refused(tmp_path)


def test_a_folder_is_let_go_when_the_work_fails(tmp_path: Path) -> None:
    @letting_go()
    def fail() -> None:
        own_folder(tmp_path)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not _refused(tmp_path)
    own_folder(tmp_path)
    let_go(tmp_path)
    let_go(tmp_path / "never")
    assert not _refused(tmp_path)


def test_a_lock_that_says_nothing_is_told_all_the_same(tmp_path: Path) -> None:
    with owned_by_another_process(tmp_path):
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(InputError, match=f"{REFUSED} another process has; wait"):
            own_folder(tmp_path)


def test_a_file_that_can_only_be_read_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(descriptor: int, length: int) -> None:
        raise OSError(errno.EINVAL, "opened for reading")

    monkeypatch.setattr(os, "ftruncate", read_only)
    with letting_go():
        own_folder(tmp_path)
        assert _refused(tmp_path)


def _child(folder: Path) -> None:
    own_folder(folder)  # a worker of the owner may write


def test_a_worker_of_the_owner_is_no_other_command_and_its_end_lets_nothing_go(tmp_path: Path) -> None:
    with letting_go():
        own_folder(tmp_path)
        worker = multiprocessing.get_context("fork").Process(target=_child, args=(tmp_path,))
        worker.start()
        worker.join()
        assert worker.exitcode == 0
        assert _refused(tmp_path)


def _owned(folder: Path) -> bool:
    try:
        filelock.FileLock(folder / LOCK_NAME).acquire(timeout=0).lock.release(force=True)
    except filelock.Timeout:
        return True
    return False


def _calibrate(folder: Path) -> None:
    calibrate_scanner(cohort_rows()[0]["scan"], folder / "scanner_model.json")


def _describe(folder: Path) -> None:
    write_population_report(folder, folder / "page.md")


def _draw(folder: Path) -> None:
    write_contact_sheet(cohort_manifest(), folder / "contact_sheet.png", people=1)


@pytest.mark.parametrize(
    ("module", "write"),
    [
        ("inference.scanner_calibration", _calibrate),
        ("cohort_report.page", _describe),
        ("figures.contact_sheet", _draw),
    ],
)
def test_who_tidies_a_folder_owns_it(
    module: str, write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another command is writing there would be deleted with what a killed one has left."""
    tidied: list[bool] = []

    def tidy(*folders: Path) -> None:
        tidied.append(_owned(folders[-1]))
        raise InterruptedError

    for name in ("population_page", "people_table", "_made_with", "shape_prediction", "calibrate_with_phantom"):
        monkeypatch.setattr(f"dxa_monai.{module}.{name}", lambda *_, **__: pd.DataFrame(_NOBODY), raising=False)
    monkeypatch.setattr(f"dxa_monai.{module}.remove_partial", tidy)
    with pytest.raises(InterruptedError):
        write(tmp_path)
    assert tidied == [True]
    assert not _owned(tmp_path)
