"""A command line as MONAI and Fire read it, and as it was meant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fire
import pytest
import torch
from monai.bundle import ConfigWorkflow, run

from tests.bundles.tiny import refusal

CONFIG: dict[str, Any] = {
    "imports": ["$from dxa_monai.bundling.command import begin_command"],
    "bundle_root": ".",
    "input": "@bundle_root",
    "output_dir": "$@bundle_root + '/runs'",
    "manifest": "$@input + '/manifest.csv'",
    "scanner_model": None,
    "checkpoint": "$'weights'",
    "pictures": True,
    "workers": 1,
    "max_epochs": 3,
    "part": "test",
    "device": "$torch.device('cpu')",
    "measures": None,
    "seeds": [0, 1],
    "patience": 20,
    "arms": {"mine": "runs/mine/best.pt"},
    "mesh": {"unit": "m", "repair": False, "accept": []},
    "pixel_spacing_mm": None,
    "experiment": "test",
    "part_of_ones_own": {"_target_": "monai.transforms.RandFlip", "prob": 0.5, "lazy": False},
    "own": "a text",
    "listener": None,
    "initialize": ["$begin_command(@_meta_)"],
    "run": ["$@listener(@SEEN)"],
}
SEEN = (
    *("bundle_root", "input", "output_dir", "manifest", "scanner_model", "checkpoint", "pictures", "workers"),
    *("max_epochs", "part", "device", "measures", "seeds", "patience", "arms", "mesh", "pixel_spacing_mm"),
    *("experiment", "own"),
)
heard: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def excepthook() -> Iterator[None]:
    before = sys.excepthook
    yield
    sys.excepthook = before


@pytest.fixture
def config(tmp_path: Path) -> Path:
    names = ", ".join(f"'{name}': @{name}" for name in SEEN)
    content = CONFIG | {
        "imports": [*CONFIG["imports"], "$from tests.bundling.test_command_line import heard"],
        "run": ["$heard.append({" + names + ", 'lazy': @part_of_ones_own.lazy})"],
    }
    path = tmp_path / "command.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def command(config: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run ``python -m monai.bundle run --config_file ... WORDS`` in this process; what the config then holds."""

    def run_words(*words: str, first: str = "run") -> dict[str, Any]:
        heard.clear()
        monkeypatch.setattr(sys, "argv", ["monai.bundle", first, "--config_file", str(config), *words])
        fire.Fire({"run": run})
        return heard[0]

    return run_words


Command = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--pictures", "false"], "pictures", False),
        (["--pictures=false"], "pictures", False),
        (["--pictures", "False"], "pictures", False),
        (["--nopictures", "--workers", "2"], "pictures", False),
        (["--pictures"], "pictures", True),
        (["--output_dir", "20241129"], "output_dir", "20241129"),
        (["--output-dir", "007"], "output_dir", "007"),
        (["--output_dir", "1e3"], "output_dir", "1e3"),
        (["--output_dir", "True"], "output_dir", "True"),
        (["--input", "a,b"], "input", "a,b"),
        (["--input", "a#b"], "input", "a#b"),
        (["--input", "/x/a#b#0"], "input", "/x/a#b#0"),
        (["--input", "$HOME/a"], "input", "$HOME/a"),
        (["--input", "@bundle_root"], "input", "@bundle_root"),
        (["--input", "a@b$c%20d ' \" \\ é"], "input", "a@b$c%20d ' \" \\ é"),
        (["--input", "{a}"], "input", "{a}"),
        (["--scanner_model", "None"], "scanner_model", None),
        (["--scanner_model", "$None"], "scanner_model", None),
        (["--scanner_model", "m.json"], "scanner_model", "m.json"),
        (["--patience", "None"], "patience", None),
        (["--workers", "$1 + 1"], "workers", 2),
        (["--workers", "@max_epochs"], "workers", 3),
        (["--measures", "waist_cm"], "measures", ["waist_cm"]),
        (["--measures", "waist_cm,hip_cm"], "measures", ["waist_cm", "hip_cm"]),
        (["--measures", "['waist_cm','hip_cm']"], "measures", ["waist_cm", "hip_cm"]),
        (["--seeds", "3"], "seeds", [3]),
        (["--arms", "{'a': 'x#y.pt'}"], "arms", {"a": "x#y.pt"}),
        (["--device", "cpu"], "device", torch.device("cpu")),
        (["--experiment", "2024"], "experiment", "2024"),
        (["--experiment", "a#b"], "experiment", "a#b"),
        (["--mesh#repair", "false"], "mesh", {"unit": "m", "repair": False, "accept": []}),
        (["--mesh#unit", "None"], "mesh", {"unit": None, "repair": False, "accept": []}),
        (["--mesh::accept", "holes"], "mesh", {"unit": "m", "repair": False, "accept": ["holes"]}),
        (["--part_of_ones_own#lazy", "false"], "lazy", False),
        (["--own", "None"], "own", None),
        (["--own", "5"], "own", 5),
    ],
)
def test_a_value_is_what_was_meant(command: Command, words: list[str], name: str, value: Any) -> None:
    found = command(*words)
    assert found[name] == value
    assert type(found[name]) is type(value)


