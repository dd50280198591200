"""Messages between devices, counted in a compiled program."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_COLLECTIVE = re.compile(
    r"^.*= (.*?) (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)"
    r"(?:-start)?\(",
    re.M,
)
_ARRAY = re.compile(r"\b[a-z]+(\d+)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One message.

    Attributes:
      kind: "all-reduce" and so on.
      size: bytes of what each device gets.
    """

    kind: str
    size: int


def in_program(text: str) -> list[Collective]:
    """All collectives of `jax.stages.Compiled.as_text()`; each counts once, also within a loop."""
    return [Collective(kind, _array_bytes(arrays)) for arrays, kind in _COLLECTIVE.findall(text)]


def _array_bytes(arrays: str) -> int:
    """Bytes of the arrays that a type such as "(f32[3,4], f32[])" names."""
    return sum(
        int(bits) // 8 * math.prod(int(side) for side in sides.split(",") if side)
        for bits, sides in _ARRAY.findall(arrays)
    )
