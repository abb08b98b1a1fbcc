"""The list shows what MONAI would run, and reading it runs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from monai.bundle.config_parser import ConfigParser

from dxa_monai.bundling.listing import calls_and_expressions, main, other_files
from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError

TRAIN = REPOSITORY / "bundles" / "dxa_vae" / "configs"


def _listed(folder: Path, *configs: Any) -> list[tuple[str, str]]:
    files = [folder / f"{number}.json" for number in range(len(configs))]
    for path, config in zip(files, configs, strict=True):
        path.write_text(json.dumps(config))
    return list(calls_and_expressions(files))


def test_what_monai_adds_from_the_metadata_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config that looks at ``_meta_`` evaluates whatever stands there."""
    (tmp_path / "metadata.json").write_text(json.dumps({"version": "$evil()", "x": {"_target_": "os.system"}}))
    listed = dict(_listed(tmp_path, {"initialize": ["$len(@_meta_)"]}))
    assert listed["_meta_::version"] == "evaluates 'evil()'"
    assert listed["_meta_::x"] == "calls os.system with {}"
    main([str(tmp_path), "0.json"])
    assert "  metadata.json" not in capsys.readouterr().out
    (tmp_path / "metadata.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"0\.json: expected configs that MONAI can read"):
        _listed(tmp_path, {})


def test_everything_of_a_config_that_monai_would_call_or_evaluate_is_listed() -> None:
    files = [TRAIN / "train.json", TRAIN / "preset_small.json"]
    listed = dict(calls_and_expressions(files))
    parser = ConfigParser()
    parser.read_config([str(path) for path in files])
    parser.parse()
    active = {name for name, item in parser.ref_resolver.items.items() if type(item).__name__ != "ConfigItem"}
    assert set(listed) == active
    assert listed["network_def"].startswith("calls dxa_monai.networks.vae.DXAVAE with {")
    assert listed["initialize::0"].startswith("evaluates ")


# Each went past a check of names once: what is listed has to be the text that runs.
DISGUISED: dict[str, tuple[list[Any], str, str]] = {
    "call": ([{"x": {"_target_": "os.system", "command": "ls"}}], "x", 'calls os.system with {"command": "ls"}'),
    "name without module": ([{"x": {"_target_": "UNet"}}], "x", "calls monai."),
    "target by expression": ([{"x": {"_target_": "$'os.system'"}}], "x::_target_", "evaluates \"'os.system'\""),
    "import": ([{"x": "$import os"}], "x", "evaluates 'import os'"),
    "separator": ([{"a": {"b": 1}, "x": "$@a#b"}], "x", "evaluates '@a::b'"),
    "id with a separator": ([{"a": {"b": 1}}, {"a::b": "$exit()"}], "a::b", "evaluates 'exit()'"),
    "name of a comprehension": ([{"x": "$[open for open in (1,)]"}], "x", "evaluates '[open for open in (1,)]'"),
    "overlay": ([{"x": "$1"}, {"x": "$2"}], "x", "evaluates '2'"),
    "overlay that adds": ([{"x": ["$1"]}, {"+x": ["$2"]}], "x::1", "evaluates '2'"),
    "text of another entry": ([{"a": "$1", "x": "%a"}], "x", "text taken from '%a'"),
    "debugger": ([{"x": {"_target_": "a.b", "_mode_": "debug"}}], "x", "calls a.b (_mode_ 'debug') with {}"),
    "not called": ([{"x": {"_target_": "a.b", "_disabled_": True}}], "x", "calls a.b (_disabled_) with {}"),
    "deep": ([{"x": [[[{"y": "$1"}]]]}], "x::0::0::0::y", "evaluates '1'"),
}


@pytest.mark.filterwarnings("ignore:there are more than 1 component")
@pytest.mark.parametrize("name", DISGUISED)
def test_the_text_listed_is_the_text_that_would_run(name: str, tmp_path: Path) -> None:
    configs, entry, text = DISGUISED[name]
    listed = _listed(tmp_path, *configs)
    assert any(each == entry and told.startswith(text) for each, told in listed), listed


def test_what_another_file_gives_is_listed_too(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"y": "$exit()"}')
    listed = _listed(tmp_path, {"x": f"%{tmp_path}/other.json#y"})
    assert listed[-1] == ("x", "evaluates 'exit()'")


def test_nothing_runs_while_it_is_listed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    run = f"open({str(mark)!r}, 'w')"
    (tmp_path / "configs").mkdir()
    config = {"initialize": [f"${run}"], "x": {"_target_": "os.mkdir", "path": str(mark)}, "y": "$import mark"}
    (tmp_path / "configs" / "train.json").write_text(json.dumps(config))
    (tmp_path / "configs" / "logging.conf").write_text("[loggers]\nkeys=root\n")
    (tmp_path / "mark.py").write_text(run)
    command = [sys.executable, "-m", "dxa_monai.bundling.listing", str(tmp_path), "configs/train.json"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not mark.exists()
    assert "it does not judge it" in result.stdout
    assert "initialize::0: evaluates " in result.stdout
    assert str(mark) in result.stdout
    assert "logging.conf': parts of it are evaluated as Python" in result.stdout
    assert result.stdout.rstrip().endswith("configs/logging.conf\n  mark.py")


def test_other_files_of_the_folder_are_named_hidden_ones_and_links_too(tmp_path: Path) -> None:
    for name in ("a.json", ".pdbrc", "x.dist-info/entry_points.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "data").symlink_to("/etc")
    expected = [".pdbrc", "data (link)", "x.dist-info/entry_points.txt"]
    assert other_files(tmp_path, [tmp_path / "a.json"]) == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 100_000, "expected configs that MONAI can read"),
        ("null", "expected configs that MONAI can read"),
        ('{"x": "%gone.json"}', "expected a config, got no file"),
        ("\x00", "expected configs that MONAI can read"),
    ],
    ids=["deep", "null", "missing", "NUL"],
)
def test_configs_that_cannot_be_read_are_told(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=told):
        list(calls_and_expressions([tmp_path / "a.json"]))
    with pytest.raises(SystemExit, match="error: "):
        main([str(tmp_path), "a.json"])


def test_yaml_that_stands_for_more_than_can_be_listed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    with pytest.raises(InputError, match="expected YAML without aliases"):
        list(calls_and_expressions([tmp_path / "a.yaml"]))
