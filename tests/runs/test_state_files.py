import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.runs import state_files
from dxa_monai.runs.state_files import FOLDER, newest_state, remove_states, write_state


def _state(iteration: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((1000,), float(iteration))}


def test_the_two_newest_states_are_kept(tmp_path: Path) -> None:
    for iteration in (1, 2, 30, 4000):
        write_state(tmp_path, iteration, _state(iteration))
    assert [path.name for path in state_files.state_files(tmp_path)] == [
        "iteration_000004000.pt",
        "iteration_000000030.pt",
    ]
    newest = newest_state(tmp_path)
    assert newest is not None
    assert torch.equal(newest["weights"], _state(4000)["weights"])


def test_a_run_without_states_has_none(tmp_path: Path) -> None:
    assert newest_state(tmp_path) is None
    write_state(tmp_path, 1, _state(1))
    remove_states(tmp_path)
    assert newest_state(tmp_path) is None
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize("damage", ["truncated", "one byte", "empty"])
def test_a_damaged_state_is_passed_over_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_state(tmp_path, 1, _state(1))
    newest = write_state(tmp_path, 2, _state(2))
    content = bytearray(newest.read_bytes())
    if damage == "one byte":
        place = content.index(torch.tensor(2.0).numpy().tobytes() * 8)
        content[place] ^= 1
    newest.write_bytes(content[: {"truncated": len(content) // 2, "one byte": len(content), "empty": 0}[damage]])
    state = newest_state(tmp_path)
    assert state is not None
    assert torch.equal(state["weights"], _state(1)["weights"])
    assert newest.name in caplog.text


def test_whatever_byte_is_damaged_the_state_before_is_taken(tmp_path: Path) -> None:
    write_state(tmp_path, 1, {"weights": torch.ones(3)})
    newest = write_state(tmp_path, 2, {"weights": torch.full((3,), 2.0)})
    whole = newest.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 + place % 255
        newest.write_bytes(content)
        state = newest_state(tmp_path)
        assert state is not None
        assert torch.equal(state["weights"], torch.ones(3)), place
    newest.unlink()
    newest.mkdir()
    state = newest_state(tmp_path)
    assert state is not None
    assert torch.equal(state["weights"], torch.ones(3))


def test_a_state_of_an_earlier_version_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_state(tmp_path, 1, _state(1))
    torch.save(_state(2), tmp_path / FOLDER / "iteration_000000002.pt")
    newest_state(tmp_path)
    assert "got one of 0.7.0 or before" in caplog.text


def test_without_a_whole_state_there_is_no_silent_new_start(tmp_path: Path) -> None:
    write_state(tmp_path, 1, _state(1)).write_bytes(b"")
    with pytest.raises(InputError, match="resume: expected a whole state of the interrupted training, got 1 damaged"):
        newest_state(tmp_path)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _half_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(content: object, path: Path) -> None:
        path.write_bytes(b"half a state")
        _kill_self()

    monkeypatch.setattr(state_files, "write_tensors", write)


def _not_yet_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda source, target: _kill_self())


def _older_not_yet_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_files, "flush_to_disk", lambda folder: _kill_self())


@pytest.mark.parametrize(
    ("moment", "survives"), [(_half_written, 2), (_not_yet_renamed, 2), (_older_not_yet_deleted, 3)]
)
def test_killed_during_a_save_the_newest_whole_state_is_found(
    tmp_path: Path, moment: Callable[[pytest.MonkeyPatch], None], survives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for iteration in (1, 2):
        write_state(tmp_path, iteration, _state(iteration))
    with monkeypatch.context() as patched:
        moment(patched)
        process = multiprocessing.get_context("fork").Process(target=write_state, args=(tmp_path, 3, _state(3)))
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    state = newest_state(tmp_path)
    assert state is not None
    assert torch.equal(state["weights"], _state(survives)["weights"])
    # and the next save clears up
    write_state(tmp_path, 4, _state(4))
    assert len(state_files.state_files(tmp_path)) == 2
