"""Lays a release out as the folder of a Hugging Face repository, with a model card.

    python -m scripts.lay_out_hugging_face dist/dxa_vae_v0.9.0.zip --owner somebody

The zip has to be what ``SHA256SUMS`` beside it lists. Nothing is sent. See docs/releases.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dxa_monai.bundling.hugging_face import lay_out_repository
from dxa_monai.bundling.release import REPOSITORY, SUMS_FILE
from dxa_monai.terminal import errors_as_sentence


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Lay out what the command line names and say how it is uploaded.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, metavar="ZIP", help="by scripts.build_release")
    parser.add_argument("--owner", required=True, help="who will have the repository OWNER/NAME")
    parser.add_argument("--output_dir", type=Path, default=REPOSITORY / "dist/hugging_face", help="of the folder NAME")
    chosen = parser.parse_args(arguments)
    folder = lay_out_repository(chosen.release, chosen.release.parent / SUMS_FILE, chosen.output_dir, chosen.owner)
    print(f"{folder}\nupload: hf upload {chosen.owner}/{folder.name} {folder} .")


if __name__ == "__main__":
    main()
