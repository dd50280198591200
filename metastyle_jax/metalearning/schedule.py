"""What changes from outer step to outer step: weights, numbers of inner steps, random keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metastyle_jax.losses.moving_averages import Averages


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Settings of the outer steps. Hashable.

    Attributes:
      style_warmup: outer steps over which the style weight rises from 0 to its full value. A
        network that first learns to keep the content does not fall into lattices and blobs.
      random_steps: take 1 to T inner steps, drawn anew for every outer step.
      multi_step: outer steps over which the outer loss moves from the mean of the query losses
        after each inner step to the loss after the last one (MAML++, Antoniou et al. 2019, section
        4); 0 for the last one alone.
      average_decay: of the moving averages of the layers' losses, see `losses.moving_averages`.
      subset: what the outer optimizer moves at all steps, see `subsets.freeze`.
      seed: of the draws.
    """

    style_warmup: int = 0
    random_steps: bool = False
    multi_step: int = 0
    average_decay: float = 0.0
    subset: str = "all"
    seed: int = 0


CONSTANT = Schedule()  # nothing depends on the outer step


class Scheduled(NamedTuple):
    """What a schedule gives at one outer step.

    Attributes:
      style_factor: () or a number, multiplies the style weight.
      active_steps: () int32, inner steps taken, 1 to T; None for T.
      step_weights: (T,), of the query losses after each inner step; None for the last one alone.
      key: for random style losses and input noise; None where nothing is random.
      alpha: (2, S, B, L), weights of the style layers for each style and content, of the support
        and of the query; None for 1.
      factors: of the layers' losses, see `moving_averages.factors`; None for 1.
      style_keys: (2, S, B) keys of the noise on the parameters of the style of each sample, for the
        support and for the query; None for no such noise.
      first_content: number of the first of the contents among those of all devices.
    """

    style_factor: jax.Array | float = 1.0
    active_steps: jax.Array | None = None
    step_weights: jax.Array | None = None
    key: jax.Array | None = None
    alpha: jax.Array | None = None
    factors: Averages | None = None
    style_keys: jax.Array | None = None
    first_content: jax.Array | int = 0


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
    return _key_of(schedule, step, 1)


def _key_of(schedule: Schedule, step: jax.Array, kind: int) -> jax.Array:
    """The key of one kind of draws at outer step `step`; each has its number, from 1 on."""
    # apart from the draws of `active_steps`, which fold in the step alone
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(schedule.seed), kind), step)


def draw_alpha(
    schedule: Schedule,
    step: jax.Array,
    counts: tuple[int, int, int],
    first_style: jax.Array | int = 0,
    first_content: jax.Array | int = 0,
) -> jax.Array:
    """Weights of the style layers at outer step `step`, uniform in [0, 1]: (2, S, B, L).

    Contents come in pairs, the second with 1 - alpha (antithetic variates): what both ends pull at
    alike leaves the gradient of the adjuster, which is the difference.

    Args:
      schedule: has the seed.
      step: () int32.
      counts: (S, B, L), styles, contents and layers.
      first_style: number of the first of the S styles among those of all devices.
      first_content: likewise of the contents.

    Returns:
      For the support and for the query, drawn independently.
    """
    styles, contents, layers = counts
    key = _key_of(schedule, step, 2)

    def draw(style: jax.Array, content: jax.Array) -> jax.Array:
        of_pair = jax.random.fold_in(jax.random.fold_in(key, style), content // 2)
        alpha = jax.random.uniform(of_pair, (2, layers))
        return jnp.where(content % 2 == 0, alpha, 1 - alpha)

    return _for_each_sample(draw, (styles, contents), first_style, first_content)


def draw_style_keys(
    schedule: Schedule,
    step: jax.Array,
    counts: tuple[int, int],
    first_style: jax.Array | int = 0,
    first_content: jax.Array | int = 0,
) -> jax.Array:
    """Keys of the noise on the style of each sample at outer step `step`: (2, S, B).

    Arguments are those of `draw_alpha`, `counts` (S, B); support and query have other keys.
    """
    key = _key_of(schedule, step, 3)

    def draw(style: jax.Array, content: jax.Array) -> jax.Array:
        return jax.random.split(jax.random.fold_in(jax.random.fold_in(key, style), content))

    return _for_each_sample(draw, counts, first_style, first_content)


def _for_each_sample(
    draw: Callable[[jax.Array, jax.Array], jax.Array],
    counts: tuple[int, int],
    first_style: jax.Array | int,
    first_content: jax.Array | int,
) -> jax.Array:
    """(2, S, B, ...) of a function that returns (2, ...) for numbers of a style and a content."""
    styles, contents = counts
    of_style = jax.vmap(draw, in_axes=(None, 0), out_axes=1)
    return jax.vmap(of_style, in_axes=(0, None), out_axes=1)(
        first_style + jnp.arange(styles, dtype=jnp.int32),
        first_content + jnp.arange(contents, dtype=jnp.int32),
    )


def multi_step_weights(schedule: Schedule, step: jax.Array, inner_steps: int) -> jax.Array | None:
    """(T,): from the mean over inner steps to the last one alone; None for always the last one."""
    if not schedule.multi_step:
        return None
    last = jnp.minimum(1.0, step.astype(float) / schedule.multi_step)
    mean = jnp.full((inner_steps,), (1 - last) / inner_steps)
    return mean.at[-1].add(last)
