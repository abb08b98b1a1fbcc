"""Pages of the bundles have the sections that users of the model zoo look for, and say what was trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dxa_monai.bundling.release import REPOSITORY, bundle_folders

BUNDLES = bundle_folders(REPOSITORY / "bundles")
TRAINED = [bundle for bundle in BUNDLES if (bundle / "models").is_dir()]
SECTIONS = ("Model overview", "Data", "Bundle commands", "Performance", "Limits", "References", "License")
OF_NETWORKS = ("Input and output", "Training configuration")


def _page(bundle: Path) -> str:
    return (bundle / "docs" / "README.md").read_text()


def _section(bundle: Path, title: str) -> str:
    return _page(bundle).split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_page_has_the_sections_of_the_model_zoo_in_order(bundle: Path) -> None:
    titles = re.findall(r"^## (.*)$", _page(bundle), re.MULTILINE)
    assert [title for title in titles if title in SECTIONS] == list(SECTIONS)
    assert set(OF_NETWORKS) <= set(titles) or bundle not in TRAINED
    assert titles[0] == SECTIONS[0]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_every_command_of_a_bundle_is_on_its_page(bundle: Path) -> None:
    configs = {path.name: json.loads(path.read_text()) for path in (bundle / "configs").glob("*.json")}
    run = {name for name, config in configs.items() if "run" in config} - {"search_trial.json"}
    rows = _section(bundle, "Bundle commands").splitlines()
    told = {match[1] for row in rows if (match := re.match(r"\| `(\w+\.json)` \|", row))}
    assert told == run
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _titles(bundle)}
    assert set(re.findall(r"\]\(#([^)]+)\)", _page(bundle))) <= anchors


def _titles(bundle: Path) -> list[str]:
    return re.findall(r"^##+ (.*)$", _page(bundle), re.MULTILINE)


@pytest.mark.parametrize("bundle", TRAINED, ids=lambda bundle: bundle.name)
def test_the_training_configuration_is_that_of_the_released_weights(bundle: Path) -> None:
    record = json.loads((bundle / "models" / "run.json").read_text())
    told = " ".join(_section(bundle, "Training configuration").split())
    preset = f"`preset_{record['preset']}.json`, " if "preset" in record else ""
    assert f"arm `{record['arm']}`, {preset}{record['max_epochs']} epochs" in told
    assert f"in batches of {record['batch_size']}" in told
    assert f"at up to {record['learning_rate']} (OneCycleLR)" in told
    assert f"{record['parameters']:,} weights" in told
    assert record["device"] == "cpu"
    terms = {name: term for name, term in record["loss"].items() if isinstance(term, dict)}
    for name, term in terms.items():
        words = {"pixel_l1": "pixel L1", "kl": f"{term['weight']:.0e}".replace("e-05", "e-5") + " KL"}
        assert words.get(name, f"{term['weight']} {name.replace('_', ' ')}") in told


@pytest.mark.parametrize("bundle", TRAINED, ids=lambda bundle: bundle.name)
def test_inputs_and_outputs_have_the_shapes_of_the_metadata(bundle: Path) -> None:
    formats = json.loads((bundle / "configs" / "metadata.json").read_text())["network_data_format"]
    told = _section(bundle, "Input and output")
    tensors = {**formats["inputs"], **formats["outputs"]}.values()
    for tensor in tensors:
        sizes = ", ".join(map(str, [tensor["num_channels"], *tensor["spatial_shape"]]))
        assert f"`(batch, {sizes})`" in told
