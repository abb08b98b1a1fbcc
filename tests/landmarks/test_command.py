"""``python -m dxa_monai.landmarks`` as a person calls it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dxa_monai.landmarks.__main__ import main
from dxa_monai.landmarks.server import LandmarkServer


def test_the_address_is_the_first_line_and_ctrl_c_ends_it_quietly(run: Path) -> None:
    command = [sys.executable, "-m", "dxa_monai.landmarks", str(run)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as running:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
        with urllib.request.urlopen(address) as answer:
            assert b"Landmarks by hand" in answer.read()
        assert running.stdout.readline() == f"Landmarks of {run}; Ctrl-C ends this.\n"
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=30)
    assert (running.returncode, rest, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "error: FOLDER: expected the output folder of the body-composition inference, got none."),
        (
            ["{run}", "--prot", "1"],
            "error: --prot: expected FOLDER, --port, --open, --explain, got another word; did you",
        ),
        (["{run}", "--por=1"], "error: --por=1: expected FOLDER"),
        (["{run}", "other"], "error: other: expected FOLDER"),
        (["{run}", "--port", "x"], "error: --port: expected a number from 0 to 65535, got 'x'"),
        (["{run}", "--port", "65536"], "error: --port: expected a number from 0 to 65535, got '65536'"),
        (["{run}", "--port"], "error: --port: expected one argument"),
        (["nowhere"], "error: nowhere: expected the output folder of bundles/dxa_body_composition/"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], words: str, run: Path) -> None:
    with pytest.raises(SystemExit) as told:
        main([each.format(run=run) for each in arguments])
    assert str(told.value).startswith(words)
    assert "\n" not in str(told.value)


def test_a_taken_port_is_one_sentence(server: LandmarkServer, run: Path) -> None:
    with pytest.raises(SystemExit, match=f"error: --port {server.server_port}: expected a free port"):
        main([str(run), "--port", str(server.server_port)])


@pytest.mark.parametrize("option", ["--explain", "--help"])
def test_options_are_told(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "--port" in told
    assert "--landmarks FOLDER/landmarks" in told
