"""A trace of some steps of a training, for TensorBoard's profile page, XProf or Perfetto."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from metastyle_jax.errors import UserError

_LOG = logging.getLogger(__name__)

TakeStep = Callable[[int, Any], Any]


class Steps(NamedTuple):
    """The first and the last step that is traced, from 1."""

    first: int
    last: int


def parse_steps(flag: str, text: str) -> Steps:
    """Steps of "A:B".

    Raises:
      UserError: these are no two numbers, from 1 on, in order.
    """
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"{flag}={text} names no steps: write, for example, {flag}=20:25")
    return Steps(int(match[1]), int(match[2]))


def check_steps(steps: Steps | None, start: int, total: int) -> None:
    """Refuse steps that a run from step `start` + 1 to `total` does not take.

    Raises:
      UserError: one of them is not taken; without this the trace would be short, or missing.
    """
    if steps is not None and not start < steps.first <= steps.last <= total:
        raise UserError(
            f"--profile={steps.first}:{steps.last} is not within the steps of this run, "
            f"{start + 1} to {total}: name steps that it takes"
        )


@contextlib.contextmanager
def traced(take_step: TakeStep, steps: Steps | None, folder: Path) -> Iterator[TakeStep]:
    """`take_step`, with a trace of some steps in `folder`; a stopped trace is kept too.

    Args:
      take_step: (number of the step, state) -> what the step returns.
      steps: None for no trace.
      folder: made when the trace begins.
    """
    if steps is None:
        yield take_step
        return
    running = False

    def stop() -> None:
        nonlocal running
        if running:
            jax.profiler.stop_trace()
            running = False
            _LOG.info(f"wrote the profile to {folder}: tensorboard --logdir={folder}")

    def take(step: int, state: Any) -> Any:
        nonlocal running
        if step == steps.first:
            jax.block_until_ready(state)  # the steps before are no part of it
            jax.profiler.start_trace(folder)
            running = True
        with jax.profiler.StepTraceAnnotation("outer_step", step_num=step):
            taken = take_step(step, state)
        if step == steps.last:
            jax.block_until_ready(taken)
            stop()
        return taken

    try:
        yield take
    finally:
        stop()
