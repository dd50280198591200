"""Metrics, looked at one step late: numbers that are not finite, and votes to stop."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.runtime import sharding
from metastyle_jax.storage import checkpoint


class FiniteWatch:
    """Looks for metrics that are not finite, one step late so that the device never waits.

    Args:
      checkpoints: of the run; the message says which one is left.
      advise: (metric that is not finite, step) -> what to change, the end of that sentence.
      look: gets each step and its metrics once they are known to be finite, in order.
    """

    def __init__(
        self,
        checkpoints: checkpoint.Checkpoints,
        advise: Callable[[str, int], str],
        look: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    ) -> None:
        self._checkpoints = checkpoints
        self._advise, self._look = advise, look
        self._pending: list[tuple[int, dict[str, jax.Array]]] = []
        self._last: dict[str, float] = {}
        self._votes = 0.0

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Take the metrics of a step that may still be running; check the one before it."""
        self._pending.append((step, metrics))
        while len(self._pending) > 1:
            self._check()

    def check_all(self) -> dict[str, float]:
        """Wait for all steps and return the metrics of the last one.

        Raises:
          UserError: naming the step and the first part that is not finite.
        """
        while self._pending:
            self._check()
        return self._last

    def asked_to_stop(self) -> bool:
        """Whether any process asked to stop, as of the last step that was checked."""
        return self._votes > 0

    def _check(self) -> None:
        step, metrics = self._pending.pop(0)
        self._last = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._votes = self._last.pop(sharding.STOP_VOTES, 0.0)
        # in the order in which a step computes them, so that the first one is the cause
        order = ("inner_loss", "inner_gradient", "outer_content", "outer_style", "outer_loss", "")
        for prefix in order:
            for name, value in sorted(self._last.items()):
                if name.startswith(prefix) and not np.isfinite(value):
                    saved = self._checkpoints.steps()
                    kept = f"the checkpoint of step {saved[-1]} is kept" if saved else "no "
                    kept += "" if saved else "checkpoint had been written"
                    advice = self._advise(name, step)
                    raise UserError(f"{name} is {value} at step {step}; {kept}: {advice}")
        self._look(step, self._last)
