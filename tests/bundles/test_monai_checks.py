"""What MONAI itself checks of a bundle and exports from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export, run, verify_metadata, verify_net_in_out
from monai.bundle.reference_resolver import ReferenceResolver
from torch import nn

import dxa_monai
from dxa_monai.analysis.bone import decompose, find_bone
from dxa_monai.bundling.export import export_network
from dxa_monai.bundling.release import REPOSITORY, bundle_folders
from dxa_monai.errors import InputError
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import point_cloud
from dxa_monai.networks.checkpoint import compact_checkpoint, load_pseudo_dxa, load_regressor, load_vae, save_network
from dxa_monai.phantom.body.model import BodyModel
from dxa_monai.physics.scanner_model import ScannerModel
from tests.analysis.cohort import raw_scan
from tests.bundles.networks import tiny_pseudo_dxa, tiny_regressor, tiny_vae

BUNDLES = {bundle.name: bundle for bundle in bundle_folders(REPOSITORY / "bundles")}

_TEXTS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "name", "task")
_MORE_TEXTS = ("description", "authors", "copyright", "intended_use", "data_source", "data_type")
_TENSOR = {
    "type": "object",
    "properties": {
        "type": {"enum": ["image", "array"]},
        "format": {"type": "string", "minLength": 1},
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": {"const": "float32"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "channel_def"],
}
_TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": _TENSOR}
METADATA_RULES: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in (*_TEXTS, *_MORE_TEXTS)},
        "changelog": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "supported_apps": {"type": "object"},
        "eval_metrics": {"type": "object"},
        "references": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "properties": {"inputs": _TENSORS, "outputs": _TENSORS},
            "required": ["inputs", "outputs"],
        },
    },
    "required": [*_TEXTS, *_MORE_TEXTS, "changelog", "required_packages_version", "network_data_format", "references"],
}
"""This project's own rules, for ``verify_metadata`` without a network: the mandatory entries of MONAI's bundle
specification (https://docs.monai.io/en/stable/mb_specification.html) with their types, and stricter. They are not
MONAI's schema, which the command of docs/releases.md downloads."""

PARITY_OF_LARGEST = 1e-5
"""Tolerance of exports, as a share of an output's largest value. float32 itself is off by about 2e-6 of it (measured
against float64), and other kernels add up in another order."""


def _metadata(name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads((BUNDLES[name] / "configs" / "metadata.json").read_text())
    return metadata


def _files(name: str, config: str = "inference.json") -> dict[str, str]:
    configs = BUNDLES[name] / "configs"
    return {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / config)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No check may depend on the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    measures = _metadata("dxa_anthropometry")["network_data_format"]["outputs"]["pred"]["channel_def"].values()
    regressor = tiny_regressor(measures=tuple(measures))
    networks = {"dxa_vae": tiny_vae(), "dxa_anthropometry": regressor, "pseudo_dxa": tiny_pseudo_dxa()}
    # As in training: a mean image, without which a scan's background alone drives every unit of these tiny networks.
    scans = torch.from_numpy(np.stack([raw_scan(index) for index in range(3)]))
    networks["dxa_anthropometry"].set_normalisation(scans.mean(dim=0), float(scans.std(dim=0).mean()))
    for name, network in networks.items():
        save_network(network, folder / "whole.pt")
        compact_checkpoint(folder / "whole.pt", folder / f"{name}.pt")  # as those of a release
    return {name: str(folder / f"{name}.pt") for name in networks}


@pytest.mark.parametrize("name", BUNDLES)
def test_verify_metadata(name: str, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps(METADATA_RULES))
    verify_metadata(meta_file=_files(name)["meta_file"], filepath=tmp_path / "rules.json")


def test_commands_that_span_the_bundles_have_the_packages_version() -> None:
    """Else each of them would warn of another version."""
    assert json.loads((REPOSITORY / "configs" / "metadata.json").read_text())["version"] == dxa_monai.__version__


@pytest.mark.parametrize("missing", ["version", "changelog", "network_data_format"])
def test_verify_metadata_can_fail(missing: str, tmp_path: Path) -> None:
    metadata = _metadata("dxa_vae")
    del metadata[missing]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    (tmp_path / "rules.json").write_text(json.dumps(METADATA_RULES))
    with pytest.raises(ValueError, match=f"'{missing}' is a required property"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=tmp_path / "rules.json")


@pytest.mark.parametrize("name", BUNDLES)
def test_metadata_names_its_bundle_its_channels_and_the_pinned_packages(name: str) -> None:
    metadata = _metadata(name)
    assert (metadata["name"], metadata["version"]) == (name, dxa_monai.__version__)
    for tensors in metadata["network_data_format"].values():
        for tensor in tensors.values():
            assert list(tensor["channel_def"]) == [str(index) for index in range(tensor["num_channels"])]
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE))
    named = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    assert {package: metadata[key] for package, key in named.items()} == {package: pins[package] for package in named}
    required = metadata["required_packages_version"]
    assert required == {package: pins[package] for package in required}


