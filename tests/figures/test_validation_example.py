"""The picture of what a network makes of a validation scan, of each kind of network."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import torch

from dxa_monai.figures.validation_example import validation_figure
from dxa_monai.networks.checkpoint import save_network
from tests.bundles.networks import tiny_pseudo_dxa, tiny_regressor, tiny_vae

SCAN = torch.rand(6, 150, 109, generator=torch.Generator().manual_seed(0))


def test_networks_that_make_scans_are_drawn_and_others_are_not(tmp_path: Path) -> None:
    points = torch.rand(7, 256, generator=torch.Generator().manual_seed(1))
    items = {"vae": {"image": SCAN}, "mesh": {"image": points, "label": SCAN}}
    for name, network in (("vae", tiny_vae()), ("mesh", tiny_pseudo_dxa())):
        save_network(network, tmp_path / f"{name}.pt")
        assert validation_figure(tmp_path / f"{name}.pt", items[name], tmp_path / f"{name}.png") is not None
        assert matplotlib.image.imread(tmp_path / f"{name}.png").std() > 0.05
    save_network(tiny_regressor(), tmp_path / "measures.pt")
    item = {"image": SCAN, "label": torch.zeros(3)}
    assert validation_figure(tmp_path / "measures.pt", item, tmp_path / "measures.png") is None
    assert not (tmp_path / "measures.png").exists()
