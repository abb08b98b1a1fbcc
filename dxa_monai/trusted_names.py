"""Names that a config from elsewhere may use: what is *defined* in trusted modules, however it is spelled.

That a name begins with a trusted module says nothing: ``dxa_monai.runs.provenance.subprocess.run`` does. Names are
therefore looked up, through trusted modules alone, and what they stand for has to say that it was defined in one.
"""

from __future__ import annotations

import importlib
import types
from functools import cache
from typing import Any

TRUSTED = (
    "dxa_monai",
    "monai.data.dataloader",
    "monai.data.dataset",
    "monai.engines",
    "monai.handlers",
    "monai.inferers",
    "monai.losses",
    "monai.metrics",
    "monai.networks.blocks",
    "monai.networks.layers",
    "monai.networks.nets",
    "monai.transforms",
    "ignite.distributed",
    "ignite.handlers",
    "ignite.metrics",
    "torch.nn.modules",
    "torch.optim",
)
"""Modules, with all below them; what is defined in them may be named."""
ALSO_TRUSTED = ("functools.partial", "monai.utils.set_determinism", "monai.utils.misc.set_determinism")
UNSAFE = {
    *("PersistentDataset", "CacheNTransDataset", "LMDBDataset", "GDSDataset", "Lambda", "Lambdad", "RandLambda"),
    *("RandLambdad", "PerceptualLoss", "TrtHandler", "ONNXInferer", "run_on_cluster", "run_in_processes"),
    "results_of_processes",
}
"""Names among them, of classes or their bases, that run code which they are given as data, fetch or unpickle."""
ONLY_TARGETS = ("LoadImage", "LoadImaged", "SaveImage", "SaveImaged")
"""May be a ``_target_``, where their reader or writer can be seen, but not called in an expression."""
WHOLE_MODULES = {
    "torch": (
        *("bfloat16", "float16", "float32", "device", "nn", "optim"),
        *("cuda.is_available", "cuda.device_count", "cuda.is_bf16_supported"),
    ),
    "os": ("cpu_count",),
    "pathlib": ("Path",),
}
"""Modules that a config may import whole, and the names it may use of them."""


def is_trusted(dotted: str) -> bool:
    """Whether a dotted name leads to a class, function or plain data of a trusted module, and through nothing else."""
    if dotted in ALSO_TRUSTED:
        return True
    parts = dotted.split(".")
    if any(part.startswith("_") or part in UNSAFE for part in parts):
        return False
    found, rest = _module(parts)
    if found is None:
        return False
    while rest:
        if not isinstance(found, types.ModuleType):
            return True  # an attribute of a trusted class or function; that its name is harmless is checked elsewhere
        found = getattr(found, rest.pop(0), None)
        if not _is_own(found):
            return False
    return not isinstance(found, types.ModuleType)


def _module(parts: list[str]) -> tuple[Any, list[str]]:
    """The longest trusted module (or package of one) that a dotted name begins with, and the rest of the name."""
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if _is_below(name) or any(trusted.startswith(name + ".") for trusted in TRUSTED):
            try:
                return importlib.import_module(name), parts[length:]
            except ImportError:
                continue
    return None, []


def _is_below(module: str) -> bool:
    return any(module == trusted or module.startswith(trusted + ".") for trusted in TRUSTED)


def _is_own(thing: Any) -> bool:
    if isinstance(thing, types.ModuleType):
        name = thing.__name__
        return _is_below(name) or any(trusted.startswith(name + ".") for trusted in TRUSTED)
    if isinstance(thing, type):
        return _is_below(thing.__module__) and not any(base.__name__ in UNSAFE for base in thing.__mro__)
    if callable(thing):
        return _is_below(str(getattr(thing, "__module__", "")))
    return isinstance(thing, (bool, int, float, str, tuple, list, dict, set, frozenset))


def may_be_used(dotted: str) -> bool:
    """Of a dotted name in an expression: it is trusted, or on the way to a name that is."""
    module, _, attribute = dotted.partition(".")
    allowed = WHOLE_MODULES.get(module)
    if allowed is not None:
        inside = any(attribute == each or attribute.startswith(each + ".") for each in allowed)
        if not (inside or any(each.startswith(attribute + ".") for each in allowed)):
            return False
        if attribute.partition(".")[0] not in ("nn", "optim"):
            return True
    return not set(dotted.split(".")).intersection(ONLY_TARGETS) and (is_trusted(dotted) or leads_to_trusted(dotted))


def leads_to_trusted(dotted: str) -> bool:
    module, rest = _module(dotted.split("."))
    return isinstance(module, types.ModuleType) and not rest


@cache
def _locator() -> Any:
    from monai.bundle.config_item import ComponentLocator

    return ComponentLocator()


def modules_of(name: str) -> list[str]:
    """Where MONAI finds a target without a dot: among its own components."""
    modules = _locator().get_component_module_name(name)
    return [modules] if isinstance(modules, str) else list(modules or [])
