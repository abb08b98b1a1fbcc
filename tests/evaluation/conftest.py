"""People that several tests of evaluations share."""

from __future__ import annotations

from typing import Any

import pytest

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
    )
    network.set_normalisation(ScanSource().image(people[0]["scan"]), 0.05)
    return network.eval()