class _Decomposition(nn.Module):
    """What ``dxa_body_composition`` computes of every pixel, as a network for MONAI's check."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        model = ScannerModel()
        return decompose(x, model, find_bone(x, model))


class _PredictedScan(nn.Module):
    """The scan alone of what a :class:`PseudoDXA` returns."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_pseudo_dxa()

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.network.predict(points)


@pytest.mark.parametrize("name", BUNDLES)
def test_verify_net_in_out(name: str, checkpoints: dict[str, str]) -> None:
    made_here = {"dxa_body_composition": _Decomposition, "pseudo_dxa": _PredictedScan}
    net_id = {"dxa_vae": "reconstruction_def", "dxa_anthropometry": "network_def"}.get(name, "made_here")
    override: dict[str, Any] = {"checkpoint": checkpoints.get(name)}
    if net_id == "made_here":
        override = {"made_here": made_here[name]()}
    verify_net_in_out(net_id=net_id, device="cpu", **_files(name), **override)


def test_verify_net_in_out_can_fail(checkpoints: dict[str, str]) -> None:
    override = {"checkpoint": checkpoints["dxa_vae"], "_meta_#network_data_format#outputs#pred#num_channels": 5}
    with pytest.raises(ValueError, match="output channel number `6` doesn't match: `5`"):
        verify_net_in_out(net_id="reconstruction_def", device="cpu", **_files("dxa_vae"), **override)


LOADERS: dict[str, Callable[[str], nn.Module]] = {
    "dxa_vae": load_vae,
    "dxa_anthropometry": load_regressor,
    "pseudo_dxa": load_pseudo_dxa,
}


