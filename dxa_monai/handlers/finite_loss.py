"""Stop training at the first loss that is not a number, before it reaches the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys

from dxa_monai.errors import TrainingError


class StopOnNonFinite:
    """Raise :class:`TrainingError` when the loss of a MONAI trainer is NaN or infinite, and name the scans of the
    batch.

    It looks between the loss and the backward pass, so the optimizer never steps on such a loss, the weights stay as
    they were, and no validation or checkpoint of that epoch follows, wherever this handler stands in the list.

    Args:
        check_gradients: also look at the gradients before the optimizer's step. Leave it off with mixed precision,
            where the gradient scaler meets infinite gradients now and then and skips those steps by itself.
        scan_id_key: where the batch keeps the names of its scans.
    """

    def __init__(self, check_gradients: bool = False, scan_id_key: str = "scan_id") -> None:
        self.check_gradients = check_gradients
        self.scan_id_key = scan_id_key

    def attach(self, engine: Engine) -> None:
        """Watch a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.check_loss)
        if self.check_gradients:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.check_gradient)

    def check_loss(self, engine: Any) -> None:
        """Raise TrainingError if the loss of this iteration is not finite."""
        loss = torch.as_tensor(engine.state.output[CommonKeys.LOSS]).detach()
        if not torch.isfinite(loss).all():
            self._stop(engine, "loss", float(loss.flatten()[0]))

    def check_gradient(self, engine: Any) -> None:
        """Raise TrainingError if the gradient of any weight is not finite."""
        gradients = [weight.grad for weight in engine.network.parameters() if weight.grad is not None]
        largest = torch.nn.utils.get_total_norm(gradients, norm_type=float("inf"))
        if not torch.isfinite(largest):
            self._stop(engine, "gradient", float(largest))

    def _stop(self, engine: Any, what: str, value: float) -> None:
        batch = engine.state.batch
        scans = batch.get(self.scan_id_key) if isinstance(batch, Mapping) else None
        named = ", ".join(map(str, scans)) if scans else "unknown (the batch holds no scan ids)"
        raise TrainingError(
            f"epoch {engine.state.epoch}, iteration {engine.state.iteration}: expected a finite {what}, "
            f"got {value} from scans {named}."
        )
