"""What changes from outer step to outer step: weights, numbers of inner steps, random keys."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Settings that depend on the outer step. Hashable.

    Attributes:
      style_warmup: outer steps over which the style weight rises from 0 to its full value. A
        network that first learns to keep the content does not fall into lattices and blobs.
      random_steps: take 1 to T inner steps, drawn anew for every outer step.
      multi_step: outer steps over which the outer loss moves from the mean of the query losses
        after each inner step to the loss after the last one (MAML++, Antoniou et al. 2019, section
        4); 0 for the last one alone.
      seed: of the draws.
    """

    style_warmup: int = 0
    random_steps: bool = False
    multi_step: int = 0
    seed: int = 0


CONSTANT = Schedule()  # nothing depends on the outer step


class Scheduled(NamedTuple):
    """What a schedule gives at one outer step.

    Attributes:
      style_factor: () or a number, multiplies the style weight.
      active_steps: () int32, inner steps taken, 1 to T; None for T.
      step_weights: (T,), of the query losses after each inner step; None for the last one alone.
      key: for random style losses and input noise; None where nothing is random.
    """

    style_factor: jax.Array | float = 1.0
    active_steps: jax.Array | None = None
    step_weights: jax.Array | None = None
    key: jax.Array | None = None


ALWAYS = Scheduled()  # the full style weight, all inner steps, the last loss, nothing random


def at_step(schedule: Schedule, step: jax.Array, *, inner_steps: int, random: bool) -> Scheduled:
    """What `schedule` gives at outer step `step`, () int32: a function of both and nothing else.

    Args:
      schedule: settings.
      step: () int32.
      inner_steps: T.
      random: whether the task draws random numbers, see `style_tasks.StyleTask.random`.
    """
    return Scheduled(
        _style_factor(schedule, step),
        active_steps(schedule, step, inner_steps),
        multi_step_weights(schedule, step, inner_steps),
        draws_key(schedule, step) if random else None,
    )


def _style_factor(schedule: Schedule, step: jax.Array) -> jax.Array | float:
    if not schedule.style_warmup:
        return 1.0
    return jnp.minimum(1.0, step.astype(float) / schedule.style_warmup)


def active_steps(schedule: Schedule, step: jax.Array, inner_steps: int) -> jax.Array | None:
    """() int32 from 1 to T; None for always T."""
    if not schedule.random_steps:
        return None
    key = jax.random.fold_in(jax.random.key(schedule.seed), step)
    return jax.random.randint(key, (), 1, inner_steps + 1, jnp.int32)


def draws_key(schedule: Schedule, step: jax.Array) -> jax.Array:
    """The key of random style losses and of input noise at outer step `step`."""
    # apart from the draws of `active_steps`
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(schedule.seed), 1), step)


def multi_step_weights(schedule: Schedule, step: jax.Array, inner_steps: int) -> jax.Array | None:
    """(T,): from the mean over inner steps to the last one alone; None for always the last one."""
    if not schedule.multi_step:
        return None
    last = jnp.minimum(1.0, step.astype(float) / schedule.multi_step)
    mean = jnp.full((inner_steps,), (1 - last) / inner_steps)
    return mean.at[-1].add(last)
