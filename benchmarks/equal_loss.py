"""How soon does a training reach a validation loss? Time to equal loss, not time a step.

    python -m benchmarks.equal_loss --manifest data/cohort/manifest.csv
    python -m benchmarks.equal_loss --manifest data/cohort/manifest.csv --optimizers --seconds 120 --seeds 0 1

Without options two presets are trained side by side: the small one of version 0.6 (a dense decoder, one view of the
raw channels through VGG-16 in each step), with its own schedule to its end, and today's (a linear path, no VGG), until
it is judged as well as the first was at its end. Both are judged by one yardstick, the loss of 0.6 (pixels and all
views) on the validation people, whatever they are trained on. What counts is the processor time of one thread from the
training scans on, the start with mean and components included; screening, the cache and judging are not counted.

``--optimizers`` compares optimisers at equal processor time on the dense decoder without VGG, where the network has to
learn everything: each has the preset's learning rate (or the one named after ``:``) with its rise and fall over that
time, the same first weights and the same batches, and is judged by the training loss on the validation people.
``muon`` is :class:`dxa_monai.training.muon.MatrixMuon`; ``averaged`` judges the exponential average of Adam's weights.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.data_loading import training
from dxa_monai.losses.weighted import WeightedLoss
from dxa_monai.terminal import errors_as_sentence
from dxa_monai.training.muon import MatrixMuon

DENSE = ("decoder_dense",)
OF_0_6 = (*DENSE, "term_raw_perceptual")
SETTINGS_OF_0_6: dict[str, Any] = {"augmentation": [], "mirrored": False}
JUDGEMENTS = 16
"""Of a training, evenly spread over it."""
OPTIMIZERS = ("adam", "adamw", "muon", "averaged")
AVERAGED_OVER_STEPS = 100
RISE, FROM, TO = 0.3, 1 / 25, 1e-4
"""The learning rate of ``OneCycleLR``: the part of the time in which it rises, and where it starts and ends."""


def batches(parser: ConfigParser) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Image and label of the training loader, pass after pass."""
    loader = parser.get_parsed_content("train#dataloader")
    while True:
        for batch in loader:
            yield torch.as_tensor(batch["image"]), torch.as_tensor(batch["label"])


@torch.no_grad()
def judged(network: nn.Module, yardstick: WeightedLoss, scans: Sequence[torch.Tensor]) -> float:
    """The loss of scans with all its terms on."""
    network.eval()
    yardstick.eval()
    yardstick.set_epoch(1000)
    losses = [float(yardstick(network(scan[None]), scan[None])) for scan in scans]
    network.train()
    return float(np.mean(losses))


def validation_scans(parser: ConfigParser, most: int) -> list[torch.Tensor]:
    """Scans of the validation people."""
    held_out = parser.get_parsed_content("validate#dataset")
    return [torch.as_tensor(held_out[index]["image"]) for index in range(min(most, len(held_out)))]


