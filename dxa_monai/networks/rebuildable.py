"""Networks that can say how they were built, so that a file of weights is enough to build them again."""

# No ``from __future__ import annotations`` here: TorchScript compiles subclasses with their annotations.
import functools
import inspect
import numbers
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from dxa_monai.networks.compact_components import restore_components_below


class Rebuildable(nn.Module):
    """Base of networks that keep the arguments of their constructor; a subclass needs to do nothing for it.

    The constructor of every subclass is wrapped once, where the class is made, and notes all of its arguments, defaults
    included, by name. Of nested constructors the outermost counts, that of the network that was asked for; one that
    takes ``*args`` or ``**kwargs`` leaves it to the constructor that it hands them to.

    ``load_state_dict`` also takes the state of a compact file (:mod:`dxa_monai.networks.compact_components`).
    """

    _architecture: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _noting_arguments(cls.__dict__["__init__"])  # type: ignore[method-assign]

    @torch.jit.unused
    def architecture(self) -> dict[str, Any]:
        """The constructor's arguments as plain types: ``type(network)(**architecture)`` makes an equal network."""
        return deepcopy(self._architecture)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        restore_components_below(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def plain(value: Any) -> Any:
    """``value`` as what JSON has: a list for every sequence, dictionaries, numbers of Python instead of NumPy's.

    Raises:
        TypeError: something else, or within something.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    raise TypeError(f"expected numbers, texts, lists and dictionaries of them, got {type(value).__name__}")


def _noting_arguments(constructor: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(constructor)
    _, *parameters = signature.parameters.values()
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in parameters):
        return constructor

    @functools.wraps(constructor)
    def noting(self: Rebuildable, *args: Any, **kwargs: Any) -> None:
        constructor(self, *args, **kwargs)  # first: its own message where the arguments are wrong
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        self._architecture = {each.name: plain(bound.arguments[each.name]) for each in parameters}

    return noting
