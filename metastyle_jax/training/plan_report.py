"""What `metastyle plan` reads and prints: sizes in bytes, and the plan as a table."""

from __future__ import annotations

import math
import re

from metastyle_jax.errors import UserError
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training.memory_plan import Plan, Row

_PREFIXES = ("", "k", "M", "G", "T")


def parse_size(flag: str, text: str) -> int:
    """Bytes of "16GB" (powers of 1000), "16GiB" (powers of 1024) or "16000000000".

    Raises:
      UserError: it is no positive size.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if match and (match[2] or not match[3]):
        power = "kmgt".find(match[2].lower()) + 1 if match[2] else 0
        size = float(match[1]) * (1024 if match[3] else 1000) ** power
        if size >= 1 and math.isfinite(size):
            return int(size)
    raise UserError(f"{flag}={text} is no size: write, for example, {flag}=16GB")


def show_size(size: int) -> str:
    """Three digits and a unit: 1234567 -> "1.23 MB"."""
    power = 0 if size < 1 else min(int(math.log10(size)) // 3, len(_PREFIXES) - 1)
    number = size / 1000**power
    digits = 0 if number >= 100 or not power else 1 if number >= 10 else 2
    return f"{number:.{digits}f} {_PREFIXES[power]}B"


def render(plan: Plan, config: Settings) -> str:
    """The plan as lines for a terminal."""
    styles, contents, size = config.batch.styles, config.batch.contents, config.data.image_size
    each = "" if plan.devices == 1 else " on each device"
    header = (
        "T",
        "inner steps",
        "state",
        "features",
        "batch",
        "temporary",
        "total",
        "largest batch",
        "",
    )
    table = [header, *(_cells(row, contents) for row in plan.rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    devices = "1 device" if plan.devices == 1 else f"{plan.devices} devices"
    lines = [
        f"one outer step on {plan.backend} ({devices}): {styles} styles x {contents} contents of "
        f"{size} px, estimator {config.outer.estimator}",
        *(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ),
        f"T: number of inner steps. Bytes{each}, largest batch (styles x contents) within "
        f"{show_size(plan.limit)}{each}.",
        *_about_growth(plan),
        f"On another backend than {plan.backend} the compiler needs other amounts: run this there.",
    ]
    return "\n".join(lines)


def _about_growth(plan: Plan) -> list[str]:
    """Why the memory grows with T, where it does."""
    if not any(row.unrolled for row in plan.rows):
        return []
    return [
        "Memory grows with T where inner steps are unrolled (one after the other); as a loop, "
        "--config.inner.unroll=False, it is flat with the estimator exact."
    ]


def _cells(row: Row, contents: int) -> tuple[str, ...]:
    memory = row.memory
    sizes = (memory.state, memory.features, memory.batch, memory.temporary, memory.total)
    largest = f"{row.largest} x {contents}" if row.largest else "none fits"
    source = "compiled" if row.compiled else "extrapolated"
    form = "unrolled" if row.unrolled else "a loop"
    return (str(row.steps), form, *map(show_size, sizes), largest, source)
