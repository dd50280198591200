"""The table of `against_pytorch.py`, and its rows as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import both_sides

FORMS = ("jax", "NCHW", "channels_last", "compiled")
HEADER = (
    "| step | target | PyTorch/JAX | JAX | NCHW | channels_last | compiled "
    "| JAX compiles | PyTorch compiles | peak JAX (XLA's temporary) | peak PyTorch |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


class Case(NamedTuple):
    """What is compared; `make` takes one of `FORMS`."""

    name: str
    target: float | None
    make: Callable[[str], both_sides.Side]


class Measured(NamedTuple):
    """What was measured of a case: by form, median seconds, those of the first run, peak bytes."""

    case: Case
    times: Mapping[str, float]
    first: Mapping[str, float]
    peaks: Mapping[str, int | None]
    mine: both_sides.Side


def record(measured: Measured) -> dict[str, Any]:
    """The row as values that JSON can hold: seconds and bytes by form."""
    return {
        "step": measured.case.name,
        "ratio": _ratio(measured),
        "seconds": measured.times,
        "first_seconds": measured.first,
        "peak_bytes": measured.peaks,
        "compile_seconds": measured.mine.compile_seconds,
        "temporary_bytes": measured.mine.temporary,
    }


def _ratio(measured: Measured) -> float:
    """Seconds of the fastest PyTorch form in units of ours."""
    best = min(value for form, value in measured.times.items() if form != "jax")
    return best / measured.times["jax"]


def row(measured: Measured) -> str:
    case, times, first, peaks, mine = measured
    compiling = first["compiled"] - times["compiled"] if "compiled" in times else None
    cells = [
        case.name,
        f"{case.target}" if case.target else "",
        f"{_ratio(measured):.2f}",
        *(_format(times.get(form), 1e3, " ms", digits=_digits(times)) for form in FORMS),
        f"{mine.compile_seconds:.1f} s",
        _format(compiling, 1, " s", digits=1),
        f"{_format(peaks['jax'], 1e-6, ' MB')} ({mine.temporary / 1e6:.0f} MB)",
        _format(peaks["NCHW"], 1e-6, " MB"),
    ]
    return f"| {' | '.join(cells)} |"


def _digits(times: Mapping[str, float]) -> int:
    """After the point of milliseconds: a GPU takes a few for what a CPU takes seconds for."""
    return 2 if min(times.values()) < 0.1 else 0


def _format(value: float | None, factor: float, unit: str, digits: int = 0) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}{unit}"
