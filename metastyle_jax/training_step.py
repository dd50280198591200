"""The outer step as training runs it: from a configuration to a compiled program per device."""

from __future__ import annotations

import dataclasses
import functools

import jax
import ml_collections
import optax

from metastyle_jax import bilevel, outer_step, parallel, settings, style_tasks
from metastyle_jax.errors import UserError


def pick_devices(config: ml_collections.ConfigDict) -> list[jax.Device]:
    """The devices that `config.parallel.devices` asks for.

    Raises:
      UserError: there are fewer, or the styles cannot be shared out among them.
    """
    available = jax.devices()
    count = config.parallel.devices or len(available)
    if count > len(available):
        raise UserError(
            f"config.parallel.devices={count}, but there are only {len(available)}: use 0 for all"
        )
    parallel.check_divisible(config.batch.styles, count)
    return available[:count]


def wrap_steps(
    config: ml_collections.ConfigDict,
    optimizer: optax.GradientTransformation,
    devices: list[jax.Device],
) -> tuple[parallel.Parallel, parallel.Parallel]:
    """The outer step of the first `config.outer.first_order_steps` steps, and that of the others.

    Two programs, not a conditional in one: XLA:CPU has no fast convolutions in conditionals.
    """
    problem = settings.make_problem(config)
    cheap = dataclasses.replace(problem, estimator=bilevel.first_order)

    def wrap(problem: style_tasks.MetaProblem) -> parallel.Parallel:
        step = functools.partial(
            outer_step.train_step,
            problem=problem,
            inner_optimizer=settings.make_inner_optimizer(config),
            outer_optimizer=optimizer,
            axis=parallel.AXIS,
        )
        return parallel.parallelize(step, kind=config.parallel.kind, devices=devices)

    return wrap(cheap), wrap(problem)
