"""The table of measures, and the tables of others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ignite.engine import Engine, Events

from dxa_monai.errors import InputError
from dxa_monai.handlers.measures_writer import TABLE_NAME, MeasuresWriter


def _run(output_dir: Path, *paths: str) -> None:
    data = [{"image": path, "scan_id": Path(path).stem, "relative": path} for path in paths]
    scans: Any = SimpleNamespace(data=data)
    engine = Engine(lambda engine, batch: None)
    writer = MeasuresWriter(output_dir, ["waist_cm"], scans)
    engine.add_event_handler(Events.STARTED, writer.start)
    engine.add_event_handler(Events.COMPLETED, writer.finish)
    engine.run([0], max_epochs=1)


def test_a_table_is_written_and_written_again(tmp_path: Path) -> None:
    for _ in range(2):
        _run(tmp_path, "a.npy", "b.npy")
    assert (tmp_path / TABLE_NAME).read_text() == "scan_id,scan,waist_cm\n"


def test_a_table_of_somebody_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / TABLE_NAME).write_text("mine")
    with pytest.raises(InputError, match=rf"{TABLE_NAME}: expected no such file, or one that this command made"):
        _run(tmp_path, "a.npy")
    assert (tmp_path / TABLE_NAME).read_text() == "mine"


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.nii: expected a file name of its own for every scan, got that of a\.npy"):
        _run(tmp_path, "a.npy", "a.nii")
    assert not (tmp_path / TABLE_NAME).exists()
