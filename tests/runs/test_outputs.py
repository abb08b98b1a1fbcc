"""Files of a command's own, and those of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.runs.outputs import NOTE_NAME, claim_outputs, read_note, write_note


def test_what_was_claimed_can_be_claimed_and_written_again(tmp_path: Path) -> None:
    folder = claim_outputs(tmp_path / "new", ["a.csv", "below/b.json"])
    (folder / "a.csv").write_text("made")
    before = (folder / NOTE_NAME).stat().st_mtime_ns
    assert claim_outputs(folder, ["a.csv"]) == folder
    assert (folder / NOTE_NAME).stat().st_mtime_ns == before
    claim_outputs(folder, ["c.csv"])
    assert read_note(folder)["made"] == ["a.csv", "below/b.json", "c.csv"]


@pytest.mark.parametrize("name", ["a.csv", "below/b.json", "link", "folder"])
def test_a_file_of_somebody_else_is_not_claimed_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "below" / "b.json").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"^{tmp_path / name}: expected no such file, or one that this command made"):
        claim_outputs(tmp_path, ["new.csv", name])
    assert not (tmp_path / NOTE_NAME).exists()
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_two_outputs_of_one_name_are_refused_and_so_is_a_reserved_name(tmp_path: Path) -> None:
    for names, reserved in ((["a", "b", "a"], []), (["a", "b"], ["a"])):
        with pytest.raises(InputError, match=rf"^{tmp_path}/out/a: expected a file of its own for every output"):
            claim_outputs(tmp_path / "out", names, reserved)
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_text_or_too_long_for_a_file(tmp_path: Path) -> None:
    odd = b"caf\xe9.json".decode("utf-8", "surrogateescape")
    claim_outputs(tmp_path, [odd, "x" * 300, "new\nline"])
    (tmp_path / odd).write_text("made")
    claim_outputs(tmp_path, [odd])


@pytest.mark.parametrize("content", ["", "[]", "{", '{"made": 1}', '{"made": [{}]}', "[" * 100_000, "\x00"])
def test_a_damaged_note_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / NOTE_NAME).write_text(content)
    with pytest.raises(InputError, match=f"{NOTE_NAME}: expected what commands have made in this folder"):
        claim_outputs(tmp_path, ["a"])


def test_a_note_keeps_its_other_entries(tmp_path: Path) -> None:
    write_note(tmp_path, scanner={"A": "1"})
    claim_outputs(tmp_path, ["a"])
    assert read_note(tmp_path) == {"scanner": {"A": "1"}, "made": ["a"]}
