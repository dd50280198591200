"""Requests to stop a command: what SIGINT and SIGTERM do to it."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator

_LOG = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests:
    """What SIGINT and SIGTERM do: end the set-up at once, the steps after the present one.

    Args:
      then: what will be done after that step, for the message.

    Attributes:
      received: whether one has arrived. During the set-up it also raises KeyboardInterrupt, which
        code that catches everything, or a destructor, may swallow; then the first step is the last.
    """

    def __init__(self, then: str = "writing a checkpoint") -> None:
        self.received = False
        self._then = then
        self._complete_step = False

    def complete_steps(self) -> None:
        """From now on the first request lets the present step finish; a second one does not."""
        self._complete_step = True

    def handle(self, number: int, frame: object) -> None:
        """The signal handler."""
        again, self.received = self.received, True
        if again or not self._complete_step:
            raise KeyboardInterrupt
        _LOG.warning(f"finishing this step, then {self._then} ...")


@contextlib.contextmanager
def stop_requests(then: str = "writing a checkpoint") -> Iterator[StopRequests]:
    """Handle SIGINT and SIGTERM as `StopRequests` says."""
    requests = StopRequests(then)
    try:
        previous = {number: signal.signal(number, requests.handle) for number in _SIGNALS}
    except ValueError:  # not the main thread: nothing will arrive here
        previous = {}
    try:
        yield requests
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
