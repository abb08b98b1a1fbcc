"""Look at the configs of a bundle from somewhere else before MONAI runs them: nothing of theirs is evaluated here.

    python -m dxa_monai.untrusted path/to/bundle

A MONAI config is a program: each ``_target_`` names something to call and each value that begins with ``$`` is Python.
This check reads the JSON and YAML files below the folder and refuses what is not on a short list:

- a ``_target_``, an import or a dotted name that is none of :mod:`dxa_monai.trusted_names`;
- in an expression: a call of anything but such a name, a method of such an object, or a harmless built-in
  (``HARMLESS``); names and attributes that begin with an underscore; strings used to reach attributes (``getattr``);
- readers and writers given as text, which MONAI looks up wherever they are and calls; ``allow_pickle``;
- text of other files (``%``), the debugger, links, and code beside the configs. A released zip of this project holds
  its ``dxa_monai``: compare its ``SHA256SUMS`` instead.

What it does not promise: the listed modules are large, and a config can make them write files or load weights wherever
its paths point. It keeps a config from running code of its own; run what you do not trust in a container all the same.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dxa_monai.errors import InputError
from dxa_monai.trusted_names import ONLY_TARGETS, WHOLE_MODULES, is_trusted, leads_to_trusted, may_be_used, modules_of

_READERS = ("ITKReader", "NibabelReader", "NrrdReader", "NumpyReader", "PILReader", "PydicomReader")
"""MONAI's own, by the names it knows them by."""
_SAFE_VALUES = {"_mode_": ("default", None), "allow_pickle": (False, None), "weights_only": (True, None)}
"""Of keys that let a component run what it is given, or look for bugs with a debugger."""
HARMLESS = {
    *("abs", "bool", "dict", "enumerate", "float", "int", "len", "list", "map", "max", "min"),
    *("range", "round", "set", "sorted", "str", "sum", "tuple", "zip"),
}
_NODES = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Slice),
    *(ast.Call, ast.keyword, ast.Starred, ast.IfExp, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.comprehension),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
_UNSAFE_METHODS = {
    *("eval", "exec", "compile", "format", "format_map", "load", "save", "dump", "apply", "system", "popen", "open"),
    *("touch", "write_text", "write_bytes", "read_text", "read_bytes", "unlink", "mkdir", "rmdir", "rename", "replace"),
    *("symlink_to", "hardlink_to", "chmod", "expanduser"),
    *("gi_frame", "gi_code", "gi_yieldfrom", "f_back", "f_builtins", "f_globals", "f_locals", "f_code", "tb_frame"),
}
"""Of whatever object: with them an expression could read or write files, or reach attributes by text."""


def check_bundle(folder: str | Path) -> list[Path]:
    """Refuse a bundle whose configs could run code that is not on the list.

    Args:
        folder: of the bundle.

    Returns:
        The config files that were read.

    Raises:
        InputError: a file, the id in it and what was found there; or no config, a link, or Python files.
    """
    root = Path(folder)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".json", ".yaml", ".yml"))
    if not files:
        raise InputError(f"{root}: expected a bundle with configs, got none.")
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            raise InputError(f"{path}: expected files of the bundle's own, got a link.")
        if path.suffix.lower() in (".py", ".pth", ".so", ".pyc"):
            raise InputError(f"{path}: expected configs and data alone, got code; compare its release's SHA256SUMS.")
    for path in files:
        check_config(path)
    return files


def check_config(path: Path) -> None:
    """Refuse one config file; see :func:`check_bundle`."""
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON or YAML, got '{str(error).splitlines()[0]}'.") from error
    values = list(_values(config, ""))
    imported: dict[str, str] = {}
    for name, value in values:
        if isinstance(value, str) and value.startswith("$"):
            imported |= _imports(path, name, value)
    for name, value in values:
        key = name.rpartition("#")[2].lstrip("+~")
        if key == "_target_":
            _check_target(path, name, value)
        elif key == "_mode_" and value == "callable":
            _check_function(path, name, str(dict(values).get(name.removesuffix("_mode_") + "_target_")))
        elif key in _SAFE_VALUES and value not in _SAFE_VALUES[key]:
            _refuse(path, name, f"'{value}'")
        elif any(part.lstrip("+~") in ("reader", "writer") for part in (key, *name.split("#")[-2:-1])):
            _check_reader(path, name, value)
        elif isinstance(value, str) and value.startswith("$") and not _is_import(value):
            _check_expression(path, name, value, imported)
        elif isinstance(value, str) and value.startswith("%"):
            _refuse(path, name, f"text of another file, '{value[:80]}'")


