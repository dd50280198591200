"""Plugin of pytest: which tests take most CPU time. Other work on the machine hardly changes it.

    PYTHONPATH=tests pytest -n 0 -p cpu_seconds tests/bilevel

Processes that a test starts and waits for count too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

SHOWN = 20

_taken: dict[str, float] = {}


def _seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """The test with its fixtures: the first test of a file pays for those of the file."""
    start = _seconds()
    result = yield
    _taken[item.nodeid] = _seconds() - start
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What `--durations` prints, in CPU seconds."""
    terminalreporter.section(f"CPU seconds, {sum(_taken.values()):.1f} in all")
    for name in sorted(_taken, key=_taken.__getitem__, reverse=True)[:SHOWN]:
        terminalreporter.write_line(f"{_taken[name]:7.1f} {name}")
