"""Weights on disk: written whole, and loaded completely or refused."""

from __future__ import annotations

import io
import json
from inspect import signature
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol, TypeVar, cast, get_args

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.input_files import open_input
from dxa_monai.networks.compact_components import compact_components, restore_components
from dxa_monai.networks.landmark_net import LandmarkNetwork
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.tensor_checks import (
    built_of_shapes,
    refuse_inflated,
    refuse_long_pickles,
    refuse_odd_numbers,
    refuse_odd_tensors,
)
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.format import CHANNELS

CHECKPOINT_KEYS = {"architecture", "state", "extra"}
"""What a file by :func:`save_network` holds."""
Network = DXAVAE | AnthropometryRegressor | PseudoDXA | LandmarkNetwork
"""What can be saved."""
_NAMED_TENSORS = 3
_Network = TypeVar("_Network", bound=nn.Module)


class SavableNetwork(Protocol):
    """A network that can say how it was built."""

    def architecture(self) -> dict[str, Any]:
        """The constructor's arguments as plain types."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Named weights and buffers."""


def save_network(network: SavableNetwork, path: str | Path, **extra: Any) -> None:
    """Write ``network``'s architecture and weights, and ``extra``, to ``path``; a crash leaves the old file or the new.

    Args:
        network: for example a :class:`DXAVAE`. With a wrapper (``DistributedDataParallel``), pass its ``module``.
        path: file to write, in an existing folder.
        extra: what else to keep (epoch, metric, seed): anything that JSON can hold.

    Raises:
        TypeError: ``extra`` holds something that JSON cannot.
    """
    content = {
        "architecture": network.architecture(),
        "state": {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()},
        "extra": json.loads(json.dumps(extra)),
    }
    with atomic_path(path) as temporary:
        write_tensors(content, temporary)


