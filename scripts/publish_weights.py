"""Says where a bundle's large weights are downloaded from: ``python -m scripts.publish_weights NAME --url URL``.

Writes ``bundles/NAME/large_files.yml`` with the SHA-256 of the weights, for ``python -m monai.bundle
download_large_files --bundle_path bundles/NAME``, which refuses anything else at that URL. Upload the file first or
afterwards: nothing is sent by this command. See docs/releases.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dxa_monai.bundling.release import REPOSITORY, write_large_files
from dxa_monai.terminal import errors_as_sentence


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file and say what to upload.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="of the bundle")
    parser.add_argument("--url", required=True, help="where the weights will be, with the file's name")
    parser.add_argument("--weights", type=Path, help="default: runs/weights_paper/release/NAME/models/model.pt")
    parser.add_argument("--bundles_dir", type=Path, default=REPOSITORY / "bundles", help="default: bundles")
    chosen = parser.parse_args(arguments)
    weights = chosen.weights or REPOSITORY / "runs/weights_paper/release" / chosen.name / "models/model.pt"
    path = write_large_files(chosen.bundles_dir / chosen.name, weights, chosen.url)
    print(f"{path}\nupload {weights} to {chosen.url}")


if __name__ == "__main__":
    main()
