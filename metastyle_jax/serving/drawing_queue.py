"""Threads draw, requests wait in a line of bounded length, and each has a deadline."""

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
      seconds: that threads worked, also on what failed; the sum over threads.
    """

    drawn: int = 0
    seconds: float = 0.0


class DrawingQueue:
    """Draws pictures in the order of the requests.

    Args:
      waiting: requests that may wait beside those that are drawn.
      threads: pictures that are drawn at the same time. On a CPU a second one would take as long
        as after the first, and twice the memory.
    """

    def __init__(self, waiting: int, threads: int = 1) -> None:
        self._places = threading.BoundedSemaphore(waiting + threads)
        self._threads = ThreadPoolExecutor(threads, "drawing")
        self._lock = threading.Lock()
        self._taken = 0
        self.counts = Counts()

    def submit(self, draw: Callable[[Callable[[float], None]], Any], seconds: float) -> Future[Any]:
        """Draw as soon as it is this request's turn.

        Args:
          draw: gets a function to call from time to time, with anything; it raises `Expired` once
            the deadline has passed. Returns the result.
          seconds: until the deadline.

        Returns:
          The result, or the exception; `Expired` if the turn came after the deadline.

        Raises:
          Full: as many wait already as may.
        """
        if not self._places.acquire(blocking=False):
            raise Full
        with self._lock:
            self._taken += 1
        deadline = time.monotonic() + seconds

        def check(_: float = 0.0) -> None:
            if time.monotonic() > deadline:
                raise Expired

        future = self._threads.submit(self._draw, draw, check)
        future.add_done_callback(self._leave)  # also of one that was canceled
        return future

    @property
    def length(self) -> int:
        """Requests that wait or are drawn."""
        return self._taken

    def close(self) -> None:
        """Draw what waits, then end the threads."""
        self._threads.shutdown()

    def _draw(self, draw: Callable[..., Any], check: Callable[[float], None]) -> Any:
        begin = time.monotonic()
        try:
            check(0.0)
            result = draw(check)
            with self._lock:
                self.counts.drawn += 1
            return result
        finally:
            with self._lock:
                self.counts.seconds += time.monotonic() - begin

    def _leave(self, _: Future[Any]) -> None:
        with self._lock:
            self._taken -= 1
        self._places.release()
