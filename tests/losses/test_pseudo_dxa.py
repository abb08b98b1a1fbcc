from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.latent_matching import LatentMatchingLoss
from dxa_monai.losses.pseudo_dxa import PseudoDXALoss
from dxa_monai.losses.vae import DXAVAELoss
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from tests.losses.test_latent_matching import people, vae
from tests.networks.bodies import TINY_POINTNET, TINY_POINTNET2, ellipsoids


def network(kind: str = "pointnet") -> PseudoDXA:
    torch.manual_seed(1)
    arguments = TINY_POINTNET if kind == "pointnet" else TINY_POINTNET2
    made = PseudoDXA.like(vae(), {"kind": kind, **arguments})
    if kind == "pointnet":
        torch.nn.init.normal_(made.encoder.feature_transform.to_matrix.weight, std=0.1)
    return made


def latent() -> LatentMatchingLoss:
    loss = LatentMatchingLoss(vae())
    loss.set_variance([people()])
    return loss


def test_total_is_the_sum_of_weight_times_value() -> None:
    made = network()
    loss = PseudoDXALoss(DXAVAELoss(kl_weight=0.1), latent(), 0.5, made, 0.01)
    output = made(ellipsoids(5))
    total = loss(output, people())
    parts = {
        "latent": (0.5, latent()(output.mu, people())),
        "orthogonality": (0.01, made.orthogonality_penalty()),
    }
    for name, (weight, value) in parts.items():
        assert value > 0
        torch.testing.assert_close(loss.terms[name], value.detach())
        assert float(loss.terms[f"weight_{name}"]) == pytest.approx(weight)
    expected = DXAVAELoss(kl_weight=0.1)(output, people()) + sum(weight * value for weight, value in parts.values())
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(loss.terms["total"], total.detach())
    names = [name.removeprefix("weight_") for name in loss.terms if name.startswith("weight_")]
    torch.testing.assert_close(sum(loss.terms[n] * loss.terms[f"weight_{n}"] for n in names), total.detach())


def test_alone_it_is_the_loss_of_pretraining() -> None:
    pytest.importorskip("pytorch3d")
    made = network("pointnet2")
    output = made(ellipsoids(5))
    loss = PseudoDXALoss(DXAVAELoss(), network=made)
    assert torch.equal(loss(output, people()), DXAVAELoss()(output, people()))
    assert set(loss.terms) == {"pixel_l1", "weight_pixel_l1", "kl", "weight_kl", "total"}


def test_epochs_reach_the_loss_of_pretraining_and_networks_are_no_state() -> None:
    loss = PseudoDXALoss(DXAVAELoss(), latent(), network=network())
    loss.set_epoch(7)
    assert loss.reconstruction.epoch == 7
    own = {f"reconstruction.{name}" for name in loss.reconstruction.state_dict()}
    assert set(loss.state_dict()) == own | {"latent_matching.code_variance"}
    assert list(loss.parameters()) == []


@pytest.mark.parametrize("name", ["latent_weight", "orthogonality_weight"])
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a number from 0, got -1"):
        PseudoDXALoss(DXAVAELoss(), **{name: -1})  # type: ignore[arg-type]
