"""What a bundle of somebody else would run: a list to read, not a verdict.

    python -m dxa_monai.bundling.listing bundles/theirs configs/train.json configs/preset_small.json

A MONAI config is a program: each ``_target_`` names something to call and each value that begins with ``$`` is Python.
The configs are merged and normalised by MONAI itself, as ``monai.bundle run`` would do it with these files, so that the
text of an entry is the text that would be evaluated; nothing is evaluated here. What the list cannot show is what the
called code does with its arguments, and no list of names tells harmless from harmful: read it as you read a script.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from monai.bundle.config_item import ConfigComponent, ConfigExpression
from monai.bundle.config_parser import ConfigParser

from dxa_monai.errors import InputError

MOST_BYTES = 10_000_000
"""Of a config."""
MOST_SECONDS = 60
MOST_MEMORY_BYTES = 4 << 30
METADATA = "metadata.json"
LOGGING = ("logging.conf",)
"""Beside a config: MONAI hands it to ``logging.config.fileConfig``, which evaluates parts of it as Python."""


def calls_and_expressions(files: Sequence[str | Path]) -> Iterator[tuple[str, str]]:
    """What a config would run, in the order in which MONAI has read it.

    Args:
        files: configs, later ones after what they change.

    Yields:
        The id of an entry, and the whole text of what would be called or evaluated.

    Raises:
        InputError: MONAI could not read the configs.
    """
    for path in files:
        _refuse_unreadable(Path(path))
    try:
        parser = ConfigParser()
        parser.read_config([str(path) for path in files])
        for path in metadata_files(files):
            _refuse_unreadable(path)
            parser.read_meta(str(path))
        for name, macro in list(_macros(parser.get())):
            yield name, f"text taken from {macro!r}"
            taken, _ = ConfigParser.split_path_id(macro[1:])
            if taken:
                _refuse_unreadable(Path(taken))
        parser.parse()
    except InputError:
        raise
    except (Exception, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{files[0]}: expected configs that MONAI can read, got '{reason}'.") from error
    for name, item in parser.ref_resolver.items.items():
        config = item.get_config()
        if isinstance(item, ConfigComponent):
            yield name, _call(item, config)
        elif isinstance(item, ConfigExpression):
            yield name, f"evaluates {config[1:]!r}"


def metadata_files(files: Sequence[str | Path]) -> list[Path]:
    """What MONAI reads besides as the entry ``_meta_``: the metadata beside the first config, if there are any."""
    return [path for path in (Path(file).with_name(METADATA) for file in files[:1]) if path.is_file()]


def other_files(folder: str | Path, files: Sequence[str | Path]) -> list[str]:
    """Names of everything else in a bundle's folder, links marked: Python finds modules there before its own."""
    root, read = Path(folder), {Path(path).resolve() for path in files}
    found = []
    for place, folders, names in os.walk(root):
        paths = [Path(place, name) for name in (*names, *(each for each in folders if Path(place, each).is_symlink()))]
        found += [
            f"{path.relative_to(root)}" + (" (link)" if path.is_symlink() else "")
            for path in paths
            if path.is_symlink() or path.resolve() not in read
        ]
    return sorted(found)


def _call(item: ConfigComponent, config: dict[str, Any]) -> str:
    target = item.resolve_module_name()
    mode = "" if config.get("_mode_", "default") == "default" else f" (_mode_ {config['_mode_']!r})"
    disabled = " (_disabled_)" if item.is_disabled() else ""
    return f"calls {target}{mode}{disabled} with {json.dumps(item.resolve_args(), default=str)}"


def _macros(config: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Entries that MONAI replaces by the text of another entry or file."""
    if isinstance(config, (dict, list)):
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from _macros(value, f"{name}::{key}" if name else str(key))
    elif isinstance(config, str) and config.startswith("%"):
        yield name, config


def _refuse_unreadable(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: expected a config, got no file.")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: expected a config of at most {MOST_BYTES} bytes, got {path.stat().st_size}.")
    if path.suffix.lower() in (".yml", ".yaml"):
        try:
            aliases = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(f"{path}: expected YAML, got '{str(error).splitlines()[0]}'.") from error
        if aliases:
            raise InputError(f"{path}: expected YAML without aliases, which can stand for more than can be listed.")


def main(arguments: Sequence[str] | None = None) -> None:
    """List what the bundle and configs of the command line would run.

    Args:
        arguments: instead of those of the command line.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) < 2:
        raise SystemExit("usage: python -m dxa_monai.bundling.listing FOLDER CONFIG [CONFIG ...]")
    folder, files = given[0], [str(Path(given[0], path)) for path in given[1:]]
    print(f"{folder!a} is a program of whoever wrote it. This lists what it would run; it does not judge it.\n")
    try:
        for name, text in calls_and_expressions(files):
            print(f"{ascii(name)[1:-1]}: {ascii(text)[1:-1]}")
        for path in [Path(file).parent / name for file in files[:1] for name in LOGGING]:
            if path.is_file():
                print(f"\n{str(path)!a}: parts of it are evaluated as Python, before the configs.")
        print("\nOther files, any of which Python or a library may load from here:")
        for name in other_files(folder, [*files, *metadata_files(files)]):
            print(f"  {ascii(name)[1:-1]}")
    except InputError as error:
        raise SystemExit(ascii(f"error: {error}")[1:-1]) from None


def _limit() -> None:
    """A config may be small and stand for more than fits a machine; the limits are of this process alone."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(f"error: the configs could not be read in {MOST_SECONDS} s of processor time.")

    signal.signal(signal.SIGXCPU, end)
    spent = int(sum(os.times()[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (spent + MOST_SECONDS, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))


if __name__ == "__main__":
    _limit()
    main()
