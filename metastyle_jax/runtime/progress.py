"""How long pictures are going to take, where each new size is compiled first."""

from __future__ import annotations

from collections.abc import Iterable

Size = tuple[int, int]


class Pace:
    """Seconds that pictures took, and what they say of those to come."""

    def __init__(self) -> None:
        self._first: dict[Size, float] = {}  # of each size: with compilation
        self._later: dict[Size, list[float]] = {}

    def took(self, size: Size, seconds: float) -> None:
        """Note a picture of `size`, (width, height), that is done."""
        if size in self._first:
            self._later.setdefault(size, []).append(seconds)
        else:
            self._first[size] = seconds

    def expected(self, sizes: Iterable[Size]) -> float | None:
        """Seconds that pictures of these sizes will take; None if nothing is known of some of them.

        Sizes that were drawn before take as long as after their compilation. New ones take a
        constant and something for each pixel, by the line through the sizes that are known.
        """
        line, total = self._line(), 0.0
        for size in sizes:
            if size in self._later:
                total += sum(self._later[size]) / len(self._later[size])
            elif size in self._first:
                total += self._first[size]  # too much, for want of a second one
            elif line is None:
                return None
            else:
                total += line[0] + line[1] * size[0] * size[1]
        return total

    def _line(self) -> tuple[float, float] | None:
        """(constant, slope), neither below 0, of the least squares over the first of each size."""
        points = [(size[0] * size[1], seconds) for size, seconds in self._first.items()]
        if len({pixels for pixels, _ in points}) < 2:
            return None
        mean_pixels = sum(pixels for pixels, _ in points) / len(points)
        mean_seconds = sum(seconds for _, seconds in points) / len(points)
        spread = sum((pixels - mean_pixels) ** 2 for pixels, _ in points)
        together = sum((p - mean_pixels) * (seconds - mean_seconds) for p, seconds in points)
        slope = max(0.0, together / spread)
        if slope * mean_pixels > mean_seconds:  # the constant would be negative
            return 0.0, mean_seconds / mean_pixels
        return mean_seconds - slope * mean_pixels, slope
