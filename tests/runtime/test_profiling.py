"""The trace of some steps: which ones, and that it ends."""

import jax
import jax.numpy as jnp
import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.runtime import profiling


@pytest.fixture
def calls(monkeypatch):
    seen = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: seen.append(f"in {folder}"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: seen.append("stop"))
    return seen


def take(steps, calls, count, fail_at=None):
    def step(number, state):
        if number == fail_at:
            raise KeyboardInterrupt
        calls.append(number)
        return state + number

    with profiling.traced(step, steps, "folder") as traced:
        state = jnp.int32(0)
        for number in range(1, count + 1):
            state = traced(number, state)
    return int(state)


def test_traces_the_steps_that_were_asked_for(calls):
    assert take(profiling.parse_steps("--profile", "2:3"), calls, 4) == 10
    assert calls == [1, "in folder", 2, 3, "stop", 4]


def test_no_trace_is_asked_for(calls):
    assert take(None, calls, 2) == 3
    assert calls == [1, 2]


def test_an_interrupted_trace_is_written(calls):
    with pytest.raises(KeyboardInterrupt):
        take(profiling.Steps(1, 9), calls, 9, fail_at=3)
    assert calls == ["in folder", 1, 2, "stop"]


def test_steps_that_a_resumed_run_does_not_take_are_refused():
    profiling.check_steps(None, 5, 9)
    profiling.check_steps(profiling.Steps(6, 9), 5, 9)
    for steps in ((5, 6), (2, 3), (9, 10)):
        with pytest.raises(UserError, match=r"--profile=\d+:\d+ is not within .* 6 to 9"):
            profiling.check_steps(profiling.Steps(*steps), 5, 9)


@pytest.mark.parametrize("text", ["3:2", "0:2", "3", "a:b", "1:2:3"])
def test_what_names_no_steps_is_refused(text):
    with pytest.raises(UserError, match=f"--profile={text} names no steps"):
        profiling.parse_steps("--profile", text)
