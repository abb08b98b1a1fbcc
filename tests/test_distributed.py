import ignite.distributed as idist
import pytest
import torch

from dxa_monai.distributed import join_processes, mean_over_processes, share_of_process
from dxa_monai.errors import InputError


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_each_item_is_in_one_share(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idist, "get_world_size", lambda: processes)
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        shares.append(share_of_process(range(5)))
    assert sorted(item for share in shares for item in share) == list(range(5))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_of_one_process_the_mean_is_the_value_without_gradient() -> None:
    value = torch.ones(3, requires_grad=True)
    assert torch.equal(mean_over_processes(value), torch.ones(3))
    assert not mean_over_processes(value).requires_grad


def test_a_process_that_torchrun_did_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(InputError, match="expected a process started by torchrun, got one without LOCAL_RANK"):
        join_processes()
