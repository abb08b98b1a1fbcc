"""The plan's commands are commands of the bundles."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from dxa_monai.bundling.command_line import settled_value
from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.paper import plan
from dxa_monai.paper.plan import PARTS, PRESETS, PaperPlan


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_part_is_told_what_its_command_knows(preset: str) -> None:
    tracking = {"tracking_uri": "sqlite:///runs/paper/mlflow.db", "experiment": "paper", "parent_run": "abc"}
    parts = PaperPlan(preset, Path("runs/paper"), (0, 1), (1,), 2, tracking=tracking).parts()
    assert tuple(part.name for part in parts) == PARTS
    for part in parts:
        words = part.arguments()
        assert words[:4] == ["-m", "monai.bundle", "run", "--config_file"]
        files = ast.literal_eval(words[4])
        config = ConfigParser()
        config.read_config(files)
        given = dict(zip(words[5::2], words[6::2], strict=True))
        for option, value in given.items():
            name = option.removeprefix("--")
            assert name in config.get(), f"{part.name}: {name}"
            settled_value(name, value, config)
        assert Path(given["--output_dir"]) == part.folder


def test_parts_need_only_earlier_ones_and_count_their_trainings() -> None:
    parts = PaperPlan("small", Path("out"), (0, 1, 2)).parts()
    for place, part in enumerate(parts):
        assert set(part.needs) <= {each.name for each in parts[:place]}
    trainings = {part.name: part.trainings for part in parts}
    assert trainings[plan.RECONSTRUCTION] == 9
    assert trainings[plan.ANTHROPOMETRY] == 4 * 5 * 3


def test_scans_of_ones_own_take_the_place_of_virtual_people() -> None:
    parts = PaperPlan("small", Path("out"), (0,), manifest="a.csv", pairs_manifest="b.csv").parts()
    assert [part.name for part in parts] == list(PARTS[3:])
    assert {part.settings["manifest"] for part in parts} == {"a.csv", "b.csv"}
    assert {need for part in parts for need in part.needs} == {plan.RECONSTRUCTION}


def test_a_digest_is_of_what_results_depend_on() -> None:
    def digest(**of: object) -> str:
        parts = PaperPlan("small", Path("out"), (0,), **of).parts()  # type: ignore[arg-type]
        return next(part.digest() for part in parts if part.name == plan.GENERATION)

    same = digest()
    assert digest(workers=7) == same
    assert digest(tracking={"tracking_uri": "sqlite:///a.db"}) == same
    assert digest(pairs_manifest="b.csv") != same


def test_tables_have_the_seeds_that_are_chosen_for_them() -> None:
    def seeds(*of: tuple[int, ...]) -> dict[str, object]:
        downstream, generation = of
        parts = PaperPlan("small", Path("out"), (0, 1, 2), downstream, generation_seeds=generation).parts()
        return {part.name: part.settings["seeds"] for part in parts if "seeds" in part.settings}

    everything = {plan.RECONSTRUCTION: [0, 1, 2], plan.ABLATION: [0, 1, 2]}
    assert seeds((), ()) == everything | {plan.ANTHROPOMETRY: [0, 1, 2], plan.GENERATION: [0, 1, 2]}
    assert seeds((0, 1), ()) == everything | {plan.ANTHROPOMETRY: [0, 1], plan.GENERATION: [0, 1]}
    assert seeds((), (1,)) == everything | {plan.ANTHROPOMETRY: [0, 1, 2], plan.GENERATION: [1]}


def test_wrong_choices_are_told() -> None:
    with pytest.raises(InputError, match="preset: expected one of small, medium, paper, got 'tiny'"):
        PaperPlan("tiny", Path("out"), (0,))
    with pytest.raises(InputError, match="downstream_seeds: expected some of 0, 1, got 2"):
        PaperPlan("small", Path("out"), (0, 1), (0, 2))
    with pytest.raises(InputError, match="generation_seeds: expected some of 0, got 1"):
        PaperPlan("small", Path("out"), (0, 1), (0,), generation_seeds=(1,))
    with pytest.raises(InputError, match="seeds: expected each once, got 0, 1, 0"):
        PaperPlan("small", Path("out"), (0, 1, 0))
    with pytest.raises(InputError, match="seeds: expected at least one"):
        PaperPlan("small", Path("out"), ())
    with pytest.raises(InputError, match=r"nowhere.*ablation\.json: expected the arms"):
        PaperPlan("small", Path("out"), (0,), bundles_dir=Path("nowhere")).parts()
