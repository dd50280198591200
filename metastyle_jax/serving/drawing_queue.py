"""One thread draws, requests wait in a line of bounded length, and each has a deadline."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Full(Exception):
    """The line is as long as it may be."""


class Expired(Exception):
    """The deadline of a request has passed."""


@dataclasses.dataclass
class Counts:
    """What was drawn so far.

    Attributes:
      drawn: pictures.
      seconds: that the thread worked, also on what failed.
    """

    drawn: int = 0
    seconds: float = 0.0


class DrawingQueue:
    """Draws one picture after the other, in the order of the requests.

    A second picture at the same time would take as long as after the first, and twice the memory.

    Args:
      waiting: requests that may wait beside the one that is drawn.
      seconds: from the request to its deadline.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._thread = ThreadPoolExecutor(1, "drawing")
        self._lock = threading.Lock()
        self._taken = 0
        self.counts = Counts()

    def submit(self, draw: Callable[[Callable[[float], None]], Any]) -> Future[Any]:
        """Draw as soon as it is this request's turn.

        Args:
          draw: gets a function to call from time to time, with anything; it raises `Expired` once
            the deadline has passed. Returns the result.

        Returns:
          The result, or the exception; `Expired` if the turn came after the deadline.

        Raises:
          Full: as many wait already as may.
        """
        if not self._places.acquire(blocking=False):
            raise Full
        with self._lock:
            self._taken += 1
        deadline = time.monotonic() + self._seconds

        def check(_: float = 0.0) -> None:
            if time.monotonic() > deadline:
                raise Expired

        future = self._thread.submit(self._draw, draw, check)
        future.add_done_callback(self._leave)  # also of one that was canceled
        return future

    @property
    def length(self) -> int:
        """Requests that wait or are drawn."""
        return self._taken

    def close(self) -> None:
        """Draw what waits, then end the thread."""
        self._thread.shutdown()

    def _draw(self, draw: Callable[..., Any], check: Callable[[float], None]) -> Any:
        begin = time.monotonic()
        try:
            check(0.0)
            result = draw(check)
            self.counts.drawn += 1
            return result
        finally:
            self.counts.seconds += time.monotonic() - begin

    def _leave(self, _: Future[Any]) -> None:
        with self._lock:
            self._taken -= 1
        self._places.release()
