"""Where the seconds of `python adapt.py` go: its lines, and what JAX traces and compiles, each
with seconds of the clock and of processors since the start.

    JAX_ENABLE_COMPILATION_CACHE=false python benchmarks/adapt_timeline.py --features=distilled

Arguments are those of `adapt.py`. Events of less than SHORTEST seconds are left out.
"""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import jax

from metastyle_jax import __main__ as program

SHORTEST = 0.15
_BEGIN = time.perf_counter()


class Stamped(io.TextIOBase):
    """A stream whose lines begin with both times."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text.strip():
            clock, cpu = time.perf_counter() - _BEGIN, time.process_time()
            self._stream.write(f"[{clock:6.1f} s, CPU {cpu:6.1f} s] ")
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


def listen(event: str, seconds: float, **known: Any) -> None:
    if seconds > SHORTEST:
        print(f"{event.rsplit('/', 1)[-1]} {known.get('fun_name', '')} {seconds:.2f}")


def main() -> None:
    sys.stdout = Stamped(sys.stdout)
    jax.monitoring.register_event_duration_secs_listener(listen)
    program.main(["adapt", *sys.argv[1:]])


if __name__ == "__main__":
    main()
