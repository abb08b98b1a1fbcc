"""People that several tests of evaluations share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dxa_monai.analysis.analysed_scan import AnalysedScan
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.scan.source import ScanSource
from tests.bodies import simulated_people


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Manifest rows of seven virtual people with meshes. Do not write there."""
    return simulated_people(tmp_path_factory.mktemp("people"), 7)


@pytest.fixture(scope="session")
def first_scan_of_everybody(people: list[dict[str, Any]]) -> PseudoDXA:
    """A network that makes the first person's scan of everybody (its last layer is zero)."""
    return _network(people[0])


@pytest.fixture(scope="session")
def first_maps_of_everybody(people: list[dict[str, Any]]) -> PseudoDXA:
    """The same with maps, which hold what the first person's scan does."""
    network = _network(people[0], linear_channels=1, shape_components=2, material_components=1)
    path = network.material_path
    assert path is not None
    scan = AnalysedScan(ScanSource().image(people[0]["scan"])[None], scanner_of_rows(people, ScanSource()))
    sums = scan.sums()
    assert sums is not None
    path.mean.copy_(torch.from_numpy(scan.areal_density_g_cm2))
    path.held.bias.copy_(torch.from_numpy(sums).flatten())
    return network


def _network(person: dict[str, Any], **changes: Any) -> PseudoDXA:
    network = PseudoDXA(
        {
            "kind": "pointnet2",
            "levels": [{"centres": 8, "radii_m": [0.5], "neighbours": [4], "channels": [[4]]}],
            "global_channels": [4],
            "head_channels": [],
        },
        latent_channels=1,
        generator_channels=(2, 2, 2),
        generator_kernel_sizes=(1,),
        generator_dense_shape=(38, 28),
        **changes,
    )
    network.set_normalisation(ScanSource().image(person["scan"]), 0.05)
    return network.eval()
