import multiprocessing
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from torch import nn

from dxa_monai.networks.global_batch_norm import with_global_batch_norm
from dxa_monai.networks.noise import standard_normal_like
from dxa_monai.networks.point_layers import _LastAxisBatchNorm

PROCESSES = 2


def _network() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=0.3), nn.Tanh(), nn.Flatten(2))
    return nn.Sequential(first, nn.Linear(12, 5), _LastAxisBatchNorm(5, momentum=None))


def _batch() -> torch.Tensor:
    return 3.0 + 2.0 * torch.randn(6, 2, 5, 6, generator=torch.Generator().manual_seed(1))


def _step(network: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of two training steps and of evaluation, summed gradients, statistics."""
    batch = batch.clone().requires_grad_()
    for _ in range(2):
        output = network.train()(batch)
        output.pow(3).sum().backward()
    results = {"output": output.detach(), "input_gradient": batch.grad, "evaluated": network.eval()(batch).detach()}
    results |= {f"gradient {name}": weight.grad for name, weight in network.named_parameters()}
    return results | {name: value.clone() for name, value in network.state_dict().items()}


def _in_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", PROCESSES)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=PROCESSES)
    share = len(_batch()) // PROCESSES
    results = _step(
        with_global_batch_norm(_network(), torch.device("cpu")), _batch()[rank * share : (rank + 1) * share]
    )
    idist.sync()
    torch.manual_seed(7)
    results["noise"] = standard_normal_like(torch.zeros(3, 4))
    results["after"] = torch.randn(2)
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("processes")
    context = multiprocessing.get_context("forkserver")
    started = [context.Process(target=_in_process, args=(rank, str(folder))) for rank in range(PROCESSES)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


def test_parts_of_a_batch_are_normalised_as_the_whole(parts: list[dict[str, torch.Tensor]]) -> None:
    whole = _step(_network(), _batch())
    for name in ("output", "evaluated", "input_gradient"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name], rtol=1e-3, atol=1e-4)
    for name in (name for name in whole if name.startswith("gradient")):
        torch.testing.assert_close(sum(part[name] for part in parts), whole[name], rtol=1e-3, atol=1e-3)


def test_running_statistics_are_those_of_the_whole_and_alike_everywhere(parts: list[dict[str, torch.Tensor]]) -> None:
    whole = _step(_network(), _batch())
    names = [name for name in _network().state_dict() if "running" in name or "tracked" in name]
    assert len(names) == 6
    for name in names:
        assert torch.equal(parts[0][name], parts[1][name])
        torch.testing.assert_close(parts[0][name], whole[name])


def test_scans_get_the_noise_they_would_get_in_one_process(parts: list[dict[str, torch.Tensor]]) -> None:
    torch.manual_seed(7)
    assert torch.equal(torch.cat([part["noise"] for part in parts]), standard_normal_like(torch.zeros(6, 4)))
    after = torch.randn(2)
    assert all(torch.equal(part["after"], after) for part in parts)


def test_names_and_weights_stay_and_one_process_sees_no_difference() -> None:
    network, replaced = _network(), with_global_batch_norm(_network(), torch.device("cpu"))
    assert list(network.state_dict()) == list(replaced.state_dict())
    one, other = _step(network, _batch()), _step(replaced, _batch())
    assert all(torch.equal(one[name], other[name]) for name in one)
