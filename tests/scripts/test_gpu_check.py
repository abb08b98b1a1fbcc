"""The check of a GPU, rehearsed without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dxa_monai.errors import InputError
from scripts.gpu_check import GPUCheck, main


def check(folder: Path, minutes: float = 1.0) -> GPUCheck:
    return GPUCheck("cpu", "small", 12, 2, folder, minutes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_how_to_rehearse(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="expected a GPU that torch can use, got none; --device cpu"):
        main(["--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_step_that_fails_is_told_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> tuple[str, dict[str, float]]:
        raise InputError("broken: expected it to end well, got exit code 3: no memory")

    steps = {"broken": broken, "sound": lambda: ("all is well", {"psnr_db": 30.0})}
    monkeypatch.setattr(GPUCheck, "steps", lambda self: steps)
    with pytest.raises(SystemExit, match=r"error: broken failed\."):
        main(["--device", "cpu", "--output_dir", str(tmp_path)])
    told = capsys.readouterr().out
    assert "FAILED" in told
    assert "got exit code 3: no memory" in told
    record = json.loads((tmp_path / "gpu_check.json").read_text())
    assert [(step["step"], step["well"]) for step in record["steps"]] == [("broken", False), ("sound", True)]
    assert record["steps"][1]["numbers"] == {"psnr_db": 30.0}


def test_commands_that_fail_or_take_too_long_are_ended(tmp_path: Path) -> None:
    soon = check(tmp_path, minutes=0.05)
    with pytest.raises(InputError, match="failing: expected it to end well, got exit code 5: of its own"):
        soon._command("failing", ["-c", "print('of its own'); raise SystemExit(5)"])
    with pytest.raises(InputError, match="long: expected it to end within the time, got no end"):
        soon._command("long", ["-c", "import time; time.sleep(600)"])
    with pytest.raises(InputError, match="late: expected time to be left, got none"):
        soon._command("late", ["-c", "pass"])


def test_ctrl_c_ends_it_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> tuple[str, dict[str, float]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(GPUCheck, "steps", lambda self: {"interrupted": interrupted})
    with pytest.raises(SystemExit) as ended:
        main(["--device", "cpu", "--output_dir", str(tmp_path)])
    assert ended.value.code == 130
    assert "error: interrupted; the same command begins again." in capsys.readouterr().err


@pytest.mark.slow
def test_the_rehearsal_does_all_steps(tmp_path: Path) -> None:
    chosen = {"device": "cpu", "preset": "small", "people": "12", "epochs": "2", "output_dir": str(tmp_path)}
    main([word for name, value in chosen.items() for word in (f"--{name}", value)])
    steps = {step["step"]: step for step in json.loads((tmp_path / "gpu_check.json").read_text())["steps"]}
    assert set(steps) == {"people", "step", "train no_dxa", "train energy_ratio", "resume", "export"}
    assert all(step["well"] for step in steps.values())
    assert "went on to epoch 2" in steps["resume"]["told"]
    assert steps["export"]["numbers"]["exported"] < 1e-5
