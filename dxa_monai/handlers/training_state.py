"""All that a training needs to go on as if nothing had happened."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.loading.loaders import TrainingLoader
from dxa_monai.runs.interruption import Interruption
from dxa_monai.runs.random_state import get_random_state, set_random_state
from dxa_monai.runs.state_files import newest_state, write_state

logger = logging.getLogger(__name__)

SAVING_SHARE = 0.02
"""Of a training's time goes into saving at most, whatever the interval: a large state is saved more rarely."""
CHECKED_EVERY = 10
"""Iterations between two agreements of several processes to save or stop. Each makes a GPU wait."""

VALIDATION_S = 10.0
"""A validation that has so much to go is finished before a training stops: what came before it is saved after it."""

_GO_ON, _SAVE, _STOP = 0, 1, 2


class Stateful(Protocol):
    """A network, an optimizer, a schedule, a handler."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain types."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Go on from them."""


class TrainingState:
    """Save the state of a MONAI trainer now and then, and let a trainer go on from it.

    On a CPU a training that was stopped (Ctrl-C, SIGTERM, ``kill -9``, power) and resumed ends with the same weights
    and the same metrics, bit for bit, as one that was not. The state consists of the ``parts``, the loss, the gradient
    scaler, random states, the trainer's iteration, which says where in which pass through the data it is
    (:class:`dxa_monai.loading.loaders.TrainingLoader`), and the evaluator's best metric.

    It saves between two iterations, or after the validation that ends an epoch, when ``interval_s`` have passed; and
    at once when the training is asked to stop, after the iteration at hand or, if that takes no longer than
    ``VALIDATION_S``, the validation; a longer one is broken off, and what came after the last save is lost, which is
    said. A second Ctrl-C does not wait.

    List it first among the handlers of a trainer: it restores before the others start, and saves after all of them.

    In a distributed run the processes hold the same state, so the first one writes for all, and another number of
    processes can go on from it.

    Args:
        folder: of the run; states lie in ``resume/`` in it.
        loader: that the trainer reads.
        evaluator: of the trainer's validations.
        parts: what changes in training, by name.
        loss: its buffers and trainable weights are saved, frozen ones (VGG's) are not.
        resume: go on from the newest state in the folder if there is one.
        interval_s: seconds between two saves, more if saving takes long (``SAVING_SHARE``); 0: after each iteration.

    Raises:
        InputError: to resume, and all states in the folder are damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        loader: TrainingLoader,
        evaluator: Engine,
        parts: Mapping[str, Stateful],
        loss: nn.Module,
        resume: bool = False,
        interval_s: float = 60.0,
    ) -> None:
        self.folder = Path(folder)
        self.loader = loader
        self.evaluator = evaluator
        self.parts = dict(parts)
        self.loss = loss
        self.interval_s = interval_s
        self._found = newest_state(self.folder) if resume else None
        self._interruption = Interruption()
        self._saved_at = 0.0
        self._saving_s = 0.0
        self._saved: int | None = None  # iteration
        self._validating_since = 0.0

    @property
    def found(self) -> bool:
        """Whether there is a state to go on from: what is learned from the data before training is in it."""
        return self._found is not None

    def attach(self, engine: Any) -> None:
        """Wrap the ``run`` of a MONAI trainer."""
        run_engine = engine.run

        def run(*args: Any, **kwargs: Any) -> Any:
            with self._interruption:
                return run_engine(*args, **kwargs)

        engine.run = run
        engine.add_event_handler(Events.STARTED, self.start)

    def start(self, engine: Any) -> None:
        """Restore what was found; from here on, save after whatever other handlers do."""
        if self._found is not None:
            self._restore(engine, self._found)
            self._found = None
        self.loader.start_at(engine.state.iteration)
        if not engine.has_event_handler(self.after_iteration):  # a federated training is started again in each round
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.after_iteration)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.after_epoch)
            self.evaluator.add_event_handler(Events.STARTED, self.before_validation)
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.during_validation)
        self._saved_at = time.monotonic()

    def after_iteration(self, engine: Any) -> None:
        """Save if it is time to. The last iteration of an epoch is not the place: its validation is still to come."""
        if engine.state.iteration % engine.state.epoch_length != 0:
            self._save_or_stop(engine)

    def after_epoch(self, engine: Any) -> None:
        """Save if it is time to."""
        self._save_or_stop(engine)

    def before_validation(self, engine: Engine) -> None:
        """Note when it began."""
        self._validating_since = time.monotonic()

    def during_validation(self, engine: Engine) -> None:
        """Do not finish a validation first that may take minutes. Several processes have no way to agree here."""
        if idist.get_world_size() > 1 or self._interruption.received is None:
            return
        done, of = engine.state.iteration, engine.state.epoch_length or 0
        if (time.monotonic() - self._validating_since) / done * (of - done) <= VALIDATION_S:
            return
        kept = "nothing is saved yet" if self._saved is None else f"saved is iteration {self._saved}"
        logger.warning("stopped during a validation; %s; to go on: --resume True", kept)
        self._interruption.stop()

    def save(self, engine: Any) -> Path | None:
        """Write the state; the path, in the process that wrote it. All processes have to call this.

        Raises:
            InputError: it cannot be written.
        """
        begun = time.monotonic()
        state = self._collect(engine)
        path = write_state(self.folder, engine.state.iteration, state) if idist.get_rank() == 0 else None
        self._saved, self._saved_at = engine.state.iteration, time.monotonic()
        self._saving_s = self._saved_at - begun
        return path

    def _save_or_stop(self, engine: Any) -> None:
        decision = self._decide(engine)
        if decision == _GO_ON:
            return
        path = self.save(engine)
        if decision == _STOP:
            if path is not None:
                logger.warning("stopped after iteration %d; to go on: --resume True", engine.state.iteration)
            self._interruption.stop()
            raise SystemExit("another process of this run was asked to stop")

    def _decide(self, engine: Any) -> int:
        alone = idist.get_world_size() == 1
        if not alone and engine.state.iteration % CHECKED_EVERY and engine.state.iteration % engine.state.epoch_length:
            return _GO_ON
        interval_s = self.interval_s and max(self.interval_s, self._saving_s / SAVING_SHARE)
        decision = _SAVE if time.monotonic() - self._saved_at >= interval_s else _GO_ON
        if self._interruption.received is not None:
            decision = _STOP
        elif not alone and idist.get_rank() != 0:
            decision = _GO_ON  # the first process has the clock
        return decision if alone else int(idist.all_reduce(decision, "MAX"))

    def _collect(self, engine: Any) -> dict[str, Any]:
        best: Any = self.evaluator.state
        return {
            "trainer": {
                "iteration": engine.state.iteration,
                "epoch_length": engine.state.epoch_length,
                # set by early stopping: a training that was over shall not go on for an epoch
                "terminate": bool(engine.should_terminate),
            },
            "evaluator": {"best_metric": float(best.best_metric), "best_metric_epoch": int(best.best_metric_epoch)},
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "loss": _changing_state(self.loss),
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else None,
            "random": get_random_state(),
        }

    def _restore(self, engine: Any, state: dict[str, Any]) -> None:
        trainer = state["trainer"]
        if trainer["epoch_length"] != engine.state.epoch_length or set(state["parts"]) != set(self.parts):
            raise InputError(
                f"{self.folder}: expected the state of a training of {engine.state.epoch_length} iterations an epoch "
                f"with {', '.join(self.parts)}, got {trainer['epoch_length']} with {', '.join(state['parts'])}."
            )
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state["parts"][name])
            self.loss.load_state_dict(state["loss"], strict=False)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.folder}: expected the state of this training, got '{reason}'.") from error
        if engine.scaler is not None and state["scaler"] is not None:
            engine.scaler.load_state_dict(state["scaler"])
        set_random_state(state["random"])
        best: Any = self.evaluator.state
        best.best_metric = state["evaluator"]["best_metric"]
        best.best_metric_epoch = state["evaluator"]["best_metric_epoch"]
        engine.state.iteration = self._saved = trainer["iteration"]
        # the epoch begun, if it was not over: the trainer counts it when it begins
        engine.state.epoch = trainer["iteration"] // trainer["epoch_length"]
        if trainer["terminate"]:
            engine.terminate()
        logger.info("goes on after iteration %d", trainer["iteration"])


def _changing_state(loss: nn.Module) -> dict[str, Any]:
    frozen = {name for name, weight in loss.named_parameters() if not weight.requires_grad}
    return {name: value for name, value in loss.state_dict().items() if name not in frozen}
