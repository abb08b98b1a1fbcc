"""Writes ``NAME_vX.Y.Z.zip`` of every bundle and their ``SHA256SUMS``: ``python -m scripts.build_release``.

The same files give the same bytes. See docs/releases.md.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path

from dxa_monai.bundling.release import REPOSITORY, SUMS_FILE, build_release
from dxa_monai.terminal import errors_as_sentence


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Build what the command line names and say what was built.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles to build; all by default")
    parser.add_argument("--output_dir", default=REPOSITORY / "dist", type=Path, help="default: dist")
    parser.add_argument("--bundles_dir", default=REPOSITORY / "bundles", type=Path, help="default: bundles")
    chosen = parser.parse_args(arguments)
    zips = build_release(chosen.output_dir, chosen.bundles_dir, chosen.names)
    for path in zips:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB, {_weights(path)}")
    print(chosen.output_dir / SUMS_FILE)


def _weights(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        count = sum(name.split("/")[1] == "models" for name in archive.namelist())
    return f"files in models/: {count}" if count else "no models/"


if __name__ == "__main__":
    main()