def _eager(name: str, checkpoint: str, inputs: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        output = LOADERS[name](checkpoint)(inputs)
    return list(output) if isinstance(output, tuple) else [output]


def _assert_close(exported: list[torch.Tensor], eager: list[torch.Tensor]) -> None:
    assert len(exported) == len(eager)
    for got, wanted in zip(exported, eager, strict=True):
        largest = float(wanted.abs().max())
        torch.testing.assert_close(got, wanted, rtol=0, atol=PARITY_OF_LARGEST * largest)
    # The comparison can fail: outputs differ from scan to scan by far more than the tolerance.
    assert float((eager[0][0] - eager[0][1]).abs().max()) > 100 * PARITY_OF_LARGEST * float(eager[0].abs().max())


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    """Three scans of virtual people, ``(3, 6, 150, 109)``, and points of three bodies, ``(3, 7, 16384)``."""
    scans = torch.from_numpy(np.stack([raw_scan(index) for index in range(3)]))
    model = BodyModel()
    bodies = [("F", 35, 166.0, 64.0), ("M", 60, 181.0, 80.0), ("F", 25, 160.0, 55.0)]
    clouds = []
    for index, (sex, age_years, height_cm, volume_l) in enumerate(bodies):
        body = BodyMesh(model.t_pose(model.solve(sex, age_years, height_cm, volume_l)).vertices_m, model.faces)
        clouds.append(point_cloud(body, 16384, torch.Generator().manual_seed(index)))
    return {"dxa_vae": scans, "dxa_anthropometry": scans, "pseudo_dxa": torch.stack(clouds)}


def _torchscript(name: str, checkpoint: str, folder: Path) -> torch.jit.ScriptModule:
    exported = folder / "model.ts"
    given: dict[str, Any] = {"ckpt_file": checkpoint, "key_in_ckpt": "state", "checkpoint": checkpoint}
    # sampling of points is a loop over data, which is traced
    given |= {"use_trace": True, "input_shape": [1, 7, 16384]} if name == "pseudo_dxa" else {}
    ckpt_export(net_id="network_def", filepath=str(exported), **_files(name), **given)
    return torch.jit.load(exported)


def _onnx(name: str, checkpoint: str, folder: Path) -> onnxruntime.InferenceSession:
    exported = folder / "model.onnx"
    # two in a batch: what is exported with one takes one alone
    shape = [2, 7, 16384] if name == "pseudo_dxa" else [2, 6, 150, 109]
    given: dict[str, Any] = {"ckpt_file": checkpoint, "key_in_ckpt": "state", "checkpoint": checkpoint}
    given["input_shape"] = shape
    converter = {"input_names": ["input"], "dynamic_axes": {"input": {0: "batch"}}}
    onnx_export(net_id="network_def", filepath=str(exported), converter_kwargs=converter, **_files(name), **given)
    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", LOADERS)
def test_ckpt_export_agrees_with_eager(
    name: str, checkpoints: dict[str, str], inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    output = _torchscript(name, checkpoints[name], tmp_path)(inputs[name])
    _assert_close(
        list(output) if isinstance(output, tuple) else [output], _eager(name, checkpoints[name], inputs[name])
    )


@pytest.mark.parametrize("name", LOADERS)
def test_onnx_export_agrees_with_eager_for_any_number_of_scans(
    name: str, checkpoints: dict[str, str], inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    session = _onnx(name, checkpoints[name], tmp_path)
    output = [torch.from_numpy(array) for array in session.run(None, {"input": inputs[name].numpy()})]
    _assert_close(output, _eager(name, checkpoints[name], inputs[name]))


_RUN_ALONE = """
import sys, torch
inputs, program, output = sys.argv[1:]
torch.save(torch.export.load(program).module()(torch.load(inputs, weights_only=True)), output)
assert not [name for name in sys.modules if name.startswith(("dxa_monai", "monai"))]
"""


@pytest.mark.parametrize("name", LOADERS)
def test_a_program_of_torch_export_says_what_the_network_says_without_this_project(
    name: str, checkpoints: dict[str, str], inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    config, program = str(BUNDLES[name] / "configs" / "export.json"), tmp_path / "model.pt2"
    run(config_file=config, checkpoint=checkpoints[name], output=str(program))
    torch.save(inputs[name], tmp_path / "inputs.pt")
    paths = [str(tmp_path / "inputs.pt"), str(program), str(tmp_path / "output.pt")]
    subprocess.run([sys.executable, "-I", "-c", _RUN_ALONE, *paths], check=True, env={"OMP_NUM_THREADS": "1"})
    output = torch.load(tmp_path / "output.pt", weights_only=True)
    (eager, *_) = _eager(name, checkpoints[name], inputs[name])
    torch.testing.assert_close(output, eager.clamp(0.0, 1.0) if name != "dxa_anthropometry" else eager, rtol=0, atol=0)


def test_an_export_neither_replaces_a_file_of_the_user_nor_takes_another_ending(
    checkpoints: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine.pt2").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"mine\.pt2"):
        export_network(checkpoints["dxa_vae"], tmp_path / "mine.pt2")
    assert (tmp_path / "mine.pt2").read_bytes() == b"mine"
    with pytest.raises(InputError, match=r"a name that ends in \.pt2, got .*model\.pt"):
        export_network(checkpoints["dxa_vae"], tmp_path / "model.pt")
    save_network(_Another(), tmp_path / "other.pt")
    with pytest.raises(InputError, match="expected the architecture of one of DXAVAE"):
        export_network(tmp_path / "other.pt", tmp_path / "other.pt2")


class _Another(nn.Module):
    """Saved as a network of this project is, and is none."""

    def architecture(self) -> dict[str, Any]:
        return {"colour": "red"}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_released_weights_are_exported(name: str, inputs: dict[str, torch.Tensor], tmp_path: Path) -> None:
    released = str(BUNDLES[name] / "models" / "model.pt")
    wanted = _eager(name, released, inputs[name])
    output = _torchscript(name, released, tmp_path)(inputs[name])
    _assert_close(list(output) if isinstance(output, tuple) else [output], wanted)
    arrays = _onnx(name, released, tmp_path).run(None, {"input": inputs[name].numpy()})
    _assert_close([torch.from_numpy(array) for array in arrays], wanted)


def _commands() -> list[tuple[str, str]]:
    """Configs that run by themselves; the others are laid over one of them."""
    return [
        (name, path.name)
        for name, bundle in BUNDLES.items()
        for path in sorted((bundle / "configs").glob("*.json"))
        if "run" in json.loads(path.read_text())
    ]


@pytest.mark.parametrize(("name", "config"), _commands())
def test_a_config_can_be_read_from_anywhere_and_all_it_names_is_there(name: str, config: str) -> None:
    files = _files(name, config)
    parser = ConfigParser()
    parser.read_config(files["config_file"])
    parser.read_meta(files["meta_file"])
    parser.parse()
    items = parser.ref_resolver.items
    for key, item in items.items():
        for reference in ReferenceResolver.find_refs_in_config(item.get_config(), key):
            assert reference in items, f"{key} refers to {reference}"
        config_of_item = item.get_config()
        if isinstance(config_of_item, Mapping) and str(config_of_item.get("_target_")).startswith("dxa_monai."):
            assert locate(config_of_item["_target_"]) is not None, f"{key}: {config_of_item['_target_']}"
    parser.get_parsed_content("imports")


@pytest.mark.parametrize(("name", "config"), _commands())
def test_every_path_of_a_config_lies_below_its_bundle_root(name: str, config: str) -> None:
    text = (BUNDLES[name] / "configs" / config).read_text()
    assert json.loads(text)["bundle_root"] == "."
    assert not re.findall(r"\"/|~/|\.\./", text)
