"""A release as the folder of a Hugging Face repository: the files of its zip, and a model card.

Nothing is sent, and no token is asked for: whoever owns the repository uploads the folder. A zip of a release holds
only files that git tracks, and nothing but its files and the card gets into the folder.
"""

from __future__ import annotations

import json
import posixpath
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dxa_monai.bundling.identity import check_zip, read_sums
from dxa_monai.bundling.release import LINK, METADATA
from dxa_monai.errors import InputError
from dxa_monai.files import output_folder, path_inside

CARD = "README.md"
TAGS = ("monai", "medical", "dxa", "body-composition")
_PAGE = "docs/README.md"
_OWNER = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", re.ASCII)


def lay_out_repository(release: str | Path, sums: str | Path, output_dir: str | Path, owner: str) -> Path:
    """Write the folder of a repository.

    Args:
        release: ``NAME_vX.Y.Z.zip`` by :func:`dxa_monai.bundling.release.build_release`.
        sums: ``SHA256SUMS``, which lists it.
        output_dir: gets a folder ``NAME``, which has to be new.
        owner: who will have the repository ``OWNER/NAME``, for the commands of the card.

    Returns:
        The folder.

    Raises:
        InputError: the zip is not what the sums list, ``owner`` is no name that can have a repository, or the folder is
            there.
    """
    if not _OWNER.fullmatch(owner):
        raise InputError(f"owner: expected a name of Hugging Face (letters, digits, - . _), got '{owner}'.")
    release = Path(release)
    check_zip(sums, release)
    with zipfile.ZipFile(release) as archive:
        contents = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(contents[METADATA.as_posix()])
    folder = path_inside(output_dir, metadata["name"])
    if folder.exists():
        raise InputError(f"{folder}: expected no such folder yet, got one; delete it or choose another output_dir.")
    contents[CARD] = model_card(contents[_PAGE].decode(), metadata, release.name, read_sums(sums)[release.name], owner)
    for name, content in contents.items():
        path = path_inside(folder, name)
        output_folder(path.parent)
        path.write_bytes(content)
    return folder


def model_card(page: str, metadata: Mapping[str, Any], release: str, sha256: str, owner: str) -> bytes:
    """The page of a bundle as the card of its repository, with what Hugging Face reads of a card before it.

    Args:
        page: ``docs/README.md`` of the release; its links are made to lead there from the folder above.
        metadata: of the bundle.
        release: name of the zip whose files the repository holds.
        sha256: of that zip.
        owner: of the repository.
    """
    name, version = metadata["name"], metadata["version"]
    about = {"license": "apache-2.0", "library_name": "monai", "tags": list(TAGS)}
    front = yaml.safe_dump(about, sort_keys=False)
    get = f"""> {metadata["description"]} {metadata["intended_use"]}

```bash
pip install monai huggingface_hub
python -m monai.bundle download --source huggingface_hub --repo {owner}/{name} --version {version} \\
    --name {name} --bundle_dir bundles
pip install -r bundles/{name}/requirements.txt
cd bundles/{name}
```

Run commands there; leave out `bundles/{name}/` from the paths of those below. Every file but this page is that of the
release `{release}`, SHA-256 `{sha256}`. [Third-party data](docs/data_license.txt), [licence](LICENSE).
"""
    title, _, rest = LINK.sub(_from_above, page).partition("\n")
    return f"---\n{front}---\n\n{title}\n\n{get}{rest}".encode()


def _from_above(match: re.Match[str]) -> str:
    target = match["target"]
    if "://" in target:
        return match[0]
    return match[0].replace(f"]({target}", f"]({posixpath.normpath(posixpath.join(posixpath.dirname(_PAGE), target))}")
