"""Does a training wait for its data? Reading and augmenting scans against the training step that uses them.

    python -m benchmarks.data_loading --manifest data/cohort/manifest.csv
    python -m benchmarks.data_loading --manifest data/cohort/manifest.csv --preset paper --batch-size 4 --steps 4

For ``dxa_vae``'s own config and a preset: processor time a scan in each transform and in the whole loader; then real
training steps, with the share of their time in which the trainer waited for a batch, for each number of worker
processes, with scans read from disk and from memory (``cache_rate`` 0 and 1). The first step is not counted. A scan's
reading over a scan's step says how many times faster the training could get, on a GPU for example, before one worker
is the bottleneck.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from dxa_monai.terminal import errors_as_sentence

CONFIGS = Path(__file__).parents[1] / "bundles" / "dxa_vae" / "configs"


def training(
    preset: str, manifest: str, settings: dict[str, Any], arm: str = "no_dxa", overlays: Sequence[str] = ()
) -> ConfigParser:
    """The bundle's training config, ready to give components; overlays by name, after the preset."""
    parser = ConfigParser()
    names = ("train", f"arm_{arm}", f"preset_{preset}", *overlays)
    parser.read_config([str(CONFIGS / f"{name}.json") for name in names])
    parser.update({"manifest": manifest, "backbone": "random"} | settings)
    parser.parse()
    return parser


def transform_seconds(parser: ConfigParser, scans: int) -> dict[str, float]:
    """Processor seconds a scan of each transform of the training, in their order."""
    rows = parser.get_parsed_content("train#dataset").data[:scans]
    seconds: dict[str, float] = {}
    for transform in parser.get_parsed_content("train#preprocessing").transforms:
        begun = time.process_time()
        rows = [transform(row) for row in rows]
        seconds[type(transform).__name__] = (time.process_time() - begun) / len(rows)
    return seconds


def loading_seconds(parser: ConfigParser, scans: int) -> float:
    """Seconds a scan of the whole loader, without worker processes, from disk."""
    loader = parser.get_parsed_content("train#dataloader")
    begun, read = time.process_time(), 0
    while read < scans:
        for batch in loader:
            read += len(batch["image"])
            if read >= scans:
                break
    return (time.process_time() - begun) / read


def waiting(parser: ConfigParser, steps: int) -> tuple[float, float]:
    """Seconds of a training step, and the share of them in which it waits for its batch."""
    set_determinism(0)
    network, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss")
    loss.set_epoch(1000)  # every term is on
    optimizer = parser.get_parsed_content("optimizer")
    device = parser.get_parsed_content("device")
    loader = parser.get_parsed_content("train#dataloader")
    waited_s, begun, step = 0.0, 0.0, 0
    while step <= steps:
        asked = time.perf_counter()
        for batch in loader:
            if step == 1:
                begun, waited_s = time.perf_counter(), 0.0
            elif step > 1:
                waited_s += time.perf_counter() - asked
            if step > steps:
                break
            optimizer.zero_grad()
            loss(network(batch["image"].to(device)), batch["label"].to(device)).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            step += 1
            asked = time.perf_counter()
    total_s = time.perf_counter() - begun
    return total_s / steps, waited_s / total_s


@errors_as_sentence()
def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--preset", choices=["small", "medium", "paper"], default="small")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--scans", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    common = {"batch_size": arguments.batch_size, "cache_rate": 0.0, "num_workers": 0}

    reading = training(arguments.preset, arguments.manifest, common)
    for name, seconds in transform_seconds(reading, arguments.scans).items():
        print(f"{name:28}{1000 * seconds:8.3f} ms/scan")
    loading_s = loading_seconds(reading, arguments.scans)
    print(f"{'loader, seeds and batching':28}{1000 * loading_s:8.3f} ms/scan, {1 / loading_s:.0f} scans/s a worker\n")

    print(f"{'workers':>8}{'cache_rate':>12}{'s/step':>9}{'waiting':>10}{'step / reading a scan':>24}")
    for workers in arguments.workers:
        for cache_rate in (0.0, 1.0):
            settings = common | {"num_workers": workers, "cache_rate": cache_rate}
            step_s, share = waiting(training(arguments.preset, arguments.manifest, settings), arguments.steps)
            ratio = step_s / arguments.batch_size / loading_s
            print(f"{workers:>8}{cache_rate:>12.1f}{step_s:>9.3f}{share:>10.1%}{ratio:>24.1f}", flush=True)


if __name__ == "__main__":
    main()
