"""Before a run: the memory that one outer step needs, and the largest batch that fits.

The very program that training runs is compiled from shapes alone, for the backend at hand: no
weights and no pictures are read, nothing is run. XLA then says what the program will allocate.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import jax

from metastyle_jax.metalearning import subsets
from metastyle_jax.runtime import sharding
from metastyle_jax.settings import configuration, construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import step_memory
from metastyle_jax.training.program import pick_devices
from metastyle_jax.training.step_memory import Memory

USUAL_STEPS = (1, 5)  # the paper uses 1 to 5
_MOST_PROBES = 8  # programs compiled to pin down the largest batch; two are usual

_FIRST_MINUTES = 0.25  # to compile one inner step, or the outer loss; a guess: 0.1 to 1 were seen

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Row:
    """What a number of inner steps asks for.

    Attributes:
      steps: T.
      unrolled: whether they are compiled one after the other, in memory that grows with T.
      memory: at the configured batch.
      per_style: bytes of one more style on a device.
      largest: the most styles, over all devices, whose step fits; 0 if not even
        one in each part that the devices split a batch into.
      compiled: whether the largest batch and the next one were compiled; else it is extrapolated.
    """

    steps: int
    unrolled: bool
    memory: Memory
    per_style: int
    largest: int
    compiled: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """One row per T. `limit`: bytes on each of `devices` devices of `backend`, "cpu" or such."""

    backend: str
    devices: int
    limit: int
    rows: tuple[Row, ...]


def plan(
    config: Settings,
    *,
    limit: int | None = None,
    others: Sequence[int] = USUAL_STEPS,
    verify: bool = False,
    progress: Progress = lambda line: None,
) -> Plan:
    """What one outer step of `config` needs on the devices at hand, for its own T and others.

    Args:
      config: see `configs/default.py`.
      limit: bytes that each device has; None for `step_memory.device_memory`.
      others: further numbers of inner steps.
      verify: compile the largest batch that fits and the next one, rather than to extrapolate from
        two small ones. Each compilation of a big step takes from half a minute to minutes.
      progress: gets a line before each compilation.

    Raises:
      UserError: a setting cannot be used, or the compiler itself finds no room.
    """
    config = configuration.read(config)
    devices = pick_devices(config)
    if limit is None:
        limit = step_memory.device_memory(devices)
    timed = _Timed(progress)
    rows = {config.inner.steps: _row(config, limit, timed, verify=verify)}
    for steps in set(others) - set(rows):
        changed = configuration.changed(config, {"inner.steps": steps})
        rows[steps] = _other_row(changed, limit, timed, rows[config.inner.steps])
    ordered = tuple(row for _, row in sorted(rows.items()))
    return Plan(jax.default_backend(), len(devices), limit, ordered)


class _Timed:
    """Says before each compilation what it compiles, and how long that may take by the one before.

    Steps one after the other are compiled each: the time grows with T, and with the styles where
    these do not fold. That of a loop does not.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._seconds: float | None = None  # that one unit of the last program took

    def run(self, config: Settings, compile_it: Callable[[], Memory]) -> Memory:
        units, form = _length(config)
        if self._seconds is None:
            expected = f"about {_FIRST_MINUTES * units:.2g} to {4 * _FIRST_MINUTES * units:.2g} min"
        else:
            expected = f"about {max(1, round(self._seconds * units))} s"
        self._progress(
            f"compiling {_count(config.inner.steps, 'inner step')} ({form}) on "
            f"{_count(config.batch.styles, 'style')}: {expected} ..."
        )
        began = time.perf_counter()
        memory = compile_it()
        self._seconds = (time.perf_counter() - began) / units
        return memory


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _length(config: Settings) -> tuple[float, str]:
    """(inner steps that are compiled, and one more for the outer loss; in words)."""
    if not construction.unrolled(config):
        return 2, "as a loop"
    copies = config.inner.steps
    if not subsets.folds(config.inner.subset):
        copies *= config.batch.styles
    form = "one after the other"
    if copies > construction.UNROLLED_AT_MOST:
        form += "; --config.inner.unroll=False compiles one of them, as a loop"
    return 1 + copies, form


def _row(config: Settings, limit: int, progress: _Timed, *, verify: bool) -> Row:
    parts, measured = _parts(config), {}

    def measure(share: int) -> int:
        """Bytes in all for `share` styles per device."""
        measured[share] = _compile(config, share * parts, progress)
        return measured[share].total

    configured = config.batch.styles // parts
    other = 2 if configured == 1 else 1
    points = {share: measure(share) for share in (configured, other)}
    per_style = max(1, (points[other] - points[configured]) // (other - configured))
    # unrolled, the inner loops of styles that do not fold make a program of any length
    unrolled = construction.unrolled(config)
    verify = verify and (subsets.folds(config.inner.subset) or not unrolled)
    share, compiled = largest_share(points, limit, measure if verify else None)
    return Row(
        config.inner.steps,
        unrolled,
        measured[configured],
        per_style,
        share * parts,
        compiled,
    )


def _other_row(config: Settings, limit: int, progress: _Timed, row: Row) -> Row:
    """A row from one compilation: a style's bytes are taken to grow with T as the temporary do."""
    parts = _parts(config)
    memory = _compile(config, config.batch.styles, progress)
    per_style = row.per_style * memory.temporary // max(1, row.memory.temporary)
    configured = config.batch.styles // parts
    points = {configured: memory.total, configured + 1: memory.total + per_style}
    share, _ = largest_share(points, limit)
    unrolled = construction.unrolled(config)
    return Row(config.inner.steps, unrolled, memory, per_style, share * parts, False)


def _parts(config: Settings) -> int:
    """How many parts the styles of the configured batch are split into."""
    batch = config.batch
    return sharding.layout(batch.styles, batch.contents, len(pick_devices(config))).styles


def _compile(config: Settings, styles: int, progress: _Timed) -> Memory:
    changed = configuration.changed(config, {"batch.styles": styles})
    return progress.run(changed, lambda: step_memory.step_memory(changed))


def largest_share(
    points: dict[int, int], limit: int, measure: Callable[[int], int] | None = None
) -> tuple[int, bool]:
    """The largest n whose bytes are at most `limit`, and whether it and n + 1 were measured.

    The temporary memory of a step is very nearly affine in the batch, so that a line through two
    points tells the largest n to within a few, and `measure` settles it.

    Args:
      points: {n: bytes} for at least two n.
      limit: bytes.
      measure: n -> bytes; None to extrapolate only.
    """
    points = dict(points)
    for _ in range(_MOST_PROBES):
        fits = max((n for n, size in points.items() if size <= limit), default=0)
        too_large = min((n for n, size in points.items() if size > limit), default=None)
        if too_large == fits + 1:
            return fits, True
        # the line through the two points that are nearest to the limit
        (n, size), (m, other) = sorted(points.items(), key=lambda point: abs(point[1] - limit))[:2]
        slope = max(1.0, (other - size) / (m - n))
        guess = max(fits, n + int((limit - size) // slope))
        guess = guess if too_large is None else min(guess, too_large - 1)
        if measure is None:
            return guess, False
        probe = guess if guess not in points and guess > 0 else guess + 1
        points[probe] = measure(probe)
    return fits, False
