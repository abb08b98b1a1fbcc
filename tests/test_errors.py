import subprocess
import sys

import pytest
from torch.utils.data import DataLoader, Dataset

from dxa_monai.errors import InputError, TrainingError, describe_user_error


def test_sentence_is_found_under_what_a_framework_wraps_around_it() -> None:
    wrapped = RuntimeError("failed to instantiate")
    wrapped.__cause__ = InputError("a.npy: expected x, got y.")
    assert describe_user_error(wrapped) == "a.npy: expected x, got y."


def test_training_error_is_told_and_a_bug_is_not() -> None:
    assert describe_user_error(TrainingError("NaN.")) == "NaN."
    assert describe_user_error(KeyError("bug")) is None
    assert describe_user_error(None) is None


class _Damaged(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise InputError("a.npy: expected x, got y.")


def test_error_of_a_loader_process_is_told() -> None:
    with pytest.raises(InputError) as caught:
        next(iter(DataLoader(_Damaged(), num_workers=1)))
    assert describe_user_error(caught.value) == "a.npy: expected x, got y."


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


def test_command_keeps_the_traceback_of_a_bug() -> None:
    result = _run("KeyError('bug')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
