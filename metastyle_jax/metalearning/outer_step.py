"""The outer step of meta-training: one pure function per replica, wrapped by `runtime.sharding`."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax.losses import moving_averages
from metastyle_jax.metalearning import outer_loss, subsets
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import (
    CONSTANT,
    Schedule,
    at_step,
    draw_alpha,
    draw_style_keys,
)
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask


@flax.struct.dataclass
class TrainState:
    """Everything that training carries from step to step.

    Attributes:
      step: () int32, outer steps so far.
      params: what the outer optimizer moves.
      opt_state: of the outer optimizer.
      averages: of the layers' losses, see `losses.moving_averages`; None where these are not
        normalized by them.
    """

    step: jax.Array
    params: MetaParameters
    opt_state: Any
    averages: Any = None


def init_state(
    params: MetaParameters,
    optimizer: optax.GradientTransformation,
    averages: moving_averages.Averages | None = None,
) -> TrainState:
    """The state before the first outer step."""
    # optax takes any pytree, but its annotations list only containers of arrays
    opt_state = optimizer.init(cast(Any, params))
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, averages)


def train_step(
    state: TrainState,
    batch: Batch,
    task: StyleTask,
    *,
    loop: InnerLoop,
    outer_optimizer: optax.GradientTransformation,
    schedule: Schedule = CONSTANT,
    axis: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One outer step.

    Args:
      state: before the step.
      batch: on each replica its share of the styles, and all contents.
      task: objective, feature network, input noise.
      loop: the inner loop.
      outer_optimizer: of all parameters.
      schedule: what depends on the outer step.
      axis: name of the mapped axis to average over; None on a single device.

    Returns:
      (state after the step, metrics of `outer_loss.meta_loss`, the norms "gradient_norm_weights",
      "gradient_norm_style" ..., scalars).
    """
    # the gradient of this replica's loss first, then the mean: see `runtime.sharding`
    gradient, metrics = outer_gradient(
        state.params,
        state.step,
        batch,
        task,
        loop=loop,
        schedule=schedule,
        averages=state.averages,
        first_style=0 if axis is None else jax.lax.axis_index(axis) * len(batch.styles),
    )
    if axis is not None:
        gradient, metrics = jax.lax.pmean((gradient, metrics), axis)
    for name, part in gradient.parts().items():
        metrics[f"gradient_norm_{name}"] = optax.tree.norm(part)
    before = cast(Any, state.params)  # see `init_state`
    updates, opt_state = outer_optimizer.update(cast(Any, gradient), state.opt_state, before)
    params = cast(MetaParameters, optax.apply_updates(before, updates))
    averages = state.averages
    if averages is not None:
        errors = {name.removeprefix("outer_"): value for name, value in metrics.items()}
        averages = moving_averages.update(averages, errors, schedule.average_decay)
    return TrainState(state.step + 1, params, opt_state, averages), metrics


def outer_gradient(
    params: MetaParameters,
    step: jax.Array,
    batch: Batch,
    task: StyleTask,
    *,
    loop: InnerLoop,
    schedule: Schedule = CONSTANT,
    averages: moving_averages.Averages | None = None,
    first_style: jax.Array | int = 0,
) -> tuple[MetaParameters, dict[str, jax.Array]]:
    """The meta-gradient at outer step `step`, as `loop.estimator` estimates it.

    Arguments are those of `train_step`, and `averages` those of the layers' losses over the steps
    before; `first_style` is the number of the first style among those of all replicas.

    Returns:
      (gradient in the shape of `params`, metrics of `outer_loss.meta_loss`).
    """
    scheduled = at_step(schedule, step, inner_steps=loop.steps, random=task.random)
    if params.adjuster is not None:
        counts = (len(batch.styles), len(batch.query), len(task.objective.style_layers))
        scheduled = scheduled._replace(alpha=draw_alpha(schedule, step, counts, first_style))
    if task.style_noise is not None:
        keys = draw_style_keys(schedule, step, len(batch.styles), first_style)
        scheduled = scheduled._replace(style_keys=keys)
    if averages is not None:
        scheduled = scheduled._replace(factors=moving_averages.factors(averages))

    def loss_fn(params: MetaParameters):
        # not the gradients alone: what stays needs none, and the compiler leaves them out
        parts = subsets.freeze(params.parts(), schedule.subset)
        params = dataclasses.replace(params, **parts)
        optimizer = loop.optimizer(step, params.inner_rates)
        return outer_loss.meta_loss(params, batch, task, loop, optimizer, scheduled)

    return jax.grad(loss_fn, has_aux=True)(params)
