"""Time of the X-ray forward model: areal densities of one person to a raw scan.

    python -m benchmarks.forward_model

'skipping air' is what simulation uses, 'every pixel' what a gradient needs. The time is the fastest and the median of
the repeats; other programs on the machine only add to it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.forward import log_attenuation
from dxa_monai.scan.format import SCAN_SHAPE


def lying_person(body_fraction: float) -> torch.Tensor:
    """Random tissue in a centred block that covers this share of a scan, ``(1, 3, 150, 109)`` g/cm2."""
    rows, columns = SCAN_SHAPE
    height, width = (round(side * body_fraction**0.5) for side in SCAN_SHAPE)
    top, left = (rows - height) // 2, (columns - width) // 2
    density = torch.zeros(1, 3, rows, columns)
    random = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([10.0, 20.0, 2.0]).reshape(3, 1, 1)
    density[:, :, top : top + height, left : left + width] = random * scale
    return density


def milliseconds(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Fastest and median time of a call, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times), float(np.median(times))


def main() -> None:
    """Print one line per way to run the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--body_fraction", type=float, default=0.48, help="share of the scan that is body")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    acquisition = Acquisition()
    density = lying_person(arguments.body_fraction)
    noise = torch.Generator().manual_seed(0)
    response = acquisition.response()
    attenuation = torch.tensor(response.mass_attenuation_cm2_g, dtype=torch.float32)
    weights = torch.tensor(response.signal_weights, dtype=torch.float32)
    pixels = density.movedim(1, -1).reshape(-1, 3).contiguous()

    print(f"threads {torch.get_num_threads()}, {len(response.energy_kev)} energies, scan {SCAN_SHAPE}")
    results = {
        "noise-free, every pixel": milliseconds(
            lambda: log_attenuation(pixels, attenuation, weights), arguments.repeats
        ),
        "noise-free, skipping air": milliseconds(lambda: acquisition.forward(density), arguments.repeats),
        "noisy, skipping air": milliseconds(lambda: acquisition.forward(density, noise), arguments.repeats),
        "counts for the disk": milliseconds(lambda: acquisition.scan(density, noise), arguments.repeats),
    }
    for name, (fastest, median) in results.items():
        print(f"{name:26s} {fastest:6.2f} ms (median {median:.2f})")
    naive, skipping = (results[f"noise-free, {name}"][0] for name in ("every pixel", "skipping air"))
    print(f"skipping air is {naive / skipping:.2f} times as fast as every pixel")


if __name__ == "__main__":
    main()
