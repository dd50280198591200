"""Plugin of pytest: which tests and files take most CPU time. Other work hardly changes it.

    PYTHONPATH=tests pytest -p cpu_seconds
    PYTHONPATH=tests pytest -n 0 -p cpu_seconds tests/bilevel

Processes that a test starts and waits for count too.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator

import pytest

SHOWN = 40
PROPERTY = "cpu_seconds"

_begin = pytest.StashKey[float]()
_taken: dict[str, float] = {}


def _seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The test with its fixtures: the first test of a file pays for those of the file."""
    item.stash[_begin] = _seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "teardown" and _begin in item.stash:
        # travels from the process that ran the test to the one that reports
        report.user_properties.append((PROPERTY, _seconds() - item.stash[_begin]))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == PROPERTY and report.when == "teardown":
            _taken[report.nodeid] = float(str(value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What `--durations` prints, in CPU seconds."""
    files: collections.Counter[str] = collections.Counter()
    for name, seconds in _taken.items():
        files[name.partition("::")[0]] += seconds
    terminalreporter.section(f"CPU seconds, {sum(_taken.values()):.1f} in all")
    for taken in (files, _taken):
        for name in sorted(taken, key=taken.__getitem__, reverse=True)[:SHOWN]:
            terminalreporter.write_line(f"{taken[name]:7.1f} {name}")