def _values(config: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every value that is no container, by its id; what only looks like a key is not skipped."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _values(value, f"{name}#{key}" if name else str(key))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from _values(value, f"{name}#{index}")
    else:
        yield name, config


def _is_import(value: str) -> bool:
    return value[1:].lstrip().startswith(("import ", "from "))


def _imports(path: Path, name: str, value: str) -> dict[str, str]:
    """Names that an import statement defines, and what they stand for."""
    if not _is_import(value):
        return {}
    (statement,) = _parse(path, name, value, "exec").body or [None]
    if isinstance(statement, ast.ImportFrom) and statement.level == 0:
        for alias in statement.names:
            if alias.name in ("*", *ONLY_TARGETS) or not is_trusted(f"{statement.module}.{alias.name}"):
                _refuse(path, name, f"'{value[1:]}'")
        return {alias.asname or alias.name: f"{statement.module}.{alias.name}" for alias in statement.names}
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if alias.name not in WHOLE_MODULES and not leads_to_trusted(alias.name):
                _refuse(path, name, f"'{value[1:]}'")
        return {alias.asname or alias.name.split(".")[0]: alias.name for alias in statement.names}
    return _refuse(path, name, f"'{value[1:]}'")


def _check_target(path: Path, name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.replace(".", "").replace("_", "").isalnum():
        _refuse(path, name, f"the target '{value}'")
    targets = [value] if "." in value else [f"{module}.{value}" for module in modules_of(value)]
    if not targets or not all(is_trusted(target) for target in targets):
        _refuse(path, name, f"the target '{value}'")


def _check_function(path: Path, name: str, target: str) -> None:
    """A target that the config itself calls later, with arguments that nobody has seen: only a command of ours."""
    if not target.startswith("dxa_monai."):
        _refuse(path, name, f"'{target}' to be called later")


def _check_reader(path: Path, name: str, value: Any) -> None:
    """MONAI looks a reader or writer up by its text, wherever it is, and calls it; a component's target is checked."""
    if value is not None and value not in _READERS and not re.fullmatch(r"@(\w+(#|::))*(reader|writer)", str(value)):
        _refuse(path, name, f"'{str(value)[:80]}' to be looked up")


def _check_expression(path: Path, name: str, value: str, imported: dict[str, str]) -> None:
    # references to other entries become names: what they hold is checked where it stands
    source = value.replace("@", "_ref_").replace("#", "__").replace("::", "__")
    tree = _parse(path, name, source, "eval")
    local = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            _refuse(path, name, f"'{ast.unparse(node)[:80]}'")
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node, imported)
            if node.attr.startswith("_") or node.attr in _UNSAFE_METHODS or (dotted and not may_be_used(dotted)):
                _refuse(path, name, f"the attribute '{node.attr}'")
        if isinstance(node, ast.Name) and not node.id.startswith("_ref_"):
            known = node.id in imported or node.id in local or node.id in HARMLESS
            if node.id.startswith("_") or not known:
                _refuse(path, name, f"the name '{node.id}'")
        if isinstance(node, ast.Call) and not isinstance(node.func, (ast.Name, ast.Attribute)):
            _refuse(path, name, f"a call of '{ast.unparse(node.func)[:80]}'")


def _dotted(node: ast.expr, imported: dict[str, str]) -> str:
    """``a.b.c`` with the imported name that it begins with written out; "" if it begins with anything else."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, "")
    before = _dotted(node.value, imported) if isinstance(node, ast.Attribute) else ""
    return f"{before}.{node.attr}" if before and isinstance(node, ast.Attribute) else ""


def _parse(path: Path, name: str, value: str, mode: str) -> Any:
    try:
        return ast.parse(value.lstrip("$").strip(), mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _refuse(path, name, f"'{value[:80]}', which is no Python expression")


def _refuse(path: Path, name: str, what: str) -> Any:
    raise InputError(f"{path}: expected nothing at '{name}' that could run code of its own, got {what}.")


def main() -> None:
    """Check the bundle that the command line names; exit with 1 if it is refused."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m dxa_monai.untrusted FOLDER")
    try:
        files = check_bundle(sys.argv[1])
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{len(files)} configs of {sys.argv[1]}: nothing that would run code of their own was found")


if __name__ == "__main__":
    main()
