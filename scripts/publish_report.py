"""Puts a report of the paper under docs/, its tables into the bundles' pages: ``python -m scripts.publish_report RUN``.

RUN is the folder of ``configs/paper.json``. Copied are ``report.md`` and what it links to; then every
page that marks a table (see ``dxa_monai/paper/pages.py``) gets that of this report. Run it in the repository's root.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder, path_inside
from dxa_monai.paper.pages import tables_of_page, with_tables
from dxa_monai.paper.report import MARKDOWN_NAME
from dxa_monai.terminal import errors_as_sentence

PUBLISHED = Path("docs", "paper")
LINK = re.compile(r"\]\(([^)#]+)\)")


def publish_report(run: str | Path, root: str | Path = REPOSITORY) -> list[Path]:
    """Copy a report and fill the tables of all pages.

    Args:
        run: folder of the paper.
        root: of the repository.

    Returns:
        The files that were written.

    Raises:
        InputError: there is no report, what it links to is not in the folder, or a page marks a table that it lacks.
    """
    run, root = Path(run), Path(root)
    if not (run / MARKDOWN_NAME).is_file():
        raise InputError(f"{run / MARKDOWN_NAME}: expected the report of configs/paper.json, got no such file.")
    links = sorted(set(LINK.findall((run / MARKDOWN_NAME).read_text(encoding="utf-8"))))
    missing = next((link for link in links if not path_inside(run, link).is_file()), None)
    if missing is not None:
        raise InputError(f"{run / missing}: expected a file that the report links to, got none.")
    pages = {page: with_tables(page.read_text(encoding="utf-8"), run) for page in marked_pages(root)}
    written = []
    for name in (MARKDOWN_NAME, *links):
        target = root / PUBLISHED / name
        output_folder(target.parent)
        with atomic_path(target) as temporary:
            shutil.copyfile(run / name, temporary)
        written.append(target)
    for page, text in pages.items():
        with atomic_path(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(page)
    return written


def marked_pages(root: Path) -> list[Path]:
    """Pages of the bundles that mark a table of the report."""
    pages = sorted(root.glob("bundles/*/docs/README.md"))
    return [page for page in pages if tables_of_page(page.read_text(encoding="utf-8"))]


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Publish and say what was written.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of configs/paper.json")
    for path in publish_report(parser.parse_args(arguments).run):
        print(path)


if __name__ == "__main__":
    main()
