"""Tensors and architectures of a file, looked at before anything is built from them.

A file of a few bytes can stand for tensors of terabytes (strides of 0, sparse or meta tensors, deflated storage) and
for networks of billions of channels. Networks are first built on torch's ``meta`` device, which holds shapes alone.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from dxa_monai.errors import InputError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of weights."""
_COUNTERS = (torch.int64,)
_ZIP_BEGINNING = b"PK\3\4"
"""What torch takes for its format since 1.6."""
_PICKLES_BEFORE_ZIP = 5
"""Of a file of the format before: magic number, version, about the system, content, names of what follows."""
_MOST_STEPS = 300_000
"""Ten times those of the state of a training."""
_PARTS_PER_TENSOR = 20
_FEWEST_PARTS = 1000
"""Layers and weights that a network may have: so many for each tensor of its file, and so many in any case."""
_Network = TypeVar("_Network", bound=nn.Module)


def refuse_inflated(path: str | Path, file: BinaryIO) -> None:
    """Refuse a file whose parts are compressed, or together larger than the file; ``torch.save`` never does so.

    Raises:
        InputError: it is such a file.
    """
    if not zipfile.is_zipfile(file):  # torch's format before 1.6, which it reads piece by piece
        return
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: expected a whole file of network weights, got '{error}'.") from error
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or sum(part.file_size for part in parts) > size:
        raise InputError(f"{path}: expected a file of network weights as torch writes it, got one that is compressed.")


def refuse_long_pickles(path: str | Path, file: BinaryIO) -> None:
    """Refuse a file whose pickles take many steps; torch takes them one by one in Python, for hours.

    Raises:
        InputError: it is such a file.
    """
    steps = 0
    try:
        for pickle in _pickles(file):
            for _ in pickletools.genops(pickle):
                steps += 1
                if steps > _MOST_STEPS:
                    raise InputError(f"{path}: expected a file of network weights, got one of countless small parts.")
    except InputError:
        raise
    except Exception:  # what is no pickle is told by torch, and how it says so depends on where it is none
        return


def _pickles(file: BinaryIO) -> Iterator[BinaryIO]:
    """The pickles of a file that torch would read, one after another; what follows them is not read."""
    file.seek(0)
    if file.read(len(_ZIP_BEGINNING)) == _ZIP_BEGINNING:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    yield io.BytesIO(archive.read(name))
        return
    file.seek(0)
    for _ in range(_PICKLES_BEFORE_ZIP):
        yield file


def refuse_odd_tensors(state: Mapping[str, Any], source: str | Path) -> None:
    """Refuse tensors that are not plain numbers in memory; what is no tensor is left to whoever checks the names.

    Raises:
        InputError: one is sparse, quantised, nested or on the meta device, or stands for more than it holds.
    """
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        odd = _oddity(tensor)
        if odd:
            raise InputError(f"{source}: expected plain tensors, got {odd} in '{name}'.")


def refuse_odd_numbers(state: Mapping[str, torch.Tensor], source: str | Path) -> None:
    """Refuse weights that are complex, whole or true-or-false numbers, or not finite; counters are int64.

    Raises:
        InputError: it names the first of them.
    """
    refuse_odd_tensors(state, source)
    for name, tensor in state.items():
        if tensor.dtype not in (_COUNTERS if name.endswith("num_batches_tracked") else FLOATS):
            raise InputError(f"{source}: expected weights of real numbers, got {tensor.dtype} in '{name}'.")
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{source}: expected finite weights, got NaN or infinity in '{name}'.")


def built_of_shapes(
    kind: Callable[..., _Network], architecture: Mapping[str, Any], tensors: int, path: str | Path
) -> _Network:
    """A network on the meta device: names and shapes, and no memory.

    Args:
        kind: of network.
        architecture: of a file, so whatever somebody has written there.
        tensors: how many the file holds: a network of many more parts is none of it.
        path: named in the message.

    Raises:
        InputError: there is no such network.
    """
    try:
        with torch.device("meta"), _at_most(max(_FEWEST_PARTS, _PARTS_PER_TENSOR * tensors)):
            return kind(**architecture)
    except Exception as error:  # whatever layers say of sizes that they cannot have
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        name = getattr(kind, "__name__", "network")
        raise InputError(f"{path}: expected the architecture of a {name}, got '{reason}'.") from error


@contextmanager
def _at_most(parts: int) -> Iterator[None]:
    left = parts

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {parts} layers and weights")

    hooks = [register_module_module_registration_hook(count), register_module_parameter_registration_hook(count)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _oddity(tensor: torch.Tensor) -> str:
    if tensor.is_nested or tensor.layout is not torch.strided:
        return "a sparse or nested tensor"
    if tensor.is_meta:
        return "a shape without numbers"
    if tensor.is_quantized:
        return "a quantised tensor"
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > held:
        return f"a shape {tuple(tensor.shape)} that {held} bytes stand for"
    return ""