def test_what_follows_from_an_option_follows(command: Command) -> None:
    found = command("--bundle_root", "a#b")
    assert (found["output_dir"], found["input"], found["manifest"]) == ("a#b/runs", "a#b", "a#b/manifest.csv")
    assert command()["output_dir"] == "./runs"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pictues", "False"], "pictues: expected a setting of {config}, got a name that is not there; did you mean"),
        (["--outptu_dir", "x"], "did you mean output_dir?"),
        (["--mesh#untis", "cm"], "mesh#untis: expected a setting of {config}, got a name that is not there"),
        (["--part_of_ones_own#porb", "1"], "part_of_ones_own#porb: expected an argument of monai.transforms.RandFlip"),
        (["--part_of_ones_own#prob", "much"], "part_of_ones_own#prob: expected a number or None, got 'much'."),
        (["--part_of_ones_own#lazy", "maybe"], "part_of_ones_own#lazy: expected true or false or None, got 'maybe'."),
        (["--pictures", "maybe"], "pictures: expected true or false, got 'maybe'."),
        (["--workers", "two"], "workers: expected a whole number of at least 0 or None, got 'two'."),
        (["--max_epochs", "0"], "max_epochs: expected a whole number of at least 1, got '0'."),
        (["--part", "val"], "part: expected one of train, validation, test, got 'val'."),
        (["--device", "gpu"], "device: expected a device of this machine"),
        (["--arms", "dxa,no_dxa"], "arms: expected each arm's name with what makes it, written as"),
        (["--pixel_spacing_mm", "13"], "pixel_spacing_mm: expected a list of 2, each a number of at least 1e-06"),
        (["--output_dir"], None),
        (["--output_dir", "None"], "output_dir: expected the path of a folder, got 'None'."),
        (["--output_dir", ""], "output_dir: expected the path of a folder, got ''."),
        (["--checkpoint", "None"], "checkpoint: expected the path of a network, got 'None'."),
        (["--workers", "1", "--pictures", "True", "--workers", "2"], "workers: expected it once, got it 2 times."),
        (["--workers", "$nobody"], "workers: expected a whole number of at least 0, got '$nobody', which MONAI cannot"),
        (["--workers", "$'two'"], "workers: expected a whole number of at least 0 or None, got 'two'."),
        (
            ["--input", "my", "scans"],
            "run_id: expected an id of {config}, got 'scans'; a value with blanks needs quotes",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_runs(
    command: Command, config: Path, words: list[str], sentence: str | None
) -> None:
    if sentence is None:  # an option without a value is a flag to Fire, and its text is a name like any other
        assert command(*words)["output_dir"] == "True"
        return
    assert sentence.format(config=config) in refusal(lambda: command(*words))
    assert heard == []


def test_a_python_call_is_checked_as_a_command_line_is(config: Path) -> None:
    heard.clear()
    run(config_file=str(config), pictures="false", input="a#b", patience=None, workers=2)
    assert [heard[0][name] for name in ("pictures", "input", "patience", "workers")] == [False, "a#b", None, 2]
    for name, value in {"pictures": "maybe", "output_dir": 20241129, "pictues": True, "max_epochs": 0.5}.items():
        assert f"{name}: expected" in refusal(
            lambda name=name, value=value: run(config_file=str(config), **{name: value})
        )


def test_values_of_an_overlay_and_of_an_args_file_are_checked_too(config: Path, tmp_path: Path) -> None:
    overlay, arguments = tmp_path / "overlay.json", tmp_path / "arguments.json"
    overlay.write_text(json.dumps({"pictures": "false", "input": "a#b", "device": "cpu"}))
    heard.clear()
    run(config_file=[str(config), str(overlay)])
    assert (heard[0]["pictures"], heard[0]["input"], heard[0]["device"]) == (False, "a#b", torch.device("cpu"))
    overlay.write_text(json.dumps({"max_epochs": "many"}))
    assert "max_epochs: expected" in refusal(lambda: run(config_file=[str(config), str(overlay)]))
    arguments.write_text(json.dumps({"config_file": str(config), "pictues": True}))
    assert "pictues: expected a setting of" in refusal(lambda: run(args_file=str(arguments)))


def test_a_component_that_is_replaced_has_the_arguments_of_the_new_one(command: Command) -> None:
    given = ["--part_of_ones_own#_target_", "monai.transforms.RandRotate90", "--part_of_ones_own#max_k", "2"]
    assert command(*given)["lazy"] is False
    assert "part_of_ones_own#max_k: expected an argument of" in refusal(lambda: command(*given[2:]))


def test_a_workflow_of_ones_own_is_left_alone(config: Path) -> None:
    workflow = ConfigWorkflow(str(config), workflow_type=None, pictures="false")
    workflow.initialize()
    assert workflow.parser.get_parsed_content("pictures") == "false"


def test_options_are_explained(command: Command, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command("--explain")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"Options of {config}:" in printed
    assert (
        "  --part\n      part of the split that is evaluated\n      one of train, validation, test; default: "
        in printed
    )
    assert 'the path of a folder; default: "./runs"' in printed
    assert "scanner_model\n      the calibrated scanner; None: calibrated from scans" in printed
    assert "part_of_ones_own" in printed
    assert heard == []
