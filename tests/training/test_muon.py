from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dxa_monai.training.muon import MatrixMuon


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))


def steps(trained: nn.Module, optimizer: torch.optim.Optimizer, count: int, begin: int = 0) -> None:
    for step in range(begin, begin + count):
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        trained(x).square().mean().backward()
        optimizer.step()


def test_a_matrix_takes_torchs_muon_step_and_a_bias_adams() -> None:
    first, second = network(), network()
    steps(first, MatrixMuon(first.parameters(), lr=0.01), 3)
    linear, rest = [second[4].weight], [second[4].bias, *second[1].parameters(), second[0].bias]
    kernel = nn.Parameter(second[0].weight.data.flatten(1))
    muon = torch.optim.Muon([*linear, kernel], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.Adam(rest, lr=0.01)
    for step in range(3):
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        second.zero_grad()
        second(x).square().mean().backward()
        kernel.grad = second[0].weight.grad.flatten(1)
        muon.step()
        adam.step()
    for name, weight in first.named_parameters():
        torch.testing.assert_close(weight, dict(second.named_parameters())[name])
    assert not torch.equal(first[0].weight, network()[0].weight)


def test_a_resumed_optimizer_goes_on_bit_for_bit() -> None:
    whole, cut, resumed = network(), network(), network()
    steps(whole, MatrixMuon(whole.parameters(), lr=0.01), 5)
    optimizer = MatrixMuon(cut.parameters(), lr=0.01)
    steps(cut, optimizer, 3)
    going_on = MatrixMuon(resumed.parameters(), lr=0.01)
    resumed.load_state_dict(cut.state_dict())
    going_on.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(resumed, going_on, 2, begin=3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_schedule_sets_the_rate_of_all_weights() -> None:
    trained = network()
    optimizer = MatrixMuon(trained.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-9, total_steps=10)
    before = copy.deepcopy(trained.state_dict())
    steps(trained, optimizer, 1)
    schedule.step()
    for name, weight in trained.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name], atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("kind", ["matrices", "vectors"])
def test_weights_of_one_kind_alone_are_trained(kind: str) -> None:
    weight = nn.Parameter(torch.ones(3, 3) if kind == "matrices" else torch.ones(3))
    optimizer = MatrixMuon([weight], lr=0.1)
    weight.square().sum().backward()
    optimizer.step()
    assert (weight < 1.0).any()


def test_what_has_no_gradient_stays() -> None:
    trained = network()
    trained[0].weight.requires_grad_(False)
    before = trained[0].weight.clone()
    steps(trained, MatrixMuon(trained.parameters(), lr=0.1), 2)
    assert torch.equal(trained[0].weight, before)
