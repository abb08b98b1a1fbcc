"""A network as an engine of TensorRT, for inference on one GPU; see ``configs/inference_trt.json`` of the bundles.

MONAI's ``trt_compile`` only warns where TensorRT is missing, and PyTorch goes on; here it is refused, and an engine
that gives something else than the network is, too. The ONNX program that TensorRT reads is tested; TensorRT itself was
not run.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from monai.networks import trt_compile

from dxa_monai.errors import InputError
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.vae import DXAVAE

PACKAGES = {
    "tensorrt": ("tensorrt",),
    "polygraphy": ("polygraphy",),
    "cuda-python": ("cuda.bindings.runtime", "cuda.cudart"),
    "onnx": ("onnx",),
    "onnxscript": ("onnxscript",),
}
"""What ``trt_compile`` needs, by the name on PyPI, and any of which modules says that it is there."""
_ROUNDING = {"fp32": 2.0**-23, "tf32": 2.0**-11, "fp16": 2.0**-11}
PRECISIONS = tuple(_ROUNDING)
_MOST_ROUNDINGS = 100
"""Between the engine's and the network's output, as a share of the largest number in it. ONNX Runtime in single
precision is 50 off in the codes of the released DXA-VAE and fewer elsewhere; nobody has measured TensorRT."""


def need_tensorrt(device: str | torch.device) -> None:
    """Refuse, before anything is read, a machine on which nothing would be accelerated.

    Args:
        device: that the network is to compute on.

    Raises:
        InputError: it is no GPU, or packages are missing; all of what is needed is told at once.
    """
    kind = torch.device(device).type
    missing = [name for name, modules in PACKAGES.items() if not any(_is_there(module) for module in modules)]
    lacking = [f"device {kind}"] if kind != "cuda" or not torch.cuda.is_available() else []
    lacking += [f"no {name}" for name in missing]
    if lacking:
        raise InputError(
            f"inference_trt.json: expected a GPU of NVIDIA and the packages {', '.join(PACKAGES)}, "
            f"got {', '.join(lacking)}; inference.json alone runs without."
        )


def tensorrt_network(network: DXAVAE | AnthropometryRegressor, batch_size: int, precision: str = "fp32") -> Any:
    """Build the engine of a network, and let it answer in the network's place.

    An engine belongs to one GPU, one version of TensorRT and one network. It is built anew by each command and kept in
    memory: one found in a file would be somebody's program.

    Args:
        network: on a GPU, in evaluation mode.
        batch_size: most scans at a time.
        precision: one of ``PRECISIONS``. A raw count is a part in 16383, which half precision does not hold.

    Returns:
        The network, whose ``forward`` is the engine's; it returns its outputs as a list where there are several.

    Raises:
        InputError: the engine gives something else than the network.
    """
    largest = max(2, batch_size)  # what is exported with one takes one alone
    factors = torch.linspace(0.9, 1.1, largest, device=network.mean_image.device)
    example = network.mean_image * factors[:, None, None, None]
    args = {"precision": precision, "dynamic_batchsize": [1, largest, largest]}
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        expected = _outputs(network(example))
        engine = trt_compile(network, str(Path(folder, "network")), args=args)
        got = _outputs(engine(example))  # builds the engine and reads it
    if [tensor.shape for tensor in got] != [tensor.shape for tensor in expected]:
        raise InputError(f"inference_trt.json: expected the network's {len(expected)} outputs, got {len(got)} others.")
    shares = [
        (one - other).abs().max() / other.abs().max().clamp_min(torch.finfo(other.dtype).tiny)
        for one, other in zip(got, expected, strict=True)
    ]
    off = float(torch.stack(shares).max())
    if not off <= _MOST_ROUNDINGS * _ROUNDING[precision]:
        raise InputError(
            f"inference_trt.json: expected an engine that gives what the network gives, got one that is off by "
            f"{off:.2g} of the largest number with --trt_precision {precision}; try fp32, or inference.json alone."
        )
    return engine


def _outputs(output: Any) -> list[torch.Tensor]:
    """Copies: the engine writes its next output to the same memory."""
    return [each.clone() for each in (output if isinstance(output, (list, tuple)) else [output])]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent is
        return False
