"""How often pixels count so that arms, legs and the rest weigh alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.analysis.analysed_scan import AnalysedScan
from dxa_monai.errors import InputError
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.regions import Region
from dxa_monai.scan.source import ScanSource
from dxa_monai.training.region_weights import region_weights

SOURCE, SCANNER = ScanSource(), ScannerModel()
ARMS, LEGS = (Region.LEFT_ARM, Region.RIGHT_ARM), (Region.LEFT_LEG, Region.RIGHT_LEG)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("people")
    for index in range(2):
        np.save(folder / f"{index}.npy", Simulator().simulate_person(index, 11).visits[0].counts)
    return [{"scan": str(path)} for path in sorted(folder.glob("*.npy"))]


@pytest.fixture(scope="module")
def region_map(rows: list[dict[str, str]]) -> torch.Tensor:
    found = AnalysedScan(SOURCE.image(rows[0]["scan"])[None], SCANNER).region_map
    assert found is not None
    return torch.from_numpy(found)


def test_each_region_of_a_body_weighs_as_much_as_another(rows: list[dict[str, str]], region_map: torch.Tensor) -> None:
    weights = region_weights(rows[:1], SOURCE, SCANNER)
    assert weights.equal(weights.flip(-1))
    inside = region_map > 0
    arms, legs = (torch.isin(region_map, torch.tensor(codes)) for codes in (ARMS, LEGS))
    parts = [float(weights[part].sum()) for part in (arms, legs, inside & ~arms & ~legs)]
    # the body is not quite the same on both sides, and where regions meet weights are blurred
    assert parts == pytest.approx([float(inside.sum()) / 3.0] * 3, rel=0.15)
    assert float(weights[inside].mean()) == pytest.approx(1.0, abs=0.05)
    assert float(weights[arms].mean()) > 1.3 * float(weights[legs].mean())
    torch.testing.assert_close(weights[:2], torch.ones(2, weights.shape[1]), atol=1e-3, rtol=0.0)


def test_weights_of_several_people_lie_between_theirs(rows: list[dict[str, str]]) -> None:
    single = torch.stack([region_weights([row], SOURCE, SCANNER) for row in rows])
    both = region_weights(rows, SOURCE, SCANNER)
    low, high = single.amin(dim=0), single.amax(dim=0)
    assert float(((both < low - 0.1) | (both > high + 0.1)).float().mean()) < 0.01
    assert not torch.allclose(both, single[0], atol=0.05)


def test_scans_without_a_body_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "air.npy", np.full((150, 109, 6), 300, np.uint16))
    with pytest.raises(InputError, match="contrast_by_region: expected training scans that show a whole body"):
        region_weights([{"scan": str(tmp_path / "air.npy")}], SOURCE, SCANNER)
