"""Two sites train one DXA-VAE in rounds, as docs/federated.md has it."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import create_workflow

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.networks.checkpoint import load_vae
from dxa_monai.scan.io import save_scan
from dxa_monai.scan.manifest import write_manifest
from tests.bundles.tiny import VAE, bundle_files
from tests.conftest import bar_scan

BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "federated.md").read_text(), re.DOTALL)
SITES = {"north": 11, "south": 21}
ROUNDS, LOCAL_EPOCHS = 3, 2
SETTINGS = {"num_workers": 0, "device": "cpu", **{name: value for name, value in VAE.items() if name != "max_epochs"}}
# three rounds of two epochs go beyond it
SETTINGS["max_epochs"] = 2


@pytest.fixture(scope="module")
def page() -> types.SimpleNamespace:
    """What the page's script defines."""
    names: dict[str, Any] = {}
    exec(BLOCKS[0], names)
    return types.SimpleNamespace(**{name: names[name] for name in ("site", "average", "one_round")})


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of different people, some more here than there."""
    found = {}
    for seed, (name, people) in enumerate(SITES.items()):
        folder, rng = tmp_path_factory.mktemp(name), np.random.default_rng(seed)
        rows = []
        for person in range(people):
            scan_id = f"{name}-{person:02d}"
            save_scan(bar_scan(int(rng.integers(10, 40)), rng), folder / "scans" / f"{scan_id}.npy")
            rows.append({"subject_id": scan_id, "scan_id": scan_id, "scan": f"scans/{scan_id}.npy"})
        write_manifest(rows, folder / "manifest.csv")
        found[name] = folder
    return found


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(REPOSITORY)
    return


def test_two_sites_train_one_network_for_more_epochs_than_max_epochs(
    page: types.SimpleNamespace, hospitals: dict[str, Path], here: None, tmp_path: Path
) -> None:
    sites = [page.site(str(hospitals[name]), str(tmp_path / name), LOCAL_EPOCHS, **SETTINGS) for name in SITES]
    first = {name: tensor.clone() for name, tensor in sites[0].get_weights().weights.items()}
    weights, rates = first, []
    for done in range(1, ROUNDS + 1):
        weights = page.one_round(sites, weights)
        rates.append([each.trainer.optimizer.param_groups[0]["lr"] for each in sites])
        assert [each.trainer.state.epoch for each in sites] == [done * LOCAL_EPOCHS] * 2
    assert rates == [[0.002, 0.002]] * ROUNDS

    scans = [len(each.train_workflow.train_dataset_data) for each in sites]
    assert 0 < scans[0] < scans[1]
    ends = [each.get_weights().weights for each in sites]
    for name, tensor in weights.items():
        assert tensor.dtype == first[name].dtype
        wanted = (scans[0] * ends[0][name].double() + scans[1] * ends[1][name].double()) / sum(scans)
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), wanted, rtol=1e-6, atol=1e-7)
    trained = [name for name, tensor in weights.items() if not tensor.equal(first[name])]
    assert any(not ends[0][name].equal(ends[1][name]) for name in trained)
    # what the sites share and do not train is as it was sent
    assert weights["mean_image"].equal(first["mean_image"])

    for each in sites:
        each.finalize()
    for name in SITES:
        assert list(pd.read_csv(tmp_path / name / "metrics.csv")["epoch"]) == list(range(1, ROUNDS * LOCAL_EPOCHS + 1))
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["initialisation"] == "given in each round"
        assert (tmp_path / name / "finished.json").is_file()
        assert not (tmp_path / name / "resume").exists()


def test_a_round_of_no_training_gives_back_what_was_sent(page: types.SimpleNamespace) -> None:
    weights = {"weight": torch.randn(4, 3), "half": torch.randn(5).half(), "batches": torch.tensor(7)}
    for name, tensor in page.average([weights, weights, weights], [1, 2, 3]).items():
        assert tensor.equal(weights[name]), name
        assert tensor.dtype == weights[name].dtype
    other = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    mean = page.average([weights, other], [3, 1])
    torch.testing.assert_close(mean["weight"], 0.75 * weights["weight"])
    assert mean["batches"] == 7


def test_the_schedule_of_a_preset_goes_on_over_rounds_and_ends_after_max_epochs(
    page: types.SimpleNamespace, hospitals: dict[str, Path], here: None, tmp_path: Path
) -> None:
    preset = json.loads(Path(bundle_files("dxa_vae", "preset_small.json")[0]).read_text())
    settings = SETTINGS | {"lr_scheduler": preset["lr_scheduler"], "max_epochs": 3}
    sites = [page.site(str(hospitals["north"]), str(tmp_path / "north"), 1, **settings)]
    weights, rates = sites[0].get_weights().weights, []
    for _ in range(3):
        weights = page.one_round(sites, weights)
        rates.append(sites[0].trainer.optimizer.param_groups[0]["lr"])
    assert rates[0] > 2 * rates[1]
    with pytest.raises(ValueError, match="Tried to step"):
        page.one_round(sites, weights)


def test_the_released_weights_fit_the_network_of_the_page(hospitals: dict[str, Path], tmp_path: Path) -> None:
    released = load_vae(REPOSITORY / "bundles" / "dxa_vae" / "models" / "model.pt").state_dict()
    workflow = create_workflow(
        config_file=bundle_files("dxa_vae", "train.json", "arm_no_dxa.json", "preset_small.json", "federated.json"),
        workflow_type="train",
        dataset_dir=str(hospitals["north"]),
        output_dir=str(tmp_path),
    )
    wanted = {name: tensor.shape for name, tensor in workflow.network_def.state_dict().items()}
    assert {name: tensor.shape for name, tensor in released.items()} == wanted


def test_the_page_s_script_is_python() -> None:
    assert len(BLOCKS) == 2
    compile("\n".join(BLOCKS), "docs/federated.md", "exec")
