"""Early stopping that a resumed training goes on with."""

from __future__ import annotations

from typing import Any

from ignite.handlers import EarlyStopping
from monai.handlers import EarlyStopHandler


class EarlyStop(EarlyStopHandler):
    """MONAI's handler with a state: how long ago the best score was, and what it is. Call ``set_trainer`` first."""

    def state_dict(self) -> dict[str, Any]:
        """Counter and best score."""
        state = dict(self._early_stopping().state_dict())
        best = state["best_score"]
        return state | {"best_score": None if best is None else float(best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._early_stopping().load_state_dict(state)

    def _early_stopping(self) -> EarlyStopping:
        if self._handler is None:
            raise RuntimeError("expected set_trainer to be called before, got no call")
        return self._handler
