"""What a command said last."""

from __future__ import annotations

from pathlib import Path

import pytest

from dxa_monai.runs.last_words import last_words


@pytest.mark.parametrize(
    ("said", "last"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n\n", "two"),
        ("error: first\nerror: second\ntrainings: 10 %\rtrainings: 20 %\r", "second"),
        ("scans: 10 %\rscans: 20 %\r", "scans: 20 %"),
    ],
)
def test_an_error_goes_before_the_last_line(said: str, last: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(said)
    assert last_words(tmp_path / "log") == last


def test_what_an_earlier_command_said_does_not_count(tmp_path: Path) -> None:
    before = "error: of an earlier command\n"
    (tmp_path / "log").write_text(before + "well\n")
    assert last_words(tmp_path / "log", len(before)) == "well"


def test_only_the_end_of_a_long_log_is_looked_at_and_bytes_that_are_no_text_are_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"error: long ago\n" + 30_000 * b"x" + b"\n\xffend\n")
    assert last_words(tmp_path / "log") == "\ufffdend"
