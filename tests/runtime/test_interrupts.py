"""Requests to stop: the first one lets the present step finish, a second one does not."""

from __future__ import annotations

import os
import signal

import pytest

from metastyle_jax.runtime import interrupts


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_during_the_steps_the_second_request_ends_at_once(number, caplog):
    with interrupts.stop_requests() as stop:
        stop.complete_steps()
        send(number)
        assert stop.received and "finishing this step, then writing a checkpoint" in caplog.text
        with pytest.raises(KeyboardInterrupt):
            send(number)


def test_during_the_set_up_the_first_request_ends_at_once():
    with interrupts.stop_requests() as stop, pytest.raises(KeyboardInterrupt):
        send()
    assert stop.received


def test_afterwards_the_handlers_are_those_of_before():
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.stop_requests():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
