"""Where a bundle's own files are, for commands that run in the bundle's folder, in the repository's, or anywhere."""

from __future__ import annotations

from pathlib import Path

from monai.bundle import ConfigWorkflow

from dxa_monai.bundling.callers import caller_of_type


def in_bundle(name: str, path: str, root: str | Path = ".") -> str:
    """Path of a bundle's own file, such as its released weights.

    Args:
        name: of the bundle.
        path: of the file, relative to the bundle.
        root: folder of the bundle (a downloaded one), or of a repository that has it at ``bundles/NAME``.

    Returns:
        ``root/path``; where that is not there, ``root/bundles/NAME/path`` if ``root`` is a repository, or else the file
        beside the ``configs`` that the running command has read, if there is one.
    """
    own, nested = Path(root, path), Path(root, "bundles", name)
    if own.exists():
        return str(own)
    if nested.is_dir():
        return str(nested / path)
    workflow = caller_of_type(ConfigWorkflow)
    beside = None if workflow is None else Path(workflow.config_root_path).parent / path
    return str(beside if beside is not None and beside.exists() else own)
