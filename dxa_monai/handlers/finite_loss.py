"""Stop training at the first loss or gradient that is not a number, before it reaches the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.files import atomic_path, output_folder

DUMP_NAME = "non_finite_batch.npz"
SMALLEST_SCALE = 1.0
"""A gradient scaler begins at 65536 and halves its scale at each step that it skips. It meets infinite gradients now
and then; 17 of them without a good stretch between are no longer the price of a narrow number format."""


class StopOnNonFinite:
    """Raise :class:`TrainingError` when the loss of a MONAI trainer, or a gradient, is NaN or infinite; name the scans.

    It looks between the loss and the backward pass and again before the optimizer's step, so that the optimizer never
    steps on such a number, the weights stay as they were, and no validation or checkpoint of that epoch follows,
    wherever this handler stands in the list.

    Beside the run the batch is kept as ``non_finite_batch.npz`` (``np.load(path, allow_pickle=False)``): ``scan_id``,
    ``image``, ``label`` and ``prediction`` as the network and the loss saw them, ``loss``, ``loss_<term>``, ``epoch``,
    ``iteration`` and ``what`` (loss or gradient). Of several processes those after the first add their number to the
    name. A number type that numpy lacks is kept as float32.

    Args:
        folder: of the run; None keeps no batch.
        loss: with ``terms``, a dictionary of scalars of its last call, which are kept with the batch.
        check_gradients: None: where no gradient scaler is active. An active scaler skips steps of infinite gradients by
            itself; then its scale is watched instead, and the run stops when it has fallen below ``SMALLEST_SCALE``.
            False: only the loss is looked at.
        scan_id_key: where the batch keeps the names of its scans.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        loss: Any = None,
        check_gradients: bool | None = None,
        scan_id_key: str = "scan_id",
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.loss = loss
        self.check_gradients = check_gradients
        self.scan_id_key = scan_id_key

    def attach(self, engine: Engine) -> None:
        """Watch a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.check_loss)
        if self.check_gradients is not False:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.check_gradient)

    def check_loss(self, engine: Any) -> None:
        """Raise TrainingError if the loss of this iteration is not finite."""
        loss = torch.as_tensor(engine.state.output[CommonKeys.LOSS]).detach()
        if not torch.isfinite(loss).all():
            self._stop(engine, "loss", float(loss.flatten()[0]))

    def check_gradient(self, engine: Any) -> None:
        """Raise TrainingError if the gradient of any weight is not finite."""
        scaler = getattr(engine, "scaler", None)
        if self.check_gradients is None and scaler is not None and scaler.is_enabled():
            if scaler.get_scale() < SMALLEST_SCALE:
                self._stop(engine, "gradient", float("inf"))
            return
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
            f"got {value} from scans {named}{self._kept(engine, what, scans or [])}."
        )

    def _kept(self, engine: Any, what: str, scans: Any) -> str:
        """Keep the batch; the end of the sentence that says where."""
        if self.folder is None:
            return ""
        rank = idist.get_rank()
        path = self.folder / (DUMP_NAME if rank == 0 else DUMP_NAME.replace(".npz", f"_{rank}.npz"))
        output = engine.state.output
        prediction = output.get(CommonKeys.PRED)
        numbers = {
            "image": output.get(CommonKeys.IMAGE),
            "label": output.get(CommonKeys.LABEL),
            "prediction": prediction[0] if isinstance(prediction, (tuple, list)) else prediction,
            "loss": output[CommonKeys.LOSS],
        } | {f"loss_{name}": value for name, value in getattr(self.loss, "terms", {}).items()}
        arrays = {name: _array(value) for name, value in numbers.items() if value is not None}
        try:
            output_folder(self.folder)
            with atomic_path(path) as temporary:
                np.savez_compressed(
                    temporary,
                    allow_pickle=False,
                    scan_id=np.array([str(scan) for scan in scans], dtype=str),
                    epoch=np.array(engine.state.epoch),
                    iteration=np.array(engine.state.iteration),
                    what=np.array(what),
                    **arrays,
                )
        except (InputError, OSError) as error:
            # the loss is what the user has to know of; that the batch could not be kept comes second
            return f"; the batch could not be kept ({str(error).rstrip('.')})"
        return f"; the batch is kept in {path}"


def _array(value: Any) -> np.ndarray:
    tensor = torch.as_tensor(value).detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
