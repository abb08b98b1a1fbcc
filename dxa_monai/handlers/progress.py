"""One progress bar for a whole training."""

from __future__ import annotations

import ignite.distributed as idist
from ignite.engine import Engine, Events
from tqdm import tqdm


class TrainingProgress:
    """A bar over all iterations of a training that shows the epoch, its loss and the last value of a validation metric.

    Ignite's ``ProgressBar`` starts a new bar each epoch and knows nothing of the evaluator. Only the first process of a
    distributed run shows it.

    Args:
        title: stands before the bar.
        evaluator: whose metric to show.
        metric_name: name of that metric.
    """

    def __init__(self, title: str, evaluator: Engine, metric_name: str) -> None:
        self.title = title
        self.evaluator = evaluator
        self.metric_name = metric_name
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.show)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.INTERRUPT, self.close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.close_and_raise)

    def start(self, engine: Engine) -> None:
        """Show the bar, advanced to where a resumed training goes on."""
        total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        self._bar = tqdm(
            total=total or None,
            initial=engine.state.iteration,
            desc=self.title,
            unit="batch",
            disable=idist.get_rank() != 0,
        )

    def step(self, engine: Engine) -> None:
        """Advance by one iteration."""
        if self._bar is not None:
            self._bar.update()

    def show(self, engine: Engine) -> None:
        """Show the epoch that has just ended."""
        if self._bar is None:
            return
        shown = {"epoch": f"{engine.state.epoch}/{engine.state.max_epochs}"}
        if "loss" in engine.state.metrics:
            shown["loss"] = f"{engine.state.metrics['loss']:.4g}"
        if self.metric_name in self.evaluator.state.metrics:
            shown[self.metric_name] = f"{self.evaluator.state.metrics[self.metric_name]:.2f}"
        self._bar.set_postfix(shown)

    def close(self, engine: Engine) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def close_and_raise(self, engine: Engine, error: BaseException) -> None:
        """Leave the bar as it stands; the exception goes on."""
        self.close(engine)
        raise error
