"""Networks that were trained on scans of another background are told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.calibration import air_level
from dxa_monai.runs.another_background import open_air_counts, tell_another_background
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.source import ScanSource
from tests.lying_bodies import scanned
from tests.scan.test_duplicates import person


def test_a_network_of_another_background_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans = [str(tmp_path / f"{number}.npy") for number in range(3)]
    for number, path in enumerate(scans):
        save_scan(RawScan(person(number)), path)
    scan = ScanSource().image(scans[0])
    for name, mean_image in {"same": scan, "another": scan + 0.1, "ideal": scan - air_level(scan[None])[0]}.items():
        path = tmp_path / f"{name}.pt"
        torch.save({"architecture": {}, "state": {"mean_image": mean_image}, "extra": {}}, path)
        caplog.clear()
        tell_another_background(scans, [path], ScanSource())
        assert bool(caplog.records) == (name != "same")
    assert "what it makes of them is wrong" in caplog.text


@pytest.mark.parametrize(
    ("changes", "told"), [({}, False), ({"kvp_low": 120.0}, True), ({"pedestal_counts": 200.0}, True)]
)
def test_a_network_of_another_scanner_is_told(
    changes: dict[str, float], told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The wheel's segments lie in the open air: they tell of another beam as the zero tells of other electronics."""
    same = Acquisition.ideal()
    trained, other = (scanned(each)[0] for each in (same, dataclasses.replace(same, **changes)))
    save_scan(RawScan((other * 16383).round().movedim(0, -1).numpy().astype(np.uint16)), tmp_path / "scan.npy")
    path = tmp_path / "network.pt"
    torch.save({"architecture": {}, "state": {"mean_image": trained}, "extra": {}}, path)
    tell_another_background([str(tmp_path / "scan.npy")], [path], ScanSource())
    assert ["Train it on scans of this scanner" in record.getMessage() for record in caplog.records] == [True] * told


@pytest.mark.parametrize("shape", [(3, 150, 109), (6, 0, 0), (6,), (2, 6, 4, 4)])
def test_a_mean_scan_of_another_kind_is_left_to_whoever_loads_it(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save({"architecture": {}, "state": {"mean_image": torch.zeros(shape)}, "extra": {}}, path)
    tell_another_background([str(tmp_path / "none.npy")], [path], ScanSource())


def test_what_a_run_says_of_its_scans_counts_more_than_a_pretrained_mean_scan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "scan.npy")
    save_scan(RawScan(person(0)), path)
    scan = ScanSource().image(path)
    for mean_image, trained, told in ((scan, scan + 0.1, 1), (scan + 0.1, scan, 0)):
        torch.save({"architecture": {}, "state": {"mean_image": mean_image}, "extra": {}}, tmp_path / "best.pt")
        (tmp_path / "run.json").write_text(json.dumps({"open_air_counts": open_air_counts(trained).tolist()}))
        caplog.clear()
        tell_another_background([path], [tmp_path / "best.pt"], ScanSource())
        assert len(caplog.records) == told
    for odd in ([1.0], ["a"] * 6, "many"):
        (tmp_path / "run.json").write_text(json.dumps({"open_air_counts": odd}))
        with pytest.raises(InputError, match=r"run\.json: expected"):
            tell_another_background([path], [tmp_path / "best.pt"], ScanSource())


@pytest.mark.parametrize("content", [{"weight": torch.zeros(2)}, {"state": [1]}, [1, 2], torch.zeros(2)])
def test_weights_of_something_else_are_left_to_whoever_loads_them(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "model.pt")
    tell_another_background([str(tmp_path / "none.npy")], [tmp_path / "model.pt"], ScanSource())
