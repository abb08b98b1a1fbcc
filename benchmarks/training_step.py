"""A training step: seconds per scan, how far they are from what its arithmetic needs, and peak memory.

    python -m benchmarks.training_step                  # small, medium and paper preset, each arm, float32 and bfloat16
    python -m benchmarks.training_step --preset small --dtype float32 --steps 20

The floor is the step's multiplications and additions (counted by ``torch.utils.flop_counter`` in convolutions and
matrix products, forward and backward) over the rate at which this machine multiplies large matrices of that type,
measured in the same process; ``x floor`` is the step's time over it. bfloat16 is autocast, as the bundle trains on a
GPU.

Every line is measured in a process of its own, because peak memory only ever rises within one. The times are
those of the fastest step after one that is not counted: other programs on the machine only add to them. On a busy
machine take ``--threads 1``, where the processor time (``cpu``) hardly depends on the others; all ratios are of that
time (on a GPU: of wall-clock time). Network sizes and the shortcuts of the loss are those of the preset overlays of the
bundle; VGG-16 has random weights and the scans are random numbers, which cost what real ones cost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

ARMS = ("pixels", "no_dxa", "dxa", "dxa_masked")
"""``pixels``: L1 and KL only, what a step of the warm-up costs; the others add perceptual terms as the bundle does."""
R_OF_ARM = {"dxa": "as_published", "dxa_masked": "masked"}
"""How the arms that have a calibrated term treat R."""

CONFIGS = Path(__file__).parents[1] / "bundles" / "dxa_vae" / "configs"
PRESETS = ("small", "medium", "paper")
DTYPES = ("float32", "bfloat16")


def preset_overlay(preset: str) -> dict[str, Any]:
    """What a preset overlay of the bundle changes in ``train.json``."""
    overlay: dict[str, Any] = json.loads((CONFIGS / f"preset_{preset}.json").read_text())
    return overlay


def preset_section(preset: str, section: str) -> dict[str, Any]:
    """The arguments that a preset overlay gives to one component of ``train.json``."""
    return {k.split("#")[1]: value for k, value in preset_overlay(preset).items() if k.startswith(f"{section}#")}


def loss_of(preset: str, arm: str) -> Any:
    """The bundle's loss of an arm after the warm-up, with the preset's shortcuts."""
    from dxa_monai.losses.elementary import KLDivergence, PixelL1
    from dxa_monai.losses.perceptual import CalibratedPerceptualLoss, RawPerceptualLoss
    from dxa_monai.losses.vgg import VGGFeatures
    from dxa_monai.losses.weighted import Term, WeightedLoss

    terms: dict[str, Term | None] = {"pixel_l1": Term(PixelL1()), "kl": Term(KLDivergence(), weight=1e-5)}
    if arm != "pixels":
        overlay, features = preset_overlay(preset), VGGFeatures(**preset_section(preset, "features"))
        raw_views, calibrated_views = (overlay.get(f"{kind}_views_per_step") for kind in ("raw", "calibrated"))
        terms["raw_perceptual"] = Term(RawPerceptualLoss(features, views_per_step=raw_views))
        if arm in R_OF_ARM:
            calibrated = CalibratedPerceptualLoss(R_OF_ARM[arm], features=features, views_per_step=calibrated_views)
            terms["calibrated_perceptual"] = Term(calibrated, weight=0.05)
    return WeightedLoss(terms)


def matmul_flops_per_s(dtype: Any, device: Any) -> float:
    """Multiplications and additions a second in the product of two large square matrices; the best of some sizes."""
    import torch

    best = 0.0
    for size in (1024, 2048, 4096) if device.type == "cpu" else (4096, 8192, 16384):
        matrix = torch.randn(size, size, device=device).to(dtype)
        for _ in range(4):
            seconds = _seconds(lambda matrix=matrix: matrix @ matrix, device)[-1]
            best = max(best, 2.0 * size**3 / seconds)
    return best


def measure(
    preset: str, arm: str, dtype: str, batch_size: int, steps: int, threads: int, device_name: str
) -> dict[str, float]:
    """Seconds and FLOPs per scan, the rate of matrix products, peak memory, millions of weights, in this process."""
    # Imported here: the parent process only starts others and prints.
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dxa_monai.networks.vae import DXAVAE
    from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device, type_ = torch.device(device_name), getattr(torch, dtype)
    network = DXAVAE(**preset_section(preset, "network_def")).to(device)
    loss = loss_of(preset, arm).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, amsgrad=True, fused=True)
    scans = torch.rand(batch_size, len(CHANNELS), *SCAN_SHAPE, device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=type_, enabled=dtype != "float32"):
            total = loss(network(scans), scans)
        total.backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    times = [_seconds(step, device) for _ in range(steps + 1)][1:]
    # ru_maxrss is in kilobytes on Linux, in bytes on macOS.
    unit_gb = 1e-9 if sys.platform == "darwin" else 1024e-9
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_gb
    if device.type == "cuda":
        peak_gb = 1e-9 * torch.cuda.max_memory_allocated(device)
    return {
        "seconds_per_scan": min(seconds for seconds, _ in times) / batch_size,
        "cpu_seconds_per_scan": min(seconds for _, seconds in times) / batch_size,
        "flops_per_scan": counter.get_total_flops() / batch_size,
        "matmul_flops_per_s": matmul_flops_per_s(type_, device),
        "peak_memory_gb": peak_gb,
        "million_weights": sum(p.numel() for p in network.parameters()) / 1e6,
    }


def _seconds(work: Callable[[], object], device: Any) -> tuple[float, float]:
    """Wall-clock seconds, and those that ratios are made of: processor seconds or, on a GPU, wall-clock ones again."""
    import torch

    begun, cpu_begun = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elapsed = time.perf_counter() - begun
    return elapsed, elapsed if device.type == "cuda" else time.process_time() - cpu_begun


def _measured_apart(preset: str, arm: str, dtype: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training_step", "--in-this-process"]
    for name, value in {"preset": preset, "arm": arm, "dtype": dtype}.items():
        command += [f"--{name}", value]
    for name in ("batch_size", "steps", "threads", "device"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(answer.splitlines()[-1])
    return result


def main() -> None:
    """Measure what the command line asks for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=[*PRESETS, "all"], default="all")
    parser.add_argument("--arm", choices=[*ARMS, "all"], default="all")
    parser.add_argument("--dtype", choices=[*DTYPES, "all"], default="all")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--in-this-process", action="store_true", help="print one measurement as JSON")
    arguments = parser.parse_args()

    if arguments.in_this_process:
        what = (arguments.preset, arguments.arm, arguments.dtype)
        how = (arguments.batch_size, arguments.steps, arguments.threads, arguments.device)
        print(json.dumps(measure(*what, *how)))
        return
    print(
        f"{'preset':8}{'arm':12}{'dtype':10}{'s/scan':>8}{'cpu':>8}{'x pixels':>10}{'x no_dxa':>10}{'x float32':>11}"
        f"{'GFLOP':>8}{'GFLOP/s':>9}{'floor s':>9}{'x floor':>9}{'peak GB':>9}{'M weights':>11}"
    )
    measured: dict[tuple[str, str, str], float] = {}
    for preset, dtype, arm in product(
        PRESETS if arguments.preset == "all" else [arguments.preset],
        DTYPES if arguments.dtype == "all" else [arguments.dtype],
        ARMS if arguments.arm == "all" else [arguments.arm],
    ):
        result = _measured_apart(preset, arm, dtype, arguments)
        seconds = measured[preset, arm, dtype] = result["cpu_seconds_per_scan"]
        floor_s = result["flops_per_scan"] / result["matmul_flops_per_s"]
        bases = ((preset, "pixels", dtype), (preset, "no_dxa", dtype), (preset, arm, "float32"))
        ratios = [f"{seconds / measured[base]:.2f}" if base in measured else "-" for base in bases]
        print(
            f"{preset:8}{arm:12}{dtype:10}{result['seconds_per_scan']:8.3f}{seconds:8.3f}"
            f"{ratios[0]:>10}{ratios[1]:>10}{ratios[2]:>11}{1e-9 * result['flops_per_scan']:8.1f}"
            f"{1e-9 * result['matmul_flops_per_s']:9.0f}{floor_s:9.4f}{seconds / floor_s:9.1f}"
            f"{result['peak_memory_gb']:9.2f}{result['million_weights']:11.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
