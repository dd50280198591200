"""Ranges of numbers for flags and settings, with one error message for all commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from metastyle_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`.

    Attributes:
      least, most: both belong to the range.
      above: whether `least` itself is excluded.
    """

    least: float
    most: float
    above: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse a number outside the range, and NaN.

        Args:
          name: of the flag or setting, as the user writes it: "--steps", "config.inner.clip".
          value: a number, or several of which each is checked.

        Raises:
          UserError: naming the flag, the range and the value.
        """
        for number in value if isinstance(value, Iterable) else (value,):
            fits = self.least < number if self.above else self.least <= number
            if not (fits and number <= self.most):
                raise UserError(f"{name} must be {self}, got {number}")

    def __str__(self) -> str:
        if self.above:
            return f"more than {self.least:g} and at most {self.most:g}"
        return f"between {self.least:g} and {self.most:g}"


LARGEST = 1e12  # of any number; the paper's style weight is 1e5
WEIGHT = Range(0, LARGEST)  # of a part of a loss
POSITIVE_WEIGHT = Range(0, LARGEST, above=True)
RATE = Range(0, 1e3, above=True)  # of an optimizer
FRACTION = Range(0, 1)  # of what is in [0, 1], such as the noise on pictures


def count(least: int = 1) -> Range:
    """A range for counts, sizes and seeds."""
    return Range(least, 1e9)


def check_flags(args: Any, ranges: dict[str, Range]) -> None:
    """Check attributes of `args` by name. None means that a flag was not given.

    Raises:
      UserError: naming the first flag that does not fit.
    """
    for name, allowed in ranges.items():
        value = getattr(args, name)
        if value is not None:
            allowed.check(f"--{name.replace('_', '-')}", value)


def refuse_empty(args: Any, names: Iterable[str]) -> None:
    """Refuse lists of `args` by name that hold nothing, as `--networks=` and `--networks=,` do.

    Raises:
      UserError: naming the first flag without a value.
    """
    for name in names:
        if not getattr(args, name):
            raise UserError(f"--{name.replace('_', '-')} is empty: give one value at least")


def require(flat: Mapping[str, Any], names: Iterable[str], example: str) -> None:
    """Refuse settings by dotted name that lack one of `names`, which the file `example` has.

    Raises:
      UserError: naming the setting that is missing.
    """
    for name in names:
        if name not in flat:
            raise UserError(f"the configuration has no {name}: start from {example}")


def check_minimum(flat: Mapping[str, Any], minimum: Mapping[str, float]) -> None:
    """Refuse settings by dotted name below a minimum or beyond all reason, NaN too.

    Raises:
      UserError: naming the setting, what it may be and its value.
    """
    for name, least in minimum.items():
        Range(least, LARGEST).check(f"config.{name}", flat[name])
