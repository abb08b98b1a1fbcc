import errno
import pickle
import subprocess
import sys

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from dxa_monai.errors import InputError, TrainingError, describe_user_error, shown


def test_sentence_is_found_under_what_a_framework_wraps_around_it() -> None:
    wrapped = RuntimeError("failed to instantiate")
    wrapped.__cause__ = InputError("a.npy: expected x, got y.")
    assert describe_user_error(wrapped) == "a.npy: expected x, got y."


def test_training_error_is_told_and_a_bug_is_not() -> None:
    assert describe_user_error(TrainingError("NaN.")) == "NaN."
    assert describe_user_error(KeyError("bug")) is None
    assert describe_user_error(None) is None


def test_a_value_is_shown_on_one_line_and_not_all_of_a_long_one() -> None:
    assert shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])"
    assert shown("a\n  b") == r"'a\n  b'"
    assert shown("x" * 100) == f"'{'x' * 75} ..."


class _Damaged(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise InputError("a.npy: expected x, got y.")


def test_error_of_a_loader_process_is_told() -> None:
    with pytest.raises(InputError) as caught:
        next(iter(DataLoader(_Damaged(), num_workers=1)))
    assert describe_user_error(caught.value) == "a.npy: expected x, got y."


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "memory: expected enough"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory: expected enough"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "memory: expected",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "smaller batch_size"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"),
            "shared memory: exp",
        ),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left"), "--shm-size"),
        (RuntimeError("received 0 items of ancdata"), "shared memory: expected"),
        (RuntimeError("a worker process ended by itself; it may have run out of memory"), "memory: expected"),
        (OSError(errno.EMFILE, "Too many open files", "a.npy"), "ulimit -n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.npy"),
            "a.npy: expected to read or write it, got 'No space",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: expected to read or write it, got 'Permission"),
        (OSError(errno.EROFS, "Read-only file system"), "disk: expected to read or write it"),
    ],
)
def test_what_the_machine_cannot_give_is_a_sentence(error: Exception, told: str) -> None:
    wrapped = RuntimeError("Failed to evaluate ConfigExpression")
    wrapped.__cause__ = error
    sentence = describe_user_error(wrapped)
    assert sentence is not None
    assert told in sentence
    wrapped.__cause__ = InputError("a.npy: expected x, got y.")
    wrapped.__cause__.__cause__ = error
    assert describe_user_error(wrapped) == "a.npy: expected x, got y."


def test_a_sentence_of_a_megabyte_is_cut_also_after_a_process_has_sent_it() -> None:
    for kind in (InputError, TrainingError):
        error = pickle.loads(pickle.dumps(kind("a" * 1000 + "x" * 1_000_000 + "b" * 1000)))
        assert len(str(error)) < 2100
        assert str(error).startswith("aaa")
        assert str(error).endswith("bbb")
        assert str(error).count("characters left out") == 1


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert describe_user_error(first) is None


def _run(raised: str) -> subprocess.CompletedProcess[str]:
    code = f"from dxa_monai.errors import *; from dxa_monai.bundling.command import *; begin_command(); raise {raised}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_command_ends_with_one_sentence_and_a_failing_exit_code() -> None:
    result = _run("InputError('a.npy: expected x, got y.')")
    assert result.returncode == 1
    assert result.stderr == "error: a.npy: expected x, got y.\n"


def test_names_cannot_command_the_terminal() -> None:
    result = _run("InputError('a\\x1b[2J\\ud800.npy: expected x, got y.')")
    assert result.stderr == "error: a\\x1b[2J\\ud800.npy: expected x, got y.\n"


def test_command_keeps_the_traceback_of_a_bug() -> None:
    result = _run("KeyError('bug')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