def write_tensors(content: Any, path: str | Path) -> None:
    """``torch.save`` that leaves writing to Python, which says plainly when a disk is full; torch may end the process.

    The bytes are held in memory once more.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with open(path, "wb") as file:
        file.write(buffer.getbuffer())


def compact_checkpoint(source: str | Path, path: str | Path) -> None:
    """Copy a file by :func:`save_network` with fewer bits: half as large, a quarter where components are most of it.

    Weights of convolutions and linear layers are rounded to 11 bits, principal components to bytes
    (:mod:`dxa_monai.networks.compact_components`). Everything else (biases, normalisation, the mean image, statistics
    of targets, the bumps of a read-out, in which large weights cancel) is small, or a measurement, and is kept; centres
    of bumps, which are fitted in half precision (:mod:`dxa_monai.training.kernel_fit`), lose nothing by it. What loads
    the file gets single precision again.

    Args:
        source: checkpoint to read.
        path: file to write, in an existing folder.

    Raises:
        InputError: ``source`` is not a checkpoint of this project, or a weight is too large for half precision.
    """
    content = _read(source, "cpu")
    compact_components(content["state"])
    for name, tensor in list(content["state"].items()):
        if name.endswith("centres") and torch.equal(tensor.half().float(), tensor):
            content["state"][name] = tensor.half()
        if name.endswith("weight") and tensor.ndim > 1 and tensor.dtype == torch.float32:
            content["state"][name] = tensor.half()
            if not bool(torch.isfinite(content["state"][name]).all()):
                raise InputError(f"{source}: expected weights that half precision can hold, got others in {name}.")
    with atomic_path(path) as temporary:
        write_tensors(content, temporary)


def load_vae(path: str | Path, map_location: str | torch.device = "cpu") -> DXAVAE:
    """The :class:`DXAVAE` of a file by :func:`save_network`, built as the file says, in evaluation mode.

    Raises:
        InputError: no such file, not a checkpoint of this project, or not one of a DXAVAE.
    """
    return _built_as_the_file_says(DXAVAE, path, map_location)


def load_regressor(path: str | Path, map_location: str | torch.device = "cpu") -> AnthropometryRegressor:
    """The :class:`AnthropometryRegressor` of a file by :func:`save_network`, as :func:`load_vae` does it.

    Raises:
        InputError: no such file, not a checkpoint of this project, or not one of an AnthropometryRegressor.
    """
    return _built_as_the_file_says(AnthropometryRegressor, path, map_location)


def load_pseudo_dxa(path: str | Path, map_location: str | torch.device = "cpu") -> PseudoDXA:
    """The :class:`PseudoDXA` of a file by :func:`save_network`, as :func:`load_vae` does it.

    Raises:
        InputError: no such file, not a checkpoint of this project, or not one of a PseudoDXA.
    """
    return _built_as_the_file_says(PseudoDXA, path, map_location)


def load_landmark_network(path: str | Path, map_location: str | torch.device = "cpu") -> LandmarkNetwork:
    """The :class:`LandmarkNetwork` of a file by :func:`save_network`, as :func:`load_vae` does it.

    Raises:
        InputError: no such file, not a checkpoint of this project, or not one of a LandmarkNetwork.
    """
    return _built_as_the_file_says(LandmarkNetwork, path, map_location)


def load_network(path: str | Path, map_location: str | torch.device = "cpu") -> Network:
    """The network of a file by :func:`save_network`, of the kind whose architecture it holds, as :func:`load_vae` does.

    Raises:
        InputError: no such file, or not a checkpoint of this project.
    """
    content = _read(path, map_location)
    told = set(content["architecture"])
    for kind in get_args(Network):
        if told <= set(signature(kind).parameters):
            return cast(Network, _built(kind, content, path, map_location))
    kinds = ", ".join(kind.__name__ for kind in get_args(Network))
    raise InputError(f"{path}: expected the architecture of one of {kinds}, got one with {_first(sorted(told))}.")


def load_tensors(path: str | Path, map_location: str | torch.device = "cpu", content: bytes | None = None) -> Any:
    """What ``torch.save`` wrote to ``path``, refused if it holds more than tensors and plain types.

    Args:
        path: of the file.
        map_location: of the tensors.
        content: the file's bytes, where they have been read; None: they are read.

    Raises:
        InputError: no such file, a truncated or compressed one, or one that torch cannot read without running code.
    """
    try:
        expected = "a file of network weights"
        with open_input(path, None, expected) if content is None else io.BytesIO(content) as file:
            refuse_inflated(path, file)
            refuse_long_pickles(path, file)
            file.seek(0)
            return torch.load(file, map_location=map_location, weights_only=True)
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: expected a file of network weights, got '{reason}'.") from error
    # What torch raises for a truncated or foreign file depends on where the damage lies: nearly anything.
    except Exception as error:
        if isinstance(error, UnpicklingError):
            raise InputError(
                f"{path}: expected a whole file of network weights, tensors and plain types alone, got other objects, "
                "or a file that torch has not written."
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{path}: expected a whole file of network weights, got '{reason}'.") from error


def is_checkpoint(path: str | Path) -> bool:
    """Whether a file of weights is one by :func:`save_network`, and not a state dict of something else.

    Raises:
        InputError: as :func:`load_tensors`.
    """
    content = load_tensors(path)
    return isinstance(content, dict) and set(content) == CHECKPOINT_KEYS


def trained_mean_image(path: str | Path) -> torch.Tensor | None:
    """The mean image ``(C, H, W)`` that a network of :func:`save_network` was trained about; None if it has none.

    Raises:
        InputError: as :func:`load_tensors`.
    """
    content = load_tensors(path)
    state = content.get("state") if isinstance(content, dict) else None
    # what is no checkpoint of this project, or of other scans, is told when the network is made of it
    mean_image = state.get("mean_image") if isinstance(state, dict) else None
    if not isinstance(mean_image, torch.Tensor) or mean_image.dim() != 3 or not mean_image.numel():
        return None
    if len(mean_image) != len(CHANNELS):
        return None
    refuse_odd_numbers({"mean_image": mean_image}, path)
    return mean_image


def describe_mismatch(expected: dict[str, torch.Tensor], got: dict[str, Any]) -> str | None:
    """How ``got`` differs from ``expected`` in names and shapes, naming the first few of each kind; None if it fits."""
    missing = [name for name in expected if name not in got]
    unexpected = [str(name) for name in got if name not in expected]
    misshapen = [
        f"{name} {_shape(got[name])} for {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in got and _shape(got[name]) != _shape(tensor)
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
    parts = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds if names]
    return ", ".join(parts) or None


def _built_as_the_file_says(kind: type[_Network], path: str | Path, map_location: str | torch.device) -> _Network:
    return _built(kind, _read(path, map_location), path, map_location)


def _built(
    kind: type[_Network], content: dict[str, Any], path: str | Path, map_location: str | torch.device
) -> _Network:
    state = content["state"]
    _refuse_other_tensors(built_of_shapes(kind, content["architecture"], len(state), path), state, path)
    network = kind(**content["architecture"])
    network.load_state_dict(state, strict=True)
    return network.to(map_location).eval()


def _read(path: str | Path, map_location: str | torch.device) -> dict[str, Any]:
    content = load_tensors(path, map_location)
    if (
        not isinstance(content, dict)
        or set(content) != CHECKPOINT_KEYS
        or not all(isinstance(content[key], dict) for key in CHECKPOINT_KEYS)
    ):
        got = (
            f"a dict of {_first([str(key) for key in content])}"
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise InputError(f"{path}: expected a checkpoint with {', '.join(sorted(CHECKPOINT_KEYS))}, got {got}.")
    refuse_odd_tensors(content["state"], path)
    restore_components(content["state"])
    return content


def _refuse_other_tensors(network: nn.Module, state: dict[str, Any], path: str | Path) -> None:
    expected = network.state_dict()
    mismatch = describe_mismatch(expected, state)
    if mismatch is not None:
        raise InputError(
            f"{path}: expected the {len(expected)} tensors of a {type(network).__name__} of this architecture, "
            f"got {len(state)} with {mismatch}."
        )
    refuse_odd_numbers(state, path)


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED_TENSORS]) + (", ..." if len(names) > _NAMED_TENSORS else "")
