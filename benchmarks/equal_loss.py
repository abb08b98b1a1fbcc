"""Which shortcut of the DXA loss trains soonest to the same validation loss? Time to equal loss, not time a step.

    python -m benchmarks.equal_loss --manifest data/cohort/manifest.csv --minutes 8

The small network first learns pixels for ``--warm-up`` of the time. From there each option goes on with its own loss:
all views and layers in full resolution, or a random subset of views a step, a cut-off after few layers, half the
resolution, and all of these together (the small preset). All are judged by the same yardstick: the whole loss (all
views, all layers, full resolution) on people held out. The target is what ``full`` has reached after its minutes; the
others stop there, or after the same minutes. Judging is not counted, and time is processor time of one thread.

VGG-16 has random weights, as in the small preset; the learning rate is constant, and lower after the warm-up.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from monai.utils import set_determinism

from benchmarks.data_loading import training
from dxa_monai.losses.weighted import WeightedLoss

FULL: dict[str, Any] = {
    "raw_views_per_step": None,
    "calibrated_views_per_step": None,
    "features#cutoff": None,
    "features#downsampling": 1,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "subset of views": {"raw_views_per_step": 1, "calibrated_views_per_step": 1},
    "cut-off relu2_2": {"features#cutoff": "relu2_2"},
    "half resolution": {"features#downsampling": 2},
}
OPTIONS["all three"] = {name: value for option in OPTIONS.values() for name, value in option.items()}
AFTER_WARM_UP = 0.3
"""Times the learning rate of the warm-up: small enough for the loss to fall steadily."""
JUDGEMENTS = 16
"""Of each option, evenly spread over its minutes."""


def _loss(common: dict[str, Any], manifest: str, option: dict[str, Any], arm: str) -> WeightedLoss:
    loss: WeightedLoss = training("small", manifest, common | FULL | option, arm).get_parsed_content("loss")
    return loss


def _batches(loader: Any, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        for batch in loader:
            yield batch["image"].to(device), batch["label"].to(device)


def _optimizer(network: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, amsgrad=True, fused=True)


@torch.no_grad()
def judged(network: torch.nn.Module, yardstick: WeightedLoss, scans: list[torch.Tensor]) -> float:
    """The whole loss of scans held out."""
    network.eval()
    yardstick.eval()
    losses = [float(yardstick(network(scan[None]), scan[None])) for scan in scans]
    network.train()
    return float(np.mean(losses))


def train(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: WeightedLoss,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    seconds: float,
) -> tuple[int, float]:
    """Train for some processor seconds; the number of steps, and the seconds they took."""
    begun = time.process_time()
    for step in itertools.count(1):
        image, label = next(batches)
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()
        if (took := time.process_time() - begun) >= seconds:
            return step, took
    raise AssertionError


def curve(
    network: torch.nn.Module,
    loss: WeightedLoss,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    judge: Any,
    seconds: float,
    target: float,
    optimizer: torch.optim.Optimizer,
) -> tuple[list[float], list[float], int]:
    """Processor seconds, best judgement so far, and steps; until the target is reached or the time is over."""
    times, best, steps = [0.0], [judge(network)], 0
    while times[-1] < seconds and best[-1] > target:
        more, took = train(network, optimizer, loss, batches, seconds / JUDGEMENTS)
        steps += more
        times.append(times[-1] + took)
        best.append(min(best[-1], judge(network)))
    return times, best, steps


def time_to(target: float, times: list[float], best: list[float]) -> float:
    """When a falling curve reaches the target, between its points; NaN if it does not."""
    if best[-1] > target:
        return float("nan")
    return float(np.interp(-target, [-value for value in best], times))


def main() -> None:
    """Print a row an option and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--warm-up", type=float, default=0.25, help="of the minutes, pixels alone")
    parser.add_argument("--arm", default="dxa_masked")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scans", type=int, default=8, help="held out, for each judgement")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 60 * arguments.minutes
    print(f"{'seed':>4}  {'option':18}{'steps':>7}{'s/step':>8}{'loss':>19}{'seconds':>9}{'x full':>8}")
    for seed in arguments.seeds:
        common = {"seed": seed, "device": torch.device("cpu")}
        parser_ = training("small", arguments.manifest, common | FULL, arguments.arm)
        held_out = parser_.get_parsed_content("validate#dataset")
        scans = [torch.as_tensor(held_out[i]["image"]) for i in range(min(arguments.scans, len(held_out)))]
        yardstick = _loss(common, arguments.manifest, {}, arguments.arm)
        yardstick.set_epoch(1000)  # every term is on

        set_determinism(seed)
        network = parser_.get_parsed_content("network")
        network.set_normalisation(*parser_.get_parsed_content("data").statistics)
        batches = _batches(parser_.get_parsed_content("train#dataloader"), torch.device("cpu"))
        pixels = _loss(common, arguments.manifest, {}, arguments.arm)
        pixels.set_epoch(1)
        optimizer = _optimizer(network, arguments.learning_rate)
        train(network, optimizer, pixels, batches, arguments.warm_up * seconds)

        target, full_s = -np.inf, float("nan")
        for name, option in OPTIONS.items():
            set_determinism(seed)
            loss = _loss(common, arguments.manifest, option, arguments.arm)
            loss.set_epoch(1000)
            begun = copy.deepcopy(network)
            going_on = _optimizer(begun, arguments.learning_rate)
            going_on.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            for group in going_on.param_groups:
                group["lr"] *= AFTER_WARM_UP
            times, best, steps = curve(
                begun,
                loss,
                batches,
                lambda trained, yardstick=yardstick, scans=scans: judged(trained, yardstick, scans),
                seconds,
                target,
                going_on,
            )
            if name == "full":
                target = best[-1]
                if target == best[0]:
                    raise SystemExit("full: expected the loss to fall, got none that is lower; give it more minutes")
            reached_s = time_to(target, times, best)
            full_s = reached_s if name == "full" else full_s
            print(
                f"{seed:>4}  {name:18}{steps:>7}{times[-1] / steps:>8.2f}{best[0]:>10.5f}->{best[-1]:.5f}"
                f"{reached_s:>9.0f}{reached_s / full_s:>8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
