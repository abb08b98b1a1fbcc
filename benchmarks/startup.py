"""What a command costs before it begins: processor time and memory of the imports, MONAI's own and ours.

    python -m benchmarks.startup

Each line is a process of its own. ``python -m monai.bundle`` imports MONAI before it reads a config: no command of this
project can say anything sooner.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

BARE = "interpreter alone"
MONAI = "MONAI, as python -m monai.bundle imports it"
STARTS = {
    BARE: "pass",
    "torch": "import torch",
    MONAI: "import monai.bundle",
    "and the command line of this project": "import monai.bundle, dxa_monai.bundling.command",
    "and a training of dxa_vae": "import monai.bundle, dxa_monai.bundling.command, dxa_monai.training.run",
    "and an analysis of scans": "import monai.bundle, dxa_monai.bundling.command, dxa_monai.inference.body_composition",
    "and a scan from a mesh": "import monai.bundle, dxa_monai.bundling.command, dxa_monai.inference.meshes",
}


def cost_of(code: str) -> tuple[float, float, float]:
    """Processor seconds, seconds by the clock and peak memory in MiB of a Python process."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{code}: ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - begun, usage.ru_maxrss / 1024


def main() -> None:
    """Print a line a start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="the least of so many counts")
    repeats = parser.parse_args().repeats
    monai = 0.0
    print(f"{'':52s} {'processor s':>11s} {'clock s':>8s} {'MiB':>6s} {'over MONAI':>11s}")
    for name, code in STARTS.items():
        measured = [cost_of(code) for _ in range(repeats)]
        spent, clock, memory = (min(values) for values in zip(*measured, strict=True))
        monai = spent if name == MONAI else monai
        over = f"{spent / monai:.2f} x" if monai else ""
        print(f"{name:52s} {spent:11.2f} {clock:8.2f} {memory:6.0f} {over:>11s}")


if __name__ == "__main__":
    main()
