"""Ways to do the same thing, timed in turns, so that a slow moment of the machine meets all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def medians(ways: Sequence[Callable[[], object]], repeat: int) -> list[float]:
    """Median seconds of each way over `repeat` turns, after a first one that compiles."""
    seconds: list[list[float]] = [[] for _ in ways]
    for way in ways:
        way()
    for _ in range(repeat):
        for way, times in zip(ways, seconds, strict=True):
            begin = time.perf_counter()
            way()
            times.append(time.perf_counter() - begin)
    return [statistics.median(times) for times in seconds]