class Preset:
    """A training of the bundle, step by step, as its config has it.

    Args:
        manifest: of the cohort.
        overlays: after the small preset.
        settings: besides.
        seed: of the training.
        epochs: of its schedule; 0: the preset's.
    """

    def __init__(
        self, manifest: str, overlays: Sequence[str], settings: Mapping[str, Any], seed: int, epochs: int
    ) -> None:
        given = {"seed": seed, "device": torch.device("cpu"), **settings}
        if epochs:
            given |= {"max_epochs": epochs}
        self.parser = training("small", manifest, given, overlays=overlays)
        _ = self.parser.get_parsed_content("data").split  # read and screened, not counted
        self.batches = batches(self.parser)
        next(self.batches)  # cached, not counted
        set_determinism(seed)
        begun = time.process_time()
        self.network = self.parser.get_parsed_content("network")
        self.parser.get_parsed_content("start").prepare()
        self.loss = self.parser.get_parsed_content("loss")
        self.start_s = time.process_time() - begun
        self.optimizer = self.parser.get_parsed_content("optimizer")
        self.schedule = self.parser.get_parsed_content("lr_scheduler")
        self.steps_an_epoch = len(self.parser.get_parsed_content("train#dataloader"))
        self.steps = self.steps_an_epoch * self.parser.get_parsed_content("max_epochs")
        self.done = 0

    def train(self, steps: int) -> float:
        """Take some steps; the processor seconds that they took."""
        begun = time.process_time()
        for _ in range(steps):
            self.loss.set_epoch(1 + self.done // self.steps_an_epoch)
            image, label = next(self.batches)
            self.optimizer.zero_grad()
            self.loss(self.network(image), label).backward()
            self.optimizer.step()
            self.schedule.step()
            self.done += 1
        return time.process_time() - begun


def time_to(
    target: float, preset: Preset, yardstick: WeightedLoss, scans: Sequence[torch.Tensor]
) -> tuple[float, float]:
    """Processor seconds until a preset is judged as well as ``target`` (NaN: never), and its last judgement."""
    seconds, loss = preset.start_s, judged(preset.network, yardstick, scans)
    while loss > target and preset.done < preset.steps:
        seconds += preset.train(min(max(1, preset.steps // JUDGEMENTS), preset.steps - preset.done))
        loss = judged(preset.network, yardstick, scans)
    return (seconds if loss <= target else math.nan), loss


def compare_presets(manifest: str, seeds: Sequence[int], most: int, epochs: int) -> None:
    """Print a row a seed, and the ratio of the times."""
    print(
        f"{'seed':>4}{'loss of 0.6':>13}{'seconds':>9}{'loss today':>12}{'seconds':>9}{'start':>7}{'steps':>7}"
        f"{'ratio':>8}"
    )
    for seed in seeds:
        old = Preset(manifest, OF_0_6, SETTINGS_OF_0_6, seed, epochs)
        yardstick, scans = old.parser.get_parsed_content("loss"), validation_scans(old.parser, most)
        old_s = old.start_s + old.train(old.steps)
        target = judged(old.network, yardstick, scans)
        today = Preset(manifest, (), {}, seed, 0)
        seconds, loss = time_to(target, today, yardstick, scans)
        print(
            f"{seed:>4}{target:>13.5f}{old_s:>9.1f}{loss:>12.5f}{seconds:>9.1f}{today.start_s:>7.1f}{today.done:>7}"
            f"{seconds / old_s:>8.3f}",
            flush=True,
        )


def optimizer_of(name: str, network: nn.Module, learning_rate: float) -> Any:
    """An optimiser by its name."""
    if name == "muon":
        return MatrixMuon(network.parameters(), lr=learning_rate)
    if name == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01, fused=True)
    return torch.optim.Adam(network.parameters(), lr=learning_rate, amsgrad=True, fused=True)


def one_cycle(part: float) -> float:
    """The factor of the learning rate after a part of the time: up and down by half cosines."""
    low, high, along = (FROM, 1.0, part / RISE) if part < RISE else (TO, 1.0, 1.0 - (part - RISE) / (1.0 - RISE))
    return low + (high - low) * (1.0 - math.cos(math.pi * max(0.0, min(1.0, along)))) / 2.0


def compare_optimizers(manifest: str, seeds: Sequence[int], most: int, seconds: float, names: Sequence[str]) -> None:
    """Print a row an optimiser and seed."""
    print(f"{'seed':>4}  {'optimiser':16}{'steps':>7}{'s/step':>8}{'validation loss':>17}")
    for seed in seeds:
        for given in names:
            name, _, rate = given.partition(":")
            preset = Preset(manifest, DENSE, {}, seed, 0)
            rate_ = float(rate or preset.parser.get_parsed_content("learning_rate"))
            optimizer = optimizer_of(name, preset.network, rate_)
            rates = [group["lr"] for group in optimizer.param_groups]
            averaged = AveragedModel(
                preset.network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / AVERAGED_OVER_STEPS), use_buffers=True
            )
            preset.loss.set_epoch(1000)
            begun, steps, part = time.process_time(), 0, 0.0
            while part < 1.0:
                for group, full in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = full * one_cycle(part)
                image, label = next(preset.batches)
                optimizer.zero_grad()
                preset.loss(preset.network(image), label).backward()
                optimizer.step()
                if name == "averaged":
                    averaged.update_parameters(preset.network)
                steps += 1
                part = (time.process_time() - begun) / seconds
            scans = validation_scans(preset.parser, most)
            loss = judged(averaged if name == "averaged" else preset.network, preset.loss, scans)
            print(f"{seed:>4}  {given:16}{steps:>7}{seconds / steps:>8.3f}{loss:>17.5f}", flush=True)


@errors_as_sentence()
def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scans", type=int, default=30, help="of validation people, for each judgement")
    parser.add_argument("--epochs", type=int, default=0, help="of the schedule of 0.6; 0: its own")
    parser.add_argument("--optimizers", nargs="*", default=None, metavar="NAME[:RATE]", help=", ".join(OPTIMIZERS))
    parser.add_argument("--seconds", type=float, default=120.0, help="of the processor, for each optimiser")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.optimizers is None:
        compare_presets(arguments.manifest, arguments.seeds, arguments.scans, arguments.epochs)
        return
    names = arguments.optimizers or OPTIMIZERS
    unknown = [name for name in names if name.partition(":")[0] not in OPTIMIZERS]
    if unknown:
        parser.error(f"--optimizers: expected {', '.join(OPTIMIZERS)}, got '{unknown[0]}'")
    compare_optimizers(arguments.manifest, arguments.seeds, arguments.scans, arguments.seconds, names)


if __name__ == "__main__":
    main()
