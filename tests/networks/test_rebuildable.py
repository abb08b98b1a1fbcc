from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dxa_monai.networks.rebuildable import Rebuildable, plain


class _Layers(Rebuildable):
    def __init__(self, widths: Sequence[int], bias: bool = True, norm: str | Mapping[str, Any] = "none") -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(size, size, bias) for size in widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class _Wider(_Layers):
    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__([width] * depth, bias=False)


class _Renamed(_Layers):
    pass


class _HandsOn(_Layers):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def test_arguments_are_kept_by_name_with_defaults_however_they_were_given() -> None:
    expected = {"widths": [3, 3], "bias": True, "norm": "none"}
    for network in (_Layers((3, 3)), _Layers(widths=[3, 3]), _Layers(torch.Size((3, 3)), True)):
        assert network.architecture() == expected
        assert list(network.architecture()) == list(expected)


def test_an_equal_network_is_built_from_json() -> None:
    network = _Layers((3, 3), norm={"groups": (1, 2)})
    again = _Layers(**json.loads(json.dumps(network.architecture())))
    again.load_state_dict(network.state_dict())
    assert again.architecture() == network.architecture()


def test_the_constructor_that_was_called_counts() -> None:
    assert _Wider(4).architecture() == {"width": 4, "depth": 2}
    assert _Renamed([2]).architecture() == _Layers([2]).architecture()
    assert _HandsOn([2], bias=False).architecture() == _Layers([2], bias=False).architecture()


def test_what_is_returned_or_was_given_may_be_changed() -> None:
    norm = {"groups": [1]}
    network = _Layers([2], norm=norm)
    norm["groups"].append(2)
    network.architecture()["norm"]["groups"].append(3)
    assert network.architecture()["norm"] == {"groups": [1]}


def test_copies_pickles_and_wrong_arguments_behave_as_those_of_any_module() -> None:
    network = _Layers([2], norm="layer")
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.architecture() == network.architecture()
        assert torch.equal(twin(torch.ones(1, 2)), network(torch.ones(1, 2)))
    with pytest.raises(TypeError, match=r"_Layers\.__init__\(\) got an unexpected keyword argument 'depth'"):
        _Layers([2], depth=3)  # type: ignore[call-arg]


def test_torchscript_exports_it() -> None:
    network = _Layers([2])
    stored = io.BytesIO()
    torch.jit.save(torch.jit.script(network), stored)
    stored.seek(0)
    assert torch.equal(torch.jit.load(stored)(torch.ones(1, 2)), network(torch.ones(1, 2)))


def test_plain_values_are_those_of_json_and_others_are_refused() -> None:
    value = {"a": (np.int64(3), np.float32(0.5), True, None), "b": np.array([1.5, 2.5])}
    assert plain(value) == {"a": [3, 0.5, True, None], "b": [1.5, 2.5]}
    assert [type(each) for each in plain(value)["a"]] == [int, float, bool, type(None)]
    with pytest.raises(TypeError, match="got object"):
        plain([object()])
