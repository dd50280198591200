"""The outer step of meta-training: one pure function per replica, wrapped by `runtime.sharding`."""

from __future__ import annotations

from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax.metalearning import outer_loss
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import CONSTANT, Schedule, at_step
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask


@flax.struct.dataclass
class TrainState:
    """Everything that training carries from step to step.

    Attributes:
      step: () int32, outer steps so far.
      params: what the outer optimizer moves.
      opt_state: of the outer optimizer.
    """

    step: jax.Array
    params: MetaParameters
    opt_state: Any


def init_state(params: MetaParameters, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first outer step."""
    # optax takes any pytree, but its annotations list only containers of arrays
    opt_state = optimizer.init(cast(Any, params))
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=opt_state)


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
        state.params, state.step, batch, task, loop=loop, schedule=schedule
    )
    if axis is not None:
        gradient, metrics = jax.lax.pmean((gradient, metrics), axis)
    for name, part in gradient.parts().items():
        metrics[f"gradient_norm_{name}"] = optax.tree.norm(part)
    before = cast(Any, state.params)  # see `init_state`
    updates, opt_state = outer_optimizer.update(cast(Any, gradient), state.opt_state, before)
    params = cast(MetaParameters, optax.apply_updates(before, updates))
    return TrainState(state.step + 1, params, opt_state), metrics


def outer_gradient(
    params: MetaParameters,
    step: jax.Array,
    batch: Batch,
    task: StyleTask,
    *,
    loop: InnerLoop,
    schedule: Schedule = CONSTANT,
) -> tuple[MetaParameters, dict[str, jax.Array]]:
    """The meta-gradient at outer step `step`, as `loop.estimator` estimates it.

    Arguments are those of `train_step`.

    Returns:
      (gradient in the shape of `params`, metrics of `outer_loss.meta_loss`).
    """
    scheduled = at_step(schedule, step, inner_steps=loop.steps, random=task.random)

    def loss_fn(params: MetaParameters):
        optimizer = loop.optimizer(step, params.inner_rates)
        return outer_loss.meta_loss(params, batch, task, loop, optimizer, scheduled)

    return jax.grad(loss_fn, has_aux=True)(params)
