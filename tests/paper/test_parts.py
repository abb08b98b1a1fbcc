"""Parts run as commands: what is kept, what stops what, what is said of a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.paper.parts import FAILED, FINISHED_PART, NOT_RUN, read_outcomes, run_parts
from dxa_monai.paper.plan import Part


@dataclass(frozen=True)
class Script(Part):
    """A part that is a few lines of Python."""

    code: str = ""

    def arguments(self) -> list[str]:
        return ["-c", self.code]

    def digest(self) -> str:
        return self.code


def _script(folder: Path, name: str, code: str, *needs: str) -> Script:
    return Script(name, name, (), {}, folder / name, ("result.txt",), 1.0, needs, code=code)


def _writing(folder: Path, name: str, *needs: str) -> Script:
    path = folder / name / "result.txt"
    code = f"import pathlib; p = pathlib.Path({str(path)!r}); p.parent.mkdir(exist_ok=True); p.open('a').write('x')"
    return _script(folder, name, code, *needs)


def test_what_is_finished_is_not_run_again_unless_it_changed_or_is_gone(tmp_path: Path) -> None:
    part = _writing(tmp_path, "a")
    result = tmp_path / "a" / "result.txt"
    for _ in range(2):
        outcomes = run_parts([part], ["a"], tmp_path)
        assert outcomes["a"].state == FINISHED_PART
        assert outcomes["a"].peak_bytes > 1_000_000
        assert outcomes["a"].seconds > 0.0
        assert result.read_text() == "x"
    run_parts([replace(part, code=part.code + "; 1")], ["a"], tmp_path)
    assert result.read_text() == "xx"
    result.unlink()
    run_parts([replace(part, code=part.code + "; 1")], ["a"], tmp_path)
    assert result.read_text() == "x"


def test_virtual_people_are_counted_while_they_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, result = tmp_path / "a" / "scans", tmp_path / "a" / "result.txt"
    code = f"import pathlib, time; p = pathlib.Path({str(scans)!r}); p.mkdir(parents=True); (p / '1.npy').touch()"
    part = _script(tmp_path, "a", f"{code}; time.sleep(2.5); pathlib.Path({str(result)!r}).touch()")
    run_parts([replace(part, people=2)], ["a"], tmp_path)
    assert " 45%|" in capsys.readouterr().err  # half of the people; the pictures are still to come


def test_a_failed_part_stops_those_that_need_it_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = (
        "import sys; print('began'); print('error: a.csv: expected numbers, got none.', file=sys.stderr); sys.exit(1)"
    )
    parts = [
        _script(tmp_path, "a", wrong),
        _writing(tmp_path, "b", "a"),
        _writing(tmp_path, "c", "b"),
        _writing(tmp_path, "d"),
    ]
    outcomes = run_parts(parts, ["a", "b", "c", "d"], tmp_path)
    assert [outcomes[name].state for name in "abcd"] == [FAILED, NOT_RUN, NOT_RUN, FINISHED_PART]
    assert outcomes["a"].reason == "a.csv: expected numbers, got none."
    assert outcomes["b"].reason == "it needs a"
    assert "began" in (tmp_path / "logs" / "a.log").read_text()
    assert "a: failed; a.csv: expected numbers, got none." in capsys.readouterr().err
    assert read_outcomes(tmp_path) == outcomes


def test_parts_that_were_finished_earlier_count_for_those_that_need_them(tmp_path: Path) -> None:
    parts = [_writing(tmp_path, "a"), _writing(tmp_path, "b", "a")]
    assert run_parts(parts, ["b"], tmp_path)["b"].state == NOT_RUN
    run_parts(parts, ["a"], tmp_path)
    outcomes = run_parts(parts, ["b"], tmp_path)
    assert (outcomes["a"].state, outcomes["b"].state) == (FINISHED_PART, FINISHED_PART)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("pass", "ended well and did not write result.txt"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL, most often for want of memory"),
        ("import sys; sys.exit(3)", "ended with exit code 3 and said nothing"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_failure_is_told_in_one_sentence(tmp_path: Path, code: str, said: str) -> None:
    outcome = run_parts([_script(tmp_path, "a", code)], ["a"], tmp_path)["a"]
    assert outcome.state == FAILED
    assert said in outcome.reason
    assert "\n" not in outcome.reason


def test_a_stop_reaches_the_part_once_and_the_parts_end_is_waited_for(tmp_path: Path) -> None:
    stopping = (
        "import pathlib, signal, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "def stop(*_):\n"
        "    time.sleep(0.5); (folder / 'stops').open('a').write('s'); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(folder / 'begun').touch()\n"
        "time.sleep(60)\n"
    )
    runner = (
        "from pathlib import Path\n"
        "from dxa_monai.paper.parts import run_parts\n"
        "from tests.paper.test_parts import _script\n"
        f"run_parts([_script(Path({str(tmp_path)!r}), 'a', {stopping!r})], ['a'], {str(tmp_path)!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", runner], env=os.environ | {"PYTHONPATH": os.getcwd()})
    deadline = time.monotonic() + 60.0
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert (tmp_path / "stops").read_text() == "s"


def test_a_record_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "parts.json").write_text('{"a": {"state": 1}}')
    with pytest.raises(InputError, match=r"parts\.json: expected what became of the paper's parts"):
        run_parts([_writing(tmp_path, "a")], ["a"], tmp_path)
