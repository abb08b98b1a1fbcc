"""Where a bundle's own files are, for commands that run in the bundle's folder or in the repository's."""

from __future__ import annotations

from pathlib import Path


def in_bundle(name: str, path: str, root: str | Path = ".") -> str:
    """Path of a bundle's own file, such as its released weights.

    Args:
        name: of the bundle.
        path: of the file, relative to the bundle.
        root: folder of the bundle (a downloaded one), or of a repository that has it at ``bundles/NAME``.

    Returns:
        ``root/path``, or ``root/bundles/NAME/path`` where ``root`` is a repository and has no ``path`` of its own.
    """
    own, nested = Path(root, path), Path(root, "bundles", name)
    return str(nested / path if nested.is_dir() and not own.exists() else own)
