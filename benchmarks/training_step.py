"""Seconds per scan and peak memory of a training step, for the small and the paper preset and each arm of the loss.

    python -m benchmarks.training_step                  # both presets, a few steps each
    python -m benchmarks.training_step --preset small --steps 20

Every line is measured in a process of its own, because peak memory only ever rises within one. The times are
those of the fastest step after one that is not counted: other programs on the machine only add to them. On a busy
machine take ``--threads 1``, where the processor time (``cpu``) hardly depends on the others; the ratios are of that
time. Network sizes and the shortcuts of the loss are those of the preset overlays of the bundle; VGG-16 has random
weights and the scans are random numbers, which cost what real ones cost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ARMS = ("pixels", "no_dxa", "dxa", "dxa_masked")
"""``pixels``: L1 and KL only, what a step of the warm-up costs; the others are the arms of ``DXALoss``."""

CONFIGS = Path(__file__).parents[1] / "bundles" / "dxa_vae" / "configs"
PRESETS = ("small", "medium", "paper")


def preset_section(preset: str, section: str) -> dict[str, Any]:
    """The arguments that a preset overlay of the bundle gives to one component of ``train.json``."""
    overlay = json.loads((CONFIGS / f"preset_{preset}.json").read_text())
    return {key.split("#")[1]: value for key, value in overlay.items() if key.startswith(f"{section}#")}


def measure(preset: str, arm: str, batch_size: int, steps: int, threads: int) -> dict[str, float]:
    """Wall-clock and processor seconds per scan, peak resident memory and millions of weights, in this process."""
    # Imported here: the parent process only starts others and prints.
    import torch

    from dxa_monai.losses.dxa import DXALoss
    from dxa_monai.losses.vae import DXAVAELoss
    from dxa_monai.losses.vgg import VGGFeatures
    from dxa_monai.networks.vae import DXAVAE
    from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = DXAVAE(**preset_section(preset, "network_def"))
    perceptual = None
    if arm != "pixels":
        perceptual = DXALoss(
            arm, features=VGGFeatures(**preset_section(preset, "features")), **preset_section(preset, "perceptual_loss")
        )
    loss = DXAVAELoss(perceptual)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    scans = torch.rand(batch_size, len(CHANNELS), *SCAN_SHAPE)

    seconds, cpu_seconds = [], []
    for _ in range(steps + 1):
        start, cpu_start = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss(network(scans), scans).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    # ru_maxrss is in kilobytes on Linux, in bytes on macOS.
    unit_gb = 1e-9 if sys.platform == "darwin" else 1024e-9
    return {
        "seconds_per_scan": min(seconds[1:]) / batch_size,
        "cpu_seconds_per_scan": min(cpu_seconds[1:]) / batch_size,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_gb,
        "million_weights": sum(p.numel() for p in network.parameters()) / 1e6,
    }


def main() -> None:
    """Measure what the command line asks for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=[*PRESETS, "all"], default="all")
    parser.add_argument("--arm", choices=[*ARMS, "all"], default="all")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--in-this-process", action="store_true", help="print one measurement as JSON")
    arguments = parser.parse_args()

    if arguments.in_this_process:
        shared = (arguments.batch_size, arguments.steps, arguments.threads)
        print(json.dumps(measure(arguments.preset, arguments.arm, *shared)))
        return
    print(
        f"{'preset':8}{'arm':12}{'s/scan':>9}{'cpu':>9}{'x pixels':>10}{'x no_dxa':>10}{'peak GB':>9}{'M weights':>11}"
    )
    for preset in PRESETS if arguments.preset == "all" else [arguments.preset]:
        measured: dict[str, float] = {}
        for arm in ARMS if arguments.arm == "all" else [arguments.arm]:
            command = [
                sys.executable,
                "-m",
                "benchmarks.training_step",
                "--in-this-process",
                "--preset",
                preset,
                "--arm",
                arm,
            ]
            command += ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
            command += ["--threads", str(arguments.threads)]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            result = json.loads(answer.splitlines()[-1])
            measured[arm] = result["cpu_seconds_per_scan"]
            ratios = "".join(
                f"{measured[arm] / measured[base]:10.2f}" if base in measured else f"{'-':>10}"
                for base in ("pixels", "no_dxa")
            )
            print(
                f"{preset:8}{arm:12}{result['seconds_per_scan']:9.3f}{measured[arm]:9.3f}{ratios}"
                f"{result['peak_memory_gb']:9.2f}{result['million_weights']:11.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
