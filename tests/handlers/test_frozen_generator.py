from __future__ import annotations

from ignite.engine import Engine

from dxa_monai.handlers.frozen_generator import FreezeGenerator
from dxa_monai.networks.pseudo_dxa import PseudoDXA

TINY = {
    "encoder": {
        "kind": "pointnet2",
        "levels": [{"centres": 4, "radii_m": [0.5], "neighbours": [2], "channels": [[2]]}],
        "global_channels": [2],
        "head_channels": [],
    },
    "latent_channels": 1,
    "generator_channels": (2, 2, 2),
    "generator_kernel_sizes": (1,),
    "generator_dense_shape": (38, 28),
}


def _frozen_by_epoch(epochs: int) -> list[bool]:
    network = PseudoDXA(**TINY)
    seen: list[bool] = []

    def step(engine: Engine, batch: int) -> None:
        network.train()  # as MONAI's trainer does in each step
        weights = {parameter.requires_grad for parameter in network.generator.parameters()}
        assert weights == {network.generator.training}
        assert all(parameter.requires_grad for parameter in network.encoder.parameters())
        seen.append(not network.generator.training)

    engine = Engine(step)
    FreezeGenerator(network, epochs).attach(engine)
    engine.run([0], max_epochs=4)
    return seen


def test_generator_is_frozen_in_the_first_epochs_only() -> None:
    assert _frozen_by_epoch(2) == [True, True, False, False]


def test_zero_epochs_never_freeze() -> None:
    assert _frozen_by_epoch(0) == [False] * 4
