"""Schedule of a pretrained generator: first as it is, then fine-tuned."""

from __future__ import annotations

from ignite.engine import Engine, Events
from torch import nn

from dxa_monai.networks.pseudo_dxa import PseudoDXA


class FreezeGenerator:
    """Keep the generator frozen in the first epochs, so that the mesh encoder learns to speak to it as it is.

    At first the codes of a new encoder are noise, and gradients through them would undo what pretraining gave the
    generator. A generator of random weights has nothing to keep: give it ``epochs`` 0.

    Args:
        network: whose generator it is.
        epochs: how many epochs it stays frozen; it is set free at the start of the next one.
    """

    def __init__(self, network: PseudoDXA | nn.parallel.DistributedDataParallel, epochs: int) -> None:
        module = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
        self.network: PseudoDXA = module
        self.epochs = epochs

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the generator for the epoch that begins."""
        self.network.freeze_generator(engine.state.epoch <= self.epochs)
