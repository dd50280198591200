"""Which part of the time the devices wait for their input."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class InputWatch:
    """Adds up the time in which a batch is made and no step runs beside it.

    A step that ends while a batch is made counts as no step, so that the share is an upper bound.

    Args:
      clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since, self._waited = clock(), 0.0

    def get(self, make: Callable[[], T], done: Callable[[], bool]) -> T:
        """What `make` returns. `done`: whether the step before has ended."""
        begin = self._clock()
        made = make()
        if done():
            self._waited += self._clock() - begin
        return made

    def share(self) -> float:
        """Of the time since this was last called, 0 to 1."""
        now = self._clock()
        share = self._waited / max(now - self._since, 1e-9)
        self._since, self._waited = now, 0.0
        return min(share, 1.0)
