"""The work goes on when nobody reads what is printed, and any terminal shows any name."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.terminal import errors_as_sentence, one_line_of_errors, printable

_BEGIN = "from dxa_monai.terminal import lasting_output; lasting_output(); "


def test_a_closed_pipe_costs_neither_the_work_nor_a_traceback(tmp_path: Path) -> None:
    code = _BEGIN + (
        "import sys, logging; logging.basicConfig(stream=sys.stdout)\n"
        "for number in range(3000): print('told', number, flush=True); logging.error('told')\n"
        f"open({str(tmp_path / 'table')!r}, 'w').write('whole')"
    )
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (tmp_path / "table").read_text() == "whole"
    assert (result.returncode, result.stderr) == (0, "")


def test_what_is_only_printed_at_the_end_is_no_traceback_either() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", _BEGIN + "print('told')"]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_shows_what_it_can_and_escapes_the_rest(encoding: str) -> None:
    code = _BEGIN + "print('caf\\xe9 \\u5c71 \\udce9')"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(b"\\udce9\n")


def test_engines_that_end_log_one_line(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    try:
        one_line_of_errors()
        one_line_of_errors()
        logging.error("Engine run is terminating due to exception: Caught it.\nOriginal Traceback: a page")
        logging.error("two\nlines")
    finally:
        logging.setLogRecordFactory(before)
    assert [record.getMessage() for record in caplog.records] == [
        "Engine run is terminating due to exception: Caught it.",
        "two\nlines",
    ]


def test_printable_text_is_left_alone() -> None:
    assert printable("Müller 山 a$b") == "Müller 山 a$b"
    assert printable("a\x1b[2J\n\udce9") == "a\\x1b[2J\\n\\udce9"


def test_readers_that_nobody_asked_for_are_not_told_of() -> None:
    code = "from monai.transforms import LoadImage; LoadImage()"
    quiet = f"from dxa_monai.bundling.command import begin_command; begin_command(); {code}"
    told, silent = (
        subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True)
        for each in (code, quiet)
    )
    assert "nvImageCodec" in told.stderr  # once MONAI says nothing, begin_command need not hush it
    assert silent.stderr == ""


@errors_as_sentence()
def _command(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "error", [InputError("a.npy: expected a\nscan."), TrainingError("NaN"), MemoryError(), OSError(28, "No space", "x")]
)
def test_a_command_ends_with_the_sentence_of_what_a_user_can_mend(error: Exception) -> None:
    with pytest.raises(SystemExit) as ended:
        _command(error)
    told = str(ended.value.code)
    assert told.startswith("error: ")
    assert "\n" not in told
    assert ended.value.__suppress_context__


def test_a_command_keeps_the_traceback_of_anything_else() -> None:
    with pytest.raises(ZeroDivisionError):
        _command(ZeroDivisionError("division by zero"))
