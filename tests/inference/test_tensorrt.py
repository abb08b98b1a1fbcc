"""The overlay for TensorRT, as far as a machine without it can tell: what is refused, and the program that it reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.utils import convert_to_onnx
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.inference import tensorrt
from dxa_monai.inference.tensorrt import PACKAGES, need_tensorrt, tensorrt_network
from tests.bundles.networks import tiny_regressor, tiny_vae
from tests.bundles.tiny import bundle_files

NETWORKS: dict[str, Callable[[], Any]] = {"dxa_vae": tiny_vae, "dxa_anthropometry": tiny_regressor}


def test_the_command_without_tensorrt_ends_in_one_sentence_before_it_reads_anything(tmp_path: Path) -> None:
    files = str(bundle_files("dxa_vae", "inference.json", "inference_trt.json"))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files]
    command += ["--device", "cpu", "--input", str(tmp_path / "nothing"), "--output_dir", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert sentence.startswith(
        "error: inference_trt.json: expected a GPU of NVIDIA and the packages tensorrt, polygraphy, cuda-python, onnx, "
        "onnxscript, got device cpu"
    )
    assert sentence.endswith("; inference.json alone runs without.")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bundle", NETWORKS)
def test_the_overlay_changes_the_network_alone_and_all_it_names_is_there(bundle: str) -> None:
    plain, overlaid = ConfigParser(), ConfigParser()
    plain.read_config(bundle_files(bundle, "inference.json"))
    overlaid.read_config(bundle_files(bundle, "inference.json", "inference_trt.json"))
    changed = {name for name, value in overlaid.get().items() if value != plain.get(name)}
    assert changed == {"imports", "network", "initialize", "trt_precision"}
    assert overlaid["initialize"] == [*plain["initialize"], "$need_tensorrt(@device)"]
    assert set(plain["imports"]) < set(overlaid["imports"])
    overlaid.parse()
    overlaid.get_parsed_content("imports")
    assert overlaid["evaluator"]["network"] == "@network"


def test_every_lack_is_told_and_nothing_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(tensorrt, "_is_there", lambda module: True)
    need_tensorrt("cuda:0")
    with pytest.raises(InputError, match="got device cpu; inference"):
        need_tensorrt(torch.device("cpu"))
    for name, modules in PACKAGES.items():
        monkeypatch.setattr(tensorrt, "_is_there", lambda module, modules=modules: module not in modules)
        with pytest.raises(InputError, match=f"got no {name}; inference"):
            need_tensorrt("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(tensorrt, "_is_there", lambda module: True)
    with pytest.raises(InputError, match="got device cuda; inference"):
        need_tensorrt("cuda")


class Engine(nn.Module):
    """Stands in for what ``trt_compile`` makes: the network's outputs as a list, each ``off`` by something."""

    def __init__(self, network: nn.Module, off: float = 0.0, outputs: int = 3) -> None:
        super().__init__()
        self.network, self.off, self.outputs = network, off, outputs

    def forward(self, x: torch.Tensor) -> Any:
        output = self.network(x)
        if not isinstance(output, tuple):
            return output * (1.0 + self.off)
        return [tensor * (1.0 + self.off) for tensor in output][: self.outputs]


@pytest.mark.parametrize("bundle", NETWORKS)
def test_an_engine_takes_any_number_of_scans_and_has_to_give_what_the_network_gives(
    bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def compiled(off: float = 0.0, outputs: int = 3) -> Callable[..., Engine]:
        def trt_compile(network: nn.Module, base_path: str, args: dict[str, Any]) -> Engine:
            asked.append(args)
            return Engine(network, off, outputs)

        return trt_compile

    network = NETWORKS[bundle]()
    for batch_size, largest in ((8, 8), (1, 2)):
        monkeypatch.setattr(tensorrt, "trt_compile", compiled())
        assert tensorrt_network(network, batch_size).network is network
        assert asked[-1] == {"precision": "fp32", "dynamic_batchsize": [1, largest, largest]}
    monkeypatch.setattr(tensorrt, "trt_compile", compiled(off=1e-3))
    tensorrt_network(network, 8, "fp16")
    with pytest.raises(InputError, match=r"off by 0\.001 of the largest number with --trt_precision fp32"):
        tensorrt_network(network, 8)
    monkeypatch.setattr(tensorrt, "trt_compile", compiled(off=float("nan")))
    with pytest.raises(InputError, match="off by nan"):
        tensorrt_network(network, 8, "fp16")


def test_outputs_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "trt_compile", lambda network, base_path, args: Engine(network, outputs=2))
    with pytest.raises(InputError, match="expected the network's 3 outputs, got 2 others"):
        tensorrt_network(tiny_vae(), 8)


@pytest.mark.parametrize("bundle", NETWORKS)
def test_the_program_that_tensorrt_reads_gives_what_the_network_gives(bundle: str, tmp_path: Path) -> None:
    """Called as MONAI's ``TrtCompiler`` calls it."""
    network, path = NETWORKS[bundle](), tmp_path / "network.onnx"
    example = {"x": network.mean_image * torch.ones(2, 1, 1, 1)}
    with torch.no_grad():
        convert_to_onnx(
            network, example, filename=str(path), input_names=["x"], output_names=[], dynamic_axes={"x": [0]}
        )
        scans = network.mean_image + torch.rand(3, 6, 150, 109)
        output = network(scans)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = [each.numpy() for each in (output if isinstance(output, tuple) else (output,))]
    for got, wanted in zip(session.run(None, {"x": scans.numpy()}), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
