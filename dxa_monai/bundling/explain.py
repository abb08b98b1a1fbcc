"""The options of a command, for people: what each is, what it is without a word, what it means."""

from __future__ import annotations

import json
from typing import Any

from monai.bundle import ConfigParser

from dxa_monai.bundling.options import OPTIONS


def explain(config: ConfigParser, where: str) -> None:
    """Print the options of a config and the parts of it that nested ids reach.

    Args:
        config: as its files make it.
        where: its file.
    """
    print(f"Options of {where}:\n")
    for name, option in OPTIONS.items():
        value = config.get(name)
        if name in config and not (isinstance(value, dict) and "_target_" in value):
            expected = option.kind.expected + (" or None" if option.nullable or value is None else "")
            print(f"  --{name}\n      {option.meaning}\n      {expected}; default: {_default(config, name)}")
    parts = sorted(name for name, value in config.get().items() if isinstance(value, dict) and "_target_" in value)
    if parts:
        print(f"\nParts whose arguments nested ids set (--PART#ARGUMENT VALUE): {', '.join(parts)}")


def _default(config: ConfigParser, name: str) -> str:
    value: Any = config.get(name)
    if isinstance(value, str) and value.startswith(("$", "@")):
        try:
            value = config.get_parsed_content(name)
        except Exception:  # it needs a file that is not there, or a library: what stands there says enough
            return value
    try:
        return json.dumps(value)
    except TypeError:
        return str(value)
