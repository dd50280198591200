"""The one training loop: steps, log, checkpoints and interruption, whatever is trained."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

from metastyle_jax.runtime import processes
from metastyle_jax.runtime.finite_watch import FiniteWatch
from metastyle_jax.runtime.interrupts import StopRequests
from metastyle_jax.runtime.run_log import RunLog
from metastyle_jax.storage.checkpoint import Checkpoints

_LOG = logging.getLogger(__name__)

State = TypeVar("State")
TakeStep = Callable[[int, State], tuple[State, Mapping[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a session, and what happens at which.

    Attributes:
      start: steps taken before this session.
      total: number of the last step.
      log_every: steps between records of metrics.
      checkpoint_every: steps between checkpoints.
      compiling: further steps that compile a program, beside the first one. The rate is measured
        anew after each.
    """

    start: int
    total: int
    log_every: int
    checkpoint_every: int
    compiling: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Session:
    """What a session writes to, and what ends it.

    Attributes:
      log: gets metrics; None for processes that do not write.
      checkpoints: get the state.
      watch: refuses metrics that are not finite.
      stop: asked after each step.
      loss: mean over the steps since it was last asked: asked when a checkpoint is written.
      measured: metrics of the host over the time since it was last asked, whether a program was
        compiled in it: asked when a record of metrics is written and when one has been compiled.
    """

    log: RunLog | None
    checkpoints: Checkpoints
    watch: FiniteWatch
    stop: StopRequests
    loss: Callable[[], float | None] = lambda: None
    measured: Callable[[bool], Mapping[str, float]] = lambda compiled: {}


def run_steps(
    state: State,
    take_step: TakeStep[State],
    steps: Steps,
    session: Session,
    after_step: Callable[[int, State], Any] = lambda step, state: None,
) -> State:
    """Take all steps; only process 0 writes, and all stop after the same step.

    Args:
      state: after step `steps.start`.
      take_step: (number of the step, from 1; state) -> (state, metrics, scalars).
      steps: numbers of steps.
      session: log, checkpoints, and what ends the session.
      after_step: called on process 0 with the number of each step and the state after it.

    Returns:
      The state after step `steps.total`.

    Raises:
      UserError: a metric is not finite, or something cannot be written.
      KeyboardInterrupt: a stop was requested; the state of that step has been saved.
    """
    log, watch = session.log, session.watch
    session.stop.complete_steps()
    for step in range(steps.start + 1, steps.total + 1):
        state, metrics = take_step(step, state)
        watch.add(step, dict(metrics))
        last = step == steps.total
        # every process waits at the same steps, so that all have seen the same votes
        stopping = watch.asked_to_stop() if processes.several() else session.stop.received
        to_save = step % steps.checkpoint_every == 0 or last or stopping
        to_log = step % steps.log_every == 0 or last
        compiled = step in (steps.start + 1, *steps.compiling)
        if to_save or to_log or compiled:
            values = watch.check_all()
            if log and compiled:
                log.start_clock(step)
            if log and to_log:
                log.metrics(step, {**values, **session.measured(compiled)})
            elif compiled:
                session.measured(compiled)
        if log and to_save:
            session.checkpoints.save_later(step, state, session.loss())
        if last or stopping:
            session.checkpoints.wait()
            processes.wait("saved")  # one that ends is missed by those that still work
        after_step(step, state)  # also of the last one: a resumed session begins with the next
        if stopping and not last:
            _LOG.warning(f"stopped after step {step}; continue with --resume")
            raise KeyboardInterrupt
    return state
