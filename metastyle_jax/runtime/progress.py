"""How long pictures take: of several sizes, where each new size is compiled first, or of one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

SECONDS_BETWEEN_LINES = 10.0

_LOG = logging.getLogger(__name__)

Size = tuple[int, int]


class Pace:
    """Predicts the time of further pictures from the times of earlier ones."""

    def __init__(self) -> None:
        self._first: dict[Size, float] = {}  # first picture of a size, with compilation
        self._later: dict[Size, list[float]] = {}

    def took(self, size: Size, seconds: float) -> None:
        """Record the seconds of a picture of `size`, (width, height)."""
        if size in self._first:
            self._later.setdefault(size, []).append(seconds)
        else:
            self._first[size] = seconds

    def expected(self, sizes: Iterable[Size]) -> float | None:
        """Expected seconds for pictures of these sizes; None if that cannot be predicted yet.

        A size that was compiled before takes its mean time without compilation. The time of a new
        size is a linear function of its pixels, fitted to the first times of the known sizes.
        """
        line, total = self._line(), 0.0
        for size in sizes:
            if size in self._later:
                total += sum(self._later[size]) / len(self._later[size])
            elif size in self._first:
                total += self._first[size]  # includes compilation: an upper bound
            elif line is None:
                return None
            else:
                total += line[0] + line[1] * size[0] * size[1]
        return total

    def _line(self) -> tuple[float, float] | None:
        """(constant, slope), both >= 0, of a least-squares fit to the first time of each size."""
        points = [(size[0] * size[1], seconds) for size, seconds in self._first.items()]
        if len({pixels for pixels, _ in points}) < 2:
            return None
        mean_pixels = sum(pixels for pixels, _ in points) / len(points)
        mean_seconds = sum(seconds for _, seconds in points) / len(points)
        variance = sum((pixels - mean_pixels) ** 2 for pixels, _ in points)
        covariance = sum((p - mean_pixels) * (seconds - mean_seconds) for p, seconds in points)
        slope = max(0.0, covariance / variance)
        if slope * mean_pixels > mean_seconds:  # the constant would be negative
            return 0.0, mean_seconds / mean_pixels
        return mean_seconds - slope * mean_pixels, slope


class PictureCount:
    """Says every 10 seconds how many pictures are decoded, at which rate, and the time left."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._begin = self._said = time.monotonic()

    def __call__(self) -> None:
        """Called after each picture."""
        self._done += 1
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said, rate = now, self._done / (now - self._begin)
        left = (self._total - self._done) / rate
        _LOG.info(f"{self._done} of {self._total} pictures, {rate:.0f}/s, ETA {left:.0f} s")
