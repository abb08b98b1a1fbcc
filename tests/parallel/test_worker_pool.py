"""Worker processes: every item once, one thread each, errors named, and the parent's settings left as they were."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.parallel.worker_pool import run_in_processes
from dxa_monai.runs.interruption import Interruption


def note(item: int, folder: Path) -> None:
    """Leaves the item's process and its number of threads behind."""
    (folder / f"{item}").write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}")


def fail_at_two(item: int, kind: str) -> None:
    if item == 2:
        raise InputError("path: expected this, got that.") if kind == "input" else KeyError("lost")


def end_the_process(item: int) -> None:
    os._exit(1)


def test_every_item_is_done_once_in_other_processes_with_one_thread(tmp_path: Path) -> None:
    assert sorted(run_in_processes(note, range(6), (tmp_path,), workers=2)) == list(range(6))
    found = [(tmp_path / f"{item}").read_text().split() for item in range(6)]
    assert os.getpid() not in {int(process) for process, _ in found}
    assert {threads for _, threads in found} == {"1"}


def test_the_parents_settings_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    reaction = signal.getsignal(signal.SIGINT)
    list(run_in_processes(note, [0], (tmp_path,), workers=1))
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    assert signal.getsignal(signal.SIGINT) == reaction


def test_a_users_mistake_is_passed_on() -> None:
    with pytest.raises(InputError, match="expected this, got that"):
        list(run_in_processes(fail_at_two, range(4), ("input",), workers=1))


def test_any_other_failure_names_the_item() -> None:
    with pytest.raises(RuntimeError, match=r"item 2: KeyError: 'lost'"):
        list(run_in_processes(fail_at_two, range(4), ("other",), workers=1))


def test_a_process_that_died_is_told() -> None:
    with pytest.raises(RuntimeError, match="try fewer workers"):
        list(run_in_processes(end_the_process, [0], (), workers=1))


def work_for_long(item: int) -> None:
    time.sleep(60)


def train_until_told(item: int, folder: Path) -> None:
    """As a training does it: a signal is noted, the state saved, and the process asked to leave."""
    with Interruption() as interruption:
        (folder / f"begun{item}").touch()
        while interruption.received is None:
            time.sleep(0.01)
        (folder / f"saved{item}").touch()
        interruption.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_says_so_trainings_save_and_none_begins(
    number: signal.Signals, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def ask() -> None:
        while not (tmp_path / "begun0").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    reaction = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, reaction)  # ignored where the tests run in the background, or after nohup
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as stopped:
            list(run_in_processes(train_until_told, range(5), (tmp_path,), workers=1))
    finally:
        signal.signal(number, before)
        asking.join()
    assert {path.name for path in tmp_path.iterdir()} == {"begun0", "saved0"}
    assert capfd.readouterr().err.count("stopping: 1 processes are told") == 1
    assert not multiprocessing.active_children()
    if number != signal.SIGINT:
        assert stopped.value.code == 128 + number
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_asked_to_end_it_does_not_wait_for_what_is_in_hand() -> None:
    def leave(number: int, frame: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGALRM, leave)
    try:
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        with pytest.raises(SystemExit):
            list(run_in_processes(work_for_long, [0, 1], (), workers=1))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children()
