"""A network of landmarks: belief, points, mirror images, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dxa_monai.analysis.landmarks import LANDMARK_NAMES
from dxa_monai.errors import InputError
from dxa_monai.losses.landmarks import LandmarkLoss
from dxa_monai.networks.checkpoint import (
    compact_checkpoint,
    load_landmark_network,
    load_network,
    load_vae,
    save_network,
)
from dxa_monai.networks.landmark_net import LandmarkNetwork, locate, log_beliefs, other_side, target_beliefs

TINY = (2, 2, 2, 2, 2, 2)
SHAPE = (32, 16)


def points() -> torch.Tensor:
    return torch.tensor([[[10.3, 5.6], [20.0, 8.25], [torch.nan, torch.nan]]])


def logits_of(target: torch.Tensor) -> torch.Tensor:
    """Logits whose beliefs are the target."""
    log_target = target.clamp_min(1e-12).log()
    return (log_target[..., :-1] - log_target[..., -1:]).unflatten(-1, SHAPE)


def test_points_are_finer_than_cells_and_what_is_not_there_is_told() -> None:
    target = target_beliefs(points(), SHAPE, 1.0)
    assert target.sum(dim=-1) == pytest.approx(1.0)
    found = locate(logits_of(target))
    assert torch.allclose(found.cells[0, :2], points()[0, :2], atol=0.01)
    assert found.presence[0, :2].min() > 0.95
    assert found.presence[0, 2] < 0.01


def test_the_loss_is_0_for_the_bell_itself_and_more_for_everything_else() -> None:
    loss, target = LandmarkLoss(1.0), target_beliefs(points(), SHAPE, 1.0)
    assert loss(logits_of(target), points()).item() == pytest.approx(0.0, abs=1e-5)
    for other in (torch.zeros(1, 3, *SHAPE), logits_of(target).roll(1, dims=-1), logits_of(target).roll(1, dims=1)):
        assert loss(other, points()).item() > 0.1
    logits = torch.zeros(1, 3, *SHAPE, requires_grad=True)
    loss(logits, points()).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_beliefs_are_a_probability_and_shared_with_nowhere() -> None:
    beliefs = log_beliefs(torch.zeros(2, 3, *SHAPE)).exp()
    assert beliefs.shape == (2, 3, SHAPE[0] * SHAPE[1] + 1)
    assert beliefs == pytest.approx(1.0 / (SHAPE[0] * SHAPE[1] + 1))


def test_a_mirrored_scan_has_mirrored_landmarks() -> None:
    torch.manual_seed(0)
    network = LandmarkNetwork(features=TINY).eval()
    cells = torch.rand(1, 3, *SHAPE)
    with torch.no_grad():
        logits, mirrored = network(cells), network(cells.flip(-1))
    assert torch.allclose(mirrored, logits[:, network.mirror].flip(-1), atol=1e-5)
    assert other_side("left_hip") == "right_hip"
    assert other_side("crotch") == "crotch"


def test_a_file_is_enough_to_build_it_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LandmarkNetwork(features=TINY).eval()
    save_network(network, tmp_path / "a.pt")
    compact_checkpoint(tmp_path / "a.pt", tmp_path / "b.pt")
    cells = torch.rand(1, 3, *SHAPE)
    for name, tolerance in (("a.pt", 0.0), ("b.pt", 0.02)):
        for again in (load_landmark_network(tmp_path / name), load_network(tmp_path / name)):
            assert isinstance(again, LandmarkNetwork)
            with torch.no_grad():
                assert torch.allclose(again(cells), network(cells), atol=tolerance)
    with pytest.raises(InputError, match="expected"):
        load_vae(tmp_path / "a.pt")


def test_what_cannot_be_a_network_of_landmarks_is_told() -> None:
    with pytest.raises(InputError, match=r"^features: expected 6 numbers of channels from 1, got \(2, 2\)\.$"):
        LandmarkNetwork(features=(2, 2))
    with pytest.raises(InputError, match=r"^landmarks: expected names of both sides, got left_hip alone\.$"):
        LandmarkNetwork(["left_hip"], TINY)
    with pytest.raises(ValueError, match="multiples"):
        LandmarkNetwork(LANDMARK_NAMES, TINY)(torch.zeros(1, 3, 30, 16))
