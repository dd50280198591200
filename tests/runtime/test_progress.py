"""The time that pictures will take, against machines whose times are known."""

from __future__ import annotations

import pytest

from metastyle_jax.runtime.progress import Pace


def test_one_size_goes_by_those_after_the_compilation():
    pace, size = Pace(), (40, 30)
    assert pace.expected([]) == 0 and pace.expected([size]) is None
    pace.took(size, 20.0)
    assert pace.expected([size]) == 20  # nothing better is known
    for seconds in (2.0, 4.0):
        pace.took(size, seconds)
    assert pace.expected([size] * 5) == pytest.approx(15)


def test_new_sizes_go_by_compilation_and_pixels():
    """A machine that compiles for 10 s and draws 100 pixels a second."""
    pace = Pace()
    pace.took((10, 10), 11.0)
    assert pace.expected([(100, 100)]) is None  # not a hundred times 11 s
    pace.took((20, 10), 12.0)
    pace.took((10, 10), 1.0)
    assert pace.expected([(10, 100), (10, 10)]) == pytest.approx(10 + 10 + 1)


def test_no_time_is_negative():
    pace = Pace()
    pace.took((10, 10), 30.0)  # a slow start
    pace.took((100, 100), 3.0)
    assert pace.expected([(1000, 1000)]) > 0
    pace = Pace()
    pace.took((10, 10), 0.0)
    pace.took((20, 20), 90.0)
    assert pace.expected([(5, 5)]) >= 0
